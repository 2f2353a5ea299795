//! The byte-bounded local map: owned, hot, fallback and former entries, with TTL and eviction.
//!
//! Invariant: the bytes charged never exceed `max_bytes` once a call has returned. The store is
//! synchronous, never awaits, and knows nothing of groups, rings or generations: it keeps a `Stamp`
//! beside each value and leaves its meaning to `group.rs`.

mod options;

pub use options::StoreOptions;
pub use options::{EvictHook, EvictReason, Policy};

use crate::{clock::Clock, value::Value};
use parking_lot::RwLock;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Why an entry is here, which decides who may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Owned,
    Hot,
    Fallback,
    Former,
}

/// What `group.rs` needs to know to decide whether an entry still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub kind: Kind,
    pub view: u32,
    pub generation: u32,
    /// Milliseconds of the store's clock; `None` = never.
    pub expires_at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub value: Value,
    pub stamp: Stamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Stored,
    Refused,
    TooLarge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Keep,
    Restamp(Stamp),
    Drop(EvictReason),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    pub entries: u64,
    pub hot_entries: u64,
    pub bytes: u64,
    pub hot_bytes: u64,
    pub evictions: u64,
    pub expirations: u64,
}

struct Slot {
    value: Value,
    stamp: Stamp,
}
type Map = lru::LruCache<Box<str>, Slot>;
type Dropped = Vec<(Box<str>, Value, EvictReason)>;

pub struct Store {
    options: StoreOptions,
    map: RwLock<(Map, u64)>,
    evictions: AtomicU64,
    expirations: AtomicU64,
}

fn charge(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len() + 160) as u64
}

impl Store {
    pub fn new(options: StoreOptions) -> Store {
        Store {
            options,
            map: RwLock::new((Map::unbounded(), 0)),
            evictions: 0.into(),
            expirations: 0.into(),
        }
    }

    pub fn clock(&self) -> &Clock {
        &self.options.clock
    }

    fn expired(&self, stamp: Stamp) -> bool {
        stamp.expires_at.is_some_and(|at| self.clock().reached(at))
    }

    fn dead(&self, stamp: Stamp) -> bool {
        stamp.expires_at.is_some_and(|at| {
            self.clock()
                .reached(at.saturating_add(self.options.keep_stale_ms))
        })
    }

    /// A fresh entry; never an expired or a former one.
    pub fn get(&self, key: &str) -> Option<Hit> {
        self.get_stale(key).filter(|hit| !self.expired(hit.stamp))
    }

    /// Also an expired entry, for as long as it is kept (`StoreOptions::keep_stale_ms`).
    pub fn get_stale(&self, key: &str) -> Option<Hit> {
        let mut map = self.map.write();
        let slot = map.0.get(key)?;
        let hit = Hit {
            value: slot.value.clone(),
            stamp: slot.stamp,
        };
        (hit.stamp.kind != Kind::Former && !self.dead(hit.stamp)).then_some(hit)
    }

    /// Copies a fresh entry's bytes under the lock: `Ok(len)`, or `Err(len)` when `buf` is too small.
    pub fn peek_into(
        &self,
        key: &str,
        accept: impl FnOnce(Stamp) -> bool,
        buf: &mut [u8],
    ) -> Option<Result<usize, usize>> {
        let hit = self.get(key).filter(|hit| accept(hit.stamp))?;
        let len = hit.value.len();
        match buf.get_mut(..len) {
            Some(buf) => {
                buf.copy_from_slice(&hit.value);
                Some(Ok(len))
            }
            None => Some(Err(len)),
        }
    }

    /// Stores if `admit()` says yes under the lock, before anything changes. A value that can never
    /// fit takes the old entry away.
    pub fn put_if(
        &self,
        key: &str,
        value: &Value,
        stamp: Stamp,
        admit: impl FnOnce() -> bool,
    ) -> Put {
        let mut dropped = Dropped::new();
        let mut map = self.map.write();
        if !admit() {
            return Put::Refused;
        }
        if let Some(old) = map.0.pop(key) {
            map.1 -= charge(key, &old.value);
            dropped.push((key.into(), old.value, EvictReason::Replaced));
        }
        let fits = charge(key, value) <= self.options.max_bytes;
        if fits {
            map.1 += charge(key, value);
            map.0.put(
                key.into(),
                Slot {
                    value: value.clone(),
                    stamp,
                },
            );
        }
        while map.1 > self.options.max_bytes {
            let Some((key, slot)) = map.0.pop_lru() else {
                break;
            };
            map.1 -= charge(&key, &slot.value);
            self.evictions.fetch_add(1, Ordering::Relaxed);
            dropped.push((key, slot.value, EvictReason::Capacity));
        }
        drop(map);
        self.report(dropped);
        if fits { Put::Stored } else { Put::TooLarge }
    }

