//! The byte-bounded local map: owned, hot, fallback and former entries, with TTL and eviction.
//!
//! Invariant: once a call has returned, what is charged is within `max_bytes`; no value is dropped
//! and no user code runs under a lock. The store is synchronous, never awaits, and knows nothing of
//! groups, rings or generations: it keeps a `Stamp` beside each value and leaves its meaning to
//! `group.rs`, its only caller.
//!
//! From the outside in:
//!
//! ```text
//! Store       hashes the key, picks the shard, takes its lock, drops outside of it   (here)
//!  Budget     bytes over all shards
//!  Shard      one lock's worth: the parts below, kept in step
//!   List      entries in order of use, on the `lru` crate; Entry, Slot are its nodes
//!   Evictor   who leaves: Lru or S3Fifo (with its Queue and Ghost)
//!   Queue     hot copies in order of arrival
//!   Wheel     what expires when
//! ```

mod budget;
mod entry;
mod evictor;
mod ghost;
mod list;
mod lru_policy;
mod options;
mod queue;
mod room;
mod s3fifo;
mod shard;
mod slot;
mod stamp;
mod sync;
#[cfg(any(test, fuzzing))]
mod tests;
mod upkeep;
mod wheel;

pub(crate) use entry::Entry;
#[cfg(any(test, feature = "bench-internals"))]
pub use evictor::Weigher;
pub use options::{EvictHook, EvictReason, Policy, StoreOptions};
pub use stamp::{Hit, Kind, Put, Stamp, StoreStats, Verdict};
#[cfg(fuzzing)]
pub use tests::run_bytes;

use crate::{
    clock::Clock,
    hashing::{self, Hashing},
    value::Value,
};
use budget::Budget;
use entry::{Hash48, Keyed, Query};
use evictor::Patience;
use shard::Shard;
use slot::Slot;
use smallvec::SmallVec;
use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hasher},
    time::Duration,
};
use sync::{AtomicUsize, Ordering, RwLock, RwLockWriteGuard};
pub use upkeep::Walk;

/// The local half of a group's cache. `Sync`; every method may be called from any thread.
pub struct Store {
    shards: Box<[Padded]>,
    budget: Budget,
    hot_budget: Budget,
    seed: Hashing,
    uses_cap: u8,
    /// Hits move entries to the front at once, under a write lock.
    exact_order: bool,
    /// Shards that a clear has put aside, whose memory is not freed yet.
    buried: RwLock<VecDeque<Shard>>,
    buried_shards: AtomicUsize,
    /// Whose turn it is to make room for others.
    turn: AtomicUsize,
    options: StoreOptions,
}

/// A lock of its own cache lines: neighbours' locks would slow each other down.
#[repr(align(128))]
struct Padded(RwLock<Shard>);

/// What left a shard, to be dropped and told about once the lock is free.
type Dropped = SmallVec<[(Entry, EvictReason); 4]>;

impl Store {
    /// An empty store.
    pub fn new(options: StoreOptions) -> Store {
        let shards = options.shard_count();
        let budget = Budget::new(options.max_bytes, shards);
        let hot_budget = Budget::new(options.max_bytes / options.hot_divisor.max(1), shards);
        let make = || {
            let mut shard = Shard::new(&options);
            shard.reported = shard.used();
            budget.report(0, shard.reported);
            Padded(RwLock::new(shard))
        };
        let shards: Box<[Padded]> = (0..shards).map(|_| make()).collect();
        let uses_cap = shards[0].0.read().uses_cap();
        Store {
            shards,
            budget,
            hot_budget,
            seed: hashing::of_stores(),
            uses_cap,
            exact_order: options.strict && options.policy == Policy::Lru,
            buried: RwLock::new(VecDeque::new()),
            buried_shards: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            options,
        }
    }

    /// In how many parts it is locked.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The clock that expiry times are numbers of.
    pub fn clock(&self) -> &Clock {
        &self.options.clock
    }

    /// A fresh entry; never an expired one or an heir. Reads the clock only if the entry expires.
    #[inline]
    pub fn get(&self, key: &str) -> Option<Hit> {
        self.look(key, |slot| self.is_fresh(slot).then(|| hit(slot)))
    }

    /// Also an expired entry, for as long as it is kept (`StoreOptions::keep_stale_ms`).
    pub fn get_stale(&self, key: &str) -> Option<Hit> {
        self.look(key, |slot| {
            (!slot.kind.is_hidden() && !self.is_dead(slot)).then(|| hit(slot))
        })
    }

    /// The stamp and length of an entry of whatever kind, fresh or not; no use is counted.
    pub fn inspect(&self, key: &str) -> Option<(Stamp, usize)> {
        let mut seen = None;
        self.look(key, |slot| -> Option<()> {
            seen = Some((slot.stamp(), slot.entry.value().len()));
            None
        });
        seen
    }

