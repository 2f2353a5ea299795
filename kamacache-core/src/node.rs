//! A Node: this process in the cluster. It owns the server, the view and the
//! groups; it starts them in order and closes them in the reverse.
//!
//! Invariant: after `close` has returned, no getter is started and no value is
//! stored; the server holds the node's inside, never a handle, so that the
//! last handle's drop closes it.

mod bind;
mod close;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, OnceCell};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::bind::bind;
#[cfg(feature = "admin")]
use self::bind::bind_admin;
use crate::address::Address;
use crate::generations::Generations;
use crate::getter::Getter;
use crate::group::Group;
use crate::membership::Membership;
use crate::node_stats::{NodeCounters, NodeStats};
use crate::options::{GroupConfig, GroupOptions, NodeConfig, NodeOptions};
use crate::peers::Peers;
use crate::peers::held::Held;
use crate::peers::hello::Identity;
use crate::peers::inbound::waits::Waits;
use crate::peers::lender::Lenders;
use crate::peers::link::{Dialer, MAX_MESSAGE};
use crate::peers::room::Room;
use crate::peers::transport::Transport;
use crate::pool::Getters;
use crate::security::seldom::Warnings;
use crate::security::tls::Tls;
use crate::state::State;
use crate::{Result, server, upkeep};

/// How often groups are looked after.
const TEND: Duration = Duration::from_millis(250);

/// This process in the cluster. A cheap handle: clones share the node, and the
/// drop of the last one, of its groups' handles too, closes it. A getter of the
/// node that holds one therefore keeps it open until [`Node::close`]: it asks
/// [`LoadContext::find_group`](crate::LoadContext::find_group) instead, or holds
/// a [`WeakNode`]. Usable from any thread.
#[derive(Clone)]
pub struct Node(Arc<Handle>);

