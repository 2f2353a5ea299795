//! Operations that end with a callback, and the lanes that run the callbacks.
//!
//! A lane is a node's callback thread, or a queue that the user dispatches. An
//! operation that was begun is outstanding on its lane until its callback has
//! returned; whoever ends it pushes it, the lane delivers it.
//!
//! Invariants: a callback runs exactly once, whoever comes first (the result,
//! a cancel, a close, the end of the queue); never inside the call that began the
//! operation, never on a runtime thread, never under a lock.

use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kamacache_core::{Error, ErrorKind, Pending, Result, Value};
use parking_lot::{Condvar, Mutex};

use crate::error::{OK, kamacache_error, kamacache_status, status_of};
use crate::guard::{Callback, callback};
use crate::signals;
use crate::value::kamacache_value;

/// What an operation ends with: a get with a value, the others without.
pub(crate) type Outcome = Result<Option<Value>>;

/// The user's function.
#[derive(Clone, Copy)]
pub(crate) enum Notify {
    Get(
        unsafe extern "C" fn(
            *mut c_void,
            kamacache_status,
            *mut kamacache_value,
            *mut kamacache_error,
        ),
    ),
    Done(unsafe extern "C" fn(*mut c_void, kamacache_status, *mut kamacache_error)),
}

/// The user's function and data.
pub(crate) struct Listener {
    pub(crate) notify: Notify,
    pub(crate) user_data: *mut c_void,
}

// SAFETY: the header demands callbacks and user data that any thread may use.
unsafe impl Send for Listener {}

impl Listener {
    fn call(self, outcome: Outcome) {
        let (status, value, error) = match outcome {
            Ok(value) => (
                OK,
                value.map_or(ptr::null_mut(), kamacache_value::lend),
                ptr::null_mut(),
            ),
            Err(error) => (
                status_of(error.kind()),
                ptr::null_mut(),
                kamacache_error::lend(&error),
            ),
        };
        // SAFETY: the user's own function with the user's own data.
        callback(Callback::Notice, || unsafe {
            match self.notify {
                Notify::Get(call) => call(self.user_data, status, value, error),
                Notify::Done(call) => call(self.user_data, status, error),
            }
        });
    }
}

/// An operation that was begun.
pub(crate) struct Op {
    id: u64,
    lane: Arc<Lane>,
    state: Mutex<State>,
}

type Cancel = Box<dyn FnOnce() + Send>;

struct State {
    listener: Option<Listener>,
    cancel: Option<Cancel>,
    cancelled: bool,
}

static OPS: Mutex<Option<HashMap<u64, Arc<Op>>>> = Mutex::new(None);
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Op {
    /// Registers an operation; its number is in `*id` before anything can end it.
    ///
    /// # Safety
    /// `id` is NULL or writable.
    pub(crate) unsafe fn begin(
        lane: &Arc<Lane>,
        listener: Listener,
        id: *mut u64,
    ) -> Result<Arc<Self>> {
        let op = Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            lane: lane.clone(),
            state: Mutex::new(State {
                listener: Some(listener),
                cancel: None,
                cancelled: false,
            }),
        });
        lane.admit(&op)?;
        OPS.lock().get_or_insert_default().insert(op.id, op.clone());
        if !id.is_null() {
            // SAFETY: not NULL, and writable by this function's contract.
            unsafe { id.write(op.id) };
        }
        Ok(op)
    }

    /// Ends the operation with what comes out of a get's wait.
    pub(crate) fn follow(self: &Arc<Self>, pending: Pending) {
        let op = self.clone();
        let abort = pending.on_done(move |result| op.finish(result.map(Some)));
        self.on_cancel(Box::new(move || {
            abort.cancel();
        }));
    }

    /// What a cancel does; at once if one has come already.
    pub(crate) fn on_cancel(&self, cancel: Cancel) {
        let mut state = self.state.lock();
        if state.cancelled {
            drop(state);
            cancel();
        } else {
            state.cancel = Some(cancel);
        }
    }

    /// The operation is decided. Only the first decision counts.
    pub(crate) fn finish(self: &Arc<Self>, outcome: Outcome) {
        self.lane.push(self.clone(), outcome);
    }

    /// Asks the operation to end with Cancelled, unless it is decided.
    fn cancel(&self) {
        let mut state = self.state.lock();
        state.cancelled = true;
        let cancel = state.cancel.take();
        drop(state);
        if let Some(cancel) = cancel {
            cancel();
        }
    }

    fn deliver(self: &Arc<Self>, outcome: Outcome) {
        if let Some(ops) = OPS.lock().as_mut() {
            ops.remove(&self.id);
        }
        let listener = self.state.lock().listener.take();
        if let Some(listener) = listener {
            listener.call(outcome);
            self.lane.delivered(self.id);
        }
    }
}

/// Ends its operation when it is dropped before [`Duty::done`]: a task that is
/// aborted, or that goes down with its runtime, completes all the same.
pub(crate) struct Duty(Option<Arc<Op>>);

impl Duty {
    pub(crate) fn new(op: &Arc<Op>) -> Self {
        Self(Some(op.clone()))
    }

    pub(crate) fn done(mut self, outcome: Outcome) {
        if let Some(op) = self.0.take() {
            op.finish(outcome);
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if let Some(op) = self.0.take() {
            let cancelled = op.state.lock().cancelled;
            let error = if cancelled {
                cancelled_error()
            } else {
                Error::closed()
            };
            op.finish(Err(error));
        }
    }
}

fn cancelled_error() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "the operation was cancelled; a load goes on, and a write may have been applied",
    )
}

