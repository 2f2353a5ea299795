//! Load: the duty to load one key, in the hands of Python.

use kamacache_core::{Error, ErrorKind, LoadToken, Loaded, RunningGuard};
use parking_lot::Mutex;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::error::{OrRaise, with_exception};
use crate::fork::OfProcess;
use crate::scope::{OpenLoad, Scope};
use crate::{options, value};

/// The duty to load one key, in Python's hands. Answered once; an object that
/// is dropped unanswered gives the duty back, and a waiter inherits it.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct Load {
    /// Which group's function to call.
    #[pyo3(get)]
    pub(crate) getter: u64,
    duty: OfProcess<Mutex<Option<Duty>>>,
}

struct Duty {
    token: LoadToken,
    /// Lets a close wait for the getter.
    _running: RunningGuard,
    _open: OpenLoad,
}

impl Load {
    /// The loads of one call.
    pub(crate) fn all(getter: u64, tokens: Vec<LoadToken>) -> Vec<Self> {
        tokens
            .into_iter()
            .map(|token| Self::new(getter, token))
            .collect()
    }

    pub(crate) fn new(getter: u64, token: LoadToken) -> Self {
        let duty = Duty {
            _running: token.running(),
            token,
            _open: OpenLoad::new(),
        };
        Self {
            getter,
            duty: OfProcess::new(Mutex::new(Some(duty))),
        }
    }

    /// Takes the token back, to hand it to somebody else.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Option<LoadToken>> {
        Ok(self.take_duty(py)?.map(|duty| duty.token))
    }

    fn take_duty(&self, py: Python<'_>) -> PyResult<Option<Duty>> {
        Ok(self.duty.get().or_raise(py)?.lock().take())
    }

    /// Answers the token; then the getter no longer counts as running.
    fn answer(&self, py: Python<'_>, answer: impl FnOnce(LoadToken)) -> PyResult<()> {
        if let Some(Duty {
            token,
            _running,
            _open,
        }) = self.take_duty(py)?
        {
            answer(token);
        }
        Ok(())
    }

    fn look<T>(&self, py: Python<'_>, read: impl FnOnce(&LoadToken) -> T) -> PyResult<Option<T>> {
        Ok(self
            .duty
            .get()
            .or_raise(py)?
            .lock()
            .as_ref()
            .map(|duty| read(&duty.token)))
    }
}

#[pymethods]
impl Load {
    /// The key to load; None once answered.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        self.look(py, |token| PyString::new(py, token.context().key()))
    }

    /// What the context variable is to hold while the getter runs.
    #[getter]
    fn scope(&self, py: Python<'_>) -> PyResult<Option<Scope>> {
        self.look(py, |token| Scope(token.context().scope().clone()))
    }

    /// Seconds until the load is given up; None: never.
    fn time_left(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let left = self.look(py, |token| token.context().time_left())?;
        Ok(left.flatten().map(|left| left.as_secs_f64()))
    }

    /// The key has this value.
    fn complete(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let loaded = Loaded::new(value::value(value)?).with_ttl(options::ttl(ttl)?);
        self.answer(py, |token| token.complete(loaded))
    }

    /// The data source does not have the key.
    fn not_found(&self, py: Python<'_>) -> PyResult<()> {
        self.answer(py, LoadToken::not_found)
    }

    /// The getter raised this exception: local callers get the object, remote
    /// ones the message and the code.
    fn fail(
        &self,
        py: Python<'_>,
        exception: &Bound<'_, PyBaseException>,
        message: String,
        app_code: Option<i64>,
    ) -> PyResult<()> {
        let error = with_exception(Error::getter(message), exception);
        let error = match app_code {
            Some(code) => error.with_app_code(code),
            None => error,
        };
        self.answer(py, |token| token.fail(error))
    }

    /// No function of this node answers for the key: the peer that asked runs
    /// its own.
    fn refuse(&self, py: Python<'_>, message: String) -> PyResult<()> {
        let error = Error::new(ErrorKind::UnknownGroup, message);
        self.answer(py, |token| token.fail(error))
    }

    /// The getter ended in a way that callers must not see as their own.
    fn panic(&self, py: Python<'_>, message: String) -> PyResult<()> {
        self.answer(py, |token| token.fail(Error::panicked(message)))
    }

    /// The getter was interrupted: a waiter inherits the duty.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        self.answer(py, drop)
    }
}
