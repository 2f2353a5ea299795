//! What `kamacache serve` is to do: options from a TOML file, the environment
//! and flags, the later stronger than the earlier.
//!
//! Invariant: every source names an option alike and writes its value alike;
//! what is wrong is told with the place where it stands.

mod env;
mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use kamacache_core::{Error, GroupOptions, NodeOptions, unknown_option};

use crate::args::Serve;
use crate::exit::{Failure, Outcome};

/// Where an option was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    File(String, usize),
    Variable(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, line) => write!(f, "{file}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// One option as it was given.
#[derive(Clone, Debug)]
struct Given {
    /// Whose; `None`: the node's.
    group: Option<String>,
    name: String,
    text: String,
    origin: Origin,
}

/// Where a miss is loaded; at most one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GetterSettings {
    pub(crate) url: Option<String>,
    pub(crate) command: Option<String>,
    pub(crate) empty: Option<bool>,
    /// Variables that a command has beside the usual ones.
    pub(crate) env: Vec<String>,
}

/// A group to open.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupSettings {
    pub(crate) options: GroupOptions,
    pub(crate) getter: GetterSettings,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// All of it, together.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) node: NodeOptions,
    pub(crate) groups: BTreeMap<String, GroupSettings>,
    pub(crate) getter: GetterSettings,
    pub(crate) log: Option<tracing::Level>,
    pub(crate) log_format: LogFormat,
    /// Where spans are sent.
    pub(crate) otlp_endpoint: Option<String>,
    /// What stands, by full name, and where it was given.
    shown: BTreeMap<String, (String, Origin)>,
}

const OWN: [&str; 7] = [
    "otlp_endpoint",
    "getter_url",
    "getter_command",
    "getter_empty",
    "getter_env",
    "log",
    "log_format",
];
const OF_GETTER: [&str; 4] = ["getter_url", "getter_command", "getter_empty", "getter_env"];

impl Settings {
    /// Reads every source.
    pub(crate) fn read(
        args: &Serve,
        variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Outcome<Self> {
        let variables = env::read(variables)?;
        let file = args
            .config
            .as_deref()
            .or(variables.config.as_deref().map(Path::new));
        let mut settings = Self::default();
        if let Some(path) = file {
            settings.apply(file::read(path)?)?;
        }
        settings.apply(variables.given)?;
        settings.apply(flags(args)?)?;
        if settings.node.listen.is_none() {
            settings.node.listen = Some("127.0.0.1:8001".to_owned());
        }
        settings.check()?;
        Ok(settings)
    }

    /// One source, over those before.
    fn apply(&mut self, given: Vec<Given>) -> Outcome {
        let mut getters: BTreeMap<Option<String>, &Origin> = BTreeMap::new();
        for one in &given {
            if ["getter_url", "getter_command"].contains(&&*one.name)
                && let Some(other) = getters.insert(one.group.clone(), &one.origin)
            {
                return Err(Failure::config(format!(
                    "{}: a getter is given at {other} already; leave getter_url or getter_command out",
                    one.origin
                )));
            }
            self.set(one)
                .map_err(|error| Failure::config(format!("{}: {}", one.origin, error.message())))?;
        }
        for one in given {
            self.show(one);
        }
        Ok(())
    }

    fn show(&mut self, given: Given) {
        let name = match &given.group {
            None => given.name.clone(),
            Some(group) => format!("groups.{group}.{}", given.name),
        };
        // The one that it replaces.
        for (this, other) in [
            ("getter_url", "getter_command"),
            ("getter_command", "getter_url"),
        ] {
            if given.name == this {
                self.shown.remove(&name.replace(this, other));
            }
        }
        let text = match &*given.name {
            "getter_url" | "otlp_endpoint" => shown_url(&given.text),
            name => NodeOptions::shown(name, &given.text),
        };
        self.shown.insert(name, (text, given.origin));
    }

    fn set(&mut self, given: &Given) -> Result<(), Error> {
        let (name, text) = (&*given.name, &*given.text);
        match &given.group {
            Some(group) => {
                let group = self.groups.entry(group.clone()).or_default();
                match OF_GETTER.contains(&name) {
                    true => group.getter.set(name, text),
                    false if GroupOptions::names().any(|known| known == name) => {
                        group.options.set(name, text)
                    }
                    false => Err(unknown_option(name, GroupOptions::names().chain(OF_GETTER))),
                }
            }
            None => match name {
                "log" => level(text).map(|level| self.log = Some(level)),
                "otlp_endpoint" => endpoint(text).map(|url| self.otlp_endpoint = Some(url)),
                "log_format" => log_format(text).map(|format| self.log_format = format),
                name if OF_GETTER.contains(&name) => self.getter.set(name, text),
                name if NodeOptions::names().any(|known| known == name) => {
                    self.node.set(name, text)
                }
                name => Err(unknown_option(name, names())),
            },
        }
    }

    /// What only all of it together shows.
    fn check(&self) -> Outcome {
        if self.groups.is_empty() {
            return Err(Failure::config(
                "no group is given, so there is nothing to cache; add --group NAME=MAX_BYTES or [groups.NAME] to the file",
            ));
        }
        // What a start checks too.
        let groups = self.groups.iter();
        let groups = groups.map(|(name, group)| (&**name, &group.options));
        self.node
            .check(groups)
            .map_err(|error| Failure::config(error.message()))
    }

    /// The getter of a group: its own, or the one of all.
    pub(crate) fn getter_of(&self, group: &GroupSettings) -> GetterSettings {
        let mut getter = group.getter.clone();
        if getter.url.is_none() && getter.command.is_none() {
            getter.url.clone_from(&self.getter.url);
            getter.command.clone_from(&self.getter.command);
        }
        getter.empty = getter.empty.or(self.getter.empty);
        if getter.env.is_empty() {
            getter.env.clone_from(&self.getter.env);
        }
        getter
    }

    /// What was given and stands: name, text, place.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (&str, &str, &Origin)> {
        self.shown
            .iter()
            .map(|(name, (text, origin))| (&**name, &**text, origin))
    }
}

