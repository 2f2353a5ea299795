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

use kamacache_core::sync::{Condvar, Mutex};
use kamacache_core::{BoxFuture, Error, Getter, LoadContext, LoadToken, Loaded, Result};
use pyo3::prelude::*;

use crate::completions;
use crate::load::Load;
use crate::wait;

/// The event loop that a node was started in, while it lives.
pub(crate) type HomeLoop = Arc<Mutex<Weak<completions::Shared>>>;

/// The core's view of one group's Python function.
pub(crate) struct PyGetter {
    pub(crate) id: u64,
    pub(crate) is_async: bool,
    /// Several keys at once go to one call.
    pub(crate) batches: bool,
    pub(crate) queue: Arc<Queue>,
    pub(crate) home: HomeLoop,
}

impl PyGetter {
    fn hand_over(&self, tokens: Vec<LoadToken>) {
        let home = if self.is_async {
            self.home.lock().upgrade()
        } else {
            None
        };
        let tokens = match home {
            None => tokens,
            Some(home) => match home.push_loads(self.id, tokens) {
                Ok(()) => return,
                Err(tokens) => tokens,
            },
        };
        self.queue.push(Job {
            getter: self.id,
            tokens,
            context: None,
        });
    }
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
        self.hand_over(vec![token]);
    }

    fn start_many(self: Arc<Self>, tokens: Vec<LoadToken>) {
        if self.batches {
            return self.hand_over(tokens);
        }
        for token in tokens {
            self.hand_over(vec![token]);
        }
    }
}

/// Loads for one call of a Python function.
struct Job {
    getter: u64,
    tokens: Vec<LoadToken>,
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
            jobs = self.filled.wait(jobs);
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
    /// Queues loads that were begun here, for one call with its caller's context.
    fn push(
        &self,
        py: Python<'_>,
        loads: Vec<Bound<'_, Load>>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let Some(first) = loads.first() else {
            return Ok(());
        };
        let getter = first.get().getter;
        let mut tokens = Vec::with_capacity(loads.len());
        for load in &loads {
            tokens.extend(load.get().take(py)?);
        }
        self.0.push(Job {
            getter,
            tokens,
            context,
        });
        Ok(())
    }

    /// The loads of the next call and its context, or None when the node is
    /// closed. Waits detached from the interpreter.
    fn next(&self, py: Python<'_>) -> Option<(Vec<Load>, Option<Py<PyAny>>)> {
        let taken = self.0.jobs.lock().waiting.pop_front();
        let job = taken.or_else(|| wait::away(py, || self.0.next()))?;
        Some((Load::all(job.getter, job.tokens), job.context))
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
