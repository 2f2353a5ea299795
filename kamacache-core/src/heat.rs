//! Which keys of other owners are asked for often enough to keep a copy: a
//! small table of counters by hash, halved now and then.
//!
//! A copy is kept from the third fetch within a window on. That finds more hits
//! than keeping one fetch in eight at random, groupcache's rule: figures and
//! the other settings that were tried are in docs/performance.md.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::hashing::{Hashing, seeded};

const COUNTERS: usize = 1 << 15;
/// Fetches after which all counters are halved.
const WINDOW: u32 = 1 << 13;
const HOT: u8 = 3;

pub(crate) struct Heat {
    counters: Box<[AtomicU8]>,
    fetches: AtomicU32,
    hasher: Hashing,
}

impl Heat {
    pub(crate) fn new() -> Self {
        Self {
            counters: (0..COUNTERS).map(|_| AtomicU8::new(0)).collect(),
            fetches: AtomicU32::new(0),
            hasher: seeded(),
        }
    }

    /// Counts one fetch of the key; whether it is hot.
    pub(crate) fn touch(&self, key: &str) -> bool {
        if self.fetches.fetch_add(1, Ordering::Relaxed) % WINDOW == WINDOW - 1 {
            self.halve();
        }
        let counter = &self.counters[self.hasher.hash_one(key) as usize % COUNTERS];
        // A lost update between two threads only delays a copy by one fetch.
        let count = counter.load(Ordering::Relaxed).saturating_add(1);
        counter.store(count, Ordering::Relaxed);
        count >= HOT
    }

    fn halve(&self) {
        for counter in &self.counters {
            counter.store(counter.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_fetch_is_hot_and_the_window_forgets() {
        let heat = Heat::new();
        assert!(!heat.touch("k"));
        assert!(!heat.touch("k"));
        assert!(heat.touch("k"));
        heat.halve();
        heat.halve();
        assert!(!heat.touch("k"));
    }
}
