//! How many getters of a group may run at the same time on this node, and how
//! many loads may wait for one (S15).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::{Error, ErrorKind};

/// So many times the limit may wait.
const WAITING_FACTOR: usize = 8;

pub(crate) struct Limit {
    permits: Arc<Semaphore>,
    limit: usize,
    waiting: AtomicUsize,
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
