//! Making room: who evicts how much when the store, or its hot share, is over its budget.
//!
//! Invariant: a shard's lock is never taken while another is held, and none is held for the work of
//! more than about 64 entries: a search for victims goes on under the next hold. A shard pays for its own growth
//! down to the floor; the rest is shared out among the others, richest levels first.

use super::{
    Dropped, Store,
    entry::{Entry, Hash48},
    evictor::{Hunt, Patience},
    options::EvictReason,
    shard::Shard,
    stamp::{Kind, Stamp},
    sync::Ordering,
};

impl Store {
    /// Whether an entry would fit if nothing else were here.
    pub(super) fn could_fit(&self, shard: &Shard, entry: &Entry, stamp: Stamp) -> bool {
        let cost = shard.cost_of(entry);
        let fixed = shard.fixed() * self.shards.len() as u64;
        let hot_fits = stamp.kind != Kind::Hot || cost <= self.hot_budget.max;
        hot_fits && cost + fixed <= self.budget.max
    }

    /// Makes room in this shard for an entry that is not in it yet; `false`: there is not enough yet,
    /// and the hold of the lock has been long enough.
    pub(super) fn make_room(
        &self,
        shard: &mut Shard,
        incoming: u64,
        patience: &mut Patience,
        dropped: &mut Dropped,
    ) -> bool {
        self.evict_down_to(shard, self.budget.floor(), incoming, patience, dropped)
    }

    /// Evicts here until the budgets hold, or the rest is for others to pay, or the hold of the lock
    /// has been long enough; then tells the budgets. What came just now, of this cost, need not leave
    /// for the others' sake.
    pub(super) fn settle(
        &self,
        shard: &mut Shard,
        newcomer: u64,
        patience: &mut Patience,
        dropped: &mut Dropped,
    ) -> bool {
        let hot_floor = self.hot_budget.floor() + newcomer;
        let floor = self.budget.floor() + newcomer;
        self.evict_both(shard, hot_floor, floor, patience, dropped)
    }

    fn evict_both(
        &self,
        shard: &mut Shard,
        hot_floor: u64,
        floor: u64,
        patience: &mut Patience,
        dropped: &mut Dropped,
    ) -> bool {
        let done = self.evict_hot_down_to(shard, hot_floor, patience, dropped)
            && self.evict_down_to(shard, floor, 0, patience, dropped);
        self.report(shard);
        done
    }

    fn evict_hot_down_to(
        &self,
        shard: &mut Shard,
        floor: u64,
        patience: &mut Patience,
        dropped: &mut Dropped,
    ) -> bool {
        loop {
            let used = shard.used_hot();
            if used <= floor || self.hot_budget.excess_with(shard.reported_hot, used) == 0 {
                return true;
            }
            match shard.evict_hot(patience) {
                Hunt::Victim(slot) => dropped.push(self.parting(slot, EvictReason::Capacity)),
                Hunt::Tired => return false,
                Hunt::Nothing => return true,
            }
        }
    }

    /// Tells the budgets what a shard uses now.
    pub(super) fn report(&self, shard: &mut Shard) {
        let (used, used_hot) = (shard.used(), shard.used_hot());
        self.budget.report(shard.reported, used);
        self.hot_budget.report(shard.reported_hot, used_hot);
        (shard.reported, shard.reported_hot) = (used, used_hot);
    }

    fn evict_down_to(
        &self,
        shard: &mut Shard,
        floor: u64,
        incoming: u64,
        patience: &mut Patience,
        dropped: &mut Dropped,
    ) -> bool {
        loop {
            let wanted = shard.used() + incoming;
            if wanted <= floor || self.budget.excess_with(shard.reported, wanted) == 0 {
                return true;
            }
            match shard.evict(self.budget.share, patience) {
                Hunt::Victim(slot) => dropped.push(self.parting(slot, EvictReason::Capacity)),
                Hunt::Tired => return false,
                Hunt::Nothing => return true,
            }
        }
    }

    /// What `settle` has left for further holds of the shard's lock.
    pub(super) fn go_on_settling(&self, from: Hash48, newcomer: u64, dropped: &mut Dropped) {
        let floors = (
            self.hot_budget.floor() + newcomer,
            self.budget.floor() + newcomer,
        );
        self.relieve_in(from.shard(self.shards.len()), floors, dropped);
    }

    /// Makes the other shards pay for what is still over, then, if they cannot, this one.
    pub(super) fn relieve(&self, from: Hash48, dropped: &mut Dropped) {
        self.dig(0);
        if self.budget.excess() == 0 && self.hot_budget.excess() == 0 {
            return;
        }
        let count = self.shards.len();
        let own = from.shard(count);
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let floors = |quarters| {
            (
                self.hot_budget.share / 4 * quarters,
                self.budget.share / 4 * quarters,
            )
        };
        for quarters in (0..4).rev() {
            let others = (0..count)
                .map(|i| (start + i) % count)
                .filter(|i| *i != own);
            for index in others {
                if self.budget.excess() == 0 && self.hot_budget.excess() == 0 {
                    return;
                }
                self.relieve_in(index, floors(quarters), dropped);
            }
        }
        self.relieve_in(own, floors(0), dropped);
    }

    /// One shard evicts down to these bytes of hot copies and of everything, under as many holds of
    /// its lock as it takes.
    fn relieve_in(&self, index: usize, (hot_floor, floor): (u64, u64), dropped: &mut Dropped) {
        let mut patience = Patience::new();
        loop {
            let mut shard = self.shards[index].0.write();
            if self.evict_both(&mut shard, hot_floor, floor, &mut patience, dropped) {
                return;
            }
            drop(shard);
            patience.renew();
        }
    }
}