impl Node {
    /// Starts a node on the caller's tokio runtime: binds, serves peers, and
    /// adopts the static list of members.
    ///
    /// # Errors
    /// InvalidArgument for an option that breaks a rule; Unavailable for an
    /// address that cannot be bound, as one that is taken.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(options: NodeOptions) -> Result<Self> {
        Self::start_over(Transport::Tcp, options).await
    }

    /// The same over any transport.
    pub(crate) async fn start_over(
        transport: impl FnOnce(Option<Arc<Tls>>) -> Transport,
        options: NodeOptions,
    ) -> Result<Self> {
        let config = NodeConfig::check(options)?;
        let transport = transport(config.tls.clone());
        let listener = match config.listen.as_slice() {
            [] => None,
            addresses => Some(bind(&transport, addresses).await?),
        };
        let me = listener
            .as_ref()
            .map(|(_, bound)| config.joined(bound))
            .transpose()?;
        #[cfg(feature = "admin")]
        let admin = bind_admin(&config.admin).await?;
        let inner = Inner::new(&config, me, transport);
        #[cfg(feature = "admin")]
        if let Some((listener, address)) = admin {
            inner.serve_admin(listener, address, &config.admin_hosts);
        }
        if !config.peers.is_empty() && config.source.is_none() {
            Membership::set(&inner.state, &config.peers)?;
        }
        if let Some((listener, bound)) = listener {
            inner.secure(&config, &bound);
            let serving = tokio::spawn(server::serve(inner.state.clone(), listener));
            *inner.serving.lock() = Some(serving);
            Membership::begin(&inner.state);
        }
        tracing::info!(address = inner.state.address, "node started");
        tokio::spawn(tend(
            Arc::downgrade(&inner.state),
            inner.state.closed.clone(),
        ));
        upkeep::begin(&inner.state);
        let node = Self(Arc::new(Handle(inner)));
        // Set here and nowhere else.
        let _ = node.0.0.state.handle.set(Arc::downgrade(&node.0));
        Ok(node)
    }

    /// Opens a group: a namespace with a byte budget and a getter. Without a
    /// getter a miss is NotFound.
    ///
    /// # Errors
    /// AlreadyExists; InvalidArgument for a name or option that breaks a rule;
    /// Closed.
    pub fn group(
        &self,
        name: &str,
        options: GroupOptions,
        getter: Option<Arc<dyn Getter>>,
    ) -> Result<Group> {
        let config = GroupConfig::check(name, options)?;
        let group = self.0.0.state.open_group(name, config, getter)?;
        Ok(Group::new(group, self.0.clone()))
    }

    /// Opens a group whose getter is `getter`, as made by
    /// [`getter_fn`](crate::getter_fn).
    ///
    /// # Errors
    /// As [`Node::group`].
    pub fn group_with(
        &self,
        name: &str,
        options: GroupOptions,
        getter: impl Getter,
    ) -> Result<Group> {
        self.group(name, options, Some(Arc::new(getter)))
    }

    /// A handle to a group that is open.
    ///
    /// # Errors
    /// UnknownGroup; Closed.
    pub fn find_group(&self, name: &str) -> Result<Group> {
        self.0.0.state.check_open()?;
        let group = self.0.0.state.find(name)?;
        Ok(Group::new(group, self.0.clone()))
    }

    /// A handle that does not keep the node open, for a getter or a task of the
    /// program's own.
    pub fn downgrade(&self) -> WeakNode {
        WeakNode(Arc::downgrade(&self.0))
    }

    /// What peers dial, with the real port; empty without a network.
    pub fn address(&self) -> &str {
        &self.0.0.state.address
    }

    /// Where the admin HTTP listens, with the real port; `None` without one.
    pub fn admin_address(&self) -> Option<&str> {
        self.0.0.admin.get().map(String::as_str)
    }

    /// The members of the current view, sorted; empty without a network.
    pub fn members(&self) -> Vec<String> {
        self.0.0.state.peers.view().members()
    }

    /// The members as they are now and after every later change, whoever caused
    /// it. A slow reader sees only the newest list; the channel ends with the
    /// node's last handle.
    pub fn watch_members(&self) -> tokio::sync::watch::Receiver<Vec<String>> {
        self.0.0.state.peers.watch()
    }

    /// The address of the key's owner; empty without a network.
    ///
    /// # Errors
    /// InvalidArgument for a key that is not 1 to 4,096 bytes.
    pub fn owner(&self, key: &str) -> Result<String> {
        crate::options::check_key(key)?;
        let view = self.0.0.state.peers.view();
        Ok(view
            .owner(key)
            .map(|owner| owner.to_string())
            .unwrap_or_default())
    }

    /// Replaces the list of members, this node among them. Keys that this node
    /// no longer owns are kept for their new owners to take, for a while.
    /// Members of the list that said goodbye are out until they are back.
    ///
    /// # Errors
    /// InvalidArgument for a list that breaks a rule, and when members come from
    /// discovery: the old one stays. Closed.
    pub fn set_peers(&self, peers: &[impl AsRef<str>]) -> Result<()> {
        let state = &self.0.0.state;
        state.check_open()?;
        Membership::set(state, peers)
    }

    /// How long discovery has been out: the members are at least this old.
    /// `None` while it is in order, or when there is none.
    pub fn discovery_stale(&self) -> Option<Duration> {
        self.0.0.state.membership.stale()
    }

    /// Lists of members that could not be had, or that broke a rule and changed
    /// nothing.
    pub fn discovery_failures(&self) -> u64 {
        self.0.0.state.membership.failures()
    }

    /// Closes the node: refuses new calls and ends every wait with Closed, gives
    /// the entries that it owns to their next owners and says goodbye, stops
    /// serving peers, and waits for getters that run; all of it within about
    /// `drain` (the node's own by default). Calls of plain gRPC clients that are
    /// under way are served to their end in that time. With a `drain` of zero it
    /// only leaves the register of its discovery, and its peers find out. Closing
    /// again is fine: a second call waits for the first one, whose `drain` counts.
    ///
    /// # Errors
    /// DeadlineExceeded when a getter still ran after `drain`; the node is
    /// closed all the same.
    pub async fn close(&self, drain: Option<Duration>) -> Result<()> {
        self.0.0.close(drain).await
    }

    /// What this node has counted about its peers.
    pub fn stats(&self) -> NodeStats {
        self.0.0.state.node_stats()
    }

    /// Whether the node was closed.
    pub fn is_closed(&self) -> bool {
        self.0.0.state.closing.is_cancelled()
    }
}

#[cfg(any(test, feature = "bench-internals"))]
impl Node {
    pub(crate) fn state(&self) -> &Arc<State> {
        &self.0.0.state
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("address", &self.address())
            .field("members", &self.members())
            .finish()
    }
}

/// A handle to a node that does not keep it open, see [`Node::downgrade`].
#[derive(Clone)]
pub struct WeakNode(Weak<Handle>);

impl WeakNode {
    /// The node; `None` once its last handle is gone.
    pub fn upgrade(&self) -> Option<Node> {
        self.0.upgrade().map(Node)
    }
}

impl std::fmt::Debug for WeakNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WeakNode").field(&self.upgrade()).finish()
    }
}

/// What keeps a node open: shared by its handles and its groups' handles.
pub(crate) struct Handle(Inner);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.begin_close();
        self.0.finish_close();
    }
}

/// The node itself: its shared state, and what only starting and closing need.
struct Inner {
    state: Arc<State>,
    drain: Duration,
    /// Set once the node has ended, to what its close says.
    ended: OnceCell<Result<()>>,
    /// Entries are given away once.
    leaving: AtomicBool,
    serving: Mutex<Option<JoinHandle<()>>>,
    /// The server of the admin HTTP, which outlives the one for peers.
    admin_serving: Mutex<Option<JoinHandle<()>>>,
    admin: OnceLock<String>,
}

