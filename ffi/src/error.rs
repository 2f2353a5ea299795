//! Statuses and the optional detail that goes with one.
//!
//! Invariant: every `ErrorKind` has exactly one status, by a match without a
//! wildcard; a `kamacache_error` is owned by C and says the same as the status.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::ptr;

use kamacache_core::{Error, ErrorKind};

use crate::guard;

/// The outcome of a call: KAMACACHE_OK or one of the codes. Codes are only ever
/// added, so a program must expect ones it does not know.
pub type kamacache_status = i32;

/// The statuses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kamacache_status_code {
    /// Done.
    KAMACACHE_OK = 0,
    /// An argument or option breaks a rule; the message names it and the rule.
    KAMACACHE_INVALID_ARGUMENT = 1,
    /// There is no such value; not a failure.
    KAMACACHE_NOT_FOUND = 2,
    /// The getter failed; see kamacache_error_message and kamacache_error_app_code.
    KAMACACHE_GETTER_FAILED = 3,
    /// The call's time is over. A load it waited for goes on and fills the cache.
    KAMACACHE_DEADLINE_EXCEEDED = 4,
    /// The call was cancelled, or a load's token was answered before or given up.
    KAMACACHE_CANCELLED = 5,
    /// The node is closed.
    KAMACACHE_CLOSED = 6,
    /// The key's owner cannot be reached, or the members disagree about it.
    KAMACACHE_UNAVAILABLE = 7,
    /// Too many loads wait already.
    KAMACACHE_OVERLOADED = 8,
    /// A getter asked for the very key it is loading.
    KAMACACHE_REENTRANT_LOAD = 9,
    /// The node has a group of this name already.
    KAMACACHE_ALREADY_EXISTS = 10,
    /// A value is over its limit, or a buffer is too small.
    KAMACACHE_TOO_LARGE = 11,
    /// No group of this name, here or at the key's owner.
    KAMACACHE_UNKNOWN_GROUP = 12,
    /// A blocking call from a callback that must not block.
    KAMACACHE_WOULD_DEADLOCK = 13,
    /// This process inherited the node by fork; open one of its own.
    KAMACACHE_FORKED = 14,
    /// A getter or the library panicked.
    KAMACACHE_PANICKED = 15,
    /// A peer asks for credentials that this node does not have.
    KAMACACHE_UNAUTHENTICATED = 16,
    /// A fault of the library; please report it.
    KAMACACHE_INTERNAL = 17,
}

pub use kamacache_status_code::*;

/// Success, as every export returns it.
pub(crate) const OK: kamacache_status = KAMACACHE_OK as kamacache_status;

/// The status of an error kind.
pub(crate) const fn status_of(kind: ErrorKind) -> kamacache_status {
    (match kind {
        ErrorKind::InvalidArgument => KAMACACHE_INVALID_ARGUMENT,
        ErrorKind::NotFound => KAMACACHE_NOT_FOUND,
        ErrorKind::GetterFailed => KAMACACHE_GETTER_FAILED,
        ErrorKind::DeadlineExceeded => KAMACACHE_DEADLINE_EXCEEDED,
        ErrorKind::Cancelled => KAMACACHE_CANCELLED,
        ErrorKind::Closed => KAMACACHE_CLOSED,
        ErrorKind::Unavailable => KAMACACHE_UNAVAILABLE,
        ErrorKind::Overloaded => KAMACACHE_OVERLOADED,
        ErrorKind::ReentrantLoad => KAMACACHE_REENTRANT_LOAD,
        ErrorKind::AlreadyExists => KAMACACHE_ALREADY_EXISTS,
        ErrorKind::TooLarge => KAMACACHE_TOO_LARGE,
        ErrorKind::UnknownGroup => KAMACACHE_UNKNOWN_GROUP,
        ErrorKind::WouldDeadlock => KAMACACHE_WOULD_DEADLOCK,
        ErrorKind::Forked => KAMACACHE_FORKED,
        ErrorKind::Panicked => KAMACACHE_PANICKED,
        ErrorKind::Unauthenticated => KAMACACHE_UNAUTHENTICATED,
        ErrorKind::Internal => KAMACACHE_INTERNAL,
    }) as kamacache_status
}

const fn name_of(kind: ErrorKind) -> &'static CStr {
    match kind {
        ErrorKind::InvalidArgument => c"INVALID_ARGUMENT",
        ErrorKind::NotFound => c"NOT_FOUND",
        ErrorKind::GetterFailed => c"GETTER_FAILED",
        ErrorKind::DeadlineExceeded => c"DEADLINE_EXCEEDED",
        ErrorKind::Cancelled => c"CANCELLED",
        ErrorKind::Closed => c"CLOSED",
        ErrorKind::Unavailable => c"UNAVAILABLE",
        ErrorKind::Overloaded => c"OVERLOADED",
        ErrorKind::ReentrantLoad => c"REENTRANT_LOAD",
        ErrorKind::AlreadyExists => c"ALREADY_EXISTS",
        ErrorKind::TooLarge => c"TOO_LARGE",
        ErrorKind::UnknownGroup => c"UNKNOWN_GROUP",
        ErrorKind::WouldDeadlock => c"WOULD_DEADLOCK",
        ErrorKind::Forked => c"FORKED",
        ErrorKind::Panicked => c"PANICKED",
        ErrorKind::Unauthenticated => c"UNAUTHENTICATED",
        ErrorKind::Internal => c"INTERNAL",
    }
}

/// The detail of a failed call, owned by the caller. Read it from any thread.
pub struct kamacache_error {
    status: kamacache_status,
    message: CString,
    app_code: i64,
}

