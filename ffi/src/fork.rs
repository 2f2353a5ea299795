//! The child of a fork (S44). Its copies of the parent's nodes have no threads, so
//! every call on them would hang: it gets Forked instead. Locks that the parent's
//! threads held at the fork stay locked for ever: the child starts with tables of
//! its own. The parent's port and connections are closed in the child.
//!
//! Invariant: the handler that runs in the child takes no lock and no memory.

use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use kamacache_core::{Error, ErrorKind, Result, sockets};

use crate::{loads, log, ops};

static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    ops::forked();
    loads::forked();
    log::forked();
    sockets::give_up(|fd| {
        // SAFETY: a socket of the parent's nodes, which nothing uses or closes in the child; close may
        // be called between fork and exec.
        unsafe { libc::close(fd) };
    });
}

/// Which process, counted from the first one that opened a node, this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// This process; from now on its children are told apart.
    pub(crate) fn current() -> Self {
        static WATCH: Once = Once::new();
        // SAFETY: the handler touches atomics and closes descriptors, which is safe after fork.
        WATCH.call_once(|| unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        });
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this code runs in a child of that process.
    #[inline]
    pub(crate) fn is_gone(self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.0
    }

    /// Refuses what belongs to a parent.
    #[inline]
    pub(crate) fn check(self) -> Result<()> {
        if self.is_gone() {
            return Err(forked());
        }
        Ok(())
    }
}

/// What everything that belongs to a parent answers with.
#[cold]
pub(crate) fn forked() -> Error {
    Error::new(
        ErrorKind::Forked,
        "this process inherited the node by fork, without its threads: open nodes after forking",
    )
}

/// A table with locks in it, one for each process. It is made at its first use and
/// never freed.
pub(crate) struct PerProcess<T: 'static>(AtomicPtr<T>);

impl<T: Default + Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn get(&self) -> &'static T {
        let made = self.0.load(Ordering::Acquire);
        let table = if made.is_null() { self.make() } else { made };
        // SAFETY: not NULL, so it came from `make`; it is never freed.
        unsafe { &*table }
    }

    #[cold]
    fn make(&self) -> *mut T {
        let fresh = Box::into_raw(Box::<T>::default());
        let won =
            self.0
                .compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
        match won {
            Ok(_) => fresh,
            Err(first) => {
                // SAFETY: made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                first
            }
        }
    }

    /// In a child: the parent's table stays as it is, whoever held its locks.
    pub(crate) fn abandon(&self) {
        self.0.store(ptr::null_mut(), Ordering::Release);
    }
}
