//! Telling of entries that have left this node's memory.
//!
//! Invariants: on the callback thread, never where the eviction happens; what
//! waits to be told is bounded, since a slow callback must neither stop the
//! cache nor fill the memory.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kamacache_core::{EvictHook, EvictReason, Value};

use crate::getter::{Callbacks, terminated};
use crate::guard::{Callback, callback};
use crate::lane::Lane;
use crate::value::kamacache_value;

/// Why an entry left.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kamacache_evict_reason {
    /// The budget was full.
    KAMACACHE_EVICT_CAPACITY = 1,
    /// Its ttl was over.
    KAMACACHE_EVICT_EXPIRED = 2,
    /// A newer value took its place.
    KAMACACHE_EVICT_REPLACED = 3,
    /// It was deleted.
    KAMACACHE_EVICT_DELETED = 4,
    /// The group was cleared.
    KAMACACHE_EVICT_CLEARED = 5,
    /// Another member owns the key now.
    KAMACACHE_EVICT_MOVED = 6,
}

pub use kamacache_evict_reason::*;

const fn reason_of(reason: EvictReason) -> i32 {
    (match reason {
        EvictReason::Capacity => KAMACACHE_EVICT_CAPACITY,
        EvictReason::Expired => KAMACACHE_EVICT_EXPIRED,
        EvictReason::Replaced => KAMACACHE_EVICT_REPLACED,
        EvictReason::Deleted => KAMACACHE_EVICT_DELETED,
        EvictReason::Cleared => KAMACACHE_EVICT_CLEARED,
        EvictReason::Moved => KAMACACHE_EVICT_MOVED,
    }) as i32
}

/// Told of an entry that has left this node's memory, in the order of the evictions. While
/// it is so slow that entries of twice the group's max_bytes wait for it, further ones are
/// not told; a warning to the logger says how many.
///
/// @param user_data the group's
/// @param key the key, also NUL-terminated; borrowed for the call; never NULL
/// @param key_len its length without the NUL
/// @param value what it held; borrowed for the call, so retain it to keep it; never NULL
/// @param reason KAMACACHE_EVICT_*; more may come
/// @par Threads
/// The callback thread; it must not block on this library.
pub type kamacache_evict_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        key: *const c_char,
        key_len: usize,
        value: *mut kamacache_value,
        reason: i32,
    ),
>;

/// What an eviction that waits takes beside its key and value.
const NOTICE_BYTES: usize = 128;

/// The evictions of one group that wait to be told.
struct Backlog {
    group: String,
    bytes: AtomicU64,
    most: u64,
    lost: AtomicU64,
}

impl Backlog {
    /// Makes room for one more; None when there is none.
    fn admit(self: &Arc<Self>, bytes: usize) -> Option<Waiting> {
        let bytes = bytes as u64;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let waiting = Waiting {
            backlog: self.clone(),
            bytes,
        };
        if before.saturating_add(bytes) <= self.most {
            return Some(waiting);
        }
        if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(group = %self.group, "on_evict is slower than the evictions: some are not told");
        }
        None
    }
}

/// An eviction's share of the backlog.
struct Waiting {
    backlog: Arc<Backlog>,
    bytes: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let backlog = &self.backlog;
        let drained = backlog.bytes.fetch_sub(self.bytes, Ordering::Relaxed) == self.bytes;
        if !drained {
            return;
        }
        let lost = backlog.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(group = %backlog.group, lost, "evictions were not told: on_evict was too slow");
        }
    }
}

/// The core's hook for a group: queues what left for the callback thread. A whole
/// budget that is cleared at once has room, beside as much that waits already.
pub(crate) fn hook(
    group: &str,
    max_bytes: u64,
    lane: &Arc<Lane>,
    callbacks: &Arc<Callbacks>,
) -> EvictHook {
    let (lane, callbacks) = (lane.clone(), callbacks.clone());
    let backlog = Arc::new(Backlog {
        group: group.to_owned(),
        bytes: AtomicU64::new(0),
        most: max_bytes.saturating_mul(2),
        lost: AtomicU64::new(0),
    });
    Arc::new(move |key, value, reason| {
        let Some(waiting) = backlog.admit(key.len() + value.len() + NOTICE_BYTES) else {
            return;
        };
        let (key, value, callbacks) = (terminated(key), value.clone(), callbacks.clone());
        lane.notice(Box::new(move || {
            let _waiting = waiting;
            callbacks.evicted(&key, value, reason);
        }));
    })
}

impl Callbacks {
    /// Tells of an entry that left.
    pub(crate) fn evicted(&self, key: &[u8], value: Value, reason: EvictReason) {
        let (Some(user), Some(evict)) = (self.user(), self.evict) else {
            return;
        };
        let value = kamacache_value::lend(value);
        // SAFETY: the user's own function and data; `key` ends with a NUL, the value was made above.
        callback(Callback::Notice, || unsafe {
            evict(
                user.data,
                key.as_ptr().cast(),
                key.len() - 1,
                value,
                reason_of(reason),
            );
            kamacache_value::end(value);
        });
    }
}
