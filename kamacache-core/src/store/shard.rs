//! `Shard`: the part of the store behind one lock.
//!
//! Invariant: `used()` is everything this shard takes from the budget; every entry of the list is
//! filed in the wheel if it expires, and in the queue of its class. All methods are called by
//! `Store` under the shard's lock, the reading ones under a read lock.

use super::{
    entry::{Entry, Keyed, Query},
    evictor::{Evictor, Hunt, Patience, Weigher},
    list::{EMPTY_LIST, List},
    lru_policy::Lru,
    options::{Policy, StoreOptions},
    queue::Queue,
    s3fifo::S3Fifo,
    slot::{Class, Slot},
    stamp::{Kind, Stamp},
    wheel::Wheel,
};

pub(crate) struct Shard {
    pub(crate) list: List,
    evictor: Box<dyn Evictor>,
    hot: Queue,
    wheel: Wheel,
    weigher: Weigher,
    /// Cost of the entries in the list.
    cost: u64,
    /// What the budgets were told last.
    pub(crate) reported: u64,
    pub(crate) reported_hot: u64,
    pub(crate) evictions: u64,
    pub(crate) expirations: u64,
}

/// A shard without entries: itself, its evictor and the ends of its list.
const FIXED: u64 = (size_of::<Shard>() + 256) as u64 + EMPTY_LIST;

impl Shard {
    pub(crate) fn new(options: &StoreOptions) -> Shard {
        let evictor: Box<dyn Evictor> = match options.policy {
            Policy::Lru => Box::new(Lru),
            Policy::Default | Policy::S3Fifo => Box::new(S3Fifo::new()),
        };
        Shard {
            list: List::new(),
            evictor,
            hot: Queue::new(Class::Hot),
            wheel: Wheel::default(),
            weigher: options.weigher,
            cost: 0,
            reported: 0,
            reported_hot: 0,
            evictions: 0,
            expirations: 0,
        }
    }

    /// Takes over the counts of the shard whose place it takes.
    pub(crate) fn succeeding(mut self, old: &Shard) -> Shard {
        (self.evictions, self.expirations) = (old.evictions, old.expirations);
        self
    }

    pub(crate) fn fixed(&self) -> u64 {
        if self.weigher.charges_overhead() {
            FIXED
        } else {
            0
        }
    }

    pub(crate) fn uses_cap(&self) -> u8 {
        self.evictor.uses_cap()
    }

    /// Everything this shard takes from the budget.
    pub(crate) fn used(&self) -> u64 {
        self.cost + self.overhead()
    }

    /// What the hot copies take from the hot share.
    pub(crate) fn used_hot(&self) -> u64 {
        self.hot.cost
    }

    pub(crate) fn hot_len(&self) -> usize {
        self.hot.len()
    }

    pub(crate) fn cost_of(&self, entry: &Entry) -> u64 {
        self.weigher.cost(entry)
    }

    /// What is left of a share for entries.
    fn capacity(&self, share: u64) -> u64 {
        share.saturating_sub(self.overhead())
    }

    fn overhead(&self) -> u64 {
        if !self.weigher.charges_overhead() {
            return 0;
        }
        FIXED
            + self.list.table_bytes()
            + self.evictor.own_bytes()
            + self.hot.own_bytes()
            + self.wheel.own_bytes()
    }

    pub(crate) fn returning(&mut self, entry: &Entry) -> bool {
        self.evictor.returning(entry.hash())
    }

    /// Adds an entry whose key is not in the list.
    pub(crate) fn insert(&mut self, entry: Entry, stamp: Stamp, returning: bool, share: u64) {
        let cost = self.weigher.cost(&entry);
        let mut slot = Slot::new(entry, stamp, Class::Main);
        slot.set_uses(0);
        if stamp.kind == Kind::Hot {
            self.hot.push(&mut slot, cost);
        } else {
            let capacity = self.capacity(share);
            self.evictor.arrived(&mut slot, cost, returning, capacity);
        }
        self.push(slot, cost);
    }

    /// Puts an entry into the place of the one with its key, which was just taken out of the list.
    pub(crate) fn succeed(&mut self, old: &Slot, entry: Entry, stamp: Stamp, share: u64) {
        if stamp.kind == Kind::Hot || old.class == Class::Hot {
            self.forget(old);
            self.insert(entry, stamp, false, share);
            return;
        }
        let (old_cost, cost) = (self.weigher.cost(&old.entry), self.weigher.cost(&entry));
        let mut slot = Slot::new(entry, stamp, old.class);
        self.evictor.replaced(old, &mut slot, old_cost, cost);
        self.strike(old, old_cost);
        self.push(slot, cost);
    }

