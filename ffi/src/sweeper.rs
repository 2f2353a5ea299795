//! Takes back loads that C will not answer: their getter has returned, and they
//! were given up at load_timeout. Until then they hold a permit of their group.
//!
//! Invariant: it runs only while a node has such loads; it is a task of the
//! node's runtime and ends with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::loads;

const EVERY: Duration = Duration::from_millis(100);

/// One for each node.
pub(crate) struct Sweeper {
    runtime: Handle,
    node: u64,
    running: AtomicBool,
}

impl Sweeper {
    pub(crate) fn new(runtime: Handle, node: u64) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            node,
            running: AtomicBool::new(false),
        })
    }

    /// A load of the node was left unanswered.
    pub(crate) fn wake(self: &Arc<Self>) {
        if !self.running.swap(true, Ordering::AcqRel) {
            let sweeper = self.clone();
            self.runtime.spawn(async move { sweeper.sweep().await });
        }
    }

    async fn sweep(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            if loads::reclaim(self.node) {
                continue;
            }
            self.running.store(false, Ordering::Release);
            // A load may have been left since the look, by somebody who saw this running.
            if !loads::reclaim(self.node) || self.running.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }
}
