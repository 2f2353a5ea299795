//! What goes over many entries: clear, sweep, expiry, the hottest.
//!
//! Invariant: a lock is held for a bounded number of changes; the longest hold is the one that
//! notes the entries of one shard for a sweep, under a read lock, so hits go on meanwhile.

use super::{
    Dropped, Store,
    entry::Entry,
    options::EvictReason,
    shard::Shard,
    stamp::{Stamp, Verdict},
    sync::Ordering,
};
use crate::value::Value;

/// Changes made under one hold of a write lock.
const CHUNK: usize = 64;

impl Store {
    /// Drops everything; `under_each_lock` runs under each shard's lock before its entries go.
    pub fn clear_with(&self, mut under_each_lock: impl FnMut()) {
        for lock in &self.shards {
            let mut shard = lock.0.write();
            under_each_lock();
            let fresh = Shard::new(&self.options).succeeding(&shard);
            let old = std::mem::replace(&mut *shard, fresh);
            self.report(&mut shard);
            drop(shard);
            for slot in old.list.into_slots() {
                self.tell_one(&slot.entry, EvictReason::Cleared);
            }
        }
    }

    /// Shows every entry to `verdict`, with no lock held, and does what it says to those whose
    /// stamp is still the one it saw.
    pub fn sweep(&self, mut verdict: impl FnMut(&str, Stamp) -> Verdict) {
        for part in 0..self.parts() {
            self.sweep_part(part, &mut verdict);
        }
    }

    /// In how many parts a sweep can be done, so that others run in between.
    pub fn parts(&self) -> usize {
        self.shards.len()
    }

    /// One part of a sweep, below `parts()`.
    pub fn sweep_part(&self, part: usize, mut verdict: impl FnMut(&str, Stamp) -> Verdict) {
        let noted: Vec<(Entry, Stamp)> = self.shards[part]
            .0
            .read()
            .list
            .iter()
            .map(|slot| (slot.entry.clone(), slot.stamp()))
            .collect();
        for chunk in noted.chunks(CHUNK) {
            let judged = chunk
                .iter()
                .map(|(entry, stamp)| (entry, *stamp, verdict(entry.key_str(), *stamp)));
            let judged: Vec<_> = judged.filter(|judged| judged.2 != Verdict::Keep).collect();
            if !judged.is_empty() {
                self.execute(&judged);
            }
        }
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
        self.settle(&mut shard, 0, &mut dropped);
        drop(shard);
        self.relieve(hash, &mut dropped);
        self.tell(dropped);
    }

    /// Drops entries whose time is over, looking at no more than about `budget` of them. To be
    /// called now and then: hits do not wait for it, they compare times themselves.
    pub fn expire_some(&self, budget: usize) {
        let Some(due) = self
            .clock()
            .now_ms()
            .checked_sub(self.options.keep_stale_ms)
        else {
            return;
        };
        let mut left = budget;
        for _ in 0..self.shards.len() {
            let turn = self.turn.load(Ordering::Relaxed);
            while self.expire_chunk(turn % self.shards.len(), due, &mut left) {}
            if left == 0 {
                return;
            }
            self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// One hold of one lock; says whether that shard has more to do.
    fn expire_chunk(&self, index: usize, due_ms: u64, left: &mut usize) -> bool {
        let mut chunk = (*left).min(CHUNK);
        *left -= chunk;
        let mut dropped = Dropped::new();
        let mut shard = self.shards[index].0.write();
        while let Some(slot) = shard.expire(due_ms, &mut chunk) {
            dropped.push((slot.entry, EvictReason::Expired));
        }
        self.report(&mut shard);
        drop(shard);
        self.tell(dropped);
        let used_up = chunk == 0;
        *left += chunk;
        used_up && *left > 0
    }

    /// Entries from the most recently used end of every shard, up to so many bytes of keys and
    /// values in all.
    pub fn hottest(&self, max_bytes: u64) -> Vec<(String, Value, Stamp)> {
        let part = max_bytes / self.shards.len() as u64;
        let mut found = Vec::new();
        for lock in &self.shards {
            let mut left = part;
            let shard = lock.0.read();
            found.extend(shard.list.iter().map_while(|slot| {
                let (entry, stamp) = (&slot.entry, slot.stamp());
                left = left.checked_sub((entry.key().len() + entry.value().len()) as u64)?;
                Some((
                    entry.key_str().to_owned(),
                    Value::from(entry.clone()),
                    stamp,
                ))
            }));
        }
        found
    }
}
