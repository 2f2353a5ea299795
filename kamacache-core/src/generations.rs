//! The slot table: one small table carries all freshness.
//!
//! Every node has 65,536 slots; a key of a group has the same slot on every
//! node. A slot's generation is bumped by every write to one of its keys, so a
//! fill that captured the generation before it started can tell that it has
//! been overtaken. Two keys in one slot only cost an extra load.
//!
//! A slot also remembers which links borrowed from it (`lent`), so that a write
//! tells exactly those.
//!
//! Invariant: a bump happens under the store shard's write lock of the written
//! key, and a fill compares under the same lock, so no fill slips in between
//! (S20).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64;

const SLOTS: usize = 1 << 16;

/// The slot of a key, the same on every node of every language and release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u16);

impl Slot {
    /// The low 16 bits of xxh3-64 over `group`, a zero byte and `key`.
    pub(crate) fn of(group: &str, key: &str) -> Self {
        let mut bytes = Vec::with_capacity(group.len() + 1 + key.len());
        bytes.extend_from_slice(group.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(key.as_bytes());
        Self(xxh3_64(&bytes) as u16)
    }
}

impl Slot {
    /// The slot with this number; larger numbers wrap, which only costs a load.
    pub(crate) fn from_wire(number: u32) -> Self {
        Self(number as u16)
    }

    pub(crate) fn to_wire(self) -> u32 {
        u32::from(self.0)
    }
}

/// A node's table of generations and loans.
pub(crate) struct Generations {
    slots: Box<[AtomicU32]>,
    lent: Box<[AtomicU64]>,
}

impl Generations {
    pub(crate) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
            lent: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn current(&self, slot: Slot) -> u32 {
        self.slots[usize::from(slot.0)].load(Ordering::Acquire)
    }

    /// Dooms every fill of this slot that has begun; the new generation.
    pub(crate) fn bump(&self, slot: Slot) -> u32 {
        self.slots[usize::from(slot.0)]
            .fetch_add(1, Ordering::AcqRel)
            .wrapping_add(1)
    }
}

impl Generations {
    /// Dooms every fill that has begun.
    pub(crate) fn bump_all(&self) {
        for slot in &self.slots {
            slot.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A link borrows from the slot: before the store is read for it.
    pub(crate) fn lend(&self, slot: Slot, link: u64) {
        let lent = &self.lent[usize::from(slot.0)];
        // Most loans repeat; a load leaves the line shared.
        if lent.load(Ordering::SeqCst) & link == 0 {
            lent.fetch_or(link, Ordering::SeqCst);
        }
    }

    /// Who borrowed from the slot; from here on, nobody.
    pub(crate) fn recall(&self, slot: Slot) -> u64 {
        let lent = &self.lent[usize::from(slot.0)];
        if lent.load(Ordering::SeqCst) == 0 {
            0
        } else {
            lent.swap(0, Ordering::SeqCst)
        }
    }

    pub(crate) fn recall_all(&self) {
        for lent in &self.lent {
            lent.store(0, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_the_same_on_every_node() {
        // Pinned, and computed with another implementation of xxh3: another
        // release or language must agree.
        assert_eq!(Slot::of("scores", "Tom"), Slot(39366));
        assert_ne!(Slot::of("a", "bc"), Slot::of("ab", "c"));
    }

    #[test]
    fn a_bump_dooms_what_was_captured_before() {
        let table = Generations::new();
        let slot = Slot::of("g", "k");
        let before = table.current(slot);
        assert_eq!(table.bump(slot), before + 1);
        assert_ne!(table.current(slot), before);
    }
}
