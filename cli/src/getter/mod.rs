//! Where `kamacache serve` loads a miss: a URL, a shell command, or nowhere.
//!
//! Invariant: a load ends within its group's load_timeout, and what it started
//! ends with it; a failure names the key and what happened, and tells no secret
//! of the configuration to those who asked.

mod command;
mod failure;
mod guard;
mod url;

use std::sync::Arc;
use std::time::Duration;

use kamacache_core::{Getter, GroupOptions, LoadContext};

use crate::config::{GetterSettings, shown_url};
use crate::exit::{Failure, INTERNAL, Outcome};
use crate::http::Http;

/// Commands of one group at the same time, if the group does not say.
const COMMANDS: usize = 16;
/// What is read of a value when the group does not say.
const MAX_VALUE_BYTES: u64 = 16 << 20;

/// What all getters of a node share.
pub(crate) struct Shared {
    http: Http,
    guard: Option<guard::Guard>,
}

impl Shared {
    /// Inside a runtime. `runs`: there will be loads; else nothing is started.
    pub(crate) fn new(settings: &[GetterSettings], runs: bool) -> Outcome<Self> {
        let commands = settings.iter().any(|one| one.command.is_some());
        let guard = (runs && commands).then(guard::Guard::start).transpose();
        let failed = |error| {
            Failure::new(
                INTERNAL,
                format!("the process that ends getter commands cannot be started: {error}"),
            )
        };
        Ok(Self {
            http: Http::new(),
            guard: guard.map_err(failed)?,
        })
    }
}

/// The getter of a group, if it has one; completes the group's options.
pub(crate) fn open(
    settings: &GetterSettings,
    options: &mut GroupOptions,
    shared: &Shared,
) -> Outcome<Option<Arc<dyn Getter>>> {
    let limit = options.max_value_bytes.unwrap_or(MAX_VALUE_BYTES);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match (&settings.url, &settings.command) {
        (Some(template), _) => {
            let template = url::Template::parse(template).map_err(|rule| {
                Failure::config(format!("getter_url {:?}: {rule}", shown_url(template)))
            })?;
            Ok(Some(Arc::new(url::UrlGetter::new(
                template,
                shared.http.clone(),
                limit,
            ))))
        }
        (None, Some(command)) => {
            options.max_concurrent_loads.get_or_insert(COMMANDS);
            let empty = settings.empty.unwrap_or(false);
            Ok(Some(Arc::new(command::CommandGetter::new(
                command,
                &settings.env,
                empty,
                limit,
                shared.guard.clone(),
            ))))
        }
        (None, None) => Ok(None),
    }
}

/// How long the load may still take: a little less than the node waits, so
/// that the getter's own message is the one that arrives.
fn time_left(ctx: &LoadContext) -> Duration {
    let left = ctx.time_left().unwrap_or(Duration::from_secs(24 * 3600));
    left - (left / 20).min(Duration::from_millis(200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_about_a_getter_url_tells_no_secret() {
        let shared = Shared {
            http: Http::new(),
            guard: None,
        };
        for (wrong, named) in [
            ("https://u:hush@h/{key}?k=hush", "https is not"),
            ("http://u:hush@h/{key}", "leave them out"),
            ("http://u:hu?hush@h/{key}", "http://***@"),
            ("http://h:x/{key}?k=hush", "port"),
            ("http://h/{key}?k={hush", "{group} and {key}"),
            ("http://h/{foo}/{key}?k=hush", "{group} and {key}"),
            ("http://h/?k=hush", "no {key}"),
        ] {
            let settings = GetterSettings {
                url: Some(wrong.to_owned()),
                ..GetterSettings::default()
            };
            let mut options = GroupOptions::new(1 << 20);
            let failure = open(&settings, &mut options, &shared).err().unwrap();
            assert!(!failure.message.contains("hush"), "{}", failure.message);
            assert!(failure.message.contains(named), "{}", failure.message);
        }
    }
}
