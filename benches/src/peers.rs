//! The caches that the Store is measured beside, behind one trait.
//!
//! Invariant: keys are strings, values `Bytes` that the cache owns; everything but the lock and the
//! policy is equal: the same hasher (foldhash, unless the name says "own hasher") and entries that
//! count 1. Called by the bars on hits, mixed loads and memory.

use bytes::Bytes;
use kamacache_core::{
    Policy, Value,
    internals::{Stamp, Store, StoreOptions, Weigher},
};
use parking_lot::Mutex;
use std::{collections::HashMap, hash::BuildHasher, hint::black_box, num::NonZeroUsize};

type Fold = foldhash::fast::RandomState;

/// One value, ready to be stored.
pub struct Sample {
    bytes: Bytes,
    value: Value,
}

impl Sample {
    /// A value of so many bytes.
    pub fn new(len: usize) -> Sample {
        let bytes = Bytes::from(vec![0x5a; len]);
        Sample {
            value: Value::from(bytes.clone()),
            bytes,
        }
    }

    /// What a cache of `Bytes` keeps: its own copy, not a view of somebody's buffer.
    fn copied(&self) -> Bytes {
        Bytes::from(self.bytes.to_vec())
    }
}

/// What a cache is measured by.
pub trait Cache: Sync {
    /// Gets a handle on the value, as an application would; its length, or None on a miss.
    fn get(&self, key: &str) -> Option<usize>;

    /// Stores a copy of the value.
    fn put(&self, key: &str, value: &Sample);

    /// Copies the value out under whatever protects it; its length.
    fn copy(&self, key: &str, buf: &mut [u8]) -> Option<usize>;
}

/// Ours.
pub struct Ours(pub Store);

impl Ours {
    /// A store that charges what memory takes.
    pub fn bytes(policy: Policy, max_bytes: u64) -> Ours {
        Ours(Store::new(StoreOptions {
            policy,
            ..StoreOptions::new(max_bytes)
        }))
    }

    /// A store in which every entry counts 1, as in the peers, with the shards that the default
    /// would have for as much memory.
    pub fn entries(policy: Policy, capacity: usize) -> Ours {
        let as_much = StoreOptions::new(capacity as u64 * 1_024);
        Ours(Store::new(StoreOptions {
            policy,
            weigher: Weigher::by(|_, _| 1),
            shards: Some(Store::new(as_much).shard_count()),
            ..StoreOptions::new(capacity as u64)
        }))
    }
}

fn copy_to(value: &[u8], buf: &mut [u8]) -> usize {
    buf[..value.len()].copy_from_slice(value);
    value.len()
}

impl Cache for Ours {
    #[inline]
    fn get(&self, key: &str) -> Option<usize> {
        self.0.get(key).map(|hit| black_box(hit).value.len())
    }

    #[inline]
    fn put(&self, key: &str, value: &Sample) {
        self.0.put_if(key, &value.value, Stamp::OWNED, || true);
    }

    #[inline]
    fn copy(&self, key: &str, buf: &mut [u8]) -> Option<usize> {
        self.0.peek_into(key, |_| true, buf)?.ok()
    }
}

/// Writes the three methods for a cache whose `get` hands out a `Bytes`.
macro_rules! cache {
    ($name:ident, get: |$g:ident, $gk:ident| $get:expr, put: |$p:ident, $pk:ident, $pv:ident| $put:expr) => {
        impl Cache for $name {
            #[inline]
            fn get(&self, $gk: &str) -> Option<usize> {
                let $g = &self.0;
                $get.map(|value| black_box(value).len())
            }

            #[inline]
            fn put(&self, $pk: &str, value: &Sample) {
                let $p = &self.0;
                let $pv = value.copied();
                $put;
            }

            #[inline]
            fn copy(&self, $gk: &str, buf: &mut [u8]) -> Option<usize> {
                let $g = &self.0;
                $get.map(|value| copy_to(&value, buf))
            }
        }
    };
}

type Quick<H> = quick_cache::sync::Cache<Box<str>, Bytes, quick_cache::UnitWeighter, H>;

/// quick_cache with the hasher that ours uses.
pub struct QuickCache(Quick<Fold>);

impl QuickCache {
    /// Room for so many entries.
    pub fn new(capacity: usize) -> QuickCache {
        let (weighter, lifecycle) = (quick_cache::UnitWeighter, Default::default());
        QuickCache(Quick::with(
            capacity,
            capacity as u64,
            weighter,
            Fold::default(),
            lifecycle,
        ))
    }
}

cache!(QuickCache, get: |cache, key| cache.get(key), put: |cache, key, value| cache.insert(key.into(), value));

