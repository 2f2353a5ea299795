//! Completions: one event loop as the executor of the core's futures. A future
//! that is not ready is kept here; when a runtime thread wakes it, its number
//! is queued and the loop is told once; the loop then polls all that were woken
//! and delivers the answers in a batch. Loads for async getters travel the same
//! way. No thread but the loop's ever polls, and none attaches to the
//! interpreter for it.
//!
//! Invariant: a wake-up is sent when the queue turns from empty to filled, and
//! the reader clears it before it takes the queue, so none is lost.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use kamacache_core::sync::{Condvar, Mutex};
use kamacache_core::{LoadToken, Result, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use tokio::runtime::Handle;

use crate::doorbell::Doorbell;
use crate::error::{OrRaise, to_py};
use crate::fork::OfProcess;
use crate::load::Load;
use crate::wait;

/// One turn of the loop takes this many at most, so that others get theirs.
const BATCH: usize = 1024;

/// A future of the core whose value becomes bytes, or None.
pub(crate) type Operation = Pin<Box<dyn Future<Output = Result<Option<Value>>> + Send>>;

/// What runtime threads tell the loop.
enum Message {
    /// This operation can go on.
    Woken(u64),
    /// Loads for one call of an async getter: its number and the duties.
    Loads(u64, Vec<LoadToken>),
}

#[derive(Default)]
struct Inbox {
    messages: Vec<Message>,
    closed: bool,
}

/// The part that runtime threads hold.
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    filled: Condvar,
    bell: Option<Doorbell>,
}

impl Shared {
    /// Gives the loop loads to run; the duties come back if the loop is gone.
    pub(crate) fn push_loads(
        &self,
        getter: u64,
        tokens: Vec<LoadToken>,
    ) -> std::result::Result<(), Vec<LoadToken>> {
        match self.send(Message::Loads(getter, tokens)) {
            Err(Message::Loads(_, tokens)) => Err(tokens),
            Ok(()) | Err(Message::Woken(_)) => Ok(()),
        }
    }

    fn send(&self, message: Message) -> std::result::Result<(), Message> {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return Err(message);
        }
        inbox.messages.push(message);
        let first = inbox.messages.len() == 1;
        drop(inbox);
        if first {
            self.signal();
        }
        Ok(())
    }

    fn signal(&self) {
        self.filled.notify_one();
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    fn take(&self) -> Vec<Message> {
        if let Some(bell) = &self.bell {
            bell.silence();
        }
        let mut inbox = self.inbox.lock();
        if inbox.messages.len() <= BATCH {
            return std::mem::take(&mut inbox.messages);
        }
        let rest = inbox.messages.split_off(BATCH);
        let batch = std::mem::replace(&mut inbox.messages, rest);
        drop(inbox);
        self.signal();
        batch
    }

    fn close(&self) {
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        let messages = std::mem::take(&mut inbox.messages);
        drop(inbox);
        self.filled.notify_all();
        drop(messages);
    }
}

/// Wakes one operation, once until it is polled again.
struct OperationWaker {
    id: u64,
    queued: AtomicBool,
    shared: Arc<Shared>,
}

impl Wake for OperationWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            // A loop that is gone polls nothing any more.
            let _unheard = self.shared.send(Message::Woken(self.id));
        }
    }
}

struct Running {
    operation: Operation,
    runtime: Handle,
    waker: Arc<OperationWaker>,
}

impl Running {
    fn poll(&mut self) -> Poll<Result<Option<Value>>> {
        self.waker.queued.store(false, Ordering::Release);
        let waker = Waker::from(self.waker.clone());
        // The core's timers belong to its own runtime.
        let _inside = self.runtime.enter();
        self.operation
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
    }
}

#[derive(Default)]
struct Table {
    running: HashMap<u64, Running>,
    last_id: u64,
}

/// The operations and the queue of one event loop.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct Completions(OfProcess<Inner>);

struct Inner {
    shared: Arc<Shared>,
    table: Mutex<Table>,
}

