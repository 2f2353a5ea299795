//! Values in C's hands: immutable bytes behind a reference count of their own.
//!
//! Invariant: a `kamacache_value *` owns one count; the bytes it shows never
//! move or change while any count is held, whatever happens to node and group.

use std::ptr;
use std::sync::Arc;

use kamacache_core::Value;

use crate::guard;

/// An immutable, refcounted view of a cached value. Any thread may use it; it
/// outlives the group and the node it came from.
pub struct kamacache_value {
    bytes: Value,
}

/// What the header promises; memory of the C library's malloc is aligned so.
const ALIGN: usize = 16;

impl kamacache_value {
    /// Gives C one count of `bytes`.
    pub(crate) fn lend(bytes: Value) -> *mut Self {
        // A large value of the store is aligned: only small ones, and what has
        // just arrived from another node, are copied.
        let bytes = if bytes.as_ptr().addr().is_multiple_of(ALIGN) {
            bytes
        } else {
            Value::from(&bytes[..])
        };
        Arc::into_raw(Arc::new(Self { bytes })).cast_mut()
    }

    /// Takes one count of a value back.
    ///
    /// # Safety
    /// `value` came from [`Self::lend`], and the caller gives up a count it holds.
    pub(crate) unsafe fn end(value: *const Self) {
        // SAFETY: forwarded contract.
        drop(unsafe { Arc::from_raw(value) });
    }
}

/// The bytes of a value. They never change, and the first one lies at a multiple of 16, so
/// that numbers and vectors can be read in place.
///
/// @param value the value; may be NULL
/// @return the first byte, valid until the value's last release; never NULL for a value,
///   also when it is empty; NULL for NULL
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `value` is NULL or a value not yet released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_value_data(value: *const kamacache_value) -> *const u8 {
    #[repr(align(16))]
    struct Aligned(u8);
    static EMPTY: Aligned = Aligned(0);
    guard::leaf(ptr::null(), || {
        // SAFETY: NULL becomes None; else alive by this function's contract.
        match unsafe { value.as_ref() } {
            None => ptr::null(),
            Some(value) if value.bytes.is_empty() => &raw const EMPTY.0,
            Some(value) => value.bytes.as_ptr(),
        }
    })
}

/// The length of a value.
///
/// @param value the value; may be NULL
/// @return how many bytes; 0 for NULL
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `value` is NULL or a value not yet released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_value_len(value: *const kamacache_value) -> usize {
    guard::leaf(0, || {
        // SAFETY: NULL becomes None; else alive by this function's contract.
        unsafe { value.as_ref() }.map_or(0, |value| value.bytes.len())
    })
}

/// Takes one more count of a value; each count needs a kamacache_value_release of its own.
///
/// @param value the value; may be NULL
/// @return the same pointer; NULL for NULL
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `value` is NULL or a value not yet released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_value_retain(
    value: *mut kamacache_value,
) -> *mut kamacache_value {
    guard::leaf(ptr::null_mut(), || {
        if !value.is_null() {
            // SAFETY: it came from Arc::into_raw and a count is held by the caller.
            unsafe { Arc::increment_strong_count(value) };
        }
        value
    })
}

/// Gives one count of a value back; the last one frees it.
///
/// @param value the value, one count of which the caller gives up; NULL is fine
/// @par Threads
/// Any thread; never blocks, but the last release of a value that came from
/// kamacache_load_complete_owned runs its free function.
///
/// # Safety
/// `value` is NULL or a value not yet released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_value_release(value: *mut kamacache_value) {
    guard::plain((), || {
        if !value.is_null() {
            // SAFETY: it came from `lend` and the caller gives up a count it holds.
            unsafe { kamacache_value::end(value) };
        }
    });
}
