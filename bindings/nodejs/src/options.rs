//! JavaScript's option objects as the core's options: names, units and types, nothing else.
//!
//! Invariant: an option that is not given is not set; defaults and limits are the core's. A name
//! that nobody knows is an error that names it and the known ones.

use std::time::Duration;

use kamacache_core::{Error, GroupOptions, NodeOptions, Result, TlsOptions, units};

use crate::js::{Env, Kind, Value};

/// The largest integer that a JavaScript number holds exactly.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;

const NODE: &[&str] = &[
    "listen",
    "peers",
    "advertise",
    "discovery",
    "admin",
    "adminHosts",
    "tls",
    "cluster",
    "clusterToken",
    "clusterTokenFile",
    "ioThreads",
    "defaultTimeout",
    "drain",
];
const TLS: &[&str] = &["ca", "cert", "key", "name"];
const GROUP: &[&str] = &[
    "getter",
    "getterMany",
    "maxBytes",
    "ttl",
    "negativeTtl",
    "hotTtl",
    "fallbackTtl",
    "staleWhileRevalidate",
    "staleIfError",
    "loadTimeout",
    "maxConcurrentLoads",
    "maxValueBytes",
    "policy",
    "strict",
];

/// The options of `Node.start`.
pub(crate) fn node(env: Env<'_>, object: Value<'_>) -> Result<NodeOptions> {
    let mut options = NodeOptions::default();
    for (name, value) in fields(env, object, "the options of Node.start", NODE)? {
        match name.as_str() {
            "listen" => options.listen = Some(env.text(value, &name)?),
            "peers" => options.peers = list(env, value, &name)?,
            "advertise" => options.advertise = Some(env.text(value, &name)?),
            "discovery" => options.discovery = Some(env.text(value, &name)?),
            "admin" => options.admin_listen = Some(env.text(value, &name)?),
            "adminHosts" => options.admin_hosts = list(env, value, &name)?,
            "tls" => options.tls = Some(tls(env, value)?),
            "cluster" => options.cluster = Some(env.text(value, &name)?),
            "clusterToken" => options.cluster_token = Some(env.text(value, &name)?),
            "clusterTokenFile" => options.cluster_token_file = Some(env.text(value, &name)?),
            "ioThreads" => options.io_threads = Some(count(env, value, &name)?),
            "defaultTimeout" => options.default_timeout = Some(duration(env, value, &name)?),
            "drain" => options.drain = Some(duration(env, value, &name)?),
            _ => return Err(unknown(&name, "the options of Node.start", NODE)),
        }
    }
    Ok(options)
}

fn tls(env: Env<'_>, object: Value<'_>) -> Result<TlsOptions> {
    let mut options = TlsOptions::default();
    for (name, value) in fields(env, object, "tls", TLS)? {
        let text = env.text(value, &format!("tls.{name}"))?;
        match name.as_str() {
            "ca" => options.ca = text,
            "cert" => options.cert = text,
            "key" => options.key = text,
            "name" => options.name = Some(text),
            _ => return Err(unknown(&name, "tls", TLS)),
        }
    }
    Ok(options)
}

/// The options of `node.group`, and whether there is a getter among them.
pub(crate) fn group(env: Env<'_>, object: Value<'_>) -> Result<(GroupOptions, bool)> {
    let (mut options, mut getter) = (GroupOptions::default(), false);
    for (name, value) in fields(env, object, "the options of a group", GROUP)? {
        match name.as_str() {
            "getter" | "getterMany" if env.kind(value) == Kind::Function => getter = true,
            "getter" => return Err(env.wrong(value, "getter", "a function (key, ctx) => value")),
            "getterMany" => {
                return Err(env.wrong(value, "getterMany", "a function (keys, ctx) => Map"));
            }
            "maxBytes" => options.max_bytes = bytes(env, value, &name)?,
            // A ttl of Infinity is what the core calls no ttl.
            "ttl" => {
                options.ttl = Some(duration(env, value, &name)?).filter(|ttl| *ttl != Duration::MAX)
            }
            "negativeTtl" => options.negative_ttl = Some(duration(env, value, &name)?),
            "hotTtl" => options.hot_ttl = Some(duration(env, value, &name)?),
            "fallbackTtl" => options.fallback_ttl = Some(duration(env, value, &name)?),
            "staleWhileRevalidate" => {
                options.stale_while_revalidate = Some(duration(env, value, &name)?)
            }
            "staleIfError" => options.stale_if_error = Some(duration(env, value, &name)?),
            "loadTimeout" => options.load_timeout = Some(duration(env, value, &name)?),
            "maxConcurrentLoads" => options.max_concurrent_loads = Some(count(env, value, &name)?),
            "maxValueBytes" => options.max_value_bytes = Some(bytes(env, value, &name)?),
            "policy" => options.policy = env.text(value, &name)?.parse()?,
            "strict" => {
                options.strict = env
                    .boolean(value)
                    .ok_or_else(|| env.wrong(value, &name, "a boolean"))?;
            }
            _ => return Err(unknown(&name, "the options of a group", GROUP)),
        }
    }
    Ok((options, getter))
}

