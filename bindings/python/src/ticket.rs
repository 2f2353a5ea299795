//! Ticket: the right to one Get's result, and the duty to load if this caller
//! leads. A blocking caller waits on it, an event loop is notified; one that is
//! dropped leaves the wait and never the load.

use kamacache_core::{LoadToken, Pending, blocking};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::completions::Completions;
use crate::error::OrRaise;
use crate::fork::OfProcess;
use crate::load::Load;
use crate::wait;

/// What a Get that missed gives to Python.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct Ticket {
    getter: u64,
    state: OfProcess<Mutex<State>>,
}

struct State {
    group: blocking::Group,
    token: Option<LoadToken>,
    pending: Option<Pending>,
}

impl Ticket {
    pub(crate) fn new(
        group: blocking::Group,
        getter: u64,
        token: Option<LoadToken>,
        pending: Pending,
    ) -> Self {
        let state = State {
            group,
            token,
            pending: Some(pending),
        };
        Self {
            getter,
            state: OfProcess::new(Mutex::new(state)),
        }
    }

    fn state(&self, py: Python<'_>) -> PyResult<&Mutex<State>> {
        self.state.get().or_raise(py)
    }

    pub(crate) fn take_pending(&self, py: Python<'_>) -> PyResult<(Pending, blocking::Group)> {
        let mut state = self.state(py)?.lock();
        let pending = state.pending.take().ok_or_else(|| {
            pyo3::exceptions::PyRuntimeError::new_err(
                "this ticket was used already; a ticket is good for one result",
            )
        })?;
        Ok((pending, state.group.clone()))
    }
}

#[pymethods]
impl Ticket {
    /// The duty to load, if this caller leads; given once.
    fn load(&self, py: Python<'_>) -> PyResult<Option<Load>> {
        let token = self.state(py)?.lock().token.take();
        Ok(token.map(|token| Load::new(self.getter, token)))
    }

    /// Waits for the bytes, detached from the interpreter.
    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let (mut pending, group) = self.take_pending(py)?;
        let answer = match pending.try_now() {
            Some(answer) => answer,
            None => wait::until(py, |slice| group.wait_slice(&mut pending, slice))?,
        };
        Ok(PyBytes::new(py, &answer.or_raise(py)?))
    }

    /// Waits in an event loop: the bytes if they are there, else the number
    /// under which the loop will hear of them.
    fn notify<'py>(
        &self,
        py: Python<'py>,
        completions: &Completions,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (pending, group) = self.take_pending(py)?;
        let operation = Box::pin(async move { pending.wait().await.map(Some) });
        match completions.run(py, group.handle(), operation)? {
            Err(id) => Ok(id.into_pyobject(py)?.into_any()),
            Ok(answer) => {
                Ok(PyBytes::new(py, &answer.or_raise(py)?.unwrap_or_default()).into_any())
            }
        }
    }

    /// Leaves the wait; the load goes on.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let pending = self.state(py)?.lock().pending.take();
        drop(pending);
        Ok(())
    }
}
