//! Options, their defaults and their rules: the only place for any of them.
//! Bindings set what their user set and nothing else.

use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::discovery::{self, Discovery, Source};
use crate::peers::link::Times;
use crate::peers::token::Token;
use crate::security::tls::Tls;
use crate::store::{EvictHook, Policy};
use crate::{Error, ErrorKind, Result};

pub(crate) const MAX_KEY_BYTES: usize = 4096;
pub(crate) const MAX_GROUPS: usize = 1024;
const MAX_GROUP_NAME: usize = 255;
const MIN_MAX_BYTES: u64 = 64 << 10;
const DEFAULT_MAX_VALUE_BYTES: u64 = 16 << 20;
const MAX_MAX_VALUE_BYTES: u64 = 1 << 30;
/// An entry may take this part of its group's budget at most.
const STORABLE_PART: u64 = 8;
const MAX_MEMBERS: usize = 10_000;

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
    /// Where the members are found, as a URL; then `peers` is not used.
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
    /// Certificates for the connections between peers; plaintext by default.
    pub tls: Option<TlsOptions>,
    /// The cluster's name; `"default"` by default.
    pub cluster: Option<String>,
    /// A secret shared by all members, 16 to 1,024 visible ASCII characters:
    /// without it a request is answered Unauthenticated. None by default. Without
    /// `tls` it can be read on the way.
    pub cluster_token: Option<String>,
    /// Runtime threads behind C, Python and Node.js; 1 by default. In Rust a
    /// node uses its caller's runtime.
    pub io_threads: Option<usize>,
    /// Threads for blocking getters behind C, Python and Node.js; 16 by default.
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
    /// getters; 5 s by default. 0: it neither gives nor says goodbye.
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
            .finish_non_exhaustive()
    }
}

impl NodeOptions {
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

/// A node's options, checked and complete.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    /// The addresses to try, first to last; empty: no network.
    pub(crate) listen: Vec<Address>,
    /// The same for the admin HTTP.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) admin: Vec<Address>,
    pub(crate) advertise: Option<Address>,
    pub(crate) peers: Vec<String>,
    pub(crate) default_timeout: Duration,
    pub(crate) cluster: String,
    pub(crate) times: Times,
    pub(crate) source: Option<Arc<dyn Discovery>>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) token: Option<Token>,
    pub(crate) remove_grace: Duration,
    pub(crate) warm_window: Duration,
    pub(crate) drain: Duration,
}

impl NodeConfig {
    /// A previous owner answers from memory: 10 ms by default, and longer where
    /// the network is known to be slow.
    pub(crate) fn take_timeout(&self) -> Duration {
        self.times.suspect_after / 100
    }

    pub(crate) fn check(mut options: NodeOptions) -> Result<Self> {
        refuse_unavailable(&options)?;
        let source = source(&mut options)?;
        let listen = match &options.listen {
            Some(listen) => Address::parse_range(listen)?,
            None => Vec::new(),
        };
        if listen.is_empty() && !options.peers.is_empty() {
            return Err(Error::invalid_argument(format!(
                "peers {:?} are given but no listen address: peers could not reach this node; set listen",
                options.peers
            )));
        }
        if listen.is_empty() && source.is_some() {
            return Err(Error::invalid_argument(
                "discovery is given but no listen address: peers could not reach this node; set listen",
            ));
        }
        if let (true, Some(advertise)) = (listen.is_empty(), &options.advertise) {
            return Err(Error::invalid_argument(format!(
                "advertise {advertise:?} is given but no listen address; set listen"
            )));
        }
        let advertise = options
            .advertise
            .as_deref()
            .map(Address::parse)
            .transpose()?;
        let admin = match &options.admin_listen {
            Some(admin) => admin_addresses(admin)?,
            None => Vec::new(),
        };
        let tls = options.tls.as_ref().map(Tls::load).transpose()?;
        let token = options.cluster_token.as_deref().map(Token::check);
        let positive = |name: &str, value: Option<Duration>, default: Duration| match value {
            Some(Duration::ZERO) => Err(Error::invalid_argument(format!(
                "{name} is 0; it must be above 0"
            ))),
            value => Ok(value.unwrap_or(default)),
        };
        Ok(Self {
            listen,
            admin,
            advertise,
            peers: options.peers,
            default_timeout: positive(
                "default_timeout",
                options.default_timeout,
                Duration::from_secs(5),
            )?,
            cluster: options.cluster.unwrap_or_else(|| "default".to_owned()),
            times: Times {
                connect_timeout: positive(
                    "connect_timeout",
                    options.connect_timeout,
                    Duration::from_secs(1),
                )?,
                heartbeat: positive("heartbeat", options.heartbeat, Duration::from_millis(500))?,
                suspect_after: positive(
                    "suspect_after",
                    options.suspect_after,
                    Duration::from_secs(1),
                )?,
                probe_interval: positive(
                    "probe_interval",
                    options.probe_interval,
                    Duration::from_secs(1),
                )?,
            },
            source,
            tls: tls.map(Arc::new),
            token: token.transpose()?,
            remove_grace: options.remove_grace.unwrap_or(Duration::from_secs(10)),
            warm_window: options.warm_window.unwrap_or(Duration::from_secs(30)),
            drain: options.drain.unwrap_or(Duration::from_secs(5)),
        })
    }

