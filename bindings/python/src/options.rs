//! Options and times as Python gives them: float seconds, `timedelta` or text
//! such as `"10m"`. Rules and defaults are the core's; only what was set is
//! passed on.

use std::time::Duration;

use kamacache_core::{TlsOptions, Ttl, units};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDelta, PyFloat, PyInt, PyMapping, PyString};

use crate::error::{OrRaise, invalid};
use crate::value::type_name;

/// A duration, or None when it was not set; infinity is `Duration::MAX`.
pub(crate) fn duration(
    name: &str,
    object: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Duration>> {
    object.map(|object| one_duration(name, object)).transpose()
}

fn one_duration(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let py = object.py();
    if let Ok(text) = object.cast::<PyString>() {
        return units::parse_duration(&text.to_string_lossy()).or_raise(py);
    }
    let seconds = seconds(name, object)?;
    if seconds == f64::INFINITY {
        return Ok(Duration::MAX);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        invalid(py, format!("{name} is {seconds} seconds; a duration is zero or more seconds, a timedelta or text such as \"10m\""))
    })
}

fn seconds(name: &str, object: &Bound<'_, PyAny>) -> PyResult<f64> {
    if object.is_instance_of::<PyDelta>() {
        return object.call_method0("total_seconds")?.extract();
    }
    let number = object.is_instance_of::<PyFloat>() || object.is_instance_of::<PyInt>();
    if !number || object.is_instance_of::<PyBool>() {
        let kind = type_name(object);
        return Err(PyTypeError::new_err(format!(
            "{name} is float seconds, a timedelta or text such as \"10m\", not {kind}"
        )));
    }
    match object.extract() {
        Ok(seconds) => Ok(seconds),
        // An int too large for a float is longer than any duration.
        Err(_) if object.gt(0)? => Ok(f64::INFINITY),
        Err(_) => Ok(f64::NEG_INFINITY),
    }
}

/// A ttl: None is the group's, infinity is forever, zero keeps nothing.
pub(crate) fn ttl(object: Option<&Bound<'_, PyAny>>) -> PyResult<Ttl> {
    Ok(match duration("ttl", object)? {
        None => Ttl::Group,
        Some(Duration::MAX) => Ttl::Forever,
        Some(Duration::ZERO) => Ttl::NoStore,
        Some(time) => Ttl::After(time),
    })
}

/// A size: an int of bytes, or text such as `"64MiB"`.
pub(crate) fn size(name: &str, object: &Bound<'_, PyAny>) -> PyResult<u64> {
    let py = object.py();
    if let Ok(text) = object.cast::<PyString>() {
        return units::parse_bytes(&text.to_string_lossy()).or_raise(py);
    }
    if !object.is_instance_of::<PyInt>() || object.is_instance_of::<PyBool>() {
        let kind = type_name(object);
        return Err(PyTypeError::new_err(format!(
            "{name} is an int of bytes or text such as \"64MiB\", not {kind}"
        )));
    }
    object.extract().map_err(|_| {
        invalid(
            py,
            format!("{name} is {object}; a size is 0 to 2**64 - 1 bytes"),
        )
    })
}

/// A list of addresses; one str is refused, since iterating it gives letters.
pub(crate) fn addresses(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if object.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!(
            "{name} is a list of addresses, not one str; write [{}]",
            object.repr()?
        )));
    }
    object
        .try_iter()?
        .map(|item| {
            let item = item?;
            let text = item.cast::<PyString>().map_err(|_| {
                PyTypeError::new_err(format!(
                    "{name} is a list of str, but holds a {}",
                    type_name(&item)
                ))
            })?;
            Ok(text.to_string_lossy().into_owned())
        })
        .collect()
}

const TLS: &str = r#"{"ca": ..., "cert": ..., "key": ...}, and "name" if wanted"#;

/// The files of `tls`, a mapping; whether they are good is the core's to say.
pub(crate) fn tls(given: &Bound<'_, PyAny>) -> PyResult<TlsOptions> {
    let py = given.py();
    let mapping = given.cast::<PyMapping>().map_err(|_| {
        PyTypeError::new_err(format!(
            "tls is a dict of PEM files, {TLS}, not {}",
            type_name(given)
        ))
    })?;
    let mut options = TlsOptions::default();
    let [mut ca, mut cert, mut key] = [None, None, None];
    for item in mapping.items()?.iter() {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let known = match name.extract::<String>().as_deref() {
            Ok("ca") => &mut ca,
            Ok("cert") => &mut cert,
            Ok("key") => &mut key,
            Ok("name") => &mut options.name,
            _ => {
                let name = name.repr()?;
                return Err(invalid(py, format!("tls has no {name}: it is {TLS}")));
            }
        };
        *known = tls_text(&name, &value)?;
    }
    let file = |name: &str, file: Option<String>| {
        file.ok_or_else(|| invalid(py, format!("tls has no {name:?}: it is {TLS}")))
    };
    options.ca = file("ca", ca)?;
    options.cert = file("cert", cert)?;
    options.key = file("key", key)?;
    Ok(options)
}

fn tls_text(name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if value.is_none() {
        return Ok(None);
    }
    let text = value.cast::<PyString>().map_err(|_| {
        PyTypeError::new_err(format!("tls[{name:?}] is a str, not {}", type_name(value)))
    })?;
    Ok(Some(text.to_string_lossy().into_owned()))
}