    /// Copies a fresh entry's bytes under the lock, if `accept` likes its stamp: `Some(Ok(len))`,
    /// or `Some(Err(len))` when `buf` is too small.
    #[inline]
    pub fn peek_into(
        &self,
        key: &str,
        accept: impl FnOnce(Stamp) -> bool,
        buf: &mut [u8],
    ) -> Option<Result<usize, usize>> {
        self.look(key, |slot| {
            if !self.is_fresh(slot) || !accept(slot.stamp()) {
                return None;
            }
            let value = slot.entry.value();
            let fits = buf.get_mut(..value.len());
            Some(
                fits.map(|buf| buf.copy_from_slice(value))
                    .map(|()| value.len())
                    .ok_or(value.len()),
            )
        })
    }

    /// Stores if `admit()` says yes, which it is asked under the shard's lock before anything
    /// changes; once more under each further hold that it takes to make room. A value that can never fit takes the old entry away and evicts nobody.
    pub fn put_if(
        &self,
        key: &str,
        value: &Value,
        stamp: Stamp,
        mut admit: impl FnMut() -> bool,
    ) -> Put {
        let query = self.query(key);
        let entry = match value.entry() {
            Some(entry) if query.is(entry.hash(), entry.key()) => entry.clone(),
            _ => Entry::new(query.hash, query.key, value),
        };
        if self.buried_shards.load(Ordering::Relaxed) > 0 {
            self.dig(entry.bytes());
        }
        let mut dropped = Dropped::new();
        let (mut patience, mut returning) = (Patience::new(), false);
        loop {
            let mut shard = self.shard(query.hash).write();
            if !admit() {
                drop(shard);
                self.tell(dropped);
                return Put::Refused;
            }
            let fits = self.could_fit(&shard, &entry, stamp);
            let cost = if fits { shard.cost_of(&entry) } else { 0 };
            if !fits {
                let old = shard.remove(&query);
                dropped.extend(old.map(|old| self.parting(old, EvictReason::Replaced)));
            } else if let Some(old) = shard.list.remove(&query) {
                shard.succeed(&old, entry, stamp, self.budget.share);
                dropped.push(self.parting(old, EvictReason::Replaced));
            } else {
                returning |= shard.returning(&entry);
                if !self.make_room(&mut shard, cost, &mut patience, &mut dropped) {
                    self.report(&mut shard);
                    drop(shard);
                    patience.renew();
                    continue;
                }
                shard.insert(entry, stamp, returning, self.budget.share);
            }
            self.settle_and_drop(shard, query.hash, cost, patience, dropped);
            return if fits { Put::Stored } else { Put::TooLarge };
        }
    }

    /// Removes the entry, of whatever kind; `under_lock` runs under the shard's lock, whether or
    /// not the key is there.
    pub fn remove_with(
        &self,
        key: &str,
        reason: EvictReason,
        under_lock: impl FnOnce(),
    ) -> Option<Value> {
        let query = self.query(key);
        let mut shard = self.shard(query.hash).write();
        under_lock();
        let slot = shard.remove(&query);
        self.report(&mut shard);
        drop(shard);
        let entry = slot?.entry;
        self.tell_one(&entry, reason);
        Some(Value::from(entry))
    }

    /// Removes the entry, of whatever kind, if `admit()` says yes, which it is asked under the
    /// shard's lock.
    pub fn remove_if(&self, key: &str, reason: EvictReason, admit: impl FnOnce() -> bool) {
        let query = self.query(key);
        let mut shard = self.shard(query.hash).write();
        let slot = if admit() { shard.remove(&query) } else { None };
        self.report(&mut shard);
        drop(shard);
        if let Some(slot) = slot {
            self.tell_one(&slot.entry, reason);
        }
    }

    /// A fresh entry that readers do not see: an heir.
    pub fn hidden(&self, key: &str) -> Option<Hit> {
        self.look(key, |slot| {
            (slot.kind.is_hidden() && !self.has_expired(slot)).then(|| hit(slot))
        })
    }

    /// Reads and drops an entry that is still fresh and has this stamp.
    pub fn take(&self, key: &str, stamp: Stamp) -> Option<Hit> {
        let query = self.query(key);
        let mut shard = self.shard(query.hash).write();
        let slot = shard.get(&query)?;
        if slot.stamp() != stamp || self.has_expired(slot) {
            return None;
        }
        let taken = hit(slot);
        let slot = shard.remove(&query);
        self.report(&mut shard);
        drop(shard);
        self.tell_one(&slot?.entry, EvictReason::Moved);
        Some(taken)
    }

