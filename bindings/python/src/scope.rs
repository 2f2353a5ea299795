//! What the current code is loading, carried by a `contextvars.ContextVar`:
//! it follows threads, tasks and copied contexts alike, so that a getter that
//! asks for its own key is refused wherever it asks from (S16).

use std::sync::atomic::{AtomicUsize, Ordering};

use kamacache_core::LoadScope;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

/// Loads handed to Python and not yet ended. While there is none, nobody can
/// be inside a getter, and a hit need not look at the context variable.
static OPEN_LOADS: AtomicUsize = AtomicUsize::new(0);
static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The content of the context variable while a getter runs.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct Scope(pub(crate) LoadScope);

/// Counts one load that is in Python's hands.
pub(crate) struct OpenLoad(());

impl OpenLoad {
    pub(crate) fn new() -> Self {
        OPEN_LOADS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for OpenLoad {
    fn drop(&mut self) {
        OPEN_LOADS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The context variable; the Python side sets it around every getter.
pub(crate) fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let variable = VARIABLE.get_or_try_init(py, || {
        let class = PyModule::import(py, "contextvars")?.getattr("ContextVar")?;
        class.call1(("kamacache_load",)).map(Bound::unbind)
    })?;
    Ok(variable.bind(py))
}

/// The scope of the getter that calls, if any.
pub(crate) fn current(py: Python<'_>) -> PyResult<Option<LoadScope>> {
    if OPEN_LOADS.load(Ordering::Relaxed) == 0 {
        return Ok(None);
    }
    let scope = variable(py)?.call_method1(intern!(py, "get"), (py.None(),))?;
    Ok(scope
        .cast::<Scope>()
        .ok()
        .map(|scope| scope.get().0.clone()))
}
