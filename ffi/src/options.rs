//! The option structs.
//!
//! Invariant: defaults and limits are the core's; here zero only becomes "not set".

use std::ffi::{c_char, c_void};
use std::time::Duration;

use kamacache_core::{Error, GroupOptions, NodeOptions, Policy, Result, TlsOptions};

use crate::args;
use crate::evict::kamacache_evict_fn;
use crate::getter::{kamacache_batch_getter, kamacache_getter};
use crate::owned::kamacache_free_fn;
use crate::queue::kamacache_queue;
use crate::sized::{SelfSized, init};

/// As a timeout: the node's default, default_timeout_ms. A time that is left until a
/// deadline is to be given as KAMACACHE_NO_WAIT when nothing is left, not as 0.
pub const KAMACACHE_DEFAULT_TIMEOUT: u64 = 0;
/// As a timeout: do not wait. A get answers what this node has in memory, else
/// KAMACACHE_DEADLINE_EXCEEDED, and the load that it began goes on.
pub const KAMACACHE_NO_WAIT: u64 = u64::MAX - 1;
/// As a timeout: none. As a ttl: never expires.
pub const KAMACACHE_FOREVER: u64 = u64::MAX;
/// As a ttl: answer the waiters, keep nothing.
pub const KAMACACHE_TTL_NO_STORE: u64 = u64::MAX - 1;
/// The default eviction policy.
pub const KAMACACHE_POLICY_DEFAULT: u32 = 0;
/// Least recently used first.
pub const KAMACACHE_POLICY_LRU: u32 = 1;
/// S3-FIFO: resists scans.
pub const KAMACACHE_POLICY_S3FIFO: u32 = 2;
/// Group flag: exact LRU order, at the price of one lock for the whole group.
pub const KAMACACHE_GROUP_STRICT_LRU: u32 = 1;
/// Group flag: keep no copies of values that other nodes own.
pub const KAMACACHE_GROUP_NO_HOT: u32 = 2;
/// Group flag: do not shorten ttls at random.
pub const KAMACACHE_GROUP_NO_JITTER: u32 = 4;