    /// Changes an entry's stamp if it is still `from`; says whether it did.
    pub fn restamp(&self, key: &str, from: Stamp, to: Stamp) -> bool {
        let query = self.query(key);
        let dropped = Dropped::new();
        let mut shard = self.shard(query.hash).write();
        let done = shard.restamp(&query, from, to, self.budget.share);
        self.settle_and_drop(shard, query.hash, 0, Patience::new(), dropped);
        done
    }

    /// Ends a change of a shard: evicts what is over the budgets, first under this hold of its lock.
    fn settle_and_drop(
        &self,
        mut shard: RwLockWriteGuard<'_, Shard>,
        hash: Hash48,
        newcomer: u64,
        mut patience: Patience,
        mut dropped: Dropped,
    ) {
        let is_settled = self.settle(&mut shard, newcomer, &mut patience, &mut dropped);
        drop(shard);
        if !is_settled {
            self.go_on_settling(hash, newcomer, &mut dropped);
        }
        self.relieve(hash, &mut dropped);
        self.tell(dropped);
    }

    /// A snapshot; shards are read one after the other.
    pub fn stats(&self) -> StoreStats {
        let mut stats = StoreStats {
            bytes: self.budget.used(),
            hot_bytes: self.hot_budget.used(),
            ..Default::default()
        };
        for shard in &self.shards {
            let shard = shard.0.read();
            stats.entries += shard.list.len() as u64;
            stats.hot_entries += shard.hot_len() as u64;
            stats.evictions += shard.evictions;
            stats.expirations += shard.expirations;
        }
        stats
    }

    /// Finds an entry, shows it to `use_it`, and counts the use if that answers.
    #[inline]
    fn look<R>(&self, key: &str, use_it: impl FnOnce(&Slot) -> Option<R>) -> Option<R> {
        let query = self.query(key);
        let shard = self.shard(query.hash);
        if self.exact_order {
            let mut shard = shard.write();
            let answer = use_it(shard.get(&query)?)?;
            shard.touch(&query);
            return Some(answer);
        }
        let shard = shard.read();
        let slot = shard.get(&query)?;
        let answer = use_it(slot)?;
        slot.count_use(self.uses_cap);
        Some(answer)
    }

    #[inline]
    fn query<'a>(&self, key: &'a str) -> Query<'a> {
        let mut hasher = self.seed.build_hasher();
        hasher.write(key.as_bytes());
        Query {
            hash: Hash48::new(hasher.finish()),
            key: key.as_bytes(),
        }
    }

    #[inline]
    fn shard(&self, hash: Hash48) -> &RwLock<Shard> {
        &self.shards[hash.shard(self.shards.len())].0
    }

    #[inline]
    fn is_fresh(&self, slot: &Slot) -> bool {
        !slot.kind.is_hidden() && !self.has_expired(slot)
    }

    #[inline]
    fn has_expired(&self, slot: &Slot) -> bool {
        slot.expires_at().is_some_and(|at| self.clock().reached(at))
    }

    /// Expired, and past the time it is kept for `get_stale`.
    fn is_dead(&self, slot: &Slot) -> bool {
        let keep = self.options.keep_stale_ms;
        slot.expires_at()
            .is_some_and(|at| self.clock().reached(at.saturating_add(keep)))
    }

    /// An entry on its way out; what had expired leaves for that reason.
    fn parting(&self, slot: Slot, reason: EvictReason) -> (Entry, EvictReason) {
        let reason = if self.has_expired(&slot) {
            EvictReason::Expired
        } else {
            reason
        };
        (slot.entry, reason)
    }

    /// Tells the hook what left, then drops it. No lock is held here.
    fn tell(&self, dropped: Dropped) {
        for (entry, reason) in &dropped {
            self.tell_one(entry, *reason);
        }
    }

    fn tell_one(&self, entry: &Entry, reason: EvictReason) {
        if let Some(hook) = &self.options.on_evict {
            hook(entry.key_str(), &Value::from(entry.clone()), reason);
        }
    }
}

#[inline]
fn hit(slot: &Slot) -> Hit {
    Hit {
        value: Value::from(slot.entry.clone()),
        stamp: slot.stamp(),
    }
}

/// A lifetime shortened by 0 to 10 %, so that entries stored together do not expire together.
/// `random` is any evenly distributed number.
pub fn jittered(ttl: Duration, random: u64) -> Duration {
    const NANOS: u128 = 1_000_000_000;
    let tenth = ttl.as_nanos() / 10;
    let left = ttl.as_nanos() - ((tenth * u128::from(random >> 32)) >> 32);
    Duration::new((left / NANOS) as u64, (left % NANOS) as u32)
}
