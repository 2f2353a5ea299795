//! What goes over many entries: clear, sweep, expiry, the hottest.
//!
//! Invariant: a lock is held for the work of about 64 entries, whoever calls. A clear puts empty
//! shards in place of the full ones, which are buried: nobody reads them, their bytes stay charged,
//! and slices of `reclaim` give them back.

use super::{
    Dropped, Store,
    entry::Entry,
    evictor::Patience,
    options::EvictReason,
    shard::Shard,
    stamp::{Stamp, Verdict},
    sync::Ordering,
};
use crate::value::Value;

/// Entries that are looked at or changed under one hold of a lock.
const CHUNK: usize = 64;

/// How far a walk over all entries has come; it visits every entry that was there when it reached
/// its shard, and that nothing has moved since.
#[derive(Default)]
pub struct Walk {
    shard: usize,
    /// Entries left to visit, by shard, of those that it has reached.
    left: Vec<usize>,
}

impl Walk {
    /// How many entries to visit in the current shard now.
    fn step(&mut self, entries: usize) -> usize {
        if self.left.len() == self.shard {
            self.left.push(entries);
        }
        let left = &mut self.left[self.shard];
        *left = (*left).min(entries);
        let step = (*left).min(CHUNK);
        *left -= step;
        step
    }

    fn has_more_here(&self) -> bool {
        self.left.get(self.shard).is_some_and(|left| *left > 0)
    }

    fn is_over(&self, shards: usize) -> bool {
        self.left.len() == shards && self.left.iter().all(|left| *left == 0)
    }
}

impl Store {
    /// Drops everything, at a cost that does not depend on the number of entries. Their memory, and
    /// the news of them to the hook, follow with `reclaim`.
    pub fn clear(&self) {
        for lock in &self.shards {
            let fresh = Shard::new(&self.options);
            let mut shard = lock.0.write();
            let fresh = fresh.succeeding(&shard);
            let old = std::mem::replace(&mut *shard, fresh);
            self.report(&mut shard);
            drop(shard);
            self.bury(old);
        }
        self.dig(0);
    }

    fn bury(&self, mut shard: Shard) {
        self.hot_budget.report(shard.reported_hot, 0);
        shard.reported_hot = 0;
        if shard.list.len() == 0 {
            self.budget.report(shard.reported, 0);
            return;
        }
        self.buried.write().push_back(shard);
        self.buried_shards.fetch_add(1, Ordering::AcqRel);
    }

    /// Frees a slice of what clears have buried; whether more is left. To be called until then, by
    /// whoever has time.
    pub fn reclaim(&self) -> bool {
        if self.buried_shards.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut dropped = Dropped::new();
        let mut buried = self.buried.write();
        let Some(shard) = buried.front_mut() else {
            return false;
        };
        while dropped.len() < CHUNK
            && let Some(slot) = shard.dig()
        {
            dropped.push((slot.entry, EvictReason::Cleared));
        }
        let emptied = shard.list.len() == 0;
        let left = if emptied { 0 } else { shard.used() };
        self.budget.report(shard.reported, left);
        shard.reported = left;
        let emptied = emptied.then(|| buried.pop_front());
        drop(buried);
        if emptied.is_some() {
            self.buried_shards.fetch_sub(1, Ordering::AcqRel);
        }
        self.tell(dropped);
        self.buried_shards.load(Ordering::Acquire) > 0
    }

    /// Frees what is buried until so many bytes fit, before anything alive is evicted for them.
    pub(super) fn dig(&self, incoming: u64) {
        while self.budget.excess_with(0, incoming) > 0 && self.reclaim() {}
    }

    /// Shows every entry to `verdict`, with no lock held, and does what it says to those whose
    /// stamp is still the one it saw.
    pub fn sweep(&self, mut verdict: impl FnMut(&str, Stamp) -> Verdict) {
        let mut walk = Walk::default();
        while self.sweep_slice(&mut walk, &mut verdict) {}
    }