    /// Removes the entry; `under_lock` runs whether or not it is there.
    pub fn remove_with(
        &self,
        key: &str,
        reason: EvictReason,
        under_lock: impl FnOnce(),
    ) -> Option<Value> {
        let mut map = self.map.write();
        under_lock();
        let slot = map.0.pop(key)?;
        map.1 -= charge(key, &slot.value);
        drop(map);
        self.report(vec![(key.into(), slot.value.clone(), reason)]);
        Some(slot.value)
    }

    /// Changes an entry's stamp if it is still `from`; says whether it did.
    pub fn restamp(&self, key: &str, from: Stamp, to: Stamp) -> bool {
        match self.map.write().0.peek_mut(key) {
            Some(slot) if slot.stamp == from => {
                slot.stamp = to;
                true
            }
            _ => false,
        }
    }

    /// Drops everything; `under_each_lock` runs under each lock before its entries go.
    pub fn clear_with(&self, mut under_each_lock: impl FnMut()) {
        let mut map = self.map.write();
        under_each_lock();
        let old = std::mem::replace(&mut map.0, Map::unbounded());
        map.1 = 0;
        drop(map);
        self.report(
            old.into_iter()
                .map(|(key, slot)| (key, slot.value, EvictReason::Cleared))
                .collect(),
        );
    }

    /// Shows every entry to `verdict`, a bounded number per lock hold.
    pub fn sweep(&self, mut verdict: impl FnMut(&str, Stamp) -> Verdict) {
        let mut dropped = Dropped::new();
        let mut map = self.map.write();
        let mut gone = Vec::new();
        for (key, slot) in map.0.iter_mut() {
            match verdict(key, slot.stamp) {
                Verdict::Keep => {}
                Verdict::Restamp(stamp) => slot.stamp = stamp,
                Verdict::Drop(reason) => gone.push((key.clone(), reason)),
            }
        }
        for (key, reason) in gone {
            if let Some(slot) = map.0.pop(&key) {
                map.1 -= charge(&key, &slot.value);
                dropped.push((key, slot.value, reason));
            }
        }
        drop(map);
        self.report(dropped);
    }

    /// The most recently used entries, up to so many bytes of keys and values.
    pub fn hottest(&self, max_bytes: u64) -> Vec<(String, Value, Stamp)> {
        let map = self.map.read();
        let mut left = max_bytes;
        let fitting = map.0.iter().map_while(|(key, slot)| {
            left = left.checked_sub((key.len() + slot.value.len()) as u64)?;
            Some((key.to_string(), slot.value.clone(), slot.stamp))
        });
        fitting.collect()
    }

    /// Reads and drops a former entry.
    pub fn take(&self, key: &str) -> Option<Hit> {
        let mut map = self.map.write();
        map.0
            .peek(key)
            .filter(|slot| slot.stamp.kind == Kind::Former && !self.expired(slot.stamp))?;
        let slot = map.0.pop(key)?;
        map.1 -= charge(key, &slot.value);
        drop(map);
        self.report(vec![(key.into(), slot.value.clone(), EvictReason::Moved)]);
        Some(Hit {
            value: slot.value,
            stamp: slot.stamp,
        })
    }

    /// Drops expired entries, looking at no more than `budget` of them.
    pub fn expire_some(&self, budget: usize) {
        let mut dropped = Dropped::new();
        let mut map = self.map.write();
        let dead: Vec<_> = map
            .0
            .iter()
            .rev()
            .take(budget)
            .filter(|(_, slot)| self.dead(slot.stamp))
            .map(|(key, _)| key.clone())
            .collect();
        for key in dead {
            if let Some(slot) = map.0.pop(&key) {
                map.1 -= charge(&key, &slot.value);
                self.expirations.fetch_add(1, Ordering::Relaxed);
                dropped.push((key, slot.value, EvictReason::Expired));
            }
        }
        drop(map);
        self.report(dropped);
    }

    pub fn stats(&self) -> StoreStats {
        let map = self.map.read();
        let hot = map
            .0
            .iter()
            .filter(|(_, slot)| slot.stamp.kind == Kind::Hot);
        let (hot_entries, hot_bytes) = hot.fold((0, 0), |(n, bytes), (key, slot)| {
            (n + 1, bytes + charge(key, &slot.value))
        });
        StoreStats {
            entries: map.0.len() as u64,
            bytes: map.1,
            hot_entries,
            hot_bytes,
            evictions: self.evictions.load(Ordering::Relaxed),
            expirations: self.expirations.load(Ordering::Relaxed),
        }
    }

    /// User code runs here, with no lock held.
    fn report(&self, dropped: Dropped) {
        if let Some(hook) = &self.options.on_evict {
            for (key, value, reason) in dropped {
                hook(&key, &value, reason);
            }
        }
    }
}

/// A lifetime shortened by 0 to 10 %, so that entries stored together do not expire together.
pub fn jittered(ttl: Duration, random: u64) -> Duration {
    let tenth = ttl.as_nanos() / 10;
    let cut = (tenth * u128::from(random)) >> 64;
    ttl - Duration::from_nanos(cut as u64)
}
