//! What a node's handle and its groups' handles share: the node, its groups, its
//! callback thread; and the order of a close.
//!
//! Invariant: after a close has returned OK no callback of the node runs or
//! starts, and every group's user data is freed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kamacache_core::sync::Mutex;
use kamacache_core::{Error, ErrorKind, Result, blocking};

use crate::fork::Process;
use crate::getter::{Adapter, Callbacks};
use crate::guard;
use crate::lane::Lane;
use crate::opened::Opened;
use crate::options::kamacache_group_options;
use crate::owned::Owned;
use crate::sweeper::Sweeper;
use crate::{evict, loads, signals};

/// Completions that were under way when the node was closed may take this long,
/// whatever the drain.
const CALLBACKS_RETURN: Duration = Duration::from_secs(1);

/// The longest drain: KAMACACHE_FOREVER.
const LONGEST: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// What a node's handle and its groups' handles share.
pub(crate) struct Shared {
    pub(crate) node: blocking::Node,
    id: u64,
    process: Process,
    groups: Mutex<HashMap<String, Arc<Opened>>>,
    /// Where completions without a queue run.
    pub(crate) lane: Arc<Lane>,
    sweeper: Arc<Sweeper>,
    /// A close has begun. The node knows it too, but behind a lock that a hit
    /// should not take.
    closed: AtomicBool,
}

impl Shared {
    pub(crate) fn open(options: kamacache_core::NodeOptions) -> Result<Self> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let process = Process::current();
        // Signals are blocked while threads start, not while the node opens: that may take long.
        let node = signals::blocked(|| blocking::Threads::start(options))?.open()?;
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            closed: AtomicBool::new(false),
            sweeper: Sweeper::new(node.handle().clone(), id),
            node,
            id,
            process,
            groups: Mutex::default(),
            lane: Lane::thread(),
        })
    }

    /// Refuses calls in a child of the process, and after close.
    #[inline]
    pub(crate) fn usable(&self) -> Result<&blocking::Node> {
        self.process.check()?;
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::closed());
        }
        Ok(&self.node)
    }

    /// Refuses calls in a child of the process.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.process.check()
    }

    /// A child's copy: its runtime's threads do not exist here, so ending it
    /// could wait for them; it is left as it is.
    pub(crate) fn is_inherited(&self) -> bool {
        self.process.is_gone()
    }

    pub(crate) fn open_group(
        &self,
        name: &str,
        options: kamacache_group_options,
        user: Arc<Owned>,
        queue: Option<Arc<Lane>>,
    ) -> Result<Arc<Opened>> {
        let node = self.usable()?;
        queue.as_ref().map_or(Ok(()), |queue| queue.check())?;
        let callbacks = Callbacks::new(&options, user, queue, self.sweeper.clone(), self.id);
        let max_bytes = options.max_bytes;
        let mut to = options.to_core()?;
        to.on_evict = callbacks
            .has_evict()
            .then(|| evict::hook(name, max_bytes, &self.lane, &callbacks));
        let getter = callbacks
            .has_getter()
            .then(|| Arc::new(Adapter(callbacks.clone())) as _);
        let opened = Arc::new(Opened::new(node.group(name, to, getter)?, callbacks));
        self.groups.lock().insert(name.to_owned(), opened.clone());
        if self.closed.load(Ordering::Acquire) {
            // A close that ran meanwhile may have missed this group.
            opened.retire();
        }
        Ok(opened)
    }

    pub(crate) fn find_group(&self, name: &str) -> Result<Arc<Opened>> {
        self.usable()?.inner().find_group(name)?;
        let found = self.groups.lock().get(name).cloned();
        found.ok_or_else(|| {
            Error::new(
                ErrorKind::UnknownGroup,
                format!("group {name:?} is being opened; try again"),
            )
        })
    }

    pub(crate) fn close(&self, drain: Duration) -> Result<()> {
        self.process.check()?;
        if guard::in_callback() {
            return Err(Error::new(
                ErrorKind::WouldDeadlock,
                "kamacache_node_close waits for callbacks and was called in one: close from another thread",
            ));
        }
        self.closed.store(true, Ordering::Release);
        // No clock can name the end of a longer one.
        let drain = drain.min(LONGEST);
        let closed = self.node.close(Some(drain));
        let quiet = self.lane.close(drain.max(CALLBACKS_RETURN));
        self.retire();
        closed?;
        if !quiet {
            return Err(Error::new(
                ErrorKind::DeadlineExceeded,
                "a completion callback still ran after close; the node is closed all the same",
            ));
        }
        Ok(())
    }

    /// Callbacks end, tokens answer CANCELLED, user data goes.
    fn retire(&self) {
        loads::cancel_all_of(self.id);
        let groups: Vec<_> = self.groups.lock().values().cloned().collect();
        for group in groups {
            group.retire();
        }
    }
}
