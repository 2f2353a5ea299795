//! Making room: who evicts how much when the store, or its hot share, is over its budget.
//!
//! Invariant: a shard's lock is never taken while another is held. A shard pays for its own growth
//! down to the floor; the rest is shared out among the others, richest levels first.

use super::{
    Dropped, Store,
    entry::{Entry, Hash48},
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

    /// Makes room in this shard for an entry that is not in it yet.
    pub(super) fn make_room(&self, shard: &mut Shard, incoming: u64, dropped: &mut Dropped) {
        self.evict_down_to(shard, self.budget.floor(), incoming, dropped);
    }

    /// Evicts here until the budgets hold, or the rest is for others to pay; then tells the budgets.
    /// What came just now, of this cost, need not leave for the others' sake.
    pub(super) fn settle(&self, shard: &mut Shard, newcomer: u64, dropped: &mut Dropped) {
        while self
            .hot_budget
            .excess_with(shard.reported_hot, shard.used_hot())
            > 0
            && shard.used_hot() > self.hot_budget.floor() + newcomer
        {
            let Some(slot) = shard.evict_hot() else { break };
            dropped.push(self.parting(slot, EvictReason::Capacity));
        }
        self.evict_down_to(shard, self.budget.floor() + newcomer, 0, dropped);
        self.report(shard);
    }

    /// Tells the budgets what a shard uses now.
    pub(super) fn report(&self, shard: &mut Shard) {
        let (used, used_hot) = (shard.used(), shard.used_hot());
        self.budget.report(shard.reported, used);
        self.hot_budget.report(shard.reported_hot, used_hot);
        (shard.reported, shard.reported_hot) = (used, used_hot);
    }

    fn evict_down_to(&self, shard: &mut Shard, floor: u64, incoming: u64, dropped: &mut Dropped) {
        loop {
            let wanted = shard.used() + incoming;
            if wanted <= floor || self.budget.excess_with(shard.reported, wanted) == 0 {
                return;
            }
            let Some(slot) = shard.evict(self.budget.share) else {
                return;
            };
            dropped.push(self.parting(slot, EvictReason::Capacity));
        }
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
        for quarters in (0..4).rev() {
            let others = (0..count)
                .map(|i| (start + i) % count)
                .filter(|i| *i != own);
            for index in others {
                if self.budget.excess() == 0 && self.hot_budget.excess() == 0 {
                    return;
                }
                self.relieve_in(index, quarters, dropped);
            }
        }
        self.relieve_in(own, 0, dropped);
    }

    /// One shard evicts down to so many quarters of its share.
    fn relieve_in(&self, index: usize, quarters: u64, dropped: &mut Dropped) {
        let mut shard = self.shards[index].0.write();
        let hot_floor = self.hot_budget.share / 4 * quarters;
        while self
            .hot_budget
            .excess_with(shard.reported_hot, shard.used_hot())
            > 0
            && shard.used_hot() > hot_floor
        {
            let Some(slot) = shard.evict_hot() else { break };
            dropped.push(self.parting(slot, EvictReason::Capacity));
        }
        self.evict_down_to(&mut shard, self.budget.share / 4 * quarters, 0, dropped);
        self.report(&mut shard);
    }
}
