//! Calls on threads that end: in atexit handlers, in destructors of static and
//! thread-local objects, in pthread key destructors. This library's thread-local
//! storage, and the runtime's, may be destroyed there before the call is made.
//!
//! Invariant: after [`locals_are_gone`] has said so for a thread, no code that
//! needs thread-local storage runs on it. `guard` asks at every export.

use std::cell::Cell;
use std::thread::Builder;

use kamacache_core::{Error, Result, blocking};

use crate::{error, signals};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Locals {
    Unseen,
    Alive,
    Gone,
}

/// Notes the end of its thread's storage. Storage is destroyed in the reverse of
/// the order of its first use: [`meet`] uses all other of this library first, so
/// this one is destroyed before any of it. A destructor of the program's that runs
/// earlier finds all of it alive; one that runs later finds `Gone`.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        LOCALS.set(Locals::Gone);
    }
}

thread_local! {
    /// Has no destructor: it can be read as long as the thread runs.
    static LOCALS: Cell<Locals> = const { Cell::new(Locals::Unseen) };
    static END: End = const { End };
}

/// Whether this thread's storage was destroyed.
#[inline]
pub(crate) fn locals_are_gone() -> bool {
    match LOCALS.get() {
        Locals::Alive => false,
        Locals::Gone => true,
        Locals::Unseen => meet(),
    }
}

/// The first export on this thread.
#[cold]
fn meet() -> bool {
    let alive = blocking::has_locals() && error::has_locals();
    if alive && END.try_with(|_| LOCALS.set(Locals::Alive)).is_ok() {
        return false;
    }
    LOCALS.set(Locals::Gone);
    true
}

/// Carries what the caller of an export gave, and what the export returns, to
/// another thread and back.
struct Carried<T>(T);

// SAFETY: used by `on_another_thread` alone, whose caller waits: what is carried is
// never used by two threads at a time, and the header demands of the caller that
// its pointers may be used by any thread.
unsafe impl<T> Send for Carried<T> {}

impl<T> Carried<T> {
    fn into_inner(self) -> T {
        self.0
    }
}

/// Runs `body` on a thread of its own and waits for it.
///
/// # Errors
/// Internal when no thread can be started; what `body` returns.
pub(crate) fn on_another_thread<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    let body = Carried(body);
    let run = move || Carried(body.into_inner()());
    let thread = Builder::new().name("kamacache-ending".into());
    // SAFETY: the thread is joined before this function returns, so it outlives nothing that `body` borrows.
    let started = signals::blocked(|| unsafe { thread.spawn_unchecked(run) });
    let thread = started.map_err(|error| {
        Error::internal(format!(
            "this thread is ending, and no other can be started for its call: {error}"
        ))
    })?;
    match thread.join() {
        Ok(result) => result.into_inner(),
        Err(_) => Err(Error::internal("the thread of this call panicked")),
    }
}
