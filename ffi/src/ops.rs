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

use kamacache_core::sync::Mutex;
use kamacache_core::{Error, ErrorKind, Pending, Result, Value};

use crate::error::{OK, kamacache_error, kamacache_status, status_of};
use crate::fork::{self, PerProcess};
use crate::group_many::{kamacache_result, kamacache_results_clear};
use crate::guard::{self, Callback, callback};
use crate::lane::Lane;
use crate::value::kamacache_value;

/// What an operation that succeeded ends with.
pub(crate) enum Answer {
    Done,
    Value(Value),
    /// One result for each key: a get's with a value.
    Many(Vec<Result<Option<Value>>>),
}

pub(crate) type Outcome = Result<Answer>;

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
    Many(
        unsafe extern "C" fn(
            *mut c_void,
            kamacache_status,
            *mut kamacache_result,
            usize,
            *mut kamacache_error,
        ),
    ),
}

/// The user's function and data.
pub(crate) struct Listener {
    pub(crate) notify: Notify,
    pub(crate) user_data: *mut c_void,
}

// SAFETY: the header demands callbacks and user data that any thread may use.
unsafe impl Send for Listener {}

impl Listener {
    pub(crate) fn call(self, outcome: Outcome) {
        let (status, answer, error) = match outcome {
            Ok(answer) => (OK, answer, ptr::null_mut()),
            Err(error) => (
                status_of(error.kind()),
                Answer::Done,
                kamacache_error::lend(&error),
            ),
        };
        // SAFETY: the user's own function with the user's own data.
        callback(Callback::Notice, || unsafe {
            match (self.notify, answer) {
                (Notify::Get(call), Answer::Value(value)) => {
                    call(self.user_data, status, kamacache_value::lend(value), error);
                }
                (Notify::Get(call), _) => call(self.user_data, status, ptr::null_mut(), error),
                (Notify::Done(call), _) => call(self.user_data, status, error),
                (Notify::Many(call), Answer::Many(results)) => {
                    let mut results: Vec<kamacache_result> =
                        results.into_iter().map(Into::into).collect();
                    let (first, n) = (results.as_mut_ptr(), results.len());
                    call(self.user_data, status, first, n, error);
                    kamacache_results_clear(first, n);
                }
                (Notify::Many(call), _) => call(self.user_data, status, ptr::null_mut(), 0, error),
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

static OPS: PerProcess<Mutex<HashMap<u64, Arc<Op>>>> = PerProcess::new();
static NEXT: AtomicU64 = AtomicU64::new(1);
/// Operations with smaller numbers are those of a process that this one was forked from.
static FIRST: AtomicU64 = AtomicU64::new(0);

/// In the child of a fork: the parent's operations are none of its own.
pub(crate) fn forked() {
    OPS.abandon();
    FIRST.store(NEXT.load(Ordering::Relaxed), Ordering::Relaxed);
}

impl Op {
    /// Registers an operation. Its number is in `*id` before anything can end it;
    /// from the moment it is admitted its callback may run and free `id`, and the
    /// handles that the call was given: nothing of the caller's is touched after.
    ///
    /// # Errors
    /// As [`Lane::admit`]: there is no operation then, and `*id` is 0.
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
        // SAFETY: forwarded contract.
        let note = |number| unsafe {
            if !id.is_null() {
                id.write(number);
            }
        };
        note(op.id);
        OPS.get().lock().insert(op.id, op.clone());
        if let Err(error) = lane.admit(&op) {
            // Not admitted, so it has no callback that could have run.
            forget(op.id);
            note(0);
            return Err(error);
        }
        Ok(op)
    }

    /// Goes on with an operation that was begun. Its call has succeeded by now, so
    /// what goes wrong here is for the callback.
    pub(crate) fn go_on(self: &Arc<Self>, rest: impl FnOnce()) {
        let rest = || {
            rest();
            Ok(())
        };
        if let Err(error) = guard::here(rest) {
            self.finish(Err(error));
        }
    }

    /// Ends the operation with what comes out of a get's wait.
    pub(crate) fn follow(self: &Arc<Self>, pending: Pending) {
        let op = self.clone();
        let abort = pending.on_done(move |result| op.finish(result.map(Answer::Value)));
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
        forget(self.id);
        let listener = self.state.lock().listener.take();
        if let Some(listener) = listener {
            listener.call(outcome);
            self.lane.delivered(self.id);
        }
    }
}

fn forget(id: u64) {
    let gone = OPS.get().lock().remove(&id);
    drop(gone);
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
///
/// # Errors
/// Forked for an operation of a parent's.
pub(crate) fn cancel(id: u64) -> Result<bool> {
    if (1..FIRST.load(Ordering::Relaxed)).contains(&id) {
        return Err(fork::forked());
    }
    let op = OPS.get().lock().get(&id).cloned();
    Ok(op.inspect(|op| op.cancel()).is_some())
}
