//! `policy = s3fifo`: a small queue for newcomers, a main queue for what proved itself, and a ghost
//! of what left the small one (Yang et al., "FIFO queues are all you need for cache eviction",
//! SOSP 2023).
//!
//! Invariant: an entry is in the list always, and in `small` as long as it is a newcomer. The order
//! of the main queue is the list's order with the newcomers left out: going to the front of the
//! list is how an entry enters main, from `small` or for another round.

use super::{
    entry::Hash48,
    evictor::{Evictor, Hunt, Patience, Weigher},
    ghost::Ghost,
    list::List,
    queue::Queue,
    slot::{Class, Slot},
};

/// Uses are counted up to this.
const USES_CAP: u8 = 3;
/// A newcomer with at least so many uses goes to main instead of leaving.
const PROVEN: u8 = 2;

pub(crate) struct S3Fifo {
    small: Queue,
    /// Cost of what is in main.
    main_cost: u64,
    ghost: Ghost,
    /// Until something has left, main is filled with what does not fit into small.
    has_evicted: bool,
}

impl S3Fifo {
    pub(crate) fn new() -> S3Fifo {
        S3Fifo {
            small: Queue::new(Class::Small),
            main_cost: 0,
            ghost: Ghost::default(),
            has_evicted: false,
        }
    }

    fn enter_main(&mut self, slot: &mut Slot, cost: u64) {
        slot.class = Class::Main;
        self.main_cost += cost;
    }

    /// The front of the small queue leaves, unless it proved itself.
    fn victim_of_small(
        &mut self,
        list: &mut List,
        weigher: Weigher,
        capacity: u64,
        spare: bool,
    ) -> Option<Slot> {
        let entry = self.small.pop_front(weigher)?;
        let cost = weigher.cost(&entry);
        if entry.uses() < PROVEN || !spare {
            self.ghost
                .remember(entry.hash(), cost, capacity - capacity / 10);
            return list.remove(&entry);
        }
        entry.set_uses(0);
        self.enter_main(list.get_mut(&entry)?, cost);
        list.move_to_front(&entry);
        None
    }

    /// The back of the list leaves, unless it is a newcomer or was used since.
    fn victim_of_main(&mut self, list: &mut List, weigher: Weigher) -> Option<Slot> {
        let back = list.back()?;
        let uses = back.uses();
        if back.class == Class::Small || uses > 0 {
            if back.class != Class::Small {
                back.set_uses(uses - 1);
            }
            list.rotate();
            return None;
        }
        let slot = list.pop_back()?;
        if slot.class == Class::Main {
            self.main_cost -= weigher.cost(&slot.entry);
        }
        Some(slot)
    }

    /// Of which queue the next victim is.
    fn is_main_next(&self, capacity: u64) -> bool {
        self.main_cost > capacity - capacity / 10 || self.small.len() == 0
    }

    /// When the search has been in vain for too long: a newcomer, whatever its uses; or the back of
    /// the list, where there is none.
    fn next_best(&mut self, list: &mut List, weigher: Weigher, capacity: u64) -> Option<Slot> {
        if self.small.len() > 0 {
            return self.victim_of_small(list, weigher, capacity, false);
        }
        list.back()?.set_uses(0);
        self.victim_of_main(list, weigher)
    }
}

impl Evictor for S3Fifo {
    fn uses_cap(&self) -> u8 {
        USES_CAP
    }

    fn returning(&mut self, hash: Hash48) -> bool {
        self.ghost.recall(hash)
    }

    fn arrived(&mut self, slot: &mut Slot, cost: u64, returning: bool, capacity: u64) {
        let small_is_full = self.small.cost >= capacity / 10;
        if returning || (!self.has_evicted && small_is_full) {
            self.enter_main(slot, cost);
        } else {
            self.small.push(slot, cost);
        }
    }

    fn replaced(&mut self, old: &Slot, new: &mut Slot, old_cost: u64, new_cost: u64) {
        new.set_uses(old.uses());
        new.count_use(USES_CAP);
        if old.class == Class::Small {
            self.small.replace(old, new, old_cost, new_cost);
        } else {
            self.main_cost -= old_cost;
            self.enter_main(new, new_cost);
        }
    }

    fn left(&mut self, slot: &Slot, cost: u64) {
        match slot.class {
            Class::Small => self.small.remove(slot, cost),
            Class::Main => self.main_cost -= cost,
            Class::Hot => {}
        }
    }

    fn victim(
        &mut self,
        list: &mut List,
        weigher: Weigher,
        capacity: u64,
        patience: &mut Patience,
    ) -> Hunt {
        self.has_evicted = true;
        self.small.tidy(list);
        while list.len() > 0 {
            let victim = if patience.look() {
                if self.is_main_next(capacity) {
                    self.victim_of_main(list, weigher)
                } else {
                    self.victim_of_small(list, weigher, capacity, true)
                }
            } else if patience.is_over() {
                self.next_best(list, weigher, capacity)
            } else {
                return Hunt::Tired;
            };
            if let Some(victim) = victim {
                patience.found();
                return Hunt::Victim(victim);
            }
        }
        Hunt::Nothing
    }

    fn own_bytes(&self) -> u64 {
        self.small.own_bytes() + self.ghost.own_bytes()
    }
}