    /// One slice of a sweep, so that others run in between; whether more is left. It takes entries
    /// from the back of the list to its front, so a whole sweep leaves the order as it was, but for
    /// what happened meanwhile.
    pub fn sweep_slice(
        &self,
        walk: &mut Walk,
        mut verdict: impl FnMut(&str, Stamp) -> Verdict,
    ) -> bool {
        let mut noted: Vec<(Entry, Stamp)> = Vec::with_capacity(CHUNK);
        let mut shard = self.shards[walk.shard].0.write();
        for _ in 0..walk.step(shard.list.len()) {
            noted.extend(shard.list.rotate());
        }
        drop(shard);
        let judged = noted
            .iter()
            .map(|(entry, stamp)| (entry, *stamp, verdict(entry.key_str(), *stamp)));
        let judged: Vec<_> = judged.filter(|judged| judged.2 != Verdict::Keep).collect();
        if !judged.is_empty() {
            self.execute(&judged);
        }
        if !walk.has_more_here() {
            walk.shard += 1;
        }
        walk.shard < self.shards.len()
    }

    /// Carries out verdicts on entries of one shard.
    fn execute(&self, judged: &[(&Entry, Stamp, Verdict)]) {
        let hash = judged[0].0.hash();
        let mut dropped = Dropped::new();
        let mut shard = self.shard(hash).write();
        for &(entry, stamp, verdict) in judged {
            match verdict {
                Verdict::Keep => {}
                Verdict::Restamp(to) => {
                    shard.restamp(entry, stamp, to, self.budget.share);
                }
                Verdict::Drop(reason) => {
                    if shard
                        .list
                        .get_mut(entry)
                        .is_some_and(|slot| slot.stamp() == stamp)
                    {
                        let slot = shard.remove(entry);
                        dropped.extend(slot.map(|slot| (slot.entry, reason)));
                    }
                }
            }
        }
        self.settle_and_drop(shard, hash, 0, Patience::new(), dropped);
    }

    /// One slice of a pass over what is due to expire, from this shard on, which it moves; whether
    /// more is left. A pass begins at shard 0. Hits do not wait for it, they compare times
    /// themselves.
    pub fn expire_slice(&self, shard: &mut usize) -> bool {
        let now = self.clock().now_ms();
        let Some(due) = now.checked_sub(self.options.keep_stale_ms) else {
            return false;
        };
        let mut left = CHUNK;
        while left > 0 && *shard < self.shards.len() {
            self.expire_chunk(*shard, due, &mut left);
            // A shard that used up the slice may have more.
            *shard += usize::from(left > 0);
        }
        *shard < self.shards.len()
    }

    /// One hold of one lock, for so many looks at entries.
    fn expire_chunk(&self, index: usize, due_ms: u64, looks: &mut usize) {
        let mut dropped = Dropped::new();
        let mut shard = self.shards[index].0.write();
        while let Some(slot) = shard.expire(due_ms, looks) {
            dropped.push((slot.entry, EvictReason::Expired));
        }
        self.report(&mut shard);
        drop(shard);
        self.tell(dropped);
    }

    /// The next entries of a walk from the most recently used end, a slice of each shard in turn;
    /// `None` when it is over. It takes them to the back of the list, so a whole walk leaves the
    /// order as it was, but for what happened meanwhile.
    pub fn hottest(&self, walk: &mut Walk) -> Option<Vec<(String, Value, Stamp)>> {
        if walk.is_over(self.shards.len()) {
            return None;
        }
        let mut noted: Vec<(Entry, Stamp)> = Vec::with_capacity(CHUNK);
        let mut shard = self.shards[walk.shard].0.write();
        for _ in 0..walk.step(shard.list.len()) {
            noted.extend(shard.list.rotate_back());
        }
        drop(shard);
        walk.shard = (walk.shard + 1) % self.shards.len();
        let found = noted.into_iter().map(|(entry, stamp)| {
            let key = entry.key_str().to_owned();
            (key, Value::from(entry), stamp)
        });
        Some(found.collect())
    }
}