impl Completions {
    fn inner(&self, py: Python<'_>) -> PyResult<&Inner> {
        self.0.get().or_raise(py)
    }

    /// What a node keeps to send loads here.
    pub(crate) fn shared(&self, py: Python<'_>) -> PyResult<&Arc<Shared>> {
        Ok(&self.inner(py)?.shared)
    }

    /// Polls an operation once; its number if it is not ready.
    pub(crate) fn run<'py>(
        &self,
        py: Python<'py>,
        runtime: &Handle,
        operation: Operation,
    ) -> PyResult<std::result::Result<Result<Option<Value>>, u64>> {
        let inner = self.inner(py)?;
        let mut table = inner.table.lock();
        table.last_id += 1;
        let id = table.last_id;
        drop(table);
        let waker = OperationWaker {
            id,
            queued: AtomicBool::new(false),
            shared: inner.shared.clone(),
        };
        let mut running = Running {
            operation,
            runtime: runtime.clone(),
            waker: Arc::new(waker),
        };
        match running.poll() {
            Poll::Ready(answer) => Ok(Ok(answer)),
            Poll::Pending => {
                inner.table.lock().running.insert(id, running);
                Ok(Err(id))
            }
        }
    }
}

impl Inner {
    /// Polls a woken operation outside the table's lock: it may run callbacks.
    fn go_on(&self, id: u64) -> Option<Result<Option<Value>>> {
        let mut running = self.table.lock().running.remove(&id)?;
        match running.poll() {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => {
                self.table.lock().running.insert(id, running);
                None
            }
        }
    }

    fn close(&self) {
        self.shared.close();
        let running = std::mem::take(&mut self.table.lock().running);
        drop(running);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

#[pymethods]
impl Completions {
    #[new]
    fn new() -> Self {
        let shared = Shared {
            inbox: Mutex::default(),
            filled: Condvar::new(),
            bell: Doorbell::new(),
        };
        Self(OfProcess::new(Inner {
            shared: Arc::new(shared),
            table: Mutex::default(),
        }))
    }

    /// What becomes readable when there is something to drain; None where the
    /// platform has no such thing.
    fn fileno(&self, py: Python<'_>) -> PyResult<Option<i32>> {
        Ok(self
            .inner(py)?
            .shared
            .bell
            .as_ref()
            .and_then(Doorbell::fileno))
    }

    /// Everything that came since the last call, as (id, answer) and (None,
    /// loads). An answer is bytes, None or an exception object.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let inner = self.inner(py)?;
        let answers = PyList::empty(py);
        for message in inner.shared.take() {
            match message {
                Message::Loads(getter, tokens) => {
                    answers.append((py.None(), Load::all(getter, tokens)))?;
                }
                Message::Woken(id) => {
                    if let Some(answer) = inner.go_on(id) {
                        answers.append((id, to_object(py, answer)))?;
                    }
                }
            }
        }
        Ok(answers)
    }

    /// Waits until there is something to drain; False when closed.
    fn wait(&self, py: Python<'_>) -> PyResult<bool> {
        let shared = self.inner(py)?.shared.clone();
        Ok(wait::away(py, move || {
            let mut inbox = shared.inbox.lock();
            while inbox.messages.is_empty() && !inbox.closed {
                inbox = shared.filled.wait(inbox);
            }
            !inbox.closed
        }))
    }

    /// Nobody waits for this number any more.
    fn forget(&self, py: Python<'_>, id: u64) -> PyResult<()> {
        let forgotten = self.inner(py)?.table.lock().running.remove(&id);
        drop(forgotten);
        Ok(())
    }

    /// No answer is delivered from here on; loads go elsewhere.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.inner(py)?.close();
        Ok(())
    }
}

fn to_object(py: Python<'_>, answer: Result<Option<Value>>) -> Py<PyAny> {
    match answer {
        Ok(Some(value)) => PyBytes::new(py, &value).into_any().unbind(),
        Ok(None) => py.None(),
        Err(error) => to_py(py, &error).into_value(py).into_any(),
    }
}
