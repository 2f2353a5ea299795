//! Counters and their snapshot. Counters are striped by thread, so that a hit
//! on one core does not take a cache line from another.
//!
//! Invariant (S38): each public Get ends in exactly one outcome, so
//! `gets` = the sum of the outcomes + `in_progress`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// One in so many hits is looked at more closely.
pub(crate) const SAMPLED: u64 = 1024;
/// Threads beyond this share a stripe.
const STRIPES: usize = 16;

/// What is counted. The first eleven are the outcomes of a public Get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Hit,
    HotHit,
    StaleHit,
    NegativeHit,
    Loaded,
    LoadJoined,
    Fetched,
    FetchJoined,
    Fallback,
    NotFound,
    Failed,
    PeerHit,
    PeerStaleHit,
    PeerNegativeHit,
    PeerLoaded,
    PeerLoadJoined,
    PeerNotFound,
    PeerFailed,
    /// Gets that missed at first sight; each ends in one of the outcomes.
    MissStarted,
    /// A miss that found the value when it looked once more: also a Hit.
    MissEnded,
    Load,
    LoadError,
    Fetch,
    FetchError,
    Refresh,
    Set,
    Delete,
    Clear,
    Invalidation,
}

const COUNTS: usize = Count::Invalidation as usize + 1;

/// One thread's share, alone on its cache lines.
#[repr(align(128))]
struct Stripe([AtomicU64; COUNTS]);

/// The counters of one group.
pub(crate) struct Counters(Box<[Stripe]>);

impl Counters {
    pub(crate) fn new() -> Self {
        Self(
            (0..STRIPES)
                .map(|_| Stripe(std::array::from_fn(|_| AtomicU64::new(0))))
                .collect(),
        )
    }

    /// One in [`SAMPLED`] hits of a thread is measured, so that the others read
    /// no clock.
    pub(crate) fn is_sample(&self, hits: Count) -> bool {
        self.0[stripe()].0[hits as usize].load(Ordering::Relaxed) % SAMPLED == SAMPLED - 1
    }

    pub(crate) fn add(&self, count: Count) {
        self.0[stripe()].0[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Adds several; whether one of them is a sample.
    pub(crate) fn add_many(&self, count: Count, several: u64) -> bool {
        let before = self.0[stripe()].0[count as usize].fetch_add(several, Ordering::Relaxed);
        before % SAMPLED + several >= SAMPLED
    }

    pub(crate) fn read(&self, count: Count) -> u64 {
        self.0
            .iter()
            .map(|stripe| stripe.0[count as usize].load(Ordering::Relaxed))
            .sum()
    }
}

fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    MINE.with(|mine| *mine)
}

/// A snapshot of a group's counters and sizes on this node. Counters only
/// grow; `bytes` and entries are gauges. `gets` = the sum of `hits` to
/// `failed`, + `in_progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Public Gets begun on this node.
    pub gets: u64,
    /// Answered from an entry of this node.
    pub hits: u64,
    /// Answered from a hot copy of another owner's entry.
    pub hot_hits: u64,
    /// Answered with an expired value inside its stale window.
    pub stale_hits: u64,
    /// Answered by a remembered "not found".
    pub negative_hits: u64,
    /// Led a load of the getter on this node.
    pub loaded: u64,
    /// Joined a load on this node that another Get led.
    pub load_joined: u64,
    /// Led a fetch from the owner.
    pub fetched: u64,
    /// Joined a fetch that another Get led.
    pub fetch_joined: u64,
    /// Led a local load because the owner could not be reached.
    pub fallbacks: u64,
    /// Ended in "not found" by the getter.
    pub not_found: u64,
    /// Ended in any error, or the caller left.
    pub failed: u64,
    /// Begun and not yet ended.
    pub in_progress: u64,
    /// Gets served for peers, in all.
    pub peer_gets: u64,
    /// Peers' Gets answered from an entry.
    pub peer_hits: u64,
    /// Peers' Gets answered with an expired value inside its stale window.
    pub peer_stale_hits: u64,
    /// Peers' Gets answered by a remembered "not found".
    pub peer_negative_hits: u64,
    /// Peers' Gets that led a load.
    pub peer_loaded: u64,
    /// Peers' Gets that joined a load.
    pub peer_load_joined: u64,
    /// Peers' Gets that ended in "not found" by the getter.
    pub peer_not_found: u64,
    /// Peers' Gets that ended in any error.
    pub peer_failed: u64,
    /// Getter calls on this node.
    pub loads: u64,
    /// Getter calls that failed.
    pub load_errors: u64,
    /// Getters that still run after their load timeout.
    pub stuck_loads: u64,
    /// Gets sent to owners.
    pub fetches: u64,
    /// Gets sent to owners that ended in an error.
    pub fetch_errors: u64,
    /// Background refreshes of expired values.
    pub refreshes: u64,
    /// Sets called on this node.
    pub sets: u64,
    /// Deletes called on this node.
    pub deletes: u64,
    /// Clears called on this node.
    pub clears: u64,
    /// Invalidations received from owners.
    pub invalidations: u64,
    /// Entries dropped for room.
    pub evictions: u64,
    /// Entries dropped because their time was over.
    pub expirations: u64,
    /// Entries held now; 0 once a clear has returned. What a change of members
    /// has made void counts until the background sweep has come by.
    pub entries: u64,
    /// Hot copies among them.
    pub hot_entries: u64,
    /// Bytes charged now. What a clear drops is charged until its memory has
    /// been freed in the background; new values take its place first.
    pub bytes: u64,
    /// Bytes of hot copies among them.
    pub hot_bytes: u64,
    /// The budget, in bytes.
    pub max_bytes: u64,
}

