//! S35 with a counting allocator: what the store takes from it is within `max_bytes`, at every
//! quiescent point. One test in one process, without the test harness, whose main thread would
//! allocate beside it.

use kamacache_core::{
    EvictReason, Policy, Value,
    internals::{Clock, Kind, Stamp, Store, StoreOptions},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{alloc::System, time::Duration};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Bytes taken and not given back since the region began.
fn held(region: &Region<'_, System>) -> u64 {
    let change = region.change();
    (change.bytes_allocated as u64).saturating_sub(change.bytes_deallocated as u64)
}

struct Case {
    policy: Policy,
    max_bytes: u64,
    shards: Option<usize>,
    /// Values are shorter than this.
    longest: u64,
    keys: u64,
}

fn run(case: &Case) {
    let region = Region::new(ALLOCATOR);
    let (clock, hand) = Clock::manual();
    let store = Store::new(StoreOptions {
        policy: case.policy,
        shards: case.shards,
        clock,
        ..StoreOptions::new(case.max_bytes)
    });
    let mut random = Random(case.max_bytes ^ 0x9E37);
    let mut most = 0;
    for step in 0..60_000u64 {
        let key = format!("key:{}", random.below(case.keys));
        match random.below(100) {
            0..70 => {
                let value = Value::from(vec![1; random.below(case.longest) as usize]);
                let kind = if random.below(4) == 0 {
                    Kind::Hot
                } else {
                    Kind::Owned
                };
                let lifetime = (random.below(3) == 0).then(|| random.below(300_000));
                let expires_at = lifetime.map(|ms| store.clock().now_ms() + ms);
                store.put_if(
                    &key,
                    &value,
                    Stamp {
                        kind,
                        expires_at,
                        ..Stamp::OWNED
                    },
                    || true,
                );
            }
            70..80 => drop(store.remove_with(&key, EvictReason::Deleted, || {})),
            80..98 => drop(store.get(&key)),
            98 => hand.advance(Duration::from_millis(random.below(20_000))),
            _ => {
                let mut shard = 0;
                while store.expire_slice(&mut shard) {}
            }
        }
        drop(key);
        if step % 20_011 == 20_010 {
            store.clear();
        }
        let (held, stats) = (held(&region), store.stats());
        assert!(
            held <= case.max_bytes,
            "{held} bytes held of {}: {stats:?}",
            case.max_bytes
        );
        assert!(held <= stats.bytes, "{held} bytes held, {stats:?} charged");
        most = most.max(held);
    }
    // The charge is an upper bound, but not an idle one.
    assert!(
        most * 2 >= case.max_bytes,
        "at most {most} of {} were ever used",
        case.max_bytes
    );
    drop(store);
    assert!(
        held(&region) < 1024,
        "{} bytes are left behind",
        held(&region)
    );
}

#[expect(clippy::print_stdout, reason = "what the test harness would say")]
fn main() {
    s35_the_budget_holds_in_real_bytes();
    println!(
        "test s35_the_budget_holds_in_real_bytes ... ok\n\ntest result: ok. 1 passed; 0 failed"
    );
}

fn s35_the_budget_holds_in_real_bytes() {
    for policy in [Policy::Lru, Policy::S3Fifo] {
        for (max_bytes, shards, longest) in [
            (64 << 10, None, 200),
            (64 << 10, None, 8 << 10),
            (1 << 20, None, 64),
            (1 << 20, Some(8), 20 << 10),
            (4 << 20, Some(32), 500),
        ] {
            run(&Case {
                policy,
                max_bytes,
                shards,
                longest,
                keys: 3 * max_bytes / (longest / 2 + 100),
            });
        }
    }
}
