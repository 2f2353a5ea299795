//! Options by name and text, as configuration files, environments and flags
//! carry them: one set of names, one way to read a value, one message.
//!
//! Invariant: every option that text can carry has a row here, and a row's name
//! is the field's.

use std::str::FromStr;
use std::time::Duration;

use crate::options::{GroupOptions, NodeOptions, TlsOptions};
use crate::units::{parse_bytes, parse_duration};
use crate::{Error, Result};

type Setter<T> = fn(&mut T, &str) -> Result<()>;

/// The node's options. `admin` is `admin_listen`, as Python and Node.js call it.
const NODE: [(&str, Setter<NodeOptions>); 24] = [
    ("listen", |to, text| put(&mut to.listen, text)),
    ("advertise", |to, text| put(&mut to.advertise, text)),
    ("peers", |to, text| {
        to.peers = list(text);
        Ok(())
    }),
    ("discovery", |to, text| put(&mut to.discovery, text)),
    ("admin", |to, text| put(&mut to.admin_listen, text)),
    ("admin_hosts", |to, text| {
        to.admin_hosts = list(text);
        Ok(())
    }),
    ("cluster", |to, text| put(&mut to.cluster, text)),
    ("cluster_token", |to, text| put(&mut to.cluster_token, text)),
    ("cluster_token_file", |to, text| {
        put(&mut to.cluster_token_file, text)
    }),
    ("tls_ca", |to, text| tls(to, |tls| &mut tls.ca, text)),
    ("tls_cert", |to, text| tls(to, |tls| &mut tls.cert, text)),
    ("tls_key", |to, text| tls(to, |tls| &mut tls.key, text)),
    ("tls_name", |to, text| {
        put(&mut to.tls.get_or_insert_default().name, text)
    }),
    ("io_threads", |to, text| count(&mut to.io_threads, text)),
    ("getter_threads", |to, text| {
        count(&mut to.getter_threads, text)
    }),
    ("default_timeout", |to, text| {
        time(&mut to.default_timeout, text)
    }),
    ("connect_timeout", |to, text| {
        time(&mut to.connect_timeout, text)
    }),
    ("heartbeat", |to, text| time(&mut to.heartbeat, text)),
    ("suspect_after", |to, text| {
        time(&mut to.suspect_after, text)
    }),
    ("probe_interval", |to, text| {
        time(&mut to.probe_interval, text)
    }),
    ("remove_grace", |to, text| time(&mut to.remove_grace, text)),
    ("warm_window", |to, text| time(&mut to.warm_window, text)),
    ("drain", |to, text| time(&mut to.drain, text)),
    ("admin_listen", |to, text| put(&mut to.admin_listen, text)),
];

/// A group's options.
const GROUP: [(&str, Setter<GroupOptions>); 14] = [
    ("max_bytes", |to, text| {
        to.max_bytes = parse_bytes(text)?;
        Ok(())
    }),
    ("ttl", |to, text| time(&mut to.ttl, text)),
    ("negative_ttl", |to, text| time(&mut to.negative_ttl, text)),
    ("hot_ttl", |to, text| time(&mut to.hot_ttl, text)),
    ("fallback_ttl", |to, text| time(&mut to.fallback_ttl, text)),
    ("stale_while_revalidate", |to, text| {
        time(&mut to.stale_while_revalidate, text)
    }),
    ("stale_if_error", |to, text| {
        time(&mut to.stale_if_error, text)
    }),
    ("load_timeout", |to, text| time(&mut to.load_timeout, text)),
    ("max_concurrent_loads", |to, text| {
        count(&mut to.max_concurrent_loads, text)
    }),
    ("max_value_bytes", |to, text| {
        to.max_value_bytes = Some(parse_bytes(text)?);
        Ok(())
    }),
    ("policy", |to, text| {
        to.policy = text.parse()?;
        Ok(())
    }),
    ("strict", |to, text| {
        to.strict = yes(text)?;
        Ok(())
    }),
    ("hot", |to, text| {
        to.hot = Some(yes(text)?);
        Ok(())
    }),
    ("jitter", |to, text| {
        to.jitter = Some(yes(text)?);
        Ok(())
    }),
];

impl NodeOptions {
    /// The names that [`NodeOptions::set`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NODE.iter().map(|(name, _)| *name)
    }

    /// Sets the option of this name, as `("drain", "10s")`; `peers` and
    /// `admin_hosts` are separated by commas.
    ///
    /// # Errors
    /// InvalidArgument for a name that is not known, with the nearest one, and
    /// for a text that is not such a value; the option is as it was.
    pub fn set(&mut self, name: &str, text: &str) -> Result<()> {
        set(&NODE, self, name, text)
    }

    /// The text of an option as people may see it: without a token, and without
    /// the password of a discovery URL.
    pub fn shown(name: &str, text: &str) -> String {
        match name {
            "cluster_token" => "(secret)".into(),
            "discovery" => crate::discovery::shown(text),
            _ => text.into(),
        }
    }
}

impl GroupOptions {
    /// The names that [`GroupOptions::set`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        GROUP.iter().map(|(name, _)| *name)
    }

    /// Sets the option of this name, as `("ttl", "10m")`.
    ///
    /// # Errors
    /// As [`NodeOptions::set`].
    pub fn set(&mut self, name: &str, text: &str) -> Result<()> {
        set(&GROUP, self, name, text)
    }
}

/// An option of a name that nobody knows, with the one that was probably meant.
pub fn unknown_option<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    let mut known: Vec<&str> = known.into_iter().collect();
    let shown = crate::error::Short(name);
    match nearest(name, &known) {
        Some(near) => Error::invalid_argument(format!(
            "there is no option {shown:?}; did you mean {near:?}?"
        )),
        None => {
            known.sort_unstable();
            Error::invalid_argument(format!(
                "there is no option {shown:?}; there are {}",
                known.join(", ")
            ))
        }
    }
}