impl kamacache_error {
    /// Gives C an error of its own.
    pub(crate) fn lend(error: &Error) -> *mut Self {
        Box::into_raw(Box::new(Self::of(error)))
    }

    fn of(error: &Error) -> Self {
        // A NUL would end the message early: a getter's text may hold one.
        let message = CString::new(error.message().replace('\0', "\u{fffd}")).unwrap_or_default();
        Self {
            status: status_of(error.kind()),
            message,
            app_code: error.app_code().unwrap_or(0),
        }
    }
}

/// The status of an error, the same that the call returned.
///
/// @param error the error; it stays the caller's; NULL is no error
/// @return the status; KAMACACHE_OK for NULL
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `error` is NULL or an error not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_error_code(error: *const kamacache_error) -> kamacache_status {
    guard::leaf(OK, || {
        // SAFETY: NULL becomes None; else alive by this function's contract.
        unsafe { error.as_ref() }.map_or(OK, |error| error.status)
    })
}

/// What went wrong, with the value, the rule and the way out.
///
/// @param error the error; may be NULL
/// @return UTF-8, NUL-terminated, owned by the error and valid until it is freed; "" for
///   NULL
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `error` is NULL or an error not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_error_message(error: *const kamacache_error) -> *const c_char {
    guard::leaf(c"".as_ptr(), || {
        // SAFETY: NULL becomes None; else alive by this function's contract.
        unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
    })
}

/// The code that a getter gave to kamacache_load_fail, whichever node it ran on.
///
/// @param error the error; may be NULL
/// @return the code; 0 when there is none, and for NULL
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `error` is NULL or an error not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_error_app_code(error: *const kamacache_error) -> i64 {
    guard::leaf(0, || {
        // SAFETY: NULL becomes None; else alive by this function's contract.
        unsafe { error.as_ref() }.map_or(0, |error| error.app_code)
    })
}

/// Frees an error and its message.
///
/// @param error the error, given up by the caller; NULL is fine
/// @par Threads
/// Any thread, while no other thread uses this error; never blocks.
///
/// # Safety
/// `error` is NULL or an error not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_error_free(error: *mut kamacache_error) {
    guard::leaf((), || {
        if !error.is_null() {
            // SAFETY: it came from Box::into_raw and the caller gives it up.
            drop(unsafe { Box::from_raw(error) });
        }
    });
}

thread_local! {
    /// Of the last call that failed and reports by its status alone.
    static LAST: RefCell<Option<kamacache_error>> = const { RefCell::new(None) };
}

/// Uses this module's thread-local storage; false: it is destroyed.
pub(crate) fn has_locals() -> bool {
    LAST.try_with(|_| ()).is_ok()
}

/// Keeps the detail of a call that has no err.
pub(crate) fn keep(error: &Error) {
    // A thread whose storage is gone has no detail to ask for.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some(kamacache_error::of(error)));
}

/// The detail of the last call on this thread that failed and takes no err:
/// kamacache_node_owner, kamacache_node_address, kamacache_load_complete and their like.
/// KAMACACHE_NOT_FOUND of a peek is no failure.
///
/// @return the error, owned by the library and valid until the next such failure on this
///   thread; NULL when there was none; not to be freed
/// @par Threads
/// The thread that made the call; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kamacache_last_error() -> *const kamacache_error {
    guard::leaf(ptr::null(), || {
        let last = LAST.try_with(|last| last.borrow().as_ref().map_or(ptr::null(), ptr::from_ref));
        last.unwrap_or(ptr::null())
    })
}

/// The name of a status: "NOT_FOUND" for KAMACACHE_NOT_FOUND.
///
/// @param status any number
/// @return a text of the library's, never NULL and never freed; "UNKNOWN" for a number that
///   is no status
/// @par Threads
/// Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kamacache_status_name(status: kamacache_status) -> *const c_char {
    guard::leaf(c"UNKNOWN".as_ptr(), || {
        let name = match status {
            OK => c"OK",
            status => ErrorKind::from_code(status).map_or(c"UNKNOWN", name_of),
        };
        name.as_ptr()
    })
}

/// The version of the library in use, "0.1.0"; compare it with the header's
/// KAMACACHE_VERSION_MAJOR, _MINOR and _PATCH.
///
/// @return a text of the library's, never NULL and never freed
/// @par Threads
/// Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kamacache_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The version of the library in use as one number that grows; compare it with the header's
/// KAMACACHE_VERSION_NUMBER.
///
/// @return major * 1,000,000 + minor * 1,000 + patch: 1000 for 0.1.0
/// @par Threads
/// Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kamacache_version_number() -> u32 {
    const fn number(text: &str) -> u32 {
        let (bytes, mut i, mut n) = (text.as_bytes(), 0, 0);
        while i < bytes.len() {
            n = n * 10 + (bytes[i] - b'0') as u32;
            i += 1;
        }
        n
    }
    const NUMBER: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
        + number(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
        + number(env!("CARGO_PKG_VERSION_PATCH"));
    NUMBER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s03_statuses_and_names_are_the_kinds_codes_and_names() {
        for kind in ErrorKind::ALL {
            assert_eq!(status_of(kind), kind.code());
            assert_eq!(name_of(kind).to_str(), Ok(kind.name()));
        }
    }

    #[test]
    fn a_message_with_a_nul_stays_whole() {
        let error = kamacache_error::lend(&Error::getter("disk\0on fire"));
        // SAFETY: made above, freed below.
        let message = unsafe { CStr::from_ptr(kamacache_error_message(error)) };
        assert_eq!(message.to_str(), Ok("disk\u{fffd}on fire"));
        // SAFETY: made above, used no more.
        unsafe { kamacache_error_free(error) };
    }
}