    /// What peers dial, once the listener is bound to `port`.
    pub(crate) fn advertised(&self, bound: &Address) -> Result<Address> {
        let address = match &self.advertise {
            None => bound.clone(),
            Some(given) => given.clone(),
        };
        if address.port() == 0 {
            return Err(Error::invalid_argument(format!(
                "advertised address {address} has port 0, nobody can dial it; set advertise to a port that reaches this node"
            )));
        }
        if address.is_unspecified() {
            return Err(Error::invalid_argument(format!(
                "advertised address {address} is unspecified, nobody can dial it; set advertise to this host's own address"
            )));
        }
        Ok(address)
    }
}

/// Where the admin HTTP may listen; without a host, on loopback.
fn admin_addresses(text: &str) -> Result<Vec<Address>> {
    let addresses = match text.starts_with(':') {
        true => Address::parse_range(&format!("127.0.0.1{text}")),
        false => Address::parse_range(text),
    };
    addresses.map_err(|error| Error::invalid_argument(format!("admin_listen: {}", error.message())))
}

/// What finds the members; a static list becomes the peers.
fn source(options: &mut NodeOptions) -> Result<Option<Arc<dyn Discovery>>> {
    match (&options.discovery, options.custom_discovery.take()) {
        (Some(url), Some(_)) => Err(Error::invalid_argument(format!(
            "discovery {url:?} and custom_discovery are both given; leave one unset"
        ))),
        (None, custom) => Ok(custom),
        (Some(url), None) => match discovery::open(url)? {
            Source::Watched(source) => Ok(Some(source)),
            Source::Static(peers) => {
                options.peers = peers;
                Ok(None)
            }
        },
    }
}

/// Runtime sizes for the bindings: (io threads, getter threads).
pub(crate) fn threads(options: &NodeOptions) -> Result<(usize, usize)> {
    let within = |name: &str, value: Option<usize>, default: usize| match value.unwrap_or(default) {
        count @ 1..=1024 => Ok(count),
        count => Err(Error::invalid_argument(format!(
            "{name} is {count}; it must be from 1 to 1024"
        ))),
    };
    Ok((
        within("io_threads", options.io_threads, 1)?,
        within("getter_threads", options.getter_threads, 16)?,
    ))
}

fn refuse_unavailable(options: &NodeOptions) -> Result<()> {
    let unavailable = [(
        "admin_listen",
        options.admin_listen.is_some() && cfg!(not(feature = "admin")),
    )];
    match unavailable.iter().find(|(_, set)| *set) {
        None => Ok(()),
        Some((name, _)) => Err(Error::invalid_argument(format!(
            "option {name} is not available in version {}; leave it unset",
            crate::VERSION
        ))),
    }
}

/// A user's member list in canonical form, sorted, without repetitions.
pub(crate) fn member_list(me: Option<&Address>, list: &[impl AsRef<str>]) -> Result<Vec<String>> {
    let members = found_members(me, list)?;
    let own = me.map(Address::to_string).unwrap_or_default();
    if !members.contains(&own) {
        return Err(Error::invalid_argument(format!(
            "own address {own} is not in the peer list {members:?}; add it, or set advertise to the one listed"
        )));
    }
    Ok(members)
}

