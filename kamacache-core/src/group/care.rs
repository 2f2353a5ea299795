//! The life of a group beside its calls: what is done now and then, its end,
//! and its accounts.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::GroupInner;
use crate::latency::{Latency, LatencyKind, Spread};
use crate::stats::Stats;
use crate::{Error, ErrorKind};

impl GroupInner {
    /// Gives back a slice of what a clear has left; whether more is left.
    pub(crate) fn reclaim(&self) -> bool {
        self.store.reclaim()
    }

    /// Drops a slice of what has expired, from this shard on; whether more is
    /// to be looked at.
    pub(crate) fn expire_slice(&self, shard: &mut usize) -> bool {
        self.store.expire_slice(shard)
    }

    /// What is done now and then: loads that take too long are given up.
    pub(crate) fn tend(&self) {
        self.loads.reap(self.config.load_timeout, |key| {
            Err(Error::new(
                ErrorKind::DeadlineExceeded,
                format!(
                    "the getter did not answer for key {:?} within load_timeout {:?}",
                    crate::error::Short(key),
                    self.config.load_timeout
                ),
            ))
        });
        if let Some(limit) = &self.limit {
            limit.give_back(self.config.load_timeout);
        }
    }

    /// Frees the getter, and has every entry freed by `reclaim`; the node has been
    /// marked closed.
    pub(crate) fn close(&self) {
        let getter = self.getter.write().take();
        drop(getter);
        self.store.clear();
    }

    pub(crate) fn stats(&self) -> Stats {
        let store = self.store.stats();
        Stats {
            stuck_loads: self.loads.stuck(),
            invalidations: self.state.invalidations.load(Ordering::Relaxed),
            evictions: store.evictions,
            expirations: store.expirations,
            entries: store.entries,
            hot_entries: store.hot_entries,
            bytes: store.bytes,
            hot_bytes: store.hot_bytes,
            max_bytes: self.config.max_bytes,
            ..Stats::of(&self.counters)
        }
    }

    pub(crate) fn latency(&self, kind: LatencyKind) -> Latency {
        self.latencies.read(kind)
    }

    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn spread(&self, kind: LatencyKind, bounds: &[u64]) -> Spread {
        self.latencies.spread(kind, bounds)
    }

    /// The keys that are hit most, and about how often.
    pub(crate) fn hot_keys(&self, count: usize) -> Vec<(String, u64)> {
        self.hot_keys.top(count)
    }

    /// How this node runs the group, for peers to compare (S8b).
    pub(crate) fn options(&self) -> crate::wire::GroupOptions {
        crate::wire::GroupOptions {
            group: Bytes::clone(&self.wire_name),
            digest: self.options_digest(),
        }
    }

    /// Equal for equal rules of what an owner keeps, how long and how.
    pub(crate) fn options_digest(&self) -> u64 {
        self.config.digest()
    }

    pub(crate) fn max_value_bytes(&self) -> u64 {
        self.config.max_value_bytes
    }

    pub(crate) fn queued_too_long(&self) -> Option<Error> {
        Some(self.limit.as_ref()?.overloaded(&self.name))
    }
}
