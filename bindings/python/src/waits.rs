//! Waits: the results of several Gets for a thread that blocks. They are driven
//! from the start, also while that thread runs a getter: a wait that inherits a
//! load begins it at once.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use kamacache_core::{Driven, Error, Pendings, Result, Value};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::error::OrRaise;
use crate::fork::OfProcess;
use crate::ticket::Ticket;
use crate::wait;

/// Takes the waits of tickets; their duties to load stay with them.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct Waits(OfProcess<Mutex<State>>);

struct State {
    /// None once they are left.
    driven: Option<Driven>,
    /// In the order of the tickets.
    ends: Vec<Result<Value>>,
}

impl State {
    /// Takes in all that is decided within `slice`; whether everything is.
    fn poll(&mut self, slice: Duration) -> Option<()> {
        let end = Instant::now() + slice;
        while let Some(driven) = &self.driven {
            match driven.next_within(end.saturating_duration_since(Instant::now())) {
                Ok((at, result)) => self.ends[at] = result,
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Some(())
    }
}

#[pymethods]
impl Waits {
    #[new]
    fn new(py: Python<'_>, tickets: Vec<Bound<'_, Ticket>>) -> PyResult<Self> {
        let (mut waits, mut runtime) = (Pendings::default(), None);
        for (at, ticket) in tickets.iter().enumerate() {
            let (pending, group) = ticket.get().take_pending(py)?;
            waits.add(at, pending);
            runtime.get_or_insert_with(|| group.handle().clone());
        }
        let state = State {
            driven: runtime.map(|runtime| waits.drive(&runtime)),
            // What they stay if the node goes down with its runtime.
            ends: tickets.iter().map(|_| Err(Error::closed())).collect(),
        };
        Ok(Self(OfProcess::new(Mutex::new(state))))
    }

    /// Waits for all, detached from the interpreter: the bytes, or the exception,
    /// of each ticket.
    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let state = self.0.get().or_raise(py)?;
        wait::until(py, |slice| state.lock().poll(slice))?;
        let ends = std::mem::take(&mut state.lock().ends);
        let ends = ends.into_iter().map(|end| match end.or_raise(py) {
            Ok(value) => PyBytes::new(py, &value).into_any(),
            Err(error) => error.into_value(py).into_bound(py).into_any(),
        });
        PyList::new(py, ends.collect::<Vec<_>>())
    }

    /// Leaves the waits; the loads go on.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let driven = self.0.get().or_raise(py)?.lock().driven.take();
        if let Some(driven) = driven {
            wait::away(py, || driven.leave());
        }
        Ok(())
    }
}
