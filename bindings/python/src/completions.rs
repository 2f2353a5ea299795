//! Completions: what one event loop is told, in batches, through one wake-up.
//! Runtime threads push results and loads without ever attaching to the
//! interpreter; the loop reads them all when its file descriptor is readable.
//!
//! Invariant: a wake-up is sent when the queue turns from empty to filled, and
//! the reader clears it before it takes the queue, so none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kamacache_core::{LoadToken, Result, Value};
use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::error::to_py;
use crate::getter::Load;
use crate::wait;

/// One turn of the loop takes this many at most, so that others get theirs.
const BATCH: usize = 1024;

/// The result of one operation.
pub(crate) enum Outcome {
    Value(Result<Value>),
    Done(Result<()>),
}

enum Message {
    Outcome(u64, Outcome),
    /// A load for an async getter: the getter's id and the duty.
    Load(u64, LoadToken),
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    closed: bool,
}

/// The part that runtime threads hold.
pub(crate) struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    wake: Option<Wake>,
    next_id: AtomicU64,
}

/// The queue of one event loop.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct Completions(pub(crate) Arc<Shared>);

impl Shared {
    /// A number for an operation whose result will be pushed.
    pub(crate) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells the loop the result of an operation; nothing if the loop is gone.
    pub(crate) fn push(&self, id: u64, outcome: Outcome) {
        let _unheard = self.send(Message::Outcome(id, outcome));
    }

    /// Gives the loop a load to run; the duty comes back if the loop is gone.
    pub(crate) fn push_load(
        &self,
        getter: u64,
        token: LoadToken,
    ) -> std::result::Result<(), LoadToken> {
        match self.send(Message::Load(getter, token)) {
            Err(Message::Load(_, token)) => Err(token),
            Ok(()) | Err(Message::Outcome(..)) => Ok(()),
        }
    }

    fn send(&self, message: Message) -> std::result::Result<(), Message> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(message);
        }
        state.messages.push(message);
        let first = state.messages.len() == 1;
        drop(state);
        if first {
            self.signal();
        }
        Ok(())
    }

    fn signal(&self) {
        self.filled.notify_one();
        if let Some(wake) = &self.wake {
            wake.signal();
        }
    }

    fn take(&self) -> Vec<Message> {
        if let Some(wake) = &self.wake {
            wake.clear();
        }
        let mut state = self.state.lock();
        if state.messages.len() <= BATCH {
            return std::mem::take(&mut state.messages);
        }
        let rest = state.messages.split_off(BATCH);
        let batch = std::mem::replace(&mut state.messages, rest);
        drop(state);
        self.signal();
        batch
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let messages = std::mem::take(&mut state.messages);
        drop(state);
        self.filled.notify_all();
        drop(messages);
    }
}

#[pymethods]
impl Completions {
    #[new]
    fn new() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            wake: Wake::new(),
            next_id: AtomicU64::new(1),
        }))
    }

    /// What becomes readable when there is something to drain; None where the
    /// platform has no such thing.
    fn fileno(&self) -> Option<i32> {
        self.0.wake.as_ref().and_then(Wake::fileno)
    }

    /// Everything that came since the last call, as (id, answer) and (None,
    /// load). An answer is bytes, None or an exception object.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let messages = self.0.take();
        PyList::new(
            py,
            messages
                .into_iter()
                .map(|message| to_tuple(py, message))
                .collect::<PyResult<Vec<_>>>()?,
        )
    }

    /// Waits until there is something to drain; False when closed.
    fn wait(&self, py: Python<'_>) -> bool {
        wait::away(py, || {
            let mut state = self.0.state.lock();
            while state.messages.is_empty() && !state.closed {
                self.0.filled.wait(&mut state);
            }
            !state.closed
        })
    }

    /// No result is delivered from here on; loads go elsewhere.
    fn close(&self) {
        self.0.close();
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn to_tuple(py: Python<'_>, message: Message) -> PyResult<(Option<u64>, Py<PyAny>)> {
    Ok(match message {
        Message::Outcome(id, Outcome::Value(Ok(value))) => {
            (Some(id), PyBytes::new(py, &value).into_any().unbind())
        }
        Message::Outcome(id, Outcome::Done(Ok(()))) => (Some(id), py.None()),
        Message::Outcome(id, Outcome::Value(Err(error)) | Outcome::Done(Err(error))) => {
            (Some(id), to_py(py, &error).into_value(py).into_any())
        }
        Message::Load(getter, token) => (None, Py::new(py, Load::new(getter, token))?.into_any()),
    })
}

/// A pair of sockets: one byte in it means "drain".
#[cfg(unix)]
struct Wake {
    reader: std::os::unix::net::UnixStream,
    writer: std::os::unix::net::UnixStream,
}

#[cfg(unix)]
impl Wake {
    fn new() -> Option<Self> {
        let (reader, writer) = std::os::unix::net::UnixStream::pair().ok()?;
        reader.set_nonblocking(true).ok()?;
        writer.set_nonblocking(true).ok()?;
        Some(Self { reader, writer })
    }

    fn fileno(&self) -> Option<i32> {
        use std::os::fd::AsRawFd;
        Some(self.reader.as_raw_fd())
    }

    fn signal(&self) {
        // A full pipe is a wake-up that was not read yet.
        let _ = std::io::Write::write(&mut &self.writer, &[1]);
    }

    fn clear(&self) {
        let mut bytes = [0; 64];
        let _ = std::io::Read::read(&mut &self.reader, &mut bytes);
    }
}

#[cfg(not(unix))]
struct Wake;

#[cfg(not(unix))]
impl Wake {
    fn new() -> Option<Self> {
        None
    }

    fn fileno(&self) -> Option<i32> {
        None
    }

    fn signal(&self) {}

    fn clear(&self) {}
}
