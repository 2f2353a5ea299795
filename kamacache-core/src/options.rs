//! Options, their defaults and their rules: the only place for any of them.
//! Bindings set what their user set and nothing else. What a user writes is
//! here; `node.rs`, `group.rs` and `members.rs` check it and fill in the rest.

mod group;
mod members;
mod node;

use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::discovery::{self, Discovery};
use crate::store::{EvictHook, Policy};

pub use group::MAX_GROUP_NAME;
pub(crate) use group::{GroupConfig, check_count, check_key, too_large};
pub(crate) use members::{check_member, found_members, member_list};
pub(crate) use node::{NodeConfig, threads};

/// How many bytes a key may have.
pub const MAX_KEY_BYTES: usize = 4096;

/// How a node starts. `None` is the default everywhere; `NodeOptions::default()`
/// is a single instance without any network.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct NodeOptions {
    /// Where to serve peers: `"127.0.0.1:8001"`, port 0 for any free one, or a
    /// range `"127.0.0.1:8001-8003"` for the first free one. `None`: no network.
    pub listen: Option<String>,
    /// What peers dial; the bound address by default.
    pub advertise: Option<String>,
    /// All members, this node among them; ranges are accepted. Empty: a ring of
    /// one until `set_peers`.
    pub peers: Vec<String>,
    /// Where the members are found, as a URL, instead of `peers`.
    /// `"static:HOST:PORT,HOST:PORT"`; `"file:///PATH"`, a watched file with one
    /// member a line; `"dns://NAME:PORT"`, the addresses of a name;
    /// `"etcd://HOST:2379/SERVICE"`, a register in etcd (cargo feature `etcd`).
    pub discovery: Option<String>,
    /// A discovery of the program's own, instead of a URL.
    pub custom_discovery: Option<Arc<dyn Discovery>>,
    /// Where the admin HTTP listens: `"127.0.0.1:9001"`, or `":9001"`, which is
    /// loopback too; port 0 for any free one, a range for the first free one.
    /// `None`: nowhere. Elsewhere than on loopback it warns: it asks nobody who
    /// they are.
    pub admin_listen: Option<String>,
    /// Names by which the admin HTTP may be asked, without ports, beside
    /// `localhost`, the name that the node advertises and every IP address. A
    /// request with another `Host` is refused: a page in a browser may have
    /// pointed its own name here.
    pub admin_hosts: Vec<String>,
    /// Certificates for the connections between peers; plaintext by default.
    pub tls: Option<TlsOptions>,
    /// The cluster's name; `"default"` by default.
    pub cluster: Option<String>,
    /// A secret shared by all members, 16 to 1,024 visible ASCII characters:
    /// without it a request is answered Unauthenticated. None by default. Without
    /// `tls` it can be read on the way. Up to 8 of them, separated by blanks: all
    /// are admitted, the first is sent.
    pub cluster_token: Option<String>,
    /// A file of such secrets, one on each line, in place of `cluster_token`. It
    /// is read again when it changes, so that the secret can be replaced while
    /// the cluster runs.
    pub cluster_token_file: Option<String>,
    /// Runtime threads behind C, Python and Node.js; 1 by default. In Rust a
    /// node uses its caller's runtime.
    pub io_threads: Option<usize>,
    /// Threads that run blocking getters: 16 by default behind C, Python and
    /// Node.js, 512 in Rust. A group may always have its share of them, so that
    /// several groups together have up to twice as many; and a thread that waits
    /// inside a getter for another key does not count, up to 512 of them.
    pub getter_threads: Option<usize>,
    /// How long a call waits at most; 5 s by default.
    pub default_timeout: Option<Duration>,
    /// How long dialling a peer may take; 1 s by default.
    pub connect_timeout: Option<Duration>,
    /// Between two heartbeats of a link; 500 ms by default.
    pub heartbeat: Option<Duration>,
    /// Silence after which a peer is suspected; 1 s by default.
    pub suspect_after: Option<Duration>,
    /// Between two probes of a suspected peer; 1 s by default.
    pub probe_interval: Option<Duration>,
    /// How long a member may be missing from discovery; 10 s by default.
    pub remove_grace: Option<Duration>,
    /// How long a new owner asks the previous one; 30 s by default.
    pub warm_window: Option<Duration>,
    /// How long `close` takes at most to give entries away and to wait for running
    /// getters; 5 s by default. 0: it neither gives nor says goodbye, and only
    /// leaves the register of its discovery.
    pub drain: Option<Duration>,
}

