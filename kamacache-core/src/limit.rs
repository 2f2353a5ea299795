//! How many getters of a group may run at the same time on this node, and how
//! many loads may wait for one (S15).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::{Error, ErrorKind};

/// So many times the limit may wait.
const WAITING_FACTOR: usize = 8;

pub(crate) struct Limit {
    permits: Arc<Semaphore>,
    limit: usize,
    waiting: AtomicUsize,
    /// Those that are held, and some that were.
    held: Mutex<Vec<Weak<Held>>>,
}

/// One load's permit. Given back with the load's answer; or, once the load is
/// given up, as soon as no getter runs for it (S14).
pub(crate) struct Held {
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    since: Instant,
    running: Arc<AtomicUsize>,
}

impl Held {
    /// A getter runs for it until the guard is dropped.
    pub(crate) fn running(&self) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        Running(self.running.clone())
    }
}

/// While it lives, a getter runs.
pub(crate) struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a load that wants to start is told.
pub(crate) enum Admission {
    Now(OwnedSemaphorePermit),
    Wait,
    Overloaded,
}

/// A place in the queue, given back when dropped.
pub(crate) struct Waiting(Arc<Limit>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limit {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(limit)),
            limit,
            waiting: AtomicUsize::new(0),
            held: Mutex::default(),
        })
    }

    pub(crate) fn admit(&self) -> Admission {
        match self.permits.clone().try_acquire_owned() {
            Ok(permit) => Admission::Now(permit),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                if self.waiting.load(Ordering::Relaxed) >= self.limit * WAITING_FACTOR {
                    Admission::Overloaded
                } else {
                    Admission::Wait
                }
            }
        }
    }

    /// Takes charge of a permit for a load that begins now.
    pub(crate) fn hold(&self, permit: OwnedSemaphorePermit) -> Arc<Held> {
        let held = Arc::new(Held {
            permit: Mutex::new(Some(permit)),
            since: Instant::now(),
            running: Arc::default(),
        });
        self.held.lock().push(Arc::downgrade(&held));
        held
    }

    /// Gives back the permits of loads that have taken `too_long` and whose
    /// getter has returned without an answer.
    pub(crate) fn give_back(&self, too_long: Duration) {
        let mut idle = Vec::new();
        self.held.lock().retain(|held| {
            let Some(held) = held.upgrade() else {
                return false;
            };
            let stays = held.since.elapsed() < too_long || held.running.load(Ordering::Acquire) > 0;
            if !stays {
                idle.extend(held.permit.lock().take());
            }
            stays
        });
        drop(idle);
    }

    /// Takes a place in the queue.
    pub(crate) fn queue(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// A permit, in the order of asking. `None` only when the node is gone.
    pub(crate) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().acquire_owned().await.ok()
    }

    pub(crate) fn overloaded(&self, group: &str) -> Error {
        Error::new(
            ErrorKind::Overloaded,
            format!(
                "group {group:?} runs {} getters already, its max_concurrent_loads, and more wait; \
                 try again later or raise the limit",
                self.limit
            ),
        )
    }
}