/// How to open a node. Set it up with kamacache_node_options_init, then set
/// what should differ; zero and NULL mean the default. Everything is copied.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kamacache_node_options {
    /// Size of this struct in bytes, set by kamacache_node_options_init.
    pub struct_size: u32,
    /// Flags of the node: none are defined. Default 0.
    pub flags: u32,
    /// Address where this node listens for its peers: "127.0.0.1:8001", port 0 for any free port, or a
    /// range "127.0.0.1:8001-8003" for its first free port. Default NULL: a single instance without a
    /// network.
    pub listen: *const c_char,
    /// Address that peers dial to reach this node. Default NULL: the bound address.
    pub advertise: *const c_char,
    /// Addresses of the members, this node included; ranges are accepted. Default NULL: a ring of one
    /// until kamacache_node_set_peers.
    pub peers: *const *const c_char,
    /// Number of texts that peers points to. Default 0.
    pub peers_len: usize,
    /// URL of where members are found: "static:", "file:///etc/kamacache/peers", "dns://svc.ns:8001",
    /// "etcd://h:2379/service"; set it instead of peers. Default NULL: members are those of peers.
    pub discovery: *const c_char,
    /// Address where the admin HTTP listens: "127.0.0.1:9001", ":9001" or port 0, which
    /// kamacache_node_admin_address then names. Default NULL: there is no admin HTTP.
    pub admin_listen: *const c_char,
    /// File of the CA that certificates of peers are checked against, PEM. Set tls_ca, tls_cert and
    /// tls_key, or none of them. Default NULL: plaintext.
    pub tls_ca: *const c_char,
    /// File of the certificate of this node, PEM. Default NULL, as tls_ca.
    pub tls_cert: *const c_char,
    /// File of the private key of this node, PEM. Default NULL, as tls_ca.
    pub tls_key: *const c_char,
    /// Secret that all members share, or several separated by blanks: all are admitted, the first is
    /// sent; without TLS they can be read on the way. Default NULL: no secret is asked for.
    pub cluster_token: *const c_char,
    /// Number of network threads. Default 0: one.
    pub io_threads: u32,
    /// Maximum number of getter threads that work at the same time. They run the loads that peers ask
    /// for, and those of asynchronous calls and of all keys but one of kamacache_group_get_many in this
    /// process; further loads wait for a thread. Each group may use its share of them, so that several
    /// groups together have up to twice as many. A thread that waits inside a getter for another key
    /// does not count, up to 512 of them. A blocking kamacache_group_get that leads a load runs it on
    /// its own thread and needs none. Each thread has a stack of 2 MiB. Default 0: 16.
    pub getter_threads: u32,
    /// Name of the cluster; members of different clusters refuse each other. Default NULL: "default".
    pub cluster: *const c_char,
    /// Name that the certificate of every peer must carry. Default NULL: the host that is dialled.
    pub tls_name: *const c_char,
    /// Timeout of calls whose timeout_ms is KAMACACHE_DEFAULT_TIMEOUT (0), in milliseconds. Default 0:
    /// 5,000.
    pub default_timeout_ms: u64,
    /// Maximum time to connect to a peer, in milliseconds. Default 0: 1,000.
    pub connect_timeout_ms: u64,
    /// Time between two pings of a link, in milliseconds. Default 0: 500.
    pub heartbeat_ms: u64,
    /// Time of silence after which a peer is suspect and its keys are loaded here, in milliseconds.
    /// Default 0: 1,000.
    pub suspect_after_ms: u64,
    /// Time between two probes of a suspect peer, in milliseconds. Default 0: 1,000.
    pub probe_interval_ms: u64,
    /// Time for which a member may be missing from discovery before it is removed, in milliseconds.
    /// Default 0: 10,000.
    pub remove_grace_ms: u64,
    /// Time after a change of members during which values are taken over from previous owners, in
    /// milliseconds. Default 0: 30,000.
    pub warm_window_ms: u64,
    /// File of secrets, one on each line, in place of cluster_token: all are admitted, the first is
    /// sent, and it is read again when it changes. Default NULL: no file.
    pub cluster_token_file: *const c_char,
    /// Names by which the admin HTTP may be asked, separated by commas, beside localhost, the name
    /// that is advertised and IP addresses. Default NULL: no others.
    pub admin_hosts: *const c_char,
}

/// How to open a group. Set it up with kamacache_group_options_init, then set
/// max_bytes and what should differ; zero and NULL mean the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kamacache_group_options {
    /// Size of this struct in bytes, set by kamacache_group_options_init.
    pub struct_size: u32,
    /// Sum of the flags KAMACACHE_GROUP_STRICT_LRU, _NO_HOT and _NO_JITTER. Default 0: none of them.
    pub flags: u32,
    /// Memory budget of the group on this node in bytes, all overheads included. There is no default:
    /// at least 65,536.
    pub max_bytes: u64,
    /// Lifetime of a value in milliseconds. Default 0: KAMACACHE_FOREVER.
    pub ttl_ms: u64,
    /// Time for which a "not found" of the getter is kept, in milliseconds. Default 0: it is not kept.
    pub negative_ttl_ms: u64,
    /// Maximum lifetime of a copy of a value that another node owns, in milliseconds. Default 0:
    /// 10,000.
    pub hot_ttl_ms: u64,
    /// Time after the end of its ttl for which a value is still served while one load refreshes it, in
    /// milliseconds. Default 0: off.
    pub stale_while_revalidate_ms: u64,
    /// Time after which a load is given up: its token answers KAMACACHE_CANCELLED and the next getter
    /// for its key may start, in milliseconds. Default 0: 30,000.
    pub load_timeout_ms: u64,
    /// Maximum number of getters of this group that run at a time on this node. Default 0: no limit.
    pub max_concurrent_loads: u32,
    /// Policy by which values are evicted: KAMACACHE_POLICY_DEFAULT, _LRU or _S3FIFO. Default 0:
    /// KAMACACHE_POLICY_DEFAULT.
    pub policy: u32,
    /// Function that loads a missing key. Default NULL: a miss is KAMACACHE_NOT_FOUND.
    pub getter: kamacache_getter,
    /// Pointer that is handed to every callback of the group; the library does not look at it. Default
    /// NULL.
    pub user_data: *mut c_void,
    /// Function that frees user_data: called exactly once, after the last callback, also when opening
    /// fails, and when struct_size is 0 because init was forgotten (with any other wrong struct_size
    /// the struct cannot be read, and nothing is freed). Default NULL: there is nothing to free.
    pub free_user_data: kamacache_free_fn,
    /// Size of the largest value in bytes, at most 1 GiB. Default 0: 16 MiB.
    pub max_value_bytes: u64,
    /// Lifetime of a value that was loaded here because its owner was unreachable, in milliseconds.
    /// Default 0: 2,000.
    pub fallback_ttl_ms: u64,
    /// Time after the end of its ttl for which a value is still served when its refresh fails, in
    /// milliseconds. Default 0: off.
    pub stale_if_error_ms: u64,
    /// Function that loads several missing keys at once; where a single key is missing and getter is
    /// set, getter is called. Default NULL: getter is called for each key.
    pub batch_getter: kamacache_batch_getter,
    /// Function that is called for every entry that leaves the memory of this node. Default NULL: no
    /// function.
    pub on_evict: kamacache_evict_fn,
    /// Queue whose kamacache_queue_dispatch or kamacache_queue_wait calls getter and batch_getter, on
    /// the thread that calls it and on no other: for runtimes that must not be called from foreign
    /// threads. Such a getter must not make blocking calls (KAMACACHE_WOULD_DEADLOCK), and the thread
    /// that dispatches must make none on this group, since it would wait for itself. The queue stays
    /// the caller's: free it after the node is closed. Default NULL: getters run on the caller of
    /// kamacache_group_get and on the getter threads.
    pub getter_queue: *mut kamacache_queue,
}

