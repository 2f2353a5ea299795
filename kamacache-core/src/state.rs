//! The inside of a node: what its groups, its links and its server share.
//!
//! Invariant: handles keep a node open, this does not; links hold it weakly.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::generations::Generations;
use crate::getter::Getter;
use crate::group::GroupInner;
use crate::membership::Membership;
use crate::node;
use crate::node_stats::{NodeCounters, NodeStats};
use crate::options::{GroupConfig, check_count};
use crate::peers::Peers;
use crate::peers::held::Held;
use crate::peers::hello::Identity;
use crate::peers::inbound::waits::Waits;
use crate::peers::lender::Lenders;
use crate::peers::room::Room;
use crate::pool::Getters;
use crate::security::seldom::Warnings;
use crate::security::tls::Tls;
use crate::upkeep::Upkeep;
use crate::{Error, ErrorKind, Result};

/// A node younger than this holds a peer's request for a group that it does
/// not have yet (S8b).
const YOUNG: Duration = Duration::from_secs(2);
const HOLD: Duration = Duration::from_millis(500);
/// Room for a message's other fields beside the value.
const ENVELOPE: usize = 64 << 10;

pub(crate) struct State {
    /// What the program's handles share; set once the node has started.
    pub(crate) handle: OnceLock<Weak<node::Handle>>,
    /// What peers dial; empty without a network.
    pub(crate) address: String,
    pub(crate) identity: Arc<Identity>,
    /// This node's certificates, if it has any.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) tls: Option<Arc<Tls>>,
    /// Where loads, fetches and callbacks run.
    pub(crate) runtime: Handle,
    pub(crate) peers: Peers,
    pub(crate) membership: Membership,
    pub(crate) upkeep: Arc<Upkeep>,
    /// Set when `close` begins: the program's own calls are over, peers are
    /// served on while this node leaves.
    pub(crate) closing: CancellationToken,
    pub(crate) generations: Generations,
    pub(crate) lenders: Lenders,
    pub(crate) clock: Clock,
    pub(crate) default_timeout: Duration,
    /// How long a new owner waits for the previous one's memory (S33).
    pub(crate) take_timeout: Duration,
    /// Set when this node has left: nothing is served any more.
    pub(crate) closed: CancellationToken,
    /// Set when `close` has waited long enough: async getters are dropped.
    pub(crate) abandoned: CancellationToken,
    /// Getters that run now.
    pub(crate) running: TaskTracker,
    /// The threads of blocking getters.
    pub(crate) getters: Getters,
    /// Routed calls of plain clients that are under way.
    pub(crate) routed: TaskTracker,
    /// The largest unary message, as the largest group wants it.
    pub(crate) message_limit: Arc<AtomicUsize>,
    pub(crate) groups: RwLock<HashMap<Arc<str>, Arc<GroupInner>>>,
    /// Wakes requests that wait for a group to be opened.
    pub(crate) opened: Notify,
    pub(crate) started: Instant,
    pub(crate) invalidations: AtomicU64,
    pub(crate) counters: NodeCounters,
    pub(crate) held: Held,
    /// Memory for what others have not finished (S42).
    pub(crate) room: Arc<Room>,
    /// When strangers were last warned of.
    pub(crate) warnings: Warnings,
    /// Gets of peers that wait for loads.
    pub(crate) waits: Waits,
}

fn check(over: &CancellationToken) -> Result<()> {
    if over.is_cancelled() {
        Err(Error::closed())
    } else {
        Ok(())
    }
}

impl State {
    /// For the program's own calls.
    pub(crate) fn check_open(&self) -> Result<()> {
        check(&self.closing)
    }

    /// For peers' requests.
    pub(crate) fn check_serving(&self) -> Result<()> {
        check(&self.closed)
    }

    /// Whether requests should come to this node, and why not.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn readiness(&self) -> Result<(), &'static str> {
        if self.closing.is_cancelled() {
            Err("draining: the node is closing")
        } else if !self.membership.has_heard() {
            Err("starting: discovery has not answered yet")
        } else if self.groups.read().is_empty() {
            Err("starting: no group is open yet")
        } else {
            Ok(())
        }
    }

    /// What this node has counted about its peers.
    pub(crate) fn node_stats(&self) -> NodeStats {
        let view = self.peers.view();
        let said = view
            .links()
            .filter_map(|link| Some((link.address(), link.said()?)));
        self.counters.read(view.digest(), said)
    }

    pub(crate) fn open_group(
        self: &Arc<Self>,
        name: &str,
        config: GroupConfig,
        getter: Option<Arc<dyn Getter>>,
    ) -> Result<Arc<GroupInner>> {
        let group = Arc::new(GroupInner::new(name, config, getter, self.clone()));
        let mut groups = self.groups.write();
        // Under the lock, so that a close that has begun misses no group.
        self.check_open()?;
        if groups.contains_key(name) {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!(
                    "group {name:?} is open on this node already; choose another name or use that one"
                ),
            ));
        }
        check_count(name, groups.len() + 1)?;
        groups.insert(name.into(), group.clone());
        drop(groups);
        let limit = usize::try_from(group.max_value_bytes()).unwrap_or(usize::MAX);
        self.message_limit
            .fetch_max(limit.saturating_add(ENVELOPE), Ordering::Relaxed);
        self.opened.notify_waiters();
        Ok(group)
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<GroupInner>> {
        self.groups.read().get(name).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::UnknownGroup,
                format!(
                    "node {:?} has no group {:?}; open it there too",
                    self.address,
                    crate::error::Short(name)
                ),
            )
        })
    }

    /// A group that a peer asks for; `None`: it is unknown, or will be waited
    /// for by [`State::group_for_peer`].
    pub(crate) fn find_now(&self, name: &str) -> Option<Arc<GroupInner>> {
        self.groups.read().get(name).cloned()
    }

    /// A group that a peer asks for; a young node waits a little for it.
    pub(crate) async fn group_for_peer(&self, name: &str) -> Result<Arc<GroupInner>> {
        self.check_serving()?;
        if self.started.elapsed() >= YOUNG {
            return self.find(name);
        }
        let appears = async {
            loop {
                let opened = self.opened.notified();
                if let Ok(group) = self.find(name) {
                    return group;
                }
                opened.await;
            }
        };
        match tokio::time::timeout(HOLD, appears).await {
            Ok(group) => Ok(group),
            Err(_) => self.find(name),
        }
    }

    pub(crate) fn all_groups(&self) -> Vec<Arc<GroupInner>> {
        self.groups.read().values().cloned().collect()
    }

    /// How this node runs its groups, for peers to compare.
    pub(crate) fn options(&self) -> Vec<crate::wire::GroupOptions> {
        let groups = self.groups.read();
        groups.values().map(|group| group.options()).collect()
    }

    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn invalidations(&self) -> u64 {
        self.invalidations.load(Ordering::Relaxed)
    }

    pub(crate) fn count_invalidations(&self, count: u64) {
        self.invalidations.fetch_add(count, Ordering::Relaxed);
    }
}
