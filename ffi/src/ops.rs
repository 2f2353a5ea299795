//! Operations that end with a callback.
//!
//! An operation that was begun is outstanding on its lane until its callback has
//! returned; whoever ends it pushes it there, the lane delivers it.
//!
//! Invariants: a callback runs exactly once, whoever comes first (the result,
//! a cancel, a close, the end of the queue); never inside the call that began the
//! operation, never on a runtime thread, never under a lock.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kamacache_core::{Error, ErrorKind, Pending, Result, Value};
use parking_lot::Mutex;

use crate::error::{OK, kamacache_error, kamacache_status, status_of};
use crate::guard::{Callback, callback};
use crate::lane::Lane;
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
    pub(crate) id: u64,
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
    pub(crate) fn cancel(&self) {
        let mut state = self.state.lock();
        state.cancelled = true;
        let cancel = state.cancel.take();
        drop(state);
        if let Some(cancel) = cancel {
            cancel();
        }
    }

    /// Runs the callback, unless it has run.
    pub(crate) fn deliver(self: &Arc<Self>, outcome: Outcome) {
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

/// What a cancelled operation ends with.
pub(crate) fn cancelled_error() -> Error {
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
