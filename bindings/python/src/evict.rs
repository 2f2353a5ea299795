//! Evictions on their way into Python: the core's hook queues them on whatever
//! thread it runs, and a Python thread takes them in batches.
//!
//! Invariant: at most [`MOST`] wait; what comes on top is counted and dropped,
//! since a slow listener must neither stop the cache nor fill the memory.

use std::sync::Arc;

use kamacache_core::sync::{Condvar, Mutex};
use kamacache_core::{EvictHook, EvictReason};
use pyo3::prelude::*;

use crate::wait;

const MOST: usize = 65_536;

#[derive(Default)]
struct Waiting {
    events: Vec<(u64, String, EvictReason)>,
    lost: u64,
    closed: bool,
}

/// The evictions of one node that were not reported yet.
#[derive(Default)]
pub(crate) struct Evictions {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

impl Evictions {
    /// The core's hook for the group of this number.
    pub(crate) fn hook(self: &Arc<Self>, group: u64) -> EvictHook {
        let evictions = self.clone();
        Arc::new(move |key, _, reason| evictions.push(group, key, reason))
    }

    fn push(&self, group: u64, key: &str, reason: EvictReason) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return;
        }
        if waiting.events.len() >= MOST {
            waiting.lost += 1;
            return;
        }
        waiting.events.push((group, key.to_owned(), reason));
        drop(waiting);
        self.filled.notify_one();
    }

    /// What waits, when there is something; empty when closed.
    fn take(&self) -> Waiting {
        let mut waiting = self.waiting.lock();
        while waiting.events.is_empty() && !waiting.closed {
            waiting = self.filled.wait(waiting);
        }
        let closed = waiting.closed;
        std::mem::replace(
            &mut waiting,
            Waiting {
                closed,
                ..Waiting::default()
            },
        )
    }

    /// Lets the thread end when it has reported what waits.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.filled.notify_all();
    }
}

/// What a node's reporting thread waits on.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct EvictionQueue(pub(crate) Arc<Evictions>);

/// (group, key, reason) of each eviction.
type Reported = Vec<(u64, String, &'static str)>;

#[pymethods]
impl EvictionQueue {
    /// The next evictions, and how many more were dropped; None when the node
    /// is closed. Waits detached from the interpreter.
    fn next(&self, py: Python<'_>) -> Option<(Reported, u64)> {
        let taken = wait::away(py, || self.0.take());
        if taken.events.is_empty() {
            return None;
        }
        let named = |(group, key, reason)| (group, key, reason_name(reason));
        Some((taken.events.into_iter().map(named).collect(), taken.lost))
    }
}

fn reason_name(reason: EvictReason) -> &'static str {
    match reason {
        EvictReason::Capacity => "capacity",
        EvictReason::Expired => "expired",
        EvictReason::Replaced => "replaced",
        EvictReason::Deleted => "deleted",
        EvictReason::Cleared => "cleared",
        EvictReason::Moved => "moved",
    }
}