// SAFETY: repr(C), struct_size first, only integers, nullable pointers and functions.
unsafe impl SelfSized for kamacache_node_options {
    const NAME: &'static str = "kamacache_node_options";
}
// SAFETY: as above.
unsafe impl SelfSized for kamacache_group_options {
    const NAME: &'static str = "kamacache_group_options";
}

/// Sets up node options: all defaults. Use the macro kamacache_node_options_init.
///
/// @param options the caller's struct; NULL does nothing
/// @param size its size; under 8 nothing is done; no byte past it is written
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `options` is NULL or points to `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_node_options_init_sized(
    options: *mut kamacache_node_options,
    size: usize,
) {
    // SAFETY: forwarded contract.
    unsafe { init(options, size) }
}

/// Sets up group options: all defaults; max_bytes has none and must be set. Use the macro
/// kamacache_group_options_init.
///
/// @param options the caller's struct; NULL does nothing
/// @param size its size; under 8 nothing is done; no byte past it is written
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `options` is NULL or points to `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_options_init_sized(
    options: *mut kamacache_group_options,
    size: usize,
) {
    // SAFETY: forwarded contract.
    unsafe { init(options, size) }
}

fn set(ms: u64) -> Option<Duration> {
    args::option(ms)
}

fn count(n: u32) -> Option<usize> {
    (n != 0).then_some(n as usize)
}

fn flags(given: u32, known: u32, name: &str) -> Result<()> {
    if given & !known == 0 {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "flags of {name} is {given:#x}: only {known:#x} are defined"
    )))
}

impl kamacache_node_options {
    /// What the user set, for the core.
    ///
    /// # Safety
    /// The pointers are NULL or as their fields say.
    pub(crate) unsafe fn to_core(self) -> Result<NodeOptions> {
        flags(self.flags, 0, Self::NAME)?;
        // SAFETY: forwarded contract.
        let text = |ptr, name| unsafe { args::text(ptr, name) }.map(|text| text.map(str::to_owned));
        let mut to = NodeOptions::default();
        to.listen = text(self.listen, "listen")?;
        to.advertise = text(self.advertise, "advertise")?;
        // SAFETY: forwarded contract.
        to.peers = unsafe { args::texts(self.peers, self.peers_len, "peers") }?;
        to.discovery = text(self.discovery, "discovery")?;
        to.admin_listen = text(self.admin_listen, "admin_listen")?;
        // SAFETY: forwarded contract.
        to.tls = unsafe { self.tls() }?;
        to.cluster_token = text(self.cluster_token, "cluster_token")?;
        to.cluster_token_file = text(self.cluster_token_file, "cluster_token_file")?;
        if let Some(names) = text(self.admin_hosts, "admin_hosts")? {
            to.set("admin_hosts", &names)?;
        }
        to.cluster = text(self.cluster, "cluster")?;
        to.io_threads = count(self.io_threads);
        to.getter_threads = count(self.getter_threads);
        to.default_timeout = set(self.default_timeout_ms);
        to.connect_timeout = set(self.connect_timeout_ms);
        to.heartbeat = set(self.heartbeat_ms);
        to.suspect_after = set(self.suspect_after_ms);
        to.probe_interval = set(self.probe_interval_ms);
        to.remove_grace = set(self.remove_grace_ms);
        to.warm_window = set(self.warm_window_ms);
        Ok(to)
    }

