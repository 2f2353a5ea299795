//! The counters and latencies of a group, for structs of the caller's size.

use kamacache_core::{Error, Latency, LatencyKind, Result, Stats};

use crate::sized::SelfSized;

/// The counters of a group on this node since it was opened. Set struct_size to
/// sizeof(kamacache_stats) before the call. Counters only grow, save
/// in_progress, stuck_loads and what is held now.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct kamacache_stats {
    /// Set by the caller.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Gets begun here: the sum of the twelve fields after this one.
    pub gets: u64,
    /// Answered by a value owned here.
    pub hits: u64,
    /// Answered by a copy of another node's value.
    pub hot_hits: u64,
    /// Answered by an expired value while it is refreshed.
    pub stale_hits: u64,
    /// Answered by a kept "not found".
    pub negative_hits: u64,
    /// Ran the getter.
    pub loaded: u64,
    /// Waited for a getter that ran already.
    pub load_joined: u64,
    /// Asked the owner.
    pub fetched: u64,
    /// Waited for an answer of the owner that was on its way.
    pub fetch_joined: u64,
    /// Ran the getter because the owner was unreachable.
    pub fallbacks: u64,
    /// The getter had no such key.
    pub not_found: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Not ended yet.
    pub in_progress: u64,
    /// Gets served for peers: split like gets, by the seven fields after this one.
    pub peer_gets: u64,
    /// See hits.
    pub peer_hits: u64,
    /// See stale_hits.
    pub peer_stale_hits: u64,
    /// See negative_hits.
    pub peer_negative_hits: u64,
    /// See loaded.
    pub peer_loaded: u64,
    /// See load_joined.
    pub peer_load_joined: u64,
    /// See not_found.
    pub peer_not_found: u64,
    /// See failed.
    pub peer_failed: u64,
    /// Getter calls.
    pub loads: u64,
    /// Getter calls that failed.
    pub load_errors: u64,
    /// Getters that still run after load_timeout_ms, now.
    pub stuck_loads: u64,
    /// Requests sent to owners.
    pub fetches: u64,
    /// Requests to owners that failed.
    pub fetch_errors: u64,
    /// Loads that refreshed an expired value.
    pub refreshes: u64,
    /// Sets applied here.
    pub sets: u64,
    /// Deletes applied here.
    pub deletes: u64,
    /// Clears applied here.
    pub clears: u64,
    /// Invalidations received from owners.
    pub invalidations: u64,
    /// Entries dropped for room.
    pub evictions: u64,
    /// Entries dropped for their age.
    pub expirations: u64,
    /// Entries held now.
    pub entries: u64,
    /// Of these, copies of other nodes' values.
    pub hot_entries: u64,
    /// Memory charged now.
    pub bytes: u64,
    /// Of this, for copies of other nodes' values.
    pub hot_bytes: u64,
    /// The budget.
    pub max_bytes: u64,
}

impl From<Stats> for kamacache_stats {
    fn from(from: Stats) -> Self {
        Self {
            struct_size: 0,
            reserved: 0,
            gets: from.gets,
            hits: from.hits,
            hot_hits: from.hot_hits,
            stale_hits: from.stale_hits,
            negative_hits: from.negative_hits,
            loaded: from.loaded,
            load_joined: from.load_joined,
            fetched: from.fetched,
            fetch_joined: from.fetch_joined,
            fallbacks: from.fallbacks,
            not_found: from.not_found,
            failed: from.failed,
            in_progress: from.in_progress,
            peer_gets: from.peer_gets,
            peer_hits: from.peer_hits,
            peer_stale_hits: from.peer_stale_hits,
            peer_negative_hits: from.peer_negative_hits,
            peer_loaded: from.peer_loaded,
            peer_load_joined: from.peer_load_joined,
            peer_not_found: from.peer_not_found,
            peer_failed: from.peer_failed,
            loads: from.loads,
            load_errors: from.load_errors,
            stuck_loads: from.stuck_loads,
            fetches: from.fetches,
            fetch_errors: from.fetch_errors,
            refreshes: from.refreshes,
            sets: from.sets,
            deletes: from.deletes,
            clears: from.clears,
            invalidations: from.invalidations,
            evictions: from.evictions,
            expirations: from.expirations,
            entries: from.entries,
            hot_entries: from.hot_entries,
            bytes: from.bytes,
            hot_bytes: from.hot_bytes,
            max_bytes: from.max_bytes,
        }
    }
}

/// How long an operation took on this node since the group was opened, in
/// nanoseconds. Set struct_size to sizeof(kamacache_latency) before the call.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct kamacache_latency {
    /// Set by the caller.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Operations measured.
    pub count: u64,
    /// The sum of their times.
    pub sum_ns: u64,
    /// Half took at most this long.
    pub p50_ns: u64,
    /// Nine in ten took at most this long.
    pub p90_ns: u64,
    /// 99 in 100 took at most this long.
    pub p99_ns: u64,
    /// 999 in 1,000 took at most this long.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl From<Latency> for kamacache_latency {
    fn from(from: Latency) -> Self {
        Self {
            struct_size: 0,
            reserved: 0,
            count: from.count,
            sum_ns: from.sum_ns,
            p50_ns: from.p50_ns,
            p90_ns: from.p90_ns,
            p99_ns: from.p99_ns,
            p999_ns: from.p999_ns,
            max_ns: from.max_ns,
        }
    }
}

/// Which latency a number of C's means.
pub(crate) fn kind_of(which: i32) -> Result<LatencyKind> {
    match which {
        0 => Ok(LatencyKind::Hit),
        1 => Ok(LatencyKind::Load),
        2 => Ok(LatencyKind::Fetch),
        other => Err(Error::invalid_argument(format!(
            "which is {other}: it is 0 hit, 1 load or 2 fetch"
        ))),
    }
}

// SAFETY: repr(C), struct_size first, only integers.
unsafe impl SelfSized for kamacache_stats {
    const NAME: &'static str = "kamacache_stats";
}
// SAFETY: as above.
unsafe impl SelfSized for kamacache_latency {
    const NAME: &'static str = "kamacache_latency";
}