impl Stats {
    /// The share of Gets that were answered from this node's memory, 0.0..=1.0;
    /// 0 before the first Get.
    pub fn hit_ratio(&self) -> f64 {
        let ended = self.gets - self.in_progress;
        if ended == 0 {
            return 0.0;
        }
        (self.hits + self.hot_hits + self.stale_hits + self.negative_hits) as f64 / ended as f64
    }

    /// Every field with its name, in the order of their declaration.
    pub fn named(&self) -> [(&'static str, u64); 38] {
        [
            ("gets", self.gets),
            ("hits", self.hits),
            ("hot_hits", self.hot_hits),
            ("stale_hits", self.stale_hits),
            ("negative_hits", self.negative_hits),
            ("loaded", self.loaded),
            ("load_joined", self.load_joined),
            ("fetched", self.fetched),
            ("fetch_joined", self.fetch_joined),
            ("fallbacks", self.fallbacks),
            ("not_found", self.not_found),
            ("failed", self.failed),
            ("in_progress", self.in_progress),
            ("peer_gets", self.peer_gets),
            ("peer_hits", self.peer_hits),
            ("peer_stale_hits", self.peer_stale_hits),
            ("peer_negative_hits", self.peer_negative_hits),
            ("peer_loaded", self.peer_loaded),
            ("peer_load_joined", self.peer_load_joined),
            ("peer_not_found", self.peer_not_found),
            ("peer_failed", self.peer_failed),
            ("loads", self.loads),
            ("load_errors", self.load_errors),
            ("stuck_loads", self.stuck_loads),
            ("fetches", self.fetches),
            ("fetch_errors", self.fetch_errors),
            ("refreshes", self.refreshes),
            ("sets", self.sets),
            ("deletes", self.deletes),
            ("clears", self.clears),
            ("invalidations", self.invalidations),
            ("evictions", self.evictions),
            ("expirations", self.expirations),
            ("entries", self.entries),
            ("hot_entries", self.hot_entries),
            ("bytes", self.bytes),
            ("hot_bytes", self.hot_bytes),
            ("max_bytes", self.max_bytes),
        ]
    }

    /// The counters; the sizes are the store's to fill in.
    pub(crate) fn of(counters: &Counters) -> Self {
        use Count::*;
        let read = |count| counters.read(count);
        let mut stats = Self {
            hits: read(Hit),
            hot_hits: read(HotHit),
            stale_hits: read(StaleHit),
            negative_hits: read(NegativeHit),
            loaded: read(Loaded),
            load_joined: read(LoadJoined),
            fetched: read(Fetched),
            fetch_joined: read(FetchJoined),
            fallbacks: read(Fallback),
            not_found: read(NotFound),
            failed: read(Failed),
            peer_hits: read(PeerHit),
            peer_stale_hits: read(PeerStaleHit),
            peer_negative_hits: read(PeerNegativeHit),
            peer_loaded: read(PeerLoaded),
            peer_load_joined: read(PeerLoadJoined),
            peer_not_found: read(PeerNotFound),
            peer_failed: read(PeerFailed),
            loads: read(Load),
            load_errors: read(LoadError),
            fetches: read(Fetch),
            fetch_errors: read(FetchError),
            refreshes: read(Refresh),
            sets: read(Set),
            deletes: read(Delete),
            clears: read(Clear),
            invalidations: read(Invalidation),
            ..Self::default()
        };
        // Ends are read before starts, so that the difference is never negative.
        let ended = read(MissEnded);
        stats.in_progress = read(MissStarted).saturating_sub(ended);
        stats.gets = stats.outcomes() + stats.in_progress;
        stats.peer_gets = stats.peer_hits
            + stats.peer_stale_hits
            + stats.peer_negative_hits
            + stats.peer_loaded
            + stats.peer_load_joined
            + stats.peer_not_found
            + stats.peer_failed;
        stats
    }

    fn outcomes(&self) -> u64 {
        self.hits
            + self.hot_hits
            + self.stale_hits
            + self.negative_hits
            + self.loaded
            + self.load_joined
            + self.fetched
            + self.fetch_joined
            + self.fallbacks
            + self.not_found
            + self.failed
    }
}
