//! What this node knows about one key, for people: read only, asking nobody,
//! counting nothing.

use super::GroupInner;
use crate::generations::Slot;
use crate::peers::lender;
use crate::store::Stamp;

/// A key as this node sees it.
pub(crate) struct Explanation {
    pub(crate) slot: u32,
    /// Of the slot, here: grows with every write that this node has heard of.
    pub(crate) generation: u32,
    /// The slot was written here since the last change of view.
    pub(crate) written: bool,
    /// A getter of this node runs for the key.
    pub(crate) loading: bool,
    /// The key is being fetched from its owner.
    pub(crate) fetching: bool,
    /// Peers that borrowed from the key's slot: they may hold a copy of it.
    pub(crate) lent_to: Vec<String>,
    pub(crate) here: Option<Entry>,
}

/// What this node holds of it.
pub(crate) struct Entry {
    pub(crate) stamp: Stamp,
    pub(crate) bytes: usize,
    pub(crate) expires_in_ms: Option<u64>,
    pub(crate) expired_for_ms: Option<u64>,
    /// A Get would be answered from it.
    pub(crate) served: bool,
}

impl GroupInner {
    pub(crate) fn explain(&self, key: &str) -> Explanation {
        let slot = Slot::of(&self.name, key);
        let generations = &self.state.generations;
        let lent = generations.lent(slot);
        let lent_to = match lent {
            0 => Vec::new(),
            lent => self
                .state
                .counters
                .peers(|link| lent & lender::bit(link) != 0),
        };
        Explanation {
            slot: slot.to_wire(),
            generation: generations.current(slot),
            written: generations.is_written(self.state.peers.view().serial(), slot),
            loading: self.loads.has(key),
            fetching: self.fetches.iter().any(|fetches| fetches.has(key)),
            lent_to,
            here: self.entry(key),
        }
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        let (stamp, bytes) = self.store.inspect(key)?;
        let now = self.state.clock.now_ms();
        let left = |at: u64| at.checked_sub(now).filter(|left| *left > 0);
        Some(Entry {
            stamp,
            bytes,
            expires_in_ms: stamp.expires_at.and_then(left),
            expired_for_ms: stamp.expires_at.and_then(|at| now.checked_sub(at)),
            served: self.would_serve(key, stamp),
        })
    }

    /// As `here` decides, but nothing is counted or changed.
    fn would_serve(&self, key: &str, stamp: Stamp) -> bool {
        use crate::store::Kind;
        let fresh = stamp
            .expires_at
            .is_none_or(|at| !self.state.clock.reached(at));
        let allowed = match stamp.kind {
            Kind::Owned | Kind::Fallback | Kind::Absent => true,
            Kind::Hot => self.may_serve_copy(key, stamp),
            Kind::Heir => false,
        };
        fresh && allowed && self.stands(key, stamp)
    }
}
