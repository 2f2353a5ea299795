//! Options from the environment: `KAMACACHE_` and the name in capitals;
//! `KAMACACHE_GROUPS` holds groups as `--group` takes them, separated by `;`,
//! and `KAMACACHE_CONFIG` the path of the file.

use std::ffi::OsString;

use kamacache_core::unknown_option;

use super::{Given, Origin, group, names};
use crate::exit::{Failure, Outcome};

pub(super) const PREFIX: &str = "KAMACACHE_";
/// What other parts of kamacache read.
const OTHERS: [&str; 1] = ["node"];

#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) config: Option<String>,
    pub(super) given: Vec<Given>,
}

pub(super) fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Outcome<Variables> {
    let mut found = Variables::default();
    for (variable, text) in variables {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let text = text
            .into_string()
            .map_err(|text| Failure::config(format!("{variable}: {text:?} is not UTF-8")))?;
        let name = variable[PREFIX.len()..].to_ascii_lowercase();
        let origin = Origin::Variable(variable.to_owned());
        match &*name {
            "config" => found.config = Some(text),
            "groups" => {
                for one in text.split(';').filter(|one| !one.trim().is_empty()) {
                    found.given.extend(group(one.trim(), &origin)?);
                }
            }
            name if OTHERS.contains(&name) || is_service_link(variable) => {}
            name if !names().any(|known| known == name) => {
                let known = names().chain(["config", "groups"]);
                let error = unknown_option(name, known);
                return Err(Failure::config(format!("{origin}: {}", error.message())));
            }
            name => found.given.push(Given {
                group: None,
                name: name.to_owned(),
                text,
                origin,
            }),
        }
    }
    Ok(found)
}

/// What Kubernetes adds for a service of this name: `KAMACACHE_SERVICE_HOST`,
/// `KAMACACHE_PORT_8001_TCP_ADDR`.
fn is_service_link(variable: &str) -> bool {
    let mut parts = variable.split('_');
    let is_port = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    variable.contains("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || (parts.any(|part| part == "PORT") && parts.next().is_none_or(is_port))
}