/// Certificates for the connections between peers, as PEM files: both sides show
/// one. The files are read again when they change.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TlsOptions {
    /// The authority that signs every member's certificate, and nobody else's.
    pub ca: String,
    /// This node's certificate, with those between it and the authority; for both
    /// servers and clients, and for the host that it advertises.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// The name that every peer's certificate must carry, in place of its host.
    pub name: Option<String>,
}

/// How a group behaves. Only `max_bytes` has no default.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct GroupOptions {
    /// The budget of this group on this node, in bytes: at least 64 KiB.
    pub max_bytes: u64,
    /// How long values are kept; forever by default. Shortened by 0-10 % jitter.
    pub ttl: Option<Duration>,
    /// How long "not found" is remembered; not at all by default.
    pub negative_ttl: Option<Duration>,
    /// How long a copy of another owner's value is kept; 10 s by default.
    pub hot_ttl: Option<Duration>,
    /// How long a value loaded in place of an unreachable owner is kept; 2 s by
    /// default.
    pub fallback_ttl: Option<Duration>,
    /// How long an expired value is served while it is refreshed.
    pub stale_while_revalidate: Option<Duration>,
    /// How long an expired value is served when its refresh fails.
    pub stale_if_error: Option<Duration>,
    /// When a load is given up; 30 s by default.
    pub load_timeout: Option<Duration>,
    /// Getters that may run at the same time on this node; no limit by default.
    pub max_concurrent_loads: Option<usize>,
    /// The largest value accepted, in bytes; 16 MiB by default, 1 GiB at most.
    pub max_value_bytes: Option<u64>,
    /// Which entry makes room for another.
    pub policy: Policy,
    /// Exact LRU order on one shard; slower.
    pub strict: bool,
    /// Keep copies of other owners' hot values; yes by default.
    pub hot: Option<bool>,
    /// Shorten TTLs by 0-10 %, so that entries stored together do not expire
    /// together; yes by default.
    pub jitter: Option<bool>,
    /// Called for every entry that leaves the store, after it has left.
    pub on_evict: Option<EvictHook>,
}

/// Without secrets.
impl std::fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeOptions")
            .field("listen", &self.listen)
            .field("advertise", &self.advertise)
            .field("peers", &self.peers)
            .field(
                "discovery",
                &self.discovery.as_deref().map(discovery::shown),
            )
            .field("tls", &self.tls)
            .field("cluster", &self.cluster)
            .field("cluster_token", &self.cluster_token.as_ref().map(|_| "***"))
            .field("cluster_token_file", &self.cluster_token_file)
            .finish_non_exhaustive()
    }
}

impl NodeOptions {
    /// Refuses what [`Node::start`](crate::Node::start) with these options, and
    /// opening `groups` on it, would refuse, without taking any address: for
    /// programs that check a configuration. It reads the files of `tls` and
    /// `cluster_token_file`.
    ///
    /// # Errors
    /// InvalidArgument, naming the option, its value and the rule.
    pub fn check<'a>(
        &self,
        groups: impl IntoIterator<Item = (&'a str, &'a GroupOptions)>,
    ) -> Result<()> {
        NodeConfig::check(self.clone())?.check_start()?;
        let mut count = 0;
        for (name, options) in groups {
            options.check(name)?;
            count += 1;
            group::check_count(name, count)?;
        }
        Ok(())
    }

    /// Serves peers at this address.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// The whole list of members, this node among them.
    #[must_use]
    pub fn peers(mut self, peers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.peers = peers.into_iter().map(Into::into).collect();
        self
    }
}

impl GroupOptions {
    /// A group with this budget, in bytes.
    pub fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            ..Self::default()
        }
    }

    /// Refuses what opening a group of this name with these options would
    /// refuse: for bindings whose groups are defined before their node starts.
    ///
    /// # Errors
    /// InvalidArgument, naming the name or option and its rule.
    pub fn check(&self, name: &str) -> Result<()> {
        GroupConfig::check(name, self.clone()).map(drop)
    }

    /// Keeps values this long.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

impl std::fmt::Debug for GroupOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupOptions")
            .field("max_bytes", &self.max_bytes)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