/// Cancels the operation of this number; false when it has ended or never was.
pub(crate) fn cancel(id: u64) -> bool {
    let op = OPS.lock().as_ref().and_then(|ops| ops.get(&id).cloned());
    op.inspect(|op| op.cancel()).is_some()
}

/// Runs callbacks, one after the other.
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    /// Something is ready, or the lane has ended.
    ready: Condvar,
    /// Nothing is outstanding any more.
    idle: Condvar,
    /// None: a thread of the library runs the callbacks.
    fd: Option<OwnedFd>,
}

#[derive(Default)]
struct Queue {
    outstanding: HashMap<u64, Arc<Op>>,
    ready: VecDeque<(Arc<Op>, Outcome)>,
    started: bool,
    ended: bool,
}

impl Lane {
    /// A lane with a thread of its own, which starts with the first operation.
    pub(crate) fn thread() -> Arc<Self> {
        Arc::new(Self::new(None))
    }

    /// A lane that the user dispatches when its descriptor is readable.
    pub(crate) fn queue() -> Result<Arc<Self>> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            return Err(Error::internal(format!(
                "cannot open a queue's descriptor: {error}"
            )));
        }
        // SAFETY: just opened, owned by nobody else.
        Ok(Arc::new(Self::new(Some(unsafe {
            OwnedFd::from_raw_fd(fd)
        }))))
    }

    fn new(fd: Option<OwnedFd>) -> Self {
        Self {
            queue: Mutex::default(),
            ready: Condvar::new(),
            idle: Condvar::new(),
            fd,
        }
    }

    /// The descriptor of a queue.
    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn admit(self: &Arc<Self>, op: &Arc<Op>) -> Result<()> {
        let mut queue = self.queue.lock();
        if queue.ended {
            return Err(Error::closed());
        }
        if self.fd.is_none() && !queue.started {
            let lane = self.clone();
            let thread = std::thread::Builder::new().name("kamacache-callback".into());
            signals::blocked(|| thread.spawn(move || lane.serve())).map_err(|error| {
                Error::internal(format!("cannot start the callback thread: {error}"))
            })?;
            queue.started = true;
        }
        queue.outstanding.insert(op.id, op.clone());
        Ok(())
    }

    fn push(&self, op: Arc<Op>, outcome: Outcome) {
        let mut queue = self.queue.lock();
        // Delivered already, by a close or the end of its queue.
        if !queue.outstanding.contains_key(&op.id) {
            return;
        }
        queue.ready.push_back((op, outcome));
        if queue.ready.len() == 1 {
            self.signal();
        }
        self.ready.notify_one();
    }

    fn delivered(&self, id: u64) {
        let mut queue = self.queue.lock();
        let gone = queue.outstanding.remove(&id);
        if queue.outstanding.is_empty() {
            self.idle.notify_all();
        }
        drop(queue);
        drop(gone);
    }

    /// The callback thread.
    fn serve(&self) {
        loop {
            let mut queue = self.queue.lock();
            while queue.ready.is_empty() {
                if queue.ended {
                    return;
                }
                self.ready.wait(&mut queue);
            }
            let next = queue.ready.pop_front();
            drop(queue);
            if let Some((op, outcome)) = next {
                op.deliver(outcome);
            }
        }
    }

    /// Runs up to `max` of the callbacks that are ready now, on this thread.
    pub(crate) fn dispatch(&self, max: usize) -> usize {
        let ready: Vec<_> = {
            let mut queue = self.queue.lock();
            let n = max.min(queue.ready.len());
            let taken = queue.ready.drain(..n).collect();
            if queue.ready.is_empty() {
                self.clear();
            }
            taken
        };
        let n = ready.len();
        for (op, outcome) in ready {
            op.deliver(outcome);
        }
        n
    }

    /// Ends every operation with Closed and waits until the callbacks have
    /// returned; false when one still ran after `patience`.
    pub(crate) fn close(&self, patience: Duration) -> bool {
        let deadline = Instant::now().checked_add(patience);
        let outstanding: Vec<_> = self.queue.lock().outstanding.values().cloned().collect();
        for op in outstanding {
            op.finish(Err(Error::closed()));
        }
        let mut queue = self.queue.lock();
        while !queue.outstanding.is_empty() {
            match deadline {
                None => self.idle.wait(&mut queue),
                Some(deadline) if self.idle.wait_until(&mut queue, deadline).timed_out() => break,
                Some(_) => {}
            }
        }
        queue.ended = true;
        self.ready.notify_all();
        queue.outstanding.is_empty()
    }

    /// Ends a queue: every operation that is not delivered gets Cancelled, here and now.
    pub(crate) fn abandon(&self) {
        let mut queue = self.queue.lock();
        queue.ended = true;
        let ready = std::mem::take(&mut queue.ready);
        let mut left: Vec<_> = queue.outstanding.values().cloned().collect();
        drop(queue);
        drop(ready);
        left.sort_by_key(|op| op.id);
        for op in left {
            op.cancel();
            op.deliver(Err(cancelled_error()));
        }
    }

    /// Makes the descriptor readable.
    fn signal(&self) {
        if let Some(fd) = &self.fd {
            let one = 1_u64;
            // SAFETY: writes 8 bytes of `one` to an open descriptor.
            unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    /// Makes the descriptor unreadable again.
    fn clear(&self) {
        if let Some(fd) = &self.fd {
            let mut count = 0_u64;
            // SAFETY: reads 8 bytes into `count` from an open descriptor that does not block.
            unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
        }
    }
}
