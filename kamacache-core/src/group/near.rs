//! What a binding copies out of a group into its language's memory, see
//! `crate::near`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::GroupInner;
use crate::generations::Slot;
use crate::near::{Freshness, Near};
use crate::stats::Count;
use crate::store::{Kind, Stamp};

/// Bytes of near copies of one group, at most: what is hit most fits, and the
/// lookup stays in the processor's caches.
const MOST_NEAR: u64 = 1 << 20;

impl GroupInner {
    pub(crate) fn near_room(&self) -> u64 {
        // With exact order every hit has to be seen here.
        if self.config.strict {
            return 0;
        }
        (self.config.max_bytes / 8).min(MOST_NEAR)
    }

    pub(crate) fn freshness(&self) -> Freshness {
        Freshness::new(&self.state, &self.clears)
    }

    /// Copies an entry that this node owns, if it fits, and counts `hits` of
    /// its key, which stands for those of all copies when they are sampled.
    pub(crate) fn near_into(&self, key: &str, hits: u64, buf: &mut [u8]) -> Option<Near> {
        let slot = Slot::of(&self.name, key);
        let view = self.state.peers.number();
        let generation = self.state.generations.current(slot);
        let clears = self.clears.load(Ordering::Acquire);
        let mut expires_at = None;
        let owned = |stamp: Stamp| {
            expires_at = stamp.expires_at;
            stamp.view == view && stamp.kind == Kind::Owned
        };
        let length = self.store.peek_into(key, owned, buf)?.ok()?;
        if self.counters.add_many(Count::Hit, hits) {
            self.hot_keys.note(key);
        }
        let now = self.state.clock.now_ms();
        Some(Near {
            length,
            slot: slot.to_wire() as usize,
            generation,
            view,
            clears,
            left: expires_at.map(|at| Duration::from_millis(at.saturating_sub(now))),
        })
    }
}