impl Inner {
    fn new(config: &NodeConfig, me: Option<Address>, transport: Transport) -> Self {
        let address = me.as_ref().map(Address::to_string).unwrap_or_default();
        let identity = Arc::new(Identity {
            cluster: config.cluster.clone(),
            address: address.clone(),
            incarnation: incarnation(),
            started: Instant::now(),
            token: config.token.clone(),
        });
        let clock = transport.clock();
        let state = Arc::new_cyclic(|state| {
            let dialer = Dialer {
                state: state.clone(),
                identity: identity.clone(),
                transport,
                times: config.times,
            };
            State {
                handle: OnceLock::new(),
                address,
                identity,
                tls: config.tls.clone(),
                runtime: tokio::runtime::Handle::current(),
                membership: Membership::new(
                    me.as_ref().map(Address::to_string),
                    config.source.clone(),
                    config.remove_grace,
                    config.warm_window,
                    // Who lives is heard once a heartbeat.
                    config.times.suspect_after.min(2 * config.times.heartbeat),
                ),
                upkeep: Arc::default(),
                closing: CancellationToken::new(),
                peers: Peers::alone(me, dialer),
                generations: Generations::new(),
                lenders: Lenders::default(),
                clock,
                default_timeout: config.default_timeout,
                take_timeout: config.take_timeout(),
                closed: CancellationToken::new(),
                abandoned: CancellationToken::new(),
                running: TaskTracker::new(),
                getters: Getters::new(config.getter_threads, tokio::runtime::Handle::current()),
                routed: TaskTracker::new(),
                message_limit: Arc::new(AtomicUsize::new(MAX_MESSAGE)),
                groups: RwLock::default(),
                opened: Notify::new(),
                started: Instant::now(),
                invalidations: AtomicU64::new(0),
                counters: NodeCounters::default(),
                held: Held::default(),
                room: Room::new(),
                warnings: Warnings::default(),
                waits: Waits::default(),
            }
        });
        Self {
            state,
            drain: config.drain,
            ended: OnceCell::new(),
            leaving: AtomicBool::new(false),
            serving: Mutex::default(),
            admin_serving: Mutex::default(),
            admin: OnceLock::new(),
        }
    }

    /// Looks after certificates and tokens; without certificates, says so where
    /// it matters (S41).
    fn secure(&self, config: &NodeConfig, bound: &Address) {
        if let Some(token) = &config.token {
            let closed = self.state.closed.clone();
            self.state.runtime.spawn(token.clone().keep_fresh(closed));
        }
        match &config.tls {
            Some(tls) => {
                let closed = self.state.closed.clone();
                self.state.runtime.spawn(tls.clone().keep_fresh(closed));
            }
            None if !bound.is_loopback() => tracing::warn!(
                listen = %bound,
                "peers are served in plaintext: whoever reaches this address can read and change what is cached; set tls, or keep the network private (a cluster_token alone can be read on the way)"
            ),
            None => {}
        }
    }

    #[cfg(feature = "admin")]
    fn serve_admin(
        &self,
        listener: crate::sockets::TcpListener,
        address: Address,
        names: &[String],
    ) {
        if !address.is_loopback() {
            tracing::warn!(
                %address,
                "the admin HTTP listens beyond loopback, where it asks nobody who they are: keys, members and counters can be read there"
            );
        }
        tracing::info!(%address, "the admin HTTP listens");
        self.admin.get_or_init(|| address.to_string());
        let advertised = Address::parse(&self.state.address).ok();
        let own = [Some(address), advertised].into_iter().flatten();
        let own = own.filter_map(|address| address.name().map(str::to_owned));
        let names = own.chain(names.iter().cloned()).collect();
        let serving = tokio::spawn(crate::admin::serve(self.state.clone(), listener, names));
        *self.admin_serving.lock() = Some(serving);
    }
}

/// Looks after the groups until the node is closed: loads that take too long,
/// permits that nobody uses. What takes longer the more entries there are is in
/// `upkeep.rs`.
async fn tend(state: std::sync::Weak<State>, closed: CancellationToken) {
    let mut tick = tokio::time::interval(TEND);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = closed.cancelled() => return,
        }
        let Some(state) = state.upgrade() else { return };
        state.room.tend();
        for group in state.all_groups() {
            group.tend();
        }
        state.held.tend();
        Membership::tend(&state).await;
    }
}

/// Differs after every start of a node.
fn incarnation() -> u64 {
    use std::hash::BuildHasher;
    static STARTS: AtomicU64 = AtomicU64::new(0);
    std::hash::RandomState::new()
        .hash_one((std::process::id(), STARTS.fetch_add(1, Ordering::Relaxed)))
}
