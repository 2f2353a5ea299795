//! `Wheel`: the entries that expire, filed by the second in which they do.
//!
//! Invariant: every entry with an expiry is filed once, under the time its slot says, and knows its
//! place, so it can be taken out at once when it leaves for another reason. A hit never looks here:
//! readers compare times themselves, the wheel only finds what nobody asks for any more.

use super::{
    entry::{Entry, allocated},
    list::List,
    slot::Slot,
};

/// Seconds are filed modulo this; what lives longer is looked at once a turn.
const SPOKES: usize = 64;

#[derive(Default)]
pub(crate) struct Wheel {
    /// Made when the first entry with an expiry comes.
    spokes: Vec<Vec<Entry>>,
    /// Up to where everything that was due is gone.
    hand: u64,
    /// How far the spoke under the hand has been looked at.
    looked_at: usize,
    filed_capacity: usize,
}

fn tick(at_ms: u64) -> u64 {
    at_ms >> 10
}

impl Wheel {
    pub(crate) fn own_bytes(&self) -> u64 {
        if self.spokes.is_empty() {
            return 0;
        }
        allocated(SPOKES * size_of::<Vec<Entry>>())
            + (self.filed_capacity * size_of::<Entry>() + SPOKES * 16) as u64
    }

    /// Files the slot's entry, if it expires.
    pub(crate) fn file(&mut self, slot: &mut Slot) {
        let Some(at) = slot.expires_at() else { return };
        if self.spokes.is_empty() {
            self.spokes = vec![Vec::new(); SPOKES];
        }
        let spoke = &mut self.spokes[tick(at) as usize % SPOKES];
        slot.wheel_place = spoke.len() as u32;
        let before = spoke.capacity();
        spoke.push(slot.entry.clone());
        self.filed_capacity += spoke.capacity() - before;
    }

    /// Takes the slot's entry out, if it was filed.
    pub(crate) fn unfile(&mut self, slot: &Slot, list: &mut List) {
        let Some(at) = slot.expires_at() else { return };
        let spoke = &mut self.spokes[tick(at) as usize % SPOKES];
        let place = slot.wheel_place as usize;
        spoke.swap_remove(place);
        if let Some(moved) = spoke.get(place).and_then(|entry| list.get_mut(entry)) {
            moved.wheel_place = place as u32;
        }
        if spoke.capacity() > 64 && spoke.len() < spoke.capacity() / 4 {
            self.filed_capacity -= spoke.capacity();
            spoke.shrink_to(2 * spoke.len());
            self.filed_capacity += spoke.capacity();
        }
    }

    /// The next entry whose slot says it was due at `due_ms` or before. Looks at no more than
    /// `budget` entries and takes what it looked at from it.
    pub(crate) fn next_due(
        &mut self,
        due_ms: u64,
        budget: &mut usize,
        list: &mut List,
    ) -> Option<Entry> {
        let last = tick(due_ms);
        self.hand = self.hand.max(last.saturating_sub(SPOKES as u64 - 1));
        if self.spokes.is_empty() {
            return None;
        }
        loop {
            let spoke = &self.spokes[self.hand as usize % SPOKES];
            while let Some(entry) = spoke.get(self.looked_at) {
                *budget = budget.checked_sub(1)?;
                let expires = list.get_mut(entry).and_then(|slot| slot.expires_at());
                if expires.is_some_and(|at| at <= due_ms) {
                    return Some(entry.clone());
                }
                self.looked_at += 1;
            }
            self.looked_at = 0;
            if self.hand >= last {
                return None;
            }
            self.hand += 1;
        }
    }
}
