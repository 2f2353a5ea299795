//! Signals belong to the program: library threads take none (S46). A thread
//! inherits the mask of the one that spawns it, so the runtime is started with
//! every signal blocked.

/// Runs `start` with all signals blocked on this thread, then restores its mask.
#[cfg(unix)]
pub(crate) fn blocked<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are initialised by the calls before they are read, and
    // the functions touch nothing but them and this thread's mask.
    let previous = unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        let mut previous = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut previous);
        previous
    };
    let answer = start();
    // SAFETY: `previous` was filled by the call above.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const previous, std::ptr::null_mut());
    }
    answer
}

/// Elsewhere signals do not choose threads.
#[cfg(not(unix))]
pub(crate) fn blocked<T>(start: impl FnOnce() -> T) -> T {
    start()
}
