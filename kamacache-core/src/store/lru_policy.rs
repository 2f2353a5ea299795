//! `policy = lru`: the list is the order; the back leaves.
//!
//! Invariant: strict, the list is in exact order of use, because the store moves an entry to the
//! front on every hit. Otherwise a hit only sets the entry's `uses`, and the debt is paid here: an
//! entry found at the back with its mark set goes to the front instead of leaving (the CLOCK
//! approximation of LRU).

use super::{
    evictor::{Evictor, Hunt, Patience, Weigher},
    list::List,
    slot::{Class, Slot},
};

pub(crate) struct Lru;

impl Evictor for Lru {
    fn uses_cap(&self) -> u8 {
        1
    }

    fn arrived(&mut self, slot: &mut Slot, _: u64, _: bool, _: u64) {
        slot.class = Class::Main;
    }

    fn replaced(&mut self, _: &Slot, new: &mut Slot, _: u64, _: u64) {
        new.class = Class::Main;
        new.set_uses(0);
    }

    fn left(&mut self, _: &Slot, _: u64) {}

    fn victim(&mut self, list: &mut List, _: Weigher, _: u64, patience: &mut Patience) -> Hunt {
        while let Some(back) = list.back() {
            let is_spared = back.uses() > 0;
            if !patience.look() && !patience.is_over() {
                return Hunt::Tired;
            }
            if is_spared && !patience.is_over() {
                back.set_uses(0);
                list.rotate();
            } else if let Some(slot) = list.pop_back() {
                patience.found();
                return Hunt::Victim(slot);
            }
        }
        Hunt::Nothing
    }
}
