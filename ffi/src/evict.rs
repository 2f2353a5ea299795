//! Telling of entries that have left this node's memory.
//!
//! Invariant: on the callback thread, never where the eviction happens.

use std::ffi::{c_char, c_void};

use kamacache_core::{EvictReason, Value};

use crate::getter::Callbacks;
use crate::guard::{Callback, callback};
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

/// Told of an entry that has left this node's memory, and why:
/// KAMACACHE_EVICT_*. key (also NUL-terminated) and value are borrowed for the
/// call; retain the value to keep it. It runs on the callback thread, in the
/// order of the evictions; it must not block on this library.
pub type kamacache_evict_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        key: *const c_char,
        key_len: usize,
        value: *mut kamacache_value,
        reason: i32,
    ),
>;

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