/// The name nearest to what was written, if it is near at all.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let distance = |known: &str| strsim::damerau_levenshtein(&name, known);
    let near = known.iter().min_by_key(|known| distance(known))?;
    (name.len() <= 64 && distance(near) <= near.len().div_ceil(3)).then_some(near)
}

fn set<T>(rows: &[(&str, Setter<T>)], to: &mut T, name: &str, text: &str) -> Result<()> {
    let Some((_, set)) = rows.iter().find(|(known, _)| *known == name) else {
        return Err(unknown_option(name, rows.iter().map(|(name, _)| *name)));
    };
    set(to, text.trim())
        .map_err(|error| Error::invalid_argument(format!("option {name}: {}", error.message())))
}

fn put(to: &mut Option<String>, text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid_argument(
            "it is empty; leave it unset instead",
        ));
    }
    *to = Some(text.to_owned());
    Ok(())
}

fn tls(
    to: &mut NodeOptions,
    field: impl FnOnce(&mut TlsOptions) -> &mut String,
    text: &str,
) -> Result<()> {
    *field(to.tls.get_or_insert_default()) = text.to_owned();
    Ok(())
}

fn list(text: &str) -> Vec<String> {
    let entries = text.split(',').map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}

fn time(to: &mut Option<Duration>, text: &str) -> Result<()> {
    *to = Some(parse_duration(text)?);
    Ok(())
}

fn count(to: &mut Option<usize>, text: &str) -> Result<()> {
    let number = usize::from_str(text);
    *to = Some(number.map_err(|_| {
        Error::invalid_argument(format!("{text:?} is not a whole number such as 8"))
    })?);
    Ok(())
}

fn yes(text: &str) -> Result<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        text => Err(Error::invalid_argument(format!(
            "{text:?} is neither true nor false"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options that are not as they are by default.
    fn given(options: &NodeOptions) -> Vec<&'static str> {
        let tls = options.tls.clone().unwrap_or_default();
        let is_given = [
            ("listen", options.listen.is_some()),
            ("advertise", options.advertise.is_some()),
            ("peers", !options.peers.is_empty()),
            ("discovery", options.discovery.is_some()),
            ("admin", options.admin_listen.is_some()),
            ("admin_hosts", !options.admin_hosts.is_empty()),
            ("cluster", options.cluster.is_some()),
            ("cluster_token", options.cluster_token.is_some()),
            ("cluster_token_file", options.cluster_token_file.is_some()),
            ("tls_ca", !tls.ca.is_empty()),
            ("tls_cert", !tls.cert.is_empty()),
            ("tls_key", !tls.key.is_empty()),
            ("tls_name", tls.name.is_some()),
            ("io_threads", options.io_threads.is_some()),
            ("getter_threads", options.getter_threads.is_some()),
            ("default_timeout", options.default_timeout.is_some()),
            ("connect_timeout", options.connect_timeout.is_some()),
            ("heartbeat", options.heartbeat.is_some()),
            ("suspect_after", options.suspect_after.is_some()),
            ("probe_interval", options.probe_interval.is_some()),
            ("remove_grace", options.remove_grace.is_some()),
            ("warm_window", options.warm_window.is_some()),
            ("drain", options.drain.is_some()),
        ];
        let given = is_given.into_iter().filter(|(_, is)| *is);
        given.map(|(name, _)| name).collect()
    }

    #[test]
    fn every_name_sets_its_option() {
        let text = |name: &str| match name {
            "io_threads" | "getter_threads" | "max_concurrent_loads" => "3",
            "policy" => "lru",
            "strict" | "hot" | "jitter" => "true",
            name if name.ends_with("_bytes") => "64MiB",
            _ => "3s",
        };
        for name in NodeOptions::names() {
            let mut options = NodeOptions::default();
            options.set(name, text(name)).unwrap();
            assert_eq!(
                given(&options),
                [if name == "admin_listen" {
                    "admin"
                } else {
                    name
                }]
            );
        }
        let mut options = GroupOptions::default();
        for name in GroupOptions::names() {
            options.set(name, text(name)).unwrap();
        }
        assert_eq!(options.max_bytes, 64 << 20);
        assert_eq!(options.stale_if_error, Some(Duration::from_secs(3)));
        assert_eq!(options.jitter, Some(true));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = NodeOptions::shown;
        assert_eq!(shown("cluster_token", "hush"), "(secret)");
        let etcd = shown("discovery", "etcd://root:hush@h:2379/s?password=hush");
        assert!(
            !etcd.contains("hush") && etcd.contains("h:2379/s"),
            "{etcd}"
        );
        assert_eq!(shown("listen", "127.0.0.1:1"), "127.0.0.1:1");
    }

    #[test]
    fn a_wrong_name_is_told_the_nearest_and_a_wrong_value_the_rule() {
        let mut options = NodeOptions::default();
        for (name, text, says) in [
            ("lisen", "x", "did you mean \"listen\"?"),
            ("Default-Timeout", "1s", "did you mean \"default_timeout\"?"),
            ("colour", "red", "there are admin, admin_hosts"),
            ("drain", "10", "option drain: duration \"10\""),
            ("io_threads", "two", "option io_threads: \"two\""),
            ("listen", " ", "leave it unset"),
        ] {
            let error = options.set(name, text).unwrap_err();
            assert!(error.message().contains(says), "{name}: {error}");
        }
        let error = GroupOptions::default().set("policy", "mru").unwrap_err();
        assert!(error.message().contains("mru"), "{error}");
        options.set("peers", "a:1, b:2,").unwrap();
        assert_eq!(options.peers, ["a:1", "b:2"]);
    }
}