    fn push(&mut self, mut slot: Slot, cost: u64) {
        self.wheel.file(&mut slot);
        self.cost += cost;
        self.list.push_front(slot);
        self.hot.tidy(&mut self.list);
    }

    #[inline]
    pub(crate) fn get(&self, query: &Query<'_>) -> Option<&Slot> {
        self.list.get(query)
    }

    /// Marks an entry as the last one used, in exact order.
    pub(crate) fn touch(&mut self, query: &Query<'_>) {
        self.list.move_to_front(query);
        if let Some(slot) = self
            .list
            .get_mut(query)
            .filter(|slot| slot.class == Class::Hot)
        {
            let cost = self.weigher.cost(&slot.entry);
            self.hot.remove(slot, cost);
            self.hot.push(slot, cost);
            self.hot.tidy(&mut self.list);
        }
    }

    pub(crate) fn remove(&mut self, key: &dyn Keyed) -> Option<Slot> {
        let slot = self.list.remove(key)?;
        self.forget(&slot);
        Some(slot)
    }

    /// Takes any entry out of a shard that nobody reads any more.
    pub(crate) fn dig(&mut self) -> Option<Slot> {
        let slot = self.list.pop_back()?;
        self.forget(&slot);
        Some(slot)
    }

    /// Strikes an entry that left the list from everything else.
    fn forget(&mut self, slot: &Slot) {
        let cost = self.weigher.cost(&slot.entry);
        match slot.class {
            Class::Hot => self.hot.remove(slot, cost),
            Class::Main | Class::Small => self.evictor.left(slot, cost),
        }
        self.strike(slot, cost);
    }

    fn strike(&mut self, slot: &Slot, cost: u64) {
        self.wheel.unfile(slot, &mut self.list);
        self.cost -= cost;
    }

    /// Takes the policy's next victim out.
    pub(crate) fn evict(&mut self, share: u64, patience: &mut Patience) -> Hunt {
        let capacity = self.capacity(share);
        let hunt = self
            .evictor
            .victim(&mut self.list, self.weigher, capacity, patience);
        let Hunt::Victim(slot) = hunt else {
            return hunt;
        };
        let cost = self.weigher.cost(&slot.entry);
        if slot.class == Class::Hot {
            self.hot.remove(&slot, cost);
        }
        self.strike(&slot, cost);
        self.evictions += 1;
        Hunt::Victim(slot)
    }

    /// Takes the next hot copy out: the oldest one that was not used since it was looked at last.
    pub(crate) fn evict_hot(&mut self, patience: &mut Patience) -> Hunt {
        while let Some(entry) = self.hot.front().cloned() {
            if !patience.look() && !patience.is_over() {
                return Hunt::Tired;
            }
            if entry.uses() > 0 && !patience.is_over() {
                entry.set_uses(0);
                self.hot.rotate(&mut self.list);
            } else if let Some(slot) = self.remove(&entry) {
                self.evictions += 1;
                patience.found();
                return Hunt::Victim(slot);
            }
        }
        Hunt::Nothing
    }

    /// Changes a stamp; its kind and its expiry move the entry between the queues.
    pub(crate) fn restamp(&mut self, key: &dyn Keyed, from: Stamp, to: Stamp, share: u64) -> bool {
        let Some(slot) = self.list.get_mut(key).filter(|slot| slot.stamp() == from) else {
            return false;
        };
        let same_queues =
            (from.kind == Kind::Hot) == (to.kind == Kind::Hot) && from.expires_at == to.expires_at;
        if same_queues {
            slot.set_stamp(to);
        } else if let Some(old) = self.list.remove(key) {
            self.succeed(&old, old.entry.clone(), to, share);
        }
        true
    }

    /// Takes out the next entry that was due at `due_ms`.
    pub(crate) fn expire(&mut self, due_ms: u64, budget: &mut usize) -> Option<Slot> {
        let entry = self.wheel.next_due(due_ms, budget, &mut self.list)?;
        self.expirations += 1;
        self.remove(&entry)
    }
}
