//! Ticket: the right to one Get's result, and the duty to load if this caller
//! leads. A blocking caller waits on it, an event loop is notified; one that is
//! dropped leaves the wait and never the load.

use kamacache_core::{Abort, LoadToken, Pending, blocking};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::completions::{Completions, Outcome};
use crate::error::OrRaise;
use crate::fork::OfProcess;
use crate::getter::Load;
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
    abort: Option<Abort>,
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
            abort: None,
        };
        Self {
            getter,
            state: OfProcess::new(Mutex::new(state)),
        }
    }

    fn state(&self, py: Python<'_>) -> PyResult<&Mutex<State>> {
        self.state.get().or_raise(py)
    }

    fn take_pending(&self, py: Python<'_>) -> PyResult<(Pending, blocking::Group)> {
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

    /// Tells an event loop when the bytes are there, under the number returned.
    fn notify(&self, py: Python<'_>, completions: &Completions) -> PyResult<u64> {
        let (pending, _) = self.take_pending(py)?;
        let shared = completions.0.clone();
        let id = shared.new_id();
        let abort = pending.on_done(move |answer| shared.push(id, Outcome::Value(answer)));
        self.state(py)?.lock().abort = Some(abort);
        Ok(id)
    }

    /// Leaves the wait; the load goes on.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let (pending, abort) = {
            let mut state = self.state(py)?.lock();
            (state.pending.take(), state.abort.take())
        };
        drop(pending);
        if let Some(abort) = abort {
            abort.cancel();
        }
        Ok(())
    }
}
