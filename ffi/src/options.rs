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
use crate::sized::{SelfSized, init};

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
    /// Set by kamacache_node_options_init.
    pub struct_size: u32,
    /// None defined: 0.
    pub flags: u32,
    /// "127.0.0.1:8001", port 0, or a range "127.0.0.1:8001-8003" (the first free port); NULL: a
    /// single instance without network.
    pub listen: *const c_char,
    /// What peers dial; NULL: the bound address.
    pub advertise: *const c_char,
    /// The members, this node included; ranges are accepted. None: a ring of one until
    /// kamacache_node_set_peers.
    pub peers: *const *const c_char,
    /// How many texts peers holds.
    pub peers_len: usize,
    /// Where members are found, as a URL, instead of peers; NULL: nowhere.
    pub discovery: *const c_char,
    /// Where the admin HTTP listens, as "127.0.0.1:9001", ":9001" or port 0, which
    /// kamacache_node_admin_address tells; NULL: off.
    pub admin_listen: *const c_char,
    /// File of the CA that peers are checked against, PEM. Set all three or none.
    pub tls_ca: *const c_char,
    /// File of this node's certificate, PEM.
    pub tls_cert: *const c_char,
    /// File of this node's key, PEM.
    pub tls_key: *const c_char,
    /// A secret shared by all members, or several separated by blanks: all are admitted, the first
    /// is sent; NULL: none.
    pub cluster_token: *const c_char,
    /// Network threads; 0: one.
    pub io_threads: u32,
    /// The most getters that run at a time for loads that peers ask for; 0: the default.
    pub getter_threads: u32,
    /// Members of different clusters refuse each other; NULL: "default".
    pub cluster: *const c_char,
    /// The name every peer certificate must carry; NULL: the address that is dialled.
    pub tls_name: *const c_char,
    /// Of a call whose timeout_ms is 0. Default 5,000.
    pub default_timeout_ms: u64,
    /// To reach a peer. Default 1,000.
    pub connect_timeout_ms: u64,
    /// Between two pings of a link. Default 500.
    pub heartbeat_ms: u64,
    /// Of silence until a peer is suspect. Default 1,000.
    pub suspect_after_ms: u64,
    /// Between two probes of a suspect peer. Default 1,000.
    pub probe_interval_ms: u64,
    /// A member may be missing from discovery this long. Default 10,000.
    pub remove_grace_ms: u64,
    /// After a change of members, how long values are taken over. Default 30,000.
    pub warm_window_ms: u64,
    /// File of tokens, one on each line, in place of cluster_token: all are admitted, the first is
    /// sent, and it is read again when it changes; NULL: none.
    pub cluster_token_file: *const c_char,
    /// Names by which the admin HTTP may be asked, separated by commas, beside localhost, the name
    /// that is advertised and IP addresses; NULL: no others.
    pub admin_hosts: *const c_char,
}

/// How to open a group. Set it up with kamacache_group_options_init, then set
/// max_bytes and what should differ; zero and NULL mean the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kamacache_group_options {
    /// Set by kamacache_group_options_init.
    pub struct_size: u32,
    /// KAMACACHE_GROUP_* added up.
    pub flags: u32,
    /// The memory budget, all overheads included: required, at least 65,536.
    pub max_bytes: u64,
    /// Lifetime of a value. Default: KAMACACHE_FOREVER.
    pub ttl_ms: u64,
    /// How long a "not found" is kept. Default: not at all.
    pub negative_ttl_ms: u64,
    /// Lifetime of a copy of a value that another node owns. Default 10,000.
    pub hot_ttl_ms: u64,
    /// For this long after its ttl a value is served while one load refreshes it. Default: off.
    pub stale_while_revalidate_ms: u64,
    /// How long a getter may take until the next one may start. Default 30,000.
    pub load_timeout_ms: u64,
    /// The most getters of this group that run at a time on this node.
    pub max_concurrent_loads: u32,
    /// KAMACACHE_POLICY_*.
    pub policy: u32,
    /// Loads a missing key; NULL: a miss is KAMACACHE_NOT_FOUND.
    pub getter: kamacache_getter,
    /// Handed to every callback of the group.
    pub user_data: *mut c_void,
    /// Frees user_data: called exactly once, after the last callback, also when opening fails; NULL: nothing to free.
    pub free_user_data: kamacache_free_fn,
    /// The largest value. Default 16 MiB.
    pub max_value_bytes: u64,
    /// Lifetime of a value loaded here because its owner was unreachable. Default 2,000.
    pub fallback_ttl_ms: u64,
    /// For this long after its ttl a value is served when its refresh fails. Default: off.
    pub stale_if_error_ms: u64,
    /// Loads several missing keys at once; where a single one is missing and getter is set, that
    /// one is called. NULL: none.
    pub batch_getter: kamacache_batch_getter,
    /// Told of every entry that leaves this node's memory; NULL: nobody.
    pub on_evict: kamacache_evict_fn,
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
    args::timeout(ms)
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
