//! Seeds of hash tables, and numbers for jitter, from the system's randomness as the standard
//! library draws it: so nobody outside can choose keys that collide (S36), and a simulation that
//! answers the system's `getrandom` decides them all.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use foldhash::SharedSeed;

/// A fast hasher with a seed. Not made by `default()`, whose seed comes from addresses and times.
pub(crate) type Hashing = foldhash::fast::SeedableRandomState;

/// A seed that differs from call to call.
pub(crate) fn seeded() -> Hashing {
    Hashing::with_seed(random(), shared())
}

/// The part of all seeds that this process draws once.
fn shared() -> &'static SharedSeed {
    static SHARED: OnceLock<SharedSeed> = OnceLock::new();
    SHARED.get_or_init(|| SharedSeed::from_u64(random()))
}

/// The seed of all stores: a value that one handed out can be kept by another without a copy.
pub(crate) fn of_stores() -> Hashing {
    static STORES: OnceLock<Hashing> = OnceLock::new();
    STORES.get_or_init(seeded).clone()
}

/// A number that differs from call to call.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}