/// The properties that are set, in an object that has no other ones than `known`.
fn fields<'a>(
    env: Env<'a>,
    object: Value<'a>,
    what: &str,
    known: &[&str],
) -> Result<Vec<(String, Value<'a>)>> {
    if env.kind(object) != Kind::Object || env.is_array(object) {
        let got = if env.is_array(object) {
            "an array"
        } else {
            env.kind(object).name()
        };
        return Err(Error::invalid_argument(format!(
            "{what} must be an object, got {got}"
        )));
    }
    let mut fields = env.entries(object)?;
    if let Some((name, _)) = fields
        .iter()
        .find(|(name, _)| !known.contains(&name.as_str()))
    {
        return Err(unknown(name, what, known));
    }
    fields.retain(|(_, value)| env.kind(*value) != Kind::Undefined);
    Ok(fields)
}

fn unknown(name: &str, what: &str, known: &[&str]) -> Error {
    Error::invalid_argument(format!(
        "unknown option {name:?} in {what}; known are {}",
        known.join(", ")
    ))
}

/// A value that may be left out.
pub(crate) fn given<'a, T>(
    env: Env<'a>,
    value: Value<'a>,
    what: &str,
    read: impl FnOnce(Env<'a>, Value<'a>, &str) -> Result<T>,
) -> Result<Option<T>> {
    match env.kind(value) {
        Kind::Undefined => Ok(None),
        _ => read(env, value, what).map(Some),
    }
}

/// Milliseconds, or a string such as `'10m'`; Infinity is [`Duration::MAX`].
pub(crate) fn duration(env: Env<'_>, value: Value<'_>, what: &str) -> Result<Duration> {
    match env.kind(value) {
        Kind::String => units::parse_duration(&env.text(value, what)?)
            .map_err(|error| Error::invalid_argument(format!("{what}: {}", error.message()))),
        Kind::Number => {
            let ms = env.number(value).unwrap_or(f64::NAN);
            if ms.is_nan() || ms < 0.0 {
                return Err(Error::invalid_argument(format!(
                    "{what} is {ms}; it must be 0 or more milliseconds, Infinity, or a string such as \"10m\""
                )));
            }
            Ok(Duration::try_from_secs_f64(ms / 1e3).unwrap_or(Duration::MAX))
        }
        _ => Err(env.wrong(
            value,
            what,
            "a number of milliseconds or a string such as \"10m\"",
        )),
    }
}

/// A number of bytes, or a string such as `'64MiB'`.
fn bytes(env: Env<'_>, value: Value<'_>, what: &str) -> Result<u64> {
    match env.kind(value) {
        Kind::String => units::parse_bytes(&env.text(value, what)?)
            .map_err(|error| Error::invalid_argument(format!("{what}: {}", error.message()))),
        Kind::Number => whole(env, value, what).map(|number| number as u64),
        _ => Err(env.wrong(
            value,
            what,
            "a number of bytes or a string such as \"64MiB\"",
        )),
    }
}

fn count(env: Env<'_>, value: Value<'_>, what: &str) -> Result<usize> {
    whole(env, value, what).map(|number| number as usize)
}

fn whole(env: Env<'_>, value: Value<'_>, what: &str) -> Result<f64> {
    match env.number(value) {
        Some(number) if number.fract() == 0.0 && (0.0..=MAX_SAFE).contains(&number) => Ok(number),
        Some(number) => Err(Error::invalid_argument(format!(
            "{what} is {number}; it must be a whole number, 0 or more"
        ))),
        None => Err(env.wrong(value, what, "a number")),
    }
}

/// A list of strings.
pub(crate) fn list(env: Env<'_>, value: Value<'_>, what: &str) -> Result<Vec<String>> {
    if !env.is_array(value) {
        return Err(env.wrong(value, what, "an array of \"host:port\" strings"));
    }
    let items = env.items(value)?;
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| env.text(item, &format!("{what}[{index}]")))
        .collect()
}
