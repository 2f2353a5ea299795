//! A child that inherited a node is told so (S44): its copy of the node has no
//! threads, so every call on it would hang.
//!
//! Invariant: the handler that runs in the child only adds to a counter.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use kamacache_core::{Error, ErrorKind, Result};

static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Which process, counted from the first one that opened a node, this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// This process; from now on its children are told apart.
    pub(crate) fn current() -> Self {
        static WATCH: Once = Once::new();
        // SAFETY: the handler touches one atomic, which is safe after fork.
        WATCH.call_once(|| unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        });
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this code runs in a child of that process.
    pub(crate) fn is_gone(self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.0
    }

    /// Refuses what belongs to a parent.
    pub(crate) fn check(self) -> Result<()> {
        if self.is_gone() {
            return Err(Error::new(
                ErrorKind::Forked,
                "this process inherited the node by fork, without its threads: open nodes after forking",
            ));
        }
        Ok(())
    }
}
