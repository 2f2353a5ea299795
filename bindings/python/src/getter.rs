//! Loads on their way into Python. The core hands a duty to [`PyGetter`] on a
//! runtime thread, which only queues it: for the event loop that the node was
//! started in, or for the Python threads that wait on a [`LoadQueue`]. Python
//! code calls the user's function and answers through [`Load`].
//!
//! Invariants: no runtime thread attaches to the interpreter, no Rust frame
//! lies under a running getter, and nothing here holds a Python object but the
//! contexts of queued loads.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use kamacache_core::{
    BoxFuture, Error, Getter, LoadContext, LoadToken, Loaded, Result, RunningGuard,
};
use parking_lot::{Condvar, Mutex};
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::completions;
use crate::error::{OrRaise, with_exception};
use crate::fork::OfProcess;
use crate::scope::{OpenLoad, Scope};
use crate::{options, value, wait};

/// The event loop that a node was started in, while it lives.
pub(crate) type HomeLoop = Arc<Mutex<Weak<completions::Shared>>>;

/// The core's view of one group's Python function.
pub(crate) struct PyGetter {
    pub(crate) id: u64,
    pub(crate) is_async: bool,
    pub(crate) queue: Arc<Queue>,
    pub(crate) home: HomeLoop,
}

impl Getter for PyGetter {
    fn load(&self, ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        // The core calls `start`; only it can leave the runtime thread.
        let message = format!(
            "the Python getter for key {:?} was not given a token",
            ctx.key()
        );
        Box::pin(async move { Err(Error::internal(message)) })
    }

    fn start(self: Arc<Self>, token: LoadToken) {
        let home = if self.is_async {
            self.home.lock().upgrade()
        } else {
            None
        };
        let token = match home {
            None => token,
            Some(home) => match home.push_load(self.id, token) {
                Ok(()) => return,
                Err(token) => token,
            },
        };
        self.queue.push(Job {
            getter: self.id,
            token,
            context: None,
        });
    }
}

struct Job {
    getter: u64,
    token: LoadToken,
    /// The caller's context variables, when the caller is in this process.
    context: Option<Py<PyAny>>,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    idle: usize,
    closed: bool,
}

/// The loads that wait for a Python thread.
#[derive(Default)]
pub(crate) struct Queue {
    jobs: Mutex<Jobs>,
    filled: Condvar,
}

impl Queue {
    fn push(&self, job: Job) {
        let mut jobs = self.jobs.lock();
        if jobs.closed {
            drop(jobs);
            return drop(job);
        }
        jobs.waiting.push_back(job);
        drop(jobs);
        self.filled.notify_one();
    }

    /// The next job, waiting for it; None when the node is closed.
    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        jobs.idle += 1;
        while jobs.waiting.is_empty() && !jobs.closed {
            self.filled.wait(&mut jobs);
        }
        jobs.idle -= 1;
        jobs.waiting.pop_front()
    }

    /// Ends the threads; loads that nobody took are given back to the core.
    pub(crate) fn close(&self) {
        let mut jobs = self.jobs.lock();
        jobs.closed = true;
        let waiting = std::mem::take(&mut jobs.waiting);
        drop(jobs);
        self.filled.notify_all();
        drop(waiting);
    }
}

/// What the threads of a node's pool wait on.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct LoadQueue(pub(crate) Arc<Queue>);

#[pymethods]
impl LoadQueue {
    /// Queues a load that was begun here, with its caller's context.
    fn push(&self, py: Python<'_>, load: &Load, context: Option<Py<PyAny>>) -> PyResult<()> {
        if let Some(token) = load.take(py)? {
            self.0.push(Job {
                getter: load.getter,
                token,
                context,
            });
        }
        Ok(())
    }

    /// The next load and its context, or None when the node is closed. Waits
    /// detached from the interpreter.
    fn next(&self, py: Python<'_>) -> Option<(Load, Option<Py<PyAny>>)> {
        let taken = self.0.jobs.lock().waiting.pop_front();
        let job = taken.or_else(|| wait::away(py, || self.0.next()))?;
        Some((Load::new(job.getter, job.token), job.context))
    }

    /// How many threads wait here.
    fn idle(&self) -> usize {
        self.0.jobs.lock().idle
    }

    /// Ends the threads.
    fn close(&self) {
        self.0.close();
    }
}

/// The duty to load one key, in Python's hands. Answered once; an object that
/// is dropped unanswered gives the duty back, and a waiter inherits it.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct Load {
    /// Which group's function to call.
    #[pyo3(get)]
    getter: u64,
    duty: OfProcess<Mutex<Option<Duty>>>,
}

struct Duty {
    token: LoadToken,
    /// Lets a close wait for the getter.
    _running: RunningGuard,
    _open: OpenLoad,
}

impl Load {
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

    fn take(&self, py: Python<'_>) -> PyResult<Option<LoadToken>> {
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

    /// The getter ended in a way that callers must not see as their own.
    fn panic(&self, py: Python<'_>, message: String) -> PyResult<()> {
        self.answer(py, |token| token.fail(Error::panicked(message)))
    }

    /// The getter was interrupted: a waiter inherits the duty.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        self.answer(py, drop)
    }
}
