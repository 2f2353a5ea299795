//! P15: three gets to one put, by Zipf's law, in a cache of a tenth of the keys.
//!
//! Invariant: every put brings a value of its own; entries count 1 in every cache.

use crate::{
    harness::{self, VALUE_BYTES},
    peers::*,
    report::{Bar, Row},
};
use kamacache_core::Policy;
use std::hint::black_box;

const KEYS: usize = 1_000_000;
const BLOCK: usize = 100_000;
const THREADS: usize = 2;

/// Nanoseconds one operation takes a thread.
fn block(
    cache: &impl Cache,
    keys: &[Box<str>],
    requests: &[Vec<u32>],
    turn: &mut usize,
    value: &Sample,
) -> f64 {
    let start = *turn * BLOCK % requests[0].len();
    *turn += 1;
    harness::on_threads(THREADS, BLOCK, |thread| {
        let requests = requests[thread].iter().cycle().skip(start).take(BLOCK);
        let mut found = 0;
        for (i, request) in requests.enumerate() {
            let key = &keys[*request as usize];
            if i % 4 == 3 {
                cache.put(key, value);
            } else {
                found += cache.get(key).unwrap_or(0);
            }
        }
        black_box(found);
    })
}

/// The throughput of ours over a peer's.
fn against(
    name: &str,
    ours: &impl Cache,
    peer: &impl Cache,
    keys: &[Box<str>],
    requests: &[Vec<u32>],
) -> Row {
    let value = Sample::new(VALUE_BYTES);
    let (mut our_turn, mut peer_turn) = (0, 0);
    // Operations a second are the inverse of the time, so the peer's time stands first.
    let measured = harness::compare(
        || 1e3 / block(ours, keys, requests, &mut our_turn, &value),
        || 1e3 / block(peer, keys, requests, &mut peer_turn, &value),
    );
    Row::timed(
        "P15",
        "75/25 mixed, 2 threads, Mops/s a thread",
        name,
        &measured,
    )
}

/// Measures.
pub fn run() -> Vec<Row> {
    let keys = harness::keys(KEYS);
    let requests: Vec<_> = (1..=2)
        .map(|seed| harness::zipf(KEYS, 0.99, 1 << 21, seed))
        .collect();
    let capacity = KEYS / 10;
    let ours = Ours::entries(Policy::Default, capacity);
    let lru = Ours::entries(Policy::Lru, capacity);
    let (quick, moka) = (QuickCache::new(capacity), Moka::new(capacity));
    let value = Sample::new(VALUE_BYTES);
    for request in &requests[0] {
        let key = &keys[*request as usize];
        let caches: [&dyn Cache; 4] = [&ours, &lru, &quick, &moka];
        for cache in caches {
            if cache.get(key).is_none() {
                cache.put(key, &value);
            }
        }
    }
    vec![
        against("quick_cache", &ours, &quick, &keys, &requests).with_bar(Bar::AtLeast(0.9)),
        against("moka", &ours, &moka, &keys, &requests).with_bar(Bar::AtLeast(2.0)),
        against("ours, policy lru", &ours, &lru, &keys, &requests),
    ]
}
