//! Pointers of the user's that come with a function that frees them.
//!
//! Invariant: the function is called exactly once, when the last holder lets go.

use std::ffi::c_void;

use crate::guard::{Callback, callback};

/// Frees what user_data points to. Called exactly once.
///
/// @param user_data what was handed over with this function; NULL when that was NULL
/// @par Threads
/// Any thread; it must not block on this library.
pub type kamacache_free_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// A pointer of the user's that the user's function frees, once.
pub(crate) struct Owned {
    pub(crate) data: *mut c_void,
    free: kamacache_free_fn,
}

// SAFETY: the header demands callbacks and user data that any thread may use.
unsafe impl Send for Owned {}
// SAFETY: as above; this library never looks behind the pointer.
unsafe impl Sync for Owned {}

impl Owned {
    pub(crate) fn new(data: *mut c_void, free: kamacache_free_fn) -> Self {
        Self { data, free }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the user's own pair; only this drop calls it.
            callback(Callback::Notice, || unsafe { free(self.data) });
        }
    }
}