    /// # Safety
    /// As [`Self::to_core`].
    unsafe fn tls(self) -> Result<Option<TlsOptions>> {
        let files = [self.tls_ca, self.tls_cert, self.tls_key];
        if files.iter().all(|file| file.is_null()) && self.tls_name.is_null() {
            return Ok(None);
        }
        // SAFETY: forwarded contract.
        let file = |ptr, name| unsafe { args::required(ptr, name) }.map(str::to_owned);
        let mut tls = TlsOptions::default();
        tls.ca = file(
            self.tls_ca,
            "tls_ca (set tls_ca, tls_cert and tls_key, or none of them)",
        )?;
        tls.cert = file(
            self.tls_cert,
            "tls_cert (set tls_ca, tls_cert and tls_key, or none of them)",
        )?;
        tls.key = file(
            self.tls_key,
            "tls_key (set tls_ca, tls_cert and tls_key, or none of them)",
        )?;
        // SAFETY: forwarded contract.
        tls.name = unsafe { args::text(self.tls_name, "tls_name") }?.map(str::to_owned);
        Ok(Some(tls))
    }
}

impl kamacache_group_options {
    /// What the user set, for the core.
    pub(crate) fn to_core(self) -> Result<GroupOptions> {
        const KNOWN: u32 =
            KAMACACHE_GROUP_STRICT_LRU | KAMACACHE_GROUP_NO_HOT | KAMACACHE_GROUP_NO_JITTER;
        flags(self.flags, KNOWN, Self::NAME)?;
        let off = |flag| (self.flags & flag != 0).then_some(false);
        let mut to = GroupOptions::default();
        to.max_bytes = self.max_bytes;
        to.ttl = self.ttl()?;
        to.negative_ttl = set(self.negative_ttl_ms);
        to.hot_ttl = set(self.hot_ttl_ms);
        to.fallback_ttl = set(self.fallback_ttl_ms);
        to.stale_while_revalidate = set(self.stale_while_revalidate_ms);
        to.stale_if_error = set(self.stale_if_error_ms);
        to.load_timeout = set(self.load_timeout_ms);
        to.max_concurrent_loads = count(self.max_concurrent_loads);
        to.max_value_bytes = (self.max_value_bytes != 0).then_some(self.max_value_bytes);
        to.policy = policy(self.policy)?;
        to.strict = self.flags & KAMACACHE_GROUP_STRICT_LRU != 0;
        to.hot = off(KAMACACHE_GROUP_NO_HOT);
        to.jitter = off(KAMACACHE_GROUP_NO_JITTER);
        Ok(to)
    }

    fn ttl(self) -> Result<Option<Duration>> {
        if self.ttl_ms == KAMACACHE_TTL_NO_STORE {
            return Err(Error::invalid_argument(
                "ttl_ms of a group is KAMACACHE_TTL_NO_STORE, which is for single values: give it to kamacache_load_complete",
            ));
        }
        Ok(set(self.ttl_ms))
    }
}

fn policy(number: u32) -> Result<Policy> {
    match number {
        KAMACACHE_POLICY_DEFAULT => Ok(Policy::Default),
        KAMACACHE_POLICY_LRU => Ok(Policy::Lru),
        KAMACACHE_POLICY_S3FIFO => Ok(Policy::S3Fifo),
        other => Err(Error::invalid_argument(format!(
            "policy is {other}: it is KAMACACHE_POLICY_DEFAULT 0, _LRU 1 or _S3FIFO 2"
        ))),
    }
}