/// The same for a list that discovery found, which may be without this node.
pub(crate) fn found_members(me: Option<&Address>, list: &[impl AsRef<str>]) -> Result<Vec<String>> {
    let Some(me) = me else {
        return Err(Error::invalid_argument(
            "a node without a listen address has no peers; start it with listen",
        ));
    };
    let mut members = Vec::with_capacity(list.len());
    for entry in list {
        members.extend(Address::parse_range(entry.as_ref())?);
        if members.len() > MAX_MEMBERS {
            return Err(Error::invalid_argument(format!(
                "the member list has more than {MAX_MEMBERS} members"
            )));
        }
    }
    if let Some(bad) = members
        .iter()
        .find(|member| member.port() == 0 || member.is_unspecified())
    {
        return Err(Error::invalid_argument(format!(
            "member {bad} cannot be dialled: write the host and the port that it advertises"
        )));
    }
    if let (true, Some(far)) = (
        me.is_loopback(),
        members.iter().find(|member| !member.is_loopback()),
    ) {
        return Err(Error::invalid_argument(format!(
            "this node advertises the loopback address {me}, which member {far} cannot dial; set advertise"
        )));
    }
    let mut members: Vec<String> = members.iter().map(Address::to_string).collect();
    members.sort_unstable();
    members.dedup();
    Ok(members)
}

/// A group's options, checked and complete.
#[derive(Clone)]
pub(crate) struct GroupConfig {
    pub(crate) max_bytes: u64,
    pub(crate) ttl: Option<Duration>,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) hot: bool,
    pub(crate) hot_ttl: Duration,
    pub(crate) fallback_ttl: Duration,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) max_concurrent_loads: Option<usize>,
    pub(crate) load_timeout: Duration,
    pub(crate) max_value_bytes: u64,
    /// The largest value that is kept.
    pub(crate) storable: u64,
    pub(crate) policy: Policy,
    pub(crate) strict: bool,
    pub(crate) jitter: bool,
    pub(crate) on_evict: Option<EvictHook>,
}

impl GroupConfig {
    pub(crate) fn check(name: &str, options: GroupOptions) -> Result<Self> {
        check_group_name(name)?;
        if options.max_bytes < MIN_MAX_BYTES {
            return Err(Error::invalid_argument(format!(
                "max_bytes {} of group {name:?} is below the minimum of {MIN_MAX_BYTES} (64 KiB)",
                options.max_bytes
            )));
        }
        let max_value_bytes = options.max_value_bytes.unwrap_or(DEFAULT_MAX_VALUE_BYTES);
        if !(1..=MAX_MAX_VALUE_BYTES).contains(&max_value_bytes) {
            return Err(Error::invalid_argument(format!(
                "max_value_bytes {max_value_bytes} of group {name:?} is not from 1 to {MAX_MAX_VALUE_BYTES} (1 GiB)"
            )));
        }
        if options.max_concurrent_loads == Some(0) {
            return Err(Error::invalid_argument(format!(
                "max_concurrent_loads of group {name:?} is 0; leave it unset for no limit"
            )));
        }
        let given = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
        Ok(Self {
            max_bytes: options.max_bytes,
            ttl: given(options.ttl),
            negative_ttl: given(options.negative_ttl),
            hot: options.hot.unwrap_or(true),
            hot_ttl: given(options.hot_ttl).unwrap_or(Duration::from_secs(10)),
            stale_while_revalidate: given(options.stale_while_revalidate),
            stale_if_error: given(options.stale_if_error),
            max_concurrent_loads: options.max_concurrent_loads,
            fallback_ttl: given(options.fallback_ttl).unwrap_or(Duration::from_secs(2)),
            load_timeout: given(options.load_timeout).unwrap_or(Duration::from_secs(30)),
            max_value_bytes,
            storable: max_value_bytes.min(options.max_bytes / STORABLE_PART),
            policy: options.policy,
            strict: options.strict,
            jitter: options.jitter.unwrap_or(true),
            on_evict: options.on_evict,
        })
    }
}

fn check_group_name(name: &str) -> Result<()> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    if name.is_empty() || name.len() > MAX_GROUP_NAME || !name.bytes().all(legal) {
        return Err(Error::invalid_argument(format!(
            "group name {:?} is not 1 to {MAX_GROUP_NAME} characters of A-Z a-z 0-9 . _ : -",
            crate::error::Short(name)
        )));
    }
    Ok(())
}

/// Refuses a key that no node would take.
pub(crate) fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(Error::invalid_argument(format!(
            "the key is empty; a key has 1 to {MAX_KEY_BYTES} bytes"
        )));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::invalid_argument(format!(
            "key {:?} is too long; a key has 1 to {MAX_KEY_BYTES} bytes",
            crate::error::Short(key)
        )));
    }
    Ok(())
}

/// A value above its group's limit.
pub(crate) fn too_large(group: &str, key: &str, len: usize, limit: u64) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!(
            "value of {len} bytes for key {:?} is above the limit of {limit} bytes of group {group:?} \
             (the smaller of max_value_bytes and an eighth of max_bytes)",
            crate::error::Short(key)
        ),
    )
}
