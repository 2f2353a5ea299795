//! A Node: this process in the cluster. It owns the server, the view and the
//! groups; it starts them in order and closes them in the reverse.
//!
//! Invariant: after `close` has returned, no getter is started and no value is
//! stored; the server holds the node's inside, never a handle, so that the
//! last handle's drop closes it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Address;
use crate::clock::Clock;
use crate::generations::Generations;
use crate::getter::Getter;
use crate::group::{Group, GroupInner};
use crate::options::{
    GroupConfig, GroupOptions, MAX_GROUPS, MAX_KEY_BYTES, NodeConfig, NodeOptions,
};
use crate::peers::Peers;
use crate::peers::link::Dialer;
use crate::state::State;
use crate::{Error, ErrorKind, Result, server};

/// A node younger than this holds a peer's request for a group that it does
/// not have yet (S8b).
const YOUNG: Duration = Duration::from_secs(2);
const HOLD: Duration = Duration::from_millis(500);
/// How long open connections may take to end at close.
const HANG_UP: Duration = Duration::from_millis(500);
/// Room for a message's other fields beside the value.
const ENVELOPE: usize = 64 << 10;

/// This process in the cluster. A cheap handle: clones share the node, and the
/// last one's drop closes it. Usable from any thread.
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
        let config = NodeConfig::check(options)?;
        let listener = match config.listen.as_slice() {
            [] => None,
            addresses => Some(bind(addresses).await?),
        };
        let me = listener
            .as_ref()
            .map(|(_, bound)| config.advertised(bound))
            .transpose()?;
        let inner = Arc::new(Inner::new(&config, me));
        if !config.peers.is_empty() {
            inner.state.peers.replace(&config.peers)?;
        }
        if let Some((listener, _)) = listener {
            let serving = tokio::spawn(server::serve(inner.clone(), listener));
            *inner.serving.lock() = Some(serving);
        }
        tracing::info!(address = inner.address(), "node started");
        Ok(Self(Arc::new(Handle {
            inner,
            closes: true,
        })))
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
        let group = self.0.inner.open_group(name, config, getter)?;
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
        self.0.inner.check_open()?;
        let group = self.0.inner.find(name)?;
        Ok(Group::new(group, self.0.clone()))
    }

    /// What peers dial, with the real port; empty without a network.
    pub fn address(&self) -> &str {
        self.0.inner.address()
    }

    /// The members of the current view, sorted; empty without a network.
    pub fn members(&self) -> Vec<String> {
        self.0.inner.state.peers.view().members()
    }

    /// The address of the key's owner; empty without a network.
    ///
    /// # Errors
    /// InvalidArgument for a key that is not 1 to 4,096 bytes.
    pub fn owner(&self, key: &str) -> Result<String> {
        crate::options::check_key(key)?;
        let view = self.0.inner.state.peers.view();
        Ok(view
            .owner(key)
            .map(|owner| owner.to_string())
            .unwrap_or_default())
    }

    /// Replaces the list of members, this node among them. Keys that this node
    /// no longer owns are forgotten here.
    ///
    /// # Errors
    /// InvalidArgument for a list that breaks a rule: the old one stays.
    /// Closed.
    pub fn set_peers(&self, peers: &[impl AsRef<str>]) -> Result<()> {
        let inner = &self.0.inner;
        inner.check_open()?;
        let _one_at_a_time = inner.adopting.lock();
        if inner.state.peers.replace(peers)? {
            let groups: Vec<_> = inner.groups.read().values().cloned().collect();
            for group in groups {
                group.sweep();
            }
            tracing::info!(members = ?self.members(), "members changed");
        }
        Ok(())
    }

    /// Closes the node: refuses new calls, ends every wait with Closed, stops
    /// serving, and waits up to `drain` (the node's own by default) for getters
    /// that run. Closing again is fine.
    ///
    /// # Errors
    /// DeadlineExceeded when a getter still ran after `drain`; the node is
    /// closed all the same.
    pub async fn close(&self, drain: Option<Duration>) -> Result<()> {
        self.0.inner.close(drain).await
    }

    /// Whether the node was closed.
    pub fn is_closed(&self) -> bool {
        self.0.inner.state.closed.is_cancelled()
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

/// What keeps a node open: shared by its handles and its groups' handles.
pub(crate) struct Handle {
    inner: Arc<Inner>,
    closes: bool,
}

impl Handle {
    /// For the server's own use of a group: its end closes nothing.
    pub(crate) fn passing(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            closes: false,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.closes {
            self.inner.begin_close();
            self.inner.finish_close();
        }
    }
}

/// The node itself.
pub(crate) struct Inner {
    address: String,
    drain: Duration,
    started: Instant,
    state: Arc<State>,
    groups: RwLock<HashMap<Arc<str>, Arc<GroupInner>>>,
    /// Wakes requests that wait for a group to be opened.
    opened: Notify,
    message_limit: Arc<AtomicUsize>,
    adopting: Mutex<()>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl Inner {
    fn new(config: &NodeConfig, me: Option<Address>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let message_limit = Arc::new(AtomicUsize::new(MAX_KEY_BYTES + ENVELOPE));
        let dialer = Dialer {
            runtime: runtime.clone(),
            connect_timeout: config.connect_timeout,
            message_limit: message_limit.clone(),
        };
        let address = me.as_ref().map(Address::to_string).unwrap_or_default();
        let state = State {
            runtime,
            peers: Peers::alone(me, dialer),
            generations: Generations::new(),
            clock: Clock::real(),
            default_timeout: config.default_timeout,
            closed: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            running: TaskTracker::new(),
        };
        Self {
            address,
            drain: config.drain,
            started: Instant::now(),
            state: Arc::new(state),
            groups: RwLock::default(),
            opened: Notify::new(),
            message_limit,
            adopting: Mutex::default(),
            serving: Mutex::default(),
        }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn message_limit(&self) -> &AtomicUsize {
        &self.message_limit
    }

    fn check_open(&self) -> Result<()> {
        if self.state.closed.is_cancelled() {
            Err(Error::closed())
        } else {
            Ok(())
        }
    }

    fn open_group(
        &self,
        name: &str,
        config: GroupConfig,
        getter: Option<Arc<dyn Getter>>,
    ) -> Result<Arc<GroupInner>> {
        let group = Arc::new(GroupInner::new(name, config, getter, self.state.clone()));
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
        if groups.len() >= MAX_GROUPS {
            return Err(Error::invalid_argument(format!(
                "group {name:?} would be one more than the {MAX_GROUPS} that a node may have"
            )));
        }
        groups.insert(name.into(), group.clone());
        drop(groups);
        let limit = usize::try_from(group.max_value_bytes()).unwrap_or(usize::MAX);
        self.message_limit
            .fetch_max(limit.saturating_add(ENVELOPE), Ordering::Relaxed);
        self.opened.notify_waiters();
        Ok(group)
    }

    fn find(&self, name: &str) -> Result<Arc<GroupInner>> {
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

    /// A group that a peer asks for; a young node waits a little for it.
    pub(crate) async fn group_for_peer(&self, name: &str) -> Result<Arc<GroupInner>> {
        self.check_open()?;
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

    async fn close(&self, drain: Option<Duration>) -> Result<()> {
        self.begin_close();
        let serving = self.serving.lock().take();
        if let Some(mut serving) = serving {
            if tokio::time::timeout(HANG_UP, &mut serving).await.is_err() {
                serving.abort();
            }
        }
        let drain = drain.unwrap_or(self.drain);
        let idle = tokio::time::timeout(drain, self.state.running.wait()).await;
        let still_running = self.state.running.len();
        self.finish_close();
        match idle {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::new(
                ErrorKind::DeadlineExceeded,
                format!(
                    "{still_running} getters still ran {drain:?} after close; the node is closed all the same"
                ),
            )),
        }
    }

    /// From here on nothing new begins, and everyone who waits is told.
    fn begin_close(&self) {
        self.state.closed.cancel();
        self.state.running.close();
    }

    /// Drops what still runs, and frees the user's getters and all entries.
    fn finish_close(&self) {
        self.state.abandoned.cancel();
        let groups: Vec<_> = self
            .groups
            .write()
            .drain()
            .map(|(_, group)| group)
            .collect();
        for group in groups {
            group.close();
        }
    }
}

/// Binds the first address that is free.
async fn bind(addresses: &[Address]) -> Result<(TcpListener, Address)> {
    let mut last = None;
    for address in addresses {
        match TcpListener::bind(address.to_string()).await {
            Ok(listener) => {
                let port = listener
                    .local_addr()
                    .map_err(|error| refused(address, &error))?
                    .port();
                return Ok((listener, address.with_port(port)));
            }
            Err(error) => last = Some(refused(address, &error)),
        }
    }
    let error = last.expect("at least one address");
    if addresses.len() == 1 {
        return Err(error);
    }
    let (first, end) = (&addresses[0], addresses[addresses.len() - 1].port());
    Err(Error::new(
        error.kind(),
        format!("no port of {first}-{end} is free: {}", error.message()),
    ))
}

fn refused(address: &Address, error: &std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "it is taken; choose another port, or port 0 for any free one"
        }
        std::io::ErrorKind::AddrNotAvailable => "this host does not have that address",
        std::io::ErrorKind::PermissionDenied => "this user may not; choose a port above 1023",
        _ => "choose another address",
    };
    Error::new(
        ErrorKind::Unavailable,
        format!("cannot listen on {address}: {error}; {hint}"),
    )
}
