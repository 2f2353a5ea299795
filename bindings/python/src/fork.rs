//! Fork: a child process inherits the memory of a node but none of its threads.
//! A handler of `pthread_atfork` counts the fork and closes the sockets of the
//! parent's nodes; everything that came from a node sits in an [`OfProcess`],
//! which refuses to be used in a child and is never dropped there (its locks may
//! be held by threads that are gone).

use std::mem::ManuallyDrop;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use kamacache_core::{Error, ErrorKind, Result};

/// How many forks lie between this process and the first that loaded the module.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Starts counting forks; called when the module is loaded.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(unix)]
        // SAFETY: the handler is a plain function that touches atomics and closes
        // descriptors, which is allowed between fork and exec. It fails only when out of memory;
        // then forks go unseen, which is no worse than not watching.
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
    });
}

#[cfg(unix)]
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    // Else the parent's port stays taken while the child lives.
    kamacache_core::sockets::give_up(|fd| {
        // SAFETY: a socket of the parent's nodes, which nothing uses or closes in the child; close is
        // allowed between fork and exec.
        unsafe { libc::close(fd) };
    });
}

/// A value that works only in the process that made it.
pub(crate) struct OfProcess<T> {
    value: ManuallyDrop<T>,
    forks: u32,
}

impl<T> OfProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: ManuallyDrop::new(value),
            forks: FORKS.load(Ordering::Relaxed),
        }
    }

    /// The value.
    ///
    /// # Errors
    /// Forked, in a child of the process that made it.
    pub(crate) fn get(&self) -> Result<&T> {
        if self.is_inherited() {
            return Err(Error::new(
                ErrorKind::Forked,
                "the node was started before this process was forked; start a new node in the child",
            ));
        }
        Ok(&self.value)
    }

    fn is_inherited(&self) -> bool {
        self.forks != FORKS.load(Ordering::Relaxed)
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if !self.is_inherited() {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}
