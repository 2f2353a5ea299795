//! The parts of a discovery URL: `scheme://AUTHORITY/PATH?name=value&name=value`.
//! Each kind of discovery takes what it knows; what is left is an error.
//!
//! Invariant: no error prints a secret that the URL carries.

use std::time::Duration;

use crate::units::parse_duration;
use crate::{Error, Result};

pub(super) struct Url {
    /// As it may be shown.
    shown: String,
    pub(super) authority: String,
    /// Without its leading slash.
    pub(super) path: String,
    parameters: Vec<(String, String)>,
    /// What the kind takes, for errors.
    known: &'static [&'static str],
}

impl Url {
    /// `rest` is the URL without its scheme and colon.
    pub(super) fn parse(url: &str, rest: &str, known: &'static [&'static str]) -> Result<Self> {
        let mut parts = Self {
            shown: shown(url),
            authority: String::new(),
            path: String::new(),
            parameters: Vec::new(),
            known,
        };
        let rest = rest
            .strip_prefix("//")
            .ok_or_else(|| parts.wrong("it lacks the // after its scheme"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        if place.contains('@') {
            return Err(parts.wrong(
                "what stands before the @ is not used; leave it out, and give a user and a password as parameters where this kind takes them",
            ));
        }
        authority.clone_into(&mut parts.authority);
        path.clone_into(&mut parts.path);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                parts
                    .wrong("a parameter lacks its =; write NAME=VALUE, and & as %26 within a value")
            })?;
            if !known.contains(&name) {
                let takes = known.join(", ");
                return Err(parts.wrong(&format!("there is no parameter {name:?}, only {takes}")));
            }
            let value = decoded(value)
                .ok_or_else(|| parts.wrong(&format!("{name} is not percent-encoded UTF-8")))?;
            parts.parameters.push((name.to_owned(), value));
        }
        Ok(parts)
    }

    /// The last value of a parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        debug_assert!(self.known.contains(&name), "{name} is a known parameter");
        let mut named = self.parameters.iter().rev();
        let (_, value) = named.find(|(given, _)| given == name)?;
        Some(value)
    }

    /// All values of a parameter, also those of one list with commas.
    pub(super) fn parameters<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.parameters.iter().filter(move |pair| pair.0 == name);
        named.flat_map(|pair| pair.1.split(','))
    }

    /// A duration within bounds.
    pub(super) fn duration(
        &self,
        name: &str,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Result<Duration> {
        let Some(text) = self.parameter(name) else {
            return Ok(default);
        };
        let value =
            parse_duration(text).map_err(|error| self.wrong(&format!("{name}: {error}")))?;
        if value < least || value > most {
            return Err(self.wrong(&format!(
                "{name} is {value:?}; it must be from {least:?} to {most:?}"
            )));
        }
        Ok(value)
    }

    /// An InvalidArgument that names the URL.
    pub(super) fn wrong(&self, why: &str) -> Error {
        Error::invalid_argument(format!("discovery {:?}: {why}", self.shown))
    }
}

/// Parameters whose values may be shown. Any other may be a misspelt password.
const HARMLESS: &[&str] = &[
    "api",
    "ca",
    "cert",
    "group",
    "interval",
    "key",
    "max_ttl",
    "namespace",
    "password_file",
    "server",
    "ttl",
    "user",
];

/// The URL with its secrets starred out: what stands before an `@`, and the
/// value of every parameter that is not known to be harmless.
pub(crate) fn shown(url: &str) -> String {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let place = match place.split_once("//") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}//***@{host}"),
            None => place.to_owned(),
        },
        None => place.to_owned(),
    };
    if query.is_empty() {
        return place;
    }
    let query: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if !HARMLESS.contains(&name) => format!("{name}=***"),
            Some(_) => pair.to_owned(),
            None => "***".to_owned(),
        })
        .collect();
    format!("{place}?{}", query.join("&"))
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from(16 * high + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["interval", "server", "password"];

    fn parse(url: &str) -> Result<Url> {
        let rest = url.split_once(':').map_or("", |(_, rest)| rest);
        Url::parse(url, rest, KNOWN)
    }

    #[test]
    fn a_url_has_its_parts() {
        let url = parse("dns://a.b:1/p/q?server=x,y&interval=250ms&server=%41z").unwrap();
        assert_eq!((&*url.authority, &*url.path), ("a.b:1", "p/q"));
        let servers: Vec<&str> = url.parameters("server").collect();
        assert_eq!(servers, ["x", "y", "Az"]);
        let second = Duration::from_secs(1);
        let interval = url.duration("interval", second, Duration::ZERO, second);
        assert_eq!(interval.unwrap(), second / 4);
        let error = url.duration("interval", second, second, 2 * second);
        assert!(error.unwrap_err().message().contains("250ms"));
    }

    #[test]
    fn what_is_wrong_is_named_and_secrets_are_not() {
        for (wrong, named) in [
            ("dns:a", "//"),
            ("dns://a?speed=1", "interval, server"),
            ("dns://a?server=%4", "server"),
            ("dns://a?server=%ff", "server"),
        ] {
            let error = parse(wrong).err().unwrap();
            assert!(error.message().contains(named), "{error}");
        }
        let error = parse("dns://me:hush@a?password=hush&speed=1")
            .err()
            .unwrap();
        assert!(!error.message().contains("hush"), "{error}");
        assert!(error.message().contains("password=***"), "{error}");
        for secret in [
            "etcd://u:hush@127.0.0.1:1/x",
            "etcd://a/x?pasword=hush",
            "etcd://a/x?Password=hush",
            "etcd://a/x?hush",
            "etcd://a/x?password=%hush",
        ] {
            let error = parse(secret).err().unwrap();
            assert!(!error.message().contains("hush"), "{error}");
        }
        assert_eq!(
            shown("etcd://a?password_file=/x"),
            "etcd://a?password_file=/x"
        );
    }
}
