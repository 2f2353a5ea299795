//! Finished operations, and loads that the core asks for, on their way to the JavaScript thread.
//!
//! Invariant: every operation that JavaScript has a promise for comes out exactly once: a
//! [`Ticket`] that is dropped without an answer (a panic, a runtime that went away) answers for
//! itself. Any thread pushes; only the JavaScript thread takes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kamacache_core::{Error, EvictReason, LoadToken, Result, Value, blocking};
use napi::Status;
use napi::bindgen_prelude::Unknown;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};

/// The one threadsafe function of an environment; weak: it keeps no event loop alive by itself.
pub(crate) type Wake = ThreadsafeFunction<(), Unknown<'static>, (), Status, false, true>;

/// Something for JavaScript to do.
pub(crate) enum Completion {
    /// A get has its value.
    Value { id: i64, value: Value },
    /// A set or delete is applied; a close is done (`flag`: no getter was left running).
    Done { id: i64, flag: bool },
    /// An operation failed.
    Failed { id: i64, error: Error },
    /// A node has started.
    Started { id: i64, node: blocking::Node },
    /// A peer, or a waiter who inherited the duty, wants this loaded by the group's getter.
    Load { group: usize, token: LoadToken },
    /// The same for several keys, which a batch getter may load at once.
    LoadMany {
        group: usize,
        tokens: Vec<LoadToken>,
    },
    /// An entry has left the group's store, and JavaScript listens for that.
    Evicted {
        group: usize,
        key: String,
        reason: EvictReason,
    },
    /// The value of a load whose getter asked for its signal will not be kept.
    Unwanted { load: i64 },
    /// The members of a node have changed, and JavaScript listens for that.
    Members { node: i64, members: Vec<String> },
    /// Nobody can ask any more for what a getter threw under this number.
    Forget { thrown: i64 },
}

impl Completion {
    /// JavaScript is gone. A load is answered, so that it is not handed to one waiter after the other.
    fn refuse(self) {
        match self {
            Completion::Load { token, .. } => token.fail(Error::closed()),
            Completion::LoadMany { tokens, .. } => {
                tokens
                    .into_iter()
                    .for_each(|token| token.fail(Error::closed()));
            }
            _ => {}
        }
    }
}

/// The queue of one environment.
pub(crate) struct Queue {
    /// `None` once the environment is going away.
    items: Mutex<Option<VecDeque<Completion>>>,
    /// A wake-up is on its way.
    woken: AtomicBool,
    wake: Wake,
}

impl Queue {
    pub(crate) fn new(wake: Wake) -> Arc<Self> {
        Arc::new(Self {
            items: Mutex::new(Some(VecDeque::new())),
            woken: AtomicBool::new(false),
            wake,
        })
    }

    pub(crate) fn wake_function(&self) -> napi::sys::napi_threadsafe_function {
        self.wake.raw()
    }

    /// Adds one item and wakes JavaScript, unless somebody just did.
    pub(crate) fn push(&self, item: Completion) {
        // Refused outside the lock: letting go of a load or an error may push again.
        let refused = match self.lock().as_mut() {
            Some(items) => {
                items.push_back(item);
                None
            }
            None => Some(item),
        };
        match refused {
            Some(item) => item.refuse(),
            None if self.woken.swap(true, Ordering::AcqRel) => {}
            None => {
                self.wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
            }
        }
    }

    /// Takes the oldest item if `fits` agrees. Clear the flag with [`Queue::begin_drain`] first.
    pub(crate) fn pop_if(&self, fits: impl FnOnce(&Completion) -> bool) -> Option<Completion> {
        let mut items = self.lock();
        let items = items.as_mut()?;
        if fits(items.front()?) {
            items.pop_front()
        } else {
            None
        }
    }

    /// From here on a push wakes again. Before the first item is taken, so that none is missed.
    pub(crate) fn begin_drain(&self) {
        self.woken.store(false, Ordering::Release);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().as_ref().is_none_or(VecDeque::is_empty)
    }

    /// Refuses what is queued and whatever comes from now on.
    pub(crate) fn close(&self) {
        let items = self.lock().take();
        items.into_iter().flatten().for_each(Completion::refuse);
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Completion>>> {
        // Nothing under this lock can panic and leave the queue half changed.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The duty to finish one operation of JavaScript.
pub(crate) struct Ticket {
    id: i64,
    queue: Option<Arc<Queue>>,
}

impl Ticket {
    pub(crate) fn new(id: i64, queue: &Arc<Queue>) -> Self {
        Self {
            id,
            queue: Some(Arc::clone(queue)),
        }
    }

    /// Finishes the operation with what `done` makes of its id, or with the error.
    pub(crate) fn finish<T>(mut self, result: Result<T>, done: impl FnOnce(i64, T) -> Completion) {
        let id = self.id;
        self.send(match result {
            Ok(value) => done(id, value),
            Err(error) => Completion::Failed { id, error },
        });
    }

    fn send(&mut self, completion: Completion) {
        if let Some(queue) = self.queue.take() {
            queue.push(completion);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.send(Completion::Failed {
            id: self.id,
            error: Error::closed(),
        });
    }
}