impl GetterSettings {
    fn set(&mut self, name: &str, text: &str) -> Result<(), Error> {
        if text.trim().is_empty() {
            return Err(Error::invalid_argument(format!(
                "option {name} is empty; leave it unset instead"
            )));
        }
        match name {
            "getter_url" => (self.url, self.command) = (Some(text.to_owned()), None),
            "getter_command" => (self.url, self.command) = (None, Some(text.to_owned())),
            "getter_env" => self.env = variables(text)?,
            _ => {
                self.empty = Some(text.trim().parse().map_err(|_| {
                    Error::invalid_argument(format!(
                        "option {name}: {text:?} is neither true nor false"
                    ))
                })?);
            }
        }
        Ok(())
    }
}

/// A URL without its user, password, query and fragment, any of which may be a
/// secret.
pub(crate) fn shown_url(url: &str) -> String {
    let (place, rest) = match url.find(['?', '#']) {
        Some(at) => (&url[..at], &url[at..]),
        None => (url, ""),
    };
    // A password may hold a ? or #: then the @ comes after it.
    let place = match (place.split_once("//"), url.contains('@')) {
        (Some((scheme, _)), true) => {
            let host = place.rsplit_once('@').map_or("", |(_, host)| host);
            format!("{scheme}//***@{host}")
        }
        (None, true) => "***".to_owned(),
        (_, false) => place.to_owned(),
    };
    match rest.get(..1) {
        Some(mark) => format!("{place}{mark}***"),
        None => place,
    }
}

/// Names of environment variables, separated by commas.
fn variables(text: &str) -> Result<Vec<String>, Error> {
    let wrong = |name: &str, rule: &str| {
        Err(Error::invalid_argument(format!(
            "option getter_env: {name:?} {rule}"
        )))
    };
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    for name in &names {
        if name.is_empty() || name.contains(['=', '*', ' ']) {
            return wrong(
                name,
                "is no name of a variable; write them as PGHOST,PGPASSWORD",
            );
        }
        if name.starts_with(env::PREFIX) {
            return wrong(
                name,
                "is an option of the node, which a getter command does not get",
            );
        }
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Every name that stands outside of a group.
fn names() -> impl Iterator<Item = &'static str> {
    NodeOptions::names().chain(OWN)
}

fn level(text: &str) -> Result<tracing::Level, Error> {
    text.parse().map_err(|_| {
        Error::invalid_argument(format!(
            "option log: {text:?} is not one of error, warn, info, debug, trace"
        ))
    })
}

fn endpoint(text: &str) -> Result<String, Error> {
    if cfg!(not(feature = "otel")) {
        return Err(Error::invalid_argument(
            "option otlp_endpoint is not available in this build; build it with: cargo build -p kamacache-cli --features otel",
        ));
    }
    match text.parse::<hyper::Uri>() {
        Ok(url) if url.scheme_str() == Some("http") => Ok(text.to_owned()),
        _ => Err(Error::invalid_argument(format!(
            "option otlp_endpoint: {:?} is not a URL such as http://127.0.0.1:4317",
            shown_url(text)
        ))),
    }
}

fn log_format(text: &str) -> Result<LogFormat, Error> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Error::invalid_argument(format!(
            "option log_format: {text:?} is neither text nor json"
        ))),
    }
}

fn flags(args: &Serve) -> Outcome<Vec<Given>> {
    let own = [
        ("getter_url", &args.getter_url),
        ("getter_command", &args.getter_command),
        ("getter_empty", &args.getter_empty),
        ("getter_env", &args.getter_env),
        ("log", &args.log),
        ("log_format", &args.log_format),
        ("otlp_endpoint", &args.otlp_endpoint),
    ];
    let own = own
        .into_iter()
        .filter_map(|(name, text)| Some((name, text.as_deref()?)));
    let mut given: Vec<Given> = own
        .chain(args.node.given())
        .map(|(name, text)| Given {
            group: None,
            name: name.to_owned(),
            text: text.to_owned(),
            origin: Origin::Flag(name.replace('_', "-")),
        })
        .collect();
    for text in &args.groups {
        given.extend(group(text, &Origin::Flag("group".into()))?);
    }
    Ok(given)
}

/// A group on one line: `NAME=MAX_BYTES,OPTION=VALUE,...`.
fn group(text: &str, origin: &Origin) -> Outcome<Vec<Given>> {
    let bad = || {
        Failure::config(format!(
            "{origin}: {text:?} is not a group; write NAME=MAX_BYTES as scores=64MiB, more options after commas"
        ))
    };
    let (name, rest) = text.split_once('=').ok_or_else(bad)?;
    let mut parts = rest.split(',');
    let max_bytes = parts.next().unwrap_or_default();
    let given = |option: &str, text: &str| Given {
        group: Some(name.trim().to_owned()),
        name: option.trim().to_owned(),
        text: text.trim().to_owned(),
        origin: origin.clone(),
    };
    let mut all = vec![given("max_bytes", max_bytes)];
    for part in parts {
        let (option, text) = part.split_once('=').ok_or_else(bad)?;
        all.push(given(option, text));
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
