//! Library threads take no signal (S46): they are started with every signal
//! blocked, and threads inherit that. SIGPIPE of a broken peer then stays
//! pending on the library's thread and never ends the program. Faults stay open,
//! so that a crash reporter or sanitizer sees them.

use std::mem::MaybeUninit;
use std::ptr;

/// Raised by the thread's own instructions, not sent to it.
const FAULTS: [libc::c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
];

/// Runs `start`, which starts threads, with every signal blocked on this thread.
pub(crate) fn blocked<T>(start: impl FnOnce() -> T) -> T {
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the set was filled by pthread_sigmask.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
        }
    }
    let mut every = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset fills `every`, sigdelset takes known signals out; with valid arguments pthread_sigmask fills `before`.
    let _restore = unsafe {
        libc::sigfillset(every.as_mut_ptr());
        for fault in FAULTS {
            libc::sigdelset(every.as_mut_ptr(), fault);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, every.as_ptr(), before.as_mut_ptr());
        Restore(before.assume_init())
    };
    start()
}
