//! Keys and values across the boundary. Keys are `str`, values are bytes-like.
//! The core checks lengths; here is refused only what cannot be represented.

use kamacache_core::Value;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

use crate::error::invalid;

/// The key as UTF-8, borrowed from the str object.
pub(crate) fn key<'a>(key: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    text("a key", key)
}

/// A str as UTF-8, borrowed from the object; `what` it is, for the message.
pub(crate) fn text<'a>(what: &str, object: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    let text = object
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("{what} is a str, not {}", type_name(object))))?;
    text.to_str().map_err(|_| {
        let shown = object.repr().map(|r| r.to_string()).unwrap_or_default();
        invalid(
            object.py(),
            format!("{what} can be encoded as UTF-8, but {shown} holds a lone surrogate"),
        )
    })
}

/// Refuses a key that is no str, whatever it says.
pub(crate) fn check_type(key: &Bound<'_, PyAny>) -> PyResult<()> {
    if key.is_instance_of::<PyString>() {
        return Ok(());
    }
    text("a key", key).map(drop)
}

/// A copy of the bytes of a bytes-like object.
pub(crate) fn value(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Value::from(bytes.as_bytes()));
    }
    let view = PyMemoryView::from(object).map_err(|_| {
        let kind = type_name(object);
        PyTypeError::new_err(format!(
            "a value is bytes, not {kind}; encode it, or open the group with codec=\"str\" or codec=\"json\""
        ))
    })?;
    let bytes = view.call_method0("tobytes")?;
    Ok(Value::from(bytes.cast::<PyBytes>()?.as_bytes()))
}

/// The name of an object's class, for messages.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .name()
        .map_or_else(|_| "?".to_owned(), |name| name.to_string())
}
