//! What a store can be told: budget, policy, clock, eviction hook.
//!
//! Filled in by `group.rs` from the validated `GroupOptions`; nothing is validated here.

use super::evictor::Weigher;
use crate::{clock::Clock, value::Value};
use std::{str::FromStr, sync::Arc};

/// Which entries are evicted when the budget is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// S3-FIFO, which did best in the project's measurements (`docs/performance.md`).
    #[default]
    Default,
    /// Least recently used. Exact order with `strict`; otherwise a hit only marks an entry, and
    /// the mark is paid at eviction (a clock hand with second chances).
    Lru,
    /// S3-FIFO: a small queue for newcomers, a main queue for what was asked for again.
    S3Fifo,
}

impl FromStr for Policy {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, crate::Error> {
        match text {
            "default" => Ok(Policy::Default),
            "lru" => Ok(Policy::Lru),
            "s3fifo" => Ok(Policy::S3Fifo),
            _ => Err(crate::Error::invalid_argument(format!(
                "policy {text:?} is unknown: use \"default\", \"lru\" or \"s3fifo\""
            ))),
        }
    }
}

/// Why an entry left the cache.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EvictReason {
    /// The byte budget was full.
    Capacity = 1,
    /// Its lifetime was over.
    Expired,
    /// A new value took its place.
    Replaced,
    /// It was deleted.
    Deleted,
    /// Everything was cleared.
    Cleared,
    /// Another member owns the key now.
    Moved,
}

/// Called after an entry left the cache, with no lock held: on the thread that caused it, or, after
/// a clear and a change of members, on a thread of the node's runtime some time later.
pub type EvictHook = Arc<dyn Fn(&str, &Value, EvictReason) + Send + Sync>;

/// Everything a `Store` is made of.
#[derive(Clone)]
pub struct StoreOptions {
    /// Bytes the store may hold, its own overhead included.
    pub max_bytes: u64,
    /// Who leaves when the budget is full.
    pub policy: Policy,
    /// Exact order of use, at the price of an exclusive lock on every hit.
    pub strict: bool,
    /// What an entry counts for: the truth, but for replays of traces.
    pub weigher: Weigher,
    /// A power of two; `None` = chosen from the machine and `max_bytes`.
    pub shards: Option<usize>,
    /// Cap on hot entries, as a fraction of `max_bytes`: one in so many.
    pub hot_divisor: u64,
    /// How long an expired entry is kept for `get_stale`.
    pub keep_stale_ms: u64,
    /// What expiry times are numbers of.
    pub clock: Clock,
    /// Told about every entry that leaves.
    pub on_evict: Option<EvictHook>,
}

impl StoreOptions {
    /// The default policy on the machine's clock.
    pub fn new(max_bytes: u64) -> StoreOptions {
        StoreOptions {
            max_bytes,
            policy: Policy::Default,
            strict: false,
            weigher: Weigher::default(),
            shards: None,
            hot_divisor: 8,
            keep_stale_ms: 0,
            clock: Clock::real(),
            on_evict: None,
        }
    }

    /// Enough shards that threads seldom meet, each large enough that its own cost is small.
    pub(crate) fn shard_count(&self) -> usize {
        if let Some(shards) = self.shards {
            return shards.next_power_of_two().min(MOST_SHARDS);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let by_cores = (SHARDS_PER_CORE * cores).next_power_of_two();
        let by_bytes = (self.max_bytes / LEAST_SHARE).max(1).ilog2();
        by_cores.min(1 << by_bytes.min(30)).min(MOST_SHARDS)
    }
}

const SHARDS_PER_CORE: usize = 32;
const MOST_SHARDS: usize = 1024;
/// A shard of less would spend much of it on itself.
const LEAST_SHARE: u64 = 256 << 10;