/// quick_cache as it comes.
pub struct QuickCacheDefault(Quick<quick_cache::DefaultHashBuilder>);

impl QuickCacheDefault {
    /// Room for so many entries.
    pub fn new(capacity: usize) -> Self {
        Self(Quick::new(capacity))
    }
}

cache!(QuickCacheDefault, get: |cache, key| cache.get(key), put: |cache, key, value| cache.insert(key.into(), value));

/// moka with the hasher that ours uses.
pub struct Moka(moka::sync::Cache<Box<str>, Bytes, Fold>);

impl Moka {
    /// Room for so many entries.
    pub fn new(capacity: usize) -> Moka {
        let builder = moka::sync::Cache::builder().max_capacity(capacity as u64);
        Moka(builder.build_with_hasher(Fold::default()))
    }
}

cache!(Moka, get: |cache, key| cache.get(key), put: |cache, key, value| cache.insert(key.into(), value));

/// The `lru` crate behind one mutex.
pub struct MutexLru(Mutex<lru::LruCache<Box<str>, Bytes, Fold>>);

impl MutexLru {
    /// Room for so many entries.
    pub fn new(capacity: usize) -> MutexLru {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        MutexLru(Mutex::new(lru::LruCache::with_hasher(
            capacity,
            Fold::default(),
        )))
    }
}

cache!(MutexLru, get: |cache, key| cache.lock().get(key).cloned(), put: |cache, key, value| cache.lock().put(key.into(), value));

/// schnellru behind one mutex.
pub struct SchnellLru(Mutex<schnellru::LruMap<String, Bytes, schnellru::ByLength, Fold>>);

impl SchnellLru {
    /// Room for so many entries.
    pub fn new(capacity: usize) -> SchnellLru {
        let limiter = schnellru::ByLength::new(capacity as u32);
        SchnellLru(Mutex::new(schnellru::LruMap::with_hasher(
            limiter,
            Fold::default(),
        )))
    }
}

cache!(SchnellLru, get: |cache, key| cache.lock().get(key).cloned(), put: |cache, key, value| cache.lock().insert(key.to_owned(), value));

/// foyer's in-memory cache with the hasher that ours uses.
pub struct Foyer(foyer_memory::Cache<Box<str>, Bytes, Fold>);

impl Foyer {
    /// Room for so many entries.
    pub fn new(capacity: usize) -> Foyer {
        Foyer(
            foyer_memory::CacheBuilder::new(capacity)
                .with_shards(32)
                .with_hash_builder(Fold::default())
                .build(),
        )
    }
}

cache!(Foyer, get: |cache, key| cache.get(key).map(|entry| entry.value().clone()), put: |cache, key, value| cache.insert(key.into(), value));

/// TinyUFO, which knows a key only by its hash: what two keys with one hash do to it is the reason
/// ours compares keys.
pub struct TinyUfo(tinyufo::TinyUfo<u64, Bytes>, Fold);

impl TinyUfo {
    /// Room for so many entries.
    pub fn new(capacity: usize) -> TinyUfo {
        TinyUfo(tinyufo::TinyUfo::new(capacity, capacity), Fold::default())
    }
}

impl Cache for TinyUfo {
    #[inline]
    fn get(&self, key: &str) -> Option<usize> {
        self.0
            .get(&self.1.hash_one(key))
            .map(|value| black_box(value).len())
    }

    #[inline]
    fn put(&self, key: &str, value: &Sample) {
        self.0.put(self.1.hash_one(key), value.copied(), 1);
    }

    #[inline]
    fn copy(&self, key: &str, buf: &mut [u8]) -> Option<usize> {
        self.0
            .get(&self.1.hash_one(key))
            .map(|value| copy_to(&value, buf))
    }
}

/// A hash map without lock, order or bound: what nobody can beat.
pub struct Unlocked(HashMap<Box<str>, Bytes, Fold>);

impl Unlocked {
    /// Filled once, then only read.
    pub fn new(keys: &[Box<str>], value: &Sample) -> Unlocked {
        Unlocked(
            keys.iter()
                .map(|key| (key.clone(), value.copied()))
                .collect(),
        )
    }
}

impl Cache for Unlocked {
    #[inline]
    fn get(&self, key: &str) -> Option<usize> {
        self.0.get(key).cloned().map(|value| black_box(value).len())
    }

    fn put(&self, _: &str, _: &Sample) {}

    #[inline]
    fn copy(&self, key: &str, buf: &mut [u8]) -> Option<usize> {
        self.0.get(key).map(|value| copy_to(value, buf))
    }
}
