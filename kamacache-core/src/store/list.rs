//! `List`: the entries of a shard in order of use, on the `lru` crate, and what they cost.
//!
//! Invariant: `bytes` is the sum over the nodes in the list plus the table's bound. The front is
//! the most recently used end, the back is where victims are looked for.

use super::{
    entry::{BuildPassed, Entry, Keyed, Query, allocated},
    slot::Slot,
    stamp::Stamp,
};
use lru::LruCache;

pub(crate) struct List {
    map: LruCache<Entry, Slot, BuildPassed>,
    /// The most entries the table has ever had to hold; tables do not shrink.
    peak: usize,
}

/// A node of the `lru` crate: entry, slot and two links.
const NODE: usize = size_of::<Entry>() + size_of::<Slot>() + 2 * size_of::<usize>();

/// What a list costs without entries: its two end nodes.
pub(crate) const EMPTY_LIST: u64 = 2 * ((NODE + 8).next_multiple_of(16) as u64);

impl List {
    pub(crate) fn new() -> List {
        List {
            map: LruCache::unbounded_with_hasher(BuildPassed::default()),
            peak: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    #[inline]
    pub(crate) fn get(&self, query: &Query<'_>) -> Option<&Slot> {
        self.map.peek(query as &dyn Keyed)
    }

    pub(crate) fn get_mut(&mut self, key: &dyn Keyed) -> Option<&mut Slot> {
        self.map.peek_mut(key)
    }

    pub(crate) fn push_front(&mut self, slot: Slot) {
        let replaced = self.map.put(slot.entry.clone(), slot);
        debug_assert!(
            replaced.is_none(),
            "an entry is removed before its key comes back"
        );
        self.peak = self.peak.max(self.map.len());
    }

    pub(crate) fn remove(&mut self, key: &dyn Keyed) -> Option<Slot> {
        self.map.pop(key)
    }

    pub(crate) fn pop_back(&mut self) -> Option<Slot> {
        self.map.pop_lru().map(|(_, slot)| slot)
    }

    pub(crate) fn back(&self) -> Option<&Slot> {
        self.map.peek_lru().map(|(_, slot)| slot)
    }

    pub(crate) fn move_to_front(&mut self, key: &dyn Keyed) {
        self.map.promote(key);
    }

    /// Takes the back to the front.
    pub(crate) fn rotate(&mut self) -> Option<(Entry, Stamp)> {
        let back = self.back()?;
        let (entry, stamp) = (back.entry.clone(), back.stamp());
        self.map.promote(&entry as &dyn Keyed);
        Some((entry, stamp))
    }

    /// Takes the front to the back.
    pub(crate) fn rotate_back(&mut self) -> Option<(Entry, Stamp)> {
        let (_, front) = self.map.peek_mru()?;
        let (entry, stamp) = (front.entry.clone(), front.stamp());
        self.map.demote(&entry as &dyn Keyed);
        Some((entry, stamp))
    }

    /// What the table may take. hashbrown doubles a table that is more than half full when deleted
    /// places are all that is left of it, so under churn a table ends between two and four times
    /// its entries' need. That end is charged from the start.
    pub(crate) fn table_bytes(&self) -> u64 {
        if self.peak == 0 {
            return 0;
        }
        let buckets = (2 * (self.peak + 1) * 8).div_ceil(7).next_power_of_two();
        let bucket = 2 * size_of::<usize>() + 1;
        allocated(buckets * bucket + 32)
    }
}

/// What the allocator takes for a node and its entry.
pub(crate) fn cost(entry: &Entry) -> u64 {
    entry.bytes() + allocated(NODE)
}
