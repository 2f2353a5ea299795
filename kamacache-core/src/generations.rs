//! The slot table: one small table carries all freshness.
//!
//! Every node has 65,536 slots; a key of a group has the same slot on every
//! node. A slot's generation is bumped by every write to one of its keys, so a
//! fill that captured the generation before it started can tell that it has
//! been overtaken. Two keys in one slot only cost an extra load.
//!
//! A slot also remembers which links borrowed from it (`lent`), so that a write
//! tells exactly those, and whether it was written here in the current view and
//! in the one before (`written`), so that a new owner hears of writes that it
//! missed, and takes nothing that has been overtaken since.
//!
//! A clear bumps no slot: a group has a count of its clears, which only grows
//! as a generation does, so that the sum of the two is the same only while both
//! are. What is compared with it is void after a write to its slot and after a
//! clear of its own group, and of no other.
//!
//! Invariant: a bump happens under the store shard's write lock of the written
//! key, and a fill compares under the same lock, so no fill slips in between
//! (S20).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

const SLOTS: usize = 1 << 16;

/// The slot of a key, the same on every node of every language and release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u16);

impl Slot {
    /// The low 16 bits of xxh3-64 over `group`, a zero byte and `key`.
    pub(crate) fn of(group: &str, key: &str) -> Self {
        let mut bytes = SmallVec::<[u8; 256]>::new();
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

/// A set of slots, one bit each: 8 KiB in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slots(Box<[u64]>);

const WORDS: usize = SLOTS / 64;
/// All the bits of a set on the wire, in bytes; what is shorter are numbers.
const WIRE_BITS: usize = SLOTS / 8;

impl Slots {
    pub(crate) fn none() -> Self {
        Self(vec![0; WORDS].into())
    }

    /// Of sets as they are on the wire.
    pub(crate) fn union<'a>(sets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut all = Self::none();
        for set in sets {
            all.add_all(&Self::from_wire(set));
        }
        all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.0[usize::from(slot.0 / 64)] & bit_of(slot) != 0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> {
        (0..=u16::MAX).map(Slot).filter(|slot| self.contains(*slot))
    }

    /// The numbers of the slots where that is shorter, else all the bits.
    pub(crate) fn to_wire(&self) -> Vec<u8> {
        let count: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        if 2 * (count as usize) < WIRE_BITS {
            return self.iter().flat_map(|slot| slot.0.to_le_bytes()).collect();
        }
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(crate) fn from_wire(bytes: &[u8]) -> Self {
        let mut slots = Self::none();
        if bytes.len() < WIRE_BITS {
            for number in bytes.as_chunks().0 {
                slots.add(Slot(u16::from_le_bytes(*number)));
            }
        } else {
            let words = slots.0.iter_mut().zip(bytes.as_chunks().0);
            words.for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
        }
        slots
    }

    /// These slots as well.
    pub(crate) fn add_all(&mut self, other: &Self) {
        let words = self.0.iter_mut().zip(&other.0);
        words.for_each(|(word, other)| *word |= other);
    }

    fn add(&mut self, slot: Slot) {
        self.0[usize::from(slot.0 / 64)] |= bit_of(slot);
    }
}

fn bit_of(slot: Slot) -> u64 {
    1 << (slot.0 % 64)
}

/// A node's table of generations, loans and writes.
pub(crate) struct Generations {
    slots: Box<[AtomicU32]>,
    lent: Box<[AtomicU64]>,
    /// In views of even numbers, and of odd ones.
    written: [Box<[AtomicU64]>; 2],
}

impl Generations {
    pub(crate) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
            lent: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            written: std::array::from_fn(|_| (0..WORDS).map(|_| AtomicU64::new(0)).collect()),
        }
    }

    pub(crate) fn current(&self, slot: Slot) -> u32 {
        self.slots[usize::from(slot.0)].load(Ordering::Acquire)
    }

    /// By slot, for those who keep copies of their own.
    pub(crate) fn all(&self) -> &[AtomicU32] {
        &self.slots
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

    /// Who borrowed from the slot.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn lent(&self, slot: Slot) -> u64 {
        self.lent[usize::from(slot.0)].load(Ordering::SeqCst)
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
}

impl Generations {
    /// This node applied a write to the slot as its owner in the view of the
    /// number.
    pub(crate) fn mark_written(&self, view: u32, slot: Slot) {
        let word = &self.written(view)[usize::from(slot.0 / 64)];
        if word.load(Ordering::SeqCst) & bit_of(slot) == 0 {
            word.fetch_or(bit_of(slot), Ordering::SeqCst);
        }
    }

    /// Every key was written at once: a clear.
    pub(crate) fn mark_all_written(&self, view: u32) {
        for word in self.written(view) {
            word.store(u64::MAX, Ordering::SeqCst);
        }
    }

    /// Written here in the view of the number, the current one.
    pub(crate) fn is_written(&self, view: u32, slot: Slot) -> bool {
        self.written(view)[usize::from(slot.0 / 64)].load(Ordering::SeqCst) & bit_of(slot) != 0
    }

    /// The slots written so far in a view: the current one, or the one before.
    pub(crate) fn written_in(&self, view: u32) -> Slots {
        let words = self.written(view).iter();
        Slots(words.map(|word| word.load(Ordering::SeqCst)).collect())
    }

    /// Nothing has been written in this view: it is about to begin, or what was
    /// written is told otherwise.
    pub(crate) fn forget_written(&self, view: u32) {
        for word in self.written(view) {
            word.store(0, Ordering::SeqCst);
        }
    }

    fn written(&self, view: u32) -> &[AtomicU64] {
        &self.written[(view & 1) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s34_written_slots_are_those_of_one_view_and_survive_the_wire() {
        let table = Generations::new();
        let (slot, other) = (Slot(4711), Slot(65535));
        assert!(!table.is_written(7, slot));
        table.mark_written(7, slot);
        table.mark_written(7, other);
        table.forget_written(8);
        assert!(!table.is_written(8, slot));
        let told = table.written_in(7);
        table.forget_written(9);
        assert!(table.written_in(9).is_empty());
        let read = Slots::from_wire(&told.to_wire());
        assert_eq!(read, told);
        assert_eq!(read.iter().collect::<Vec<_>>(), [slot, other]);
        assert!(!read.contains(Slot(4712)));
        // A few are told by their numbers; half a number is none.
        assert_eq!(told.to_wire().len(), 4);
        let cut = Slots::from_wire(&told.to_wire()[..3]);
        assert_eq!(cut.iter().collect::<Vec<_>>(), [slot]);
        table.mark_all_written(9);
        let all = table.written_in(9).to_wire();
        assert_eq!(all.len(), SLOTS / 8);
        assert_eq!(Slots::from_wire(&all).iter().count(), SLOTS);
    }

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
