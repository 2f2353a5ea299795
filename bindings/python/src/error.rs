//! Errors across the boundary: a core error becomes the exception class of its
//! kind, and a getter's own exception travels inside the core error so that
//! local callers get the very same object back.
//!
//! Invariant: every kind has a class, with no wildcard arm.

use std::fmt;
use std::sync::Arc;

use kamacache_core::{Error, ErrorKind};
use pyo3::exceptions::PyBaseException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyTraceback};

static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// The class of `kamacache.errors` for a kind.
fn class_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidArgument => "InvalidArgument",
        ErrorKind::NotFound => "NotFound",
        ErrorKind::GetterFailed => "GetterError",
        ErrorKind::DeadlineExceeded => "DeadlineExceeded",
        ErrorKind::Cancelled => "Cancelled",
        ErrorKind::Closed => "Closed",
        ErrorKind::Unavailable => "Unavailable",
        ErrorKind::Overloaded => "Overloaded",
        ErrorKind::ReentrantLoad => "ReentrantLoad",
        ErrorKind::AlreadyExists => "AlreadyExists",
        ErrorKind::TooLarge => "TooLarge",
        ErrorKind::UnknownGroup => "UnknownGroup",
        ErrorKind::WouldDeadlock => "WouldDeadlock",
        ErrorKind::Forked => "Forked",
        ErrorKind::Panicked => "Panicked",
        ErrorKind::Unauthenticated => "Unauthenticated",
        ErrorKind::Internal => "Internal",
    }
}

/// An exception raised by a getter of this process, with the traceback that it
/// had then: raised again for each waiter, it must not grow.
struct Raised {
    exception: Py<PyBaseException>,
    traceback: Option<Py<PyTraceback>>,
}

impl fmt::Debug for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raised(a Python exception)")
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Python getter raised an exception")
    }
}

impl std::error::Error for Raised {}

/// `error` with the exception object behind it.
pub(crate) fn with_exception(error: Error, exception: &Bound<'_, PyBaseException>) -> Error {
    let traceback = PyErr::from_value(exception.clone().into_any()).traceback(exception.py());
    let raised = Raised {
        exception: exception.clone().unbind(),
        traceback: traceback.map(Bound::unbind),
    };
    error.with_source(Arc::new(raised) as Arc<dyn std::error::Error + Send + Sync>)
}

/// The exception for a core error: the getter's own object if there is one.
pub(crate) fn to_py(py: Python<'_>, error: &Error) -> PyErr {
    match error
        .source_arc()
        .and_then(|source| source.downcast_ref::<Raised>())
    {
        Some(raised) => {
            let original = PyErr::from_value(raised.exception.bind(py).clone().into_any());
            original.set_traceback(py, raised.traceback.as_ref().map(|t| t.bind(py).clone()));
            original
        }
        None => new_exception(py, error).unwrap_or_else(|failure| failure),
    }
}

/// Makes the exception without running Python code, `__init__` for one: when
/// the interpreter ends, CPython may end a daemon thread wherever it runs such
/// code, and here that would be in the middle of Rust frames.
fn new_exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let errors = ERRORS.get_or_try_init(py, || {
        PyModule::import(py, "kamacache.errors").map(Bound::unbind)
    })?;
    let class = errors.bind(py).getattr(class_name(error.kind()))?;
    let exception = class.call_method1(intern!(py, "__new__"), (&class,))?;
    exception.setattr(intern!(py, "args"), (error.message(),))?;
    exception.setattr(intern!(py, "app_code"), error.app_code())?;
    exception.setattr(intern!(py, "peer"), error.peer())?;
    Ok(PyErr::from_value(exception))
}

/// `?` for results of the core in functions that return to Python.
pub(crate) trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, Error> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| to_py(py, &error))
    }
}

/// An InvalidArgument to raise.
pub(crate) fn invalid(py: Python<'_>, message: impl Into<String>) -> PyErr {
    to_py(py, &Error::invalid_argument(message))
}
