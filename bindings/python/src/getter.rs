//! Loads on their way into Python. The core hands a duty to [`PyGetter`] on a
//! runtime thread, which only queues it: for the event loop that the node was
//! started in, or for the Python threads that wait on a [`LoadQueue`]. Python
//! code calls the user's function and answers through [`Load`].
//!
//! Invariants: no runtime thread attaches to the interpreter, no Rust frame
//! lies under a running getter, and nothing here holds a Python object but the
//! contexts of queued loads.

use std::sync::{Arc, Weak};

use kamacache_core::pool::Pool;
use kamacache_core::sync::Mutex;
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
        let job = Job {
            getter: self.id,
            tokens,
            context: None,
        };
        // Closed: dropping the tokens says so.
        drop(self.queue.push(self.id, job));
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
pub(crate) struct Job {
    getter: u64,
    tokens: Vec<LoadToken>,
    /// The caller's context variables, when the caller is in this process.
    context: Option<Py<PyAny>>,
}

/// The loads that wait for a Python thread.
pub(crate) type Queue = Pool<Job>;

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
        let job = Job {
            getter,
            tokens,
            context,
        };
        drop(self.0.push(getter, job));
        Ok(())
    }

    /// The loads of the next call and its context, for this thread, which has
    /// ended its last one; None when it is to end. Waits detached from the
    /// interpreter.
    fn next(&self, py: Python<'_>) -> Option<(Vec<Load>, Option<Py<PyAny>>)> {
        let job = wait::away(py, || self.0.next())?;
        Some((Load::all(job.getter, job.tokens), job.context))
    }

    /// Whether the caller is to start a thread, which counts from now on.
    fn wants_thread(&self) -> bool {
        self.0.wants_thread()
    }

    /// A thread that was wanted could not be started.
    fn lost_thread(&self) {
        // Whoever grows the pool is a thread of it, or starts the node.
        let _ = self.0.lost_thread();
    }

    /// Ends the threads.
    fn close(&self) {
        self.0.close();
    }
}
