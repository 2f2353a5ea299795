//! `Budget`: bytes used against bytes allowed, over all shards.
//!
//! Invariant: `used` is the sum of what the shards reported last. No shard has a budget of its own:
//! one value may be as large as many shards' shares. A shard makes room for itself first, unless it
//! holds much less than its share; then the others do.

use super::sync::{AtomicU64, Ordering};

pub(crate) struct Budget {
    pub(crate) max: u64,
    /// One shard's part of `max`.
    pub(crate) share: u64,
    used: AtomicU64,
}

impl Budget {
    pub(crate) fn new(max: u64, shards: usize) -> Budget {
        Budget {
            max,
            share: max / shards as u64,
            used: AtomicU64::new(0),
        }
    }

    /// Below this a shard does not pay for others, nor for itself while others hold more.
    pub(crate) fn floor(&self) -> u64 {
        if self.share == self.max {
            0
        } else {
            self.share / 4 * 3
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// By how much the whole would be over with one shard grown from `before` to `after`.
    pub(crate) fn excess_with(&self, before: u64, after: u64) -> u64 {
        (self.used() + after)
            .saturating_sub(before)
            .saturating_sub(self.max)
    }

    pub(crate) fn excess(&self) -> u64 {
        self.used().saturating_sub(self.max)
    }

    /// A shard went from `before` to `after`. Writes the shared line only if something changed, and
    /// evictions of equal size change nothing.
    pub(crate) fn report(&self, before: u64, after: u64) {
        if after > before {
            self.used.fetch_add(after - before, Ordering::AcqRel);
        } else if after < before {
            self.used.fetch_sub(before - after, Ordering::AcqRel);
        }
    }
}
