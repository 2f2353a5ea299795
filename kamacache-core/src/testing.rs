//! Helpers for tests of programs that use kamacache: a cluster in one process,
//! a getter that counts, and a door for networks that are not TCP.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::getter::{BoxFuture, Getter, LoadContext, Loaded};
use crate::peers::transport::Transport;
use crate::{Error, Group, GroupOptions, Node, NodeOptions, Result};

/// Longer than a machine under load stands still.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nodes on loopback, free ports, that share one list of members.
pub struct Cluster {
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts `count` nodes that all list each other, and that suspect nobody
    /// who is merely slow, as a busy machine is.
    ///
    /// # Errors
    /// When a node cannot be started.
    pub async fn start(count: usize) -> Result<Self> {
        let patient = NodeOptions {
            suspect_after: Some(PATIENCE),
            connect_timeout: Some(PATIENCE),
            ..NodeOptions::default()
        };
        Self::start_with(count, &patient).await
    }

    /// The same with options of their own; `listen` and `peers` are set here.
    ///
    /// # Errors
    /// When a node cannot be started.
    pub async fn start_with(count: usize, options: &NodeOptions) -> Result<Self> {
        let mut nodes = Vec::with_capacity(count);
        for _ in 0..count {
            nodes.push(Node::start(options.clone().listen("127.0.0.1:0")).await?);
        }
        let cluster = Self { nodes };
        cluster.connect_all()?;
        Ok(cluster)
    }

    /// Gives every node the list of all.
    ///
    /// # Errors
    /// When a node has been closed.
    pub fn connect_all(&self) -> Result<()> {
        let members: Vec<&str> = self.nodes.iter().map(Node::address).collect();
        self.nodes
            .iter()
            .try_for_each(|node| node.set_peers(&members))
    }

    /// The nodes, in the order of their start.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Opens the same group on every node.
    ///
    /// # Errors
    /// When a node refuses it.
    pub fn groups(
        &self,
        name: &str,
        options: &GroupOptions,
        getter: &Arc<impl Getter>,
    ) -> Result<Vec<Group>> {
        self.nodes
            .iter()
            .map(|node| node.group(name, options.clone(), Some(getter.clone())))
            .collect()
    }

    /// A key that node `index` owns; a different one for each `salt`.
    ///
    /// # Panics
    /// When the node owns nothing.
    pub fn key_owned_by(&self, index: usize, salt: usize) -> String {
        let address = self.nodes[index].address();
        (0..100_000)
            .map(|n| format!("key-{salt}-{n}"))
            .find(|key| self.nodes[0].owner(key).is_ok_and(|owner| owner == address))
            .expect("a member of a ring owns some key")
    }
}

/// A getter that answers `value-of-KEY` and counts its calls by key.
#[derive(Default)]
pub struct CountingGetter {
    calls: Mutex<HashMap<String, usize>>,
}

impl CountingGetter {
    /// A shared one, for all nodes of a cluster.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How often `key` was loaded.
    pub fn calls(&self, key: &str) -> usize {
        self.calls.lock().get(key).copied().unwrap_or(0)
    }

    /// How often any key was loaded.
    pub fn total(&self) -> usize {
        self.calls.lock().values().sum()
    }
}

impl Getter for CountingGetter {
    fn load(&self, ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        *self.calls.lock().entry(ctx.key().to_owned()).or_default() += 1;
        let value = format!("value-of-{}", ctx.key());
        Box::pin(async move { Ok(Some(Loaded::new(value))) })
    }
}

/// One connection of a [`Network`].
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

/// The connections that others open to a bound address, in order; its end
/// stops the node's server.
pub type Incoming =
    Pin<Box<dyn tokio_stream::Stream<Item = io::Result<Box<dyn Connection>>> + Send>>;

/// What carries a node's connections in place of TCP: a simulated network, or
/// one in memory. Addresses are `host:port`, as members are listed.
pub trait Network: Send + Sync + 'static {
    /// Listens on `address`; the connections, and the port that was bound.
    fn bind(&self, address: &str) -> BoxFuture<io::Result<(Incoming, u16)>>;

    /// Opens a connection to `address`.
    fn connect(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Connection>>>;
}

/// Starts a node over `network`. All its times, those in its store too, are
/// tokio's, so that a paused or simulated clock rules them.
///
/// # Errors
/// As [`Node::start`]; InvalidArgument for `tls`, which is for TCP.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn start_over(network: Arc<dyn Network>, options: NodeOptions) -> Result<Node> {
    if options.tls.is_some() {
        return Err(Error::invalid_argument(
            "tls is set, and the network is not TCP; leave it unset",
        ));
    }
    Node::start_over(|_| Transport::Given(network), options).await
}

/// Draws what this process draws only once from the system's randomness, now; for simulators that
/// answer in its place.
pub fn draw_process_seeds() {
    crate::hashing::of_stores();
}
