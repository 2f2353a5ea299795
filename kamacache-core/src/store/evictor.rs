//! `Evictor`: who leaves when the budget is full. The two policies are `lru_policy.rs` and
//! `s3fifo.rs`.
//!
//! Invariant: an evictor orders entries and never changes them; every entry of the list that is not
//! a hot copy is announced once by `arrived` or `replaced` and once by `left` or `victim`. Called by
//! `Shard` under its write lock.

use super::{
    entry::{Entry, Hash48},
    list::{self, List},
    slot::Slot,
};

/// Entries that are looked at or evicted under one hold of a lock: about the work of 64.
const LOOKS: usize = 128;
/// So many holds in a row may end without a victim: then the next best one leaves.
const VAIN: u32 = 32;

/// How long the holder of a lock may go on looking for victims: entries that were used since are
/// spared, and there may be many. The search goes on under the next hold where it stood.
#[derive(Debug)]
pub(crate) struct Patience {
    looks: usize,
    found: bool,
    vain: u32,
}

impl Patience {
    pub(crate) fn new() -> Patience {
        Patience {
            looks: LOOKS,
            found: false,
            vain: 0,
        }
    }

    /// Another hold begins.
    pub(crate) fn renew(&mut self) {
        self.vain = if self.found { 0 } else { self.vain + 1 };
        self.found = false;
        self.looks = LOOKS;
    }

    /// Whether one more entry may be looked at.
    pub(crate) fn look(&mut self) -> bool {
        let may = self.looks > 0;
        self.looks -= usize::from(may);
        may
    }

    pub(crate) fn found(&mut self) {
        self.found = true;
    }

    /// Whether a victim must be taken although it was used.
    pub(crate) fn is_over(&self) -> bool {
        self.vain >= VAIN && !self.found
    }
}

/// What a search for a victim ended with.
pub(crate) enum Hunt {
    /// Taken out of the list.
    Victim(Slot),
    /// The hold has been long enough; there may be victims.
    Tired,
    /// There is nothing to evict.
    Nothing,
}

pub(crate) trait Evictor: Send + Sync {
    /// Up to how many uses a hit is counted.
    fn uses_cap(&self) -> u8;

    /// A key that is not in the list is about to come: did it leave only lately? Asked before room
    /// is made for it.
    fn returning(&mut self, _hash: Hash48) -> bool {
        false
    }

    /// A new entry, about to be put at the list's front.
    fn arrived(&mut self, slot: &mut Slot, cost: u64, returning: bool, capacity: u64);

    /// An entry took the place of another of the same key; it is about to be put at the front.
    fn replaced(&mut self, old: &Slot, new: &mut Slot, old_cost: u64, new_cost: u64);

    /// An entry was taken out of the list, by anybody but this evictor.
    fn left(&mut self, slot: &Slot, cost: u64);

    /// Takes the next victim out of the list, or goes on looking for it.
    fn victim(
        &mut self,
        list: &mut List,
        weigher: Weigher,
        capacity: u64,
        patience: &mut Patience,
    ) -> Hunt;

    /// Memory of the evictor itself.
    fn own_bytes(&self) -> u64 {
        0
    }
}

/// What an entry counts for. The rule is what the allocator takes; a replay of a trace brings its
/// own, by key and value, and then nothing else is charged.
#[derive(Clone, Copy, Default)]
pub struct Weigher(Option<Weigh>);

/// Weighs a key and a value.
type Weigh = fn(&[u8], &[u8]) -> u64;

impl Weigher {
    /// Weighs by key and value.
    pub fn by(weigh: fn(&[u8], &[u8]) -> u64) -> Weigher {
        Weigher(Some(weigh))
    }

    pub(crate) fn cost(self, entry: &Entry) -> u64 {
        match self.0 {
            None => list::cost(entry),
            Some(weigh) => weigh(entry.key(), entry.value()),
        }
    }

    pub(crate) fn charges_overhead(self) -> bool {
        self.0.is_none()
    }
}
