//! The boundary every export runs in: panics become `KAMACACHE_PANICKED`,
//! errors become a status and a `kamacache_error`, for `err` or for
//! `kamacache_last_error`.
//!
//! Invariants: nothing unwinds into C, and the caller's out-pointers are NULL
//! from the first moment until the call has succeeded. A body runs where
//! thread-local storage is alive: on the calling thread, or, when that thread is
//! ending and its storage is gone, on a thread that the caller waits for.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use kamacache_core::{Error, ErrorKind, Result};

use crate::error::{kamacache_error, kamacache_status, keep, status_of};
use crate::{ending, log};

/// Runs the body of an export that reports through `err`.
///
/// # Safety
/// `err` is NULL or points to a writable pointer.
pub(crate) unsafe fn boundary(
    err: *mut *mut kamacache_error,
    body: impl FnOnce() -> Result<kamacache_status>,
) -> kamacache_status {
    if !err.is_null() {
        // SAFETY: not NULL, and writable by this function's contract.
        unsafe { err.write(ptr::null_mut()) };
    }
    match caught(body) {
        Ok(status) => status,
        Err(error) => {
            let status = status_of(error.kind());
            if !err.is_null() {
                // SAFETY: as above.
                unsafe { err.write(kamacache_error::lend(&error)) };
            }
            status
        }
    }
}

/// Runs the body of an export that reports by its status alone.
#[inline]
pub(crate) fn status(body: impl FnOnce() -> Result<kamacache_status>) -> kamacache_status {
    caught(body).unwrap_or_else(|error| {
        keep(&error);
        status_of(error.kind())
    })
}

/// Runs the body of an export that cannot fail; `fallback` answers for a panic.
pub(crate) fn plain<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    caught(|| Ok(body())).unwrap_or(fallback)
}

/// Runs the body of an export that touches nothing but its argument, so that it
/// works on every thread.
#[inline]
pub(crate) fn leaf<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

#[inline]
fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    log::hear_panics();
    if ending::locals_are_gone() {
        let inside = INSIDE.get();
        return ending::on_another_thread(|| {
            INSIDE.set(inside);
            here(body)
        });
    }
    here(body)
}

/// Runs `body`; a panic becomes an error.
#[inline]
pub(crate) fn here<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(
        ErrorKind::Panicked,
        format!("kamacache panicked: {text}; please report it"),
    )
}

/// A caller's `T **out`: NULL until [`Out::put`].
pub(crate) struct Out<T>(*mut *mut T);

impl<T> Out<T> {
    /// Clears the slot at once.
    ///
    /// # Safety
    /// `slot` is NULL or points to a writable pointer that outlives the call.
    pub(crate) unsafe fn new(slot: *mut *mut T) -> Self {
        if !slot.is_null() {
            // SAFETY: not NULL, and writable by this function's contract.
            unsafe { slot.write(ptr::null_mut()) };
        }
        Self(slot)
    }

    /// Refuses a NULL slot, before any work is done.
    pub(crate) fn wanted(self) -> Result<Self> {
        if self.0.is_null() {
            return Err(Error::invalid_argument(
                "out is NULL: pass the address of a pointer",
            ));
        }
        Ok(self)
    }

    /// Hands the result over.
    pub(crate) fn put(self, made: *mut T) {
        // SAFETY: `new` promised a writable slot and `wanted` refused NULL.
        unsafe { self.0.write(made) };
    }
}

thread_local! {
    /// How many C callbacks this thread is inside of, and how many of them may not block.
    static INSIDE: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// What a C callback may do while it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callback {
    /// A getter: it may make blocking calls on other keys.
    Getter,
    /// Everything else: it must not block.
    Notice,
}

/// Runs a C callback with the thread marked as inside of it.
pub(crate) fn callback<T>(kind: Callback, call: impl FnOnce() -> T) -> T {
    struct Leave((u32, u32));
    impl Drop for Leave {
        fn drop(&mut self) {
            INSIDE.set(self.0);
        }
    }
    let before = INSIDE.get();
    let _leave = Leave(before);
    INSIDE.set((before.0 + 1, before.1 + u32::from(kind == Callback::Notice)));
    call()
}

/// Whether this thread is inside any C callback.
pub(crate) fn in_callback() -> bool {
    INSIDE.get().0 > 0
}

/// Refuses a blocking call from a callback that must not block.
pub(crate) fn may_block(what: &str) -> Result<()> {
    if INSIDE.get().1 == 0 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::WouldDeadlock,
        format!(
            "{what} blocks, and this is a callback of kamacache, which must not: call it from a thread of your own"
        ),
    ))
}
