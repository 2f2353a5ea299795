//! P1 and P2: hits of the Store beside the peers' hits.
//!
//! Invariant: every request is a hit, in every cache; requests are drawn by Zipf's law before the
//! clock starts; four threads on fewer cores are oversubscription, and labelled.

use crate::{
    harness::{self, Comparison, KEY_BYTES, VALUE_BYTES, median},
    peers::*,
    report::{Bar, Row},
};
use kamacache_core::Policy;
use std::hint::black_box;

pub(super) const KEYS: [usize; 3] = [1_000, 100_000, 1_000_000];
pub(super) const THREADS: [usize; 3] = [1, 2, 4];
/// Requests of one thread in one block.
pub(super) const BLOCK: usize = 50_000;
/// Length of a thread's sequence of requests; blocks walk through it.
const SEQUENCE: usize = 1 << 20;

/// Keys, and each thread's requests: the keys themselves in the order of asking, so that reading
/// the next request costs a cache nothing.
pub(super) struct Load {
    pub(super) keys: Vec<Box<str>>,
    pub(super) requests: Vec<String>,
}

impl Load {
    pub(super) fn new(count: usize) -> Load {
        let keys = harness::keys(count);
        let draw = |seed| {
            let drawn = harness::zipf(count, 0.99, SEQUENCE, seed);
            drawn.into_iter().map(|key| &*keys[key as usize]).collect()
        };
        let requests = (1..=4).map(draw).collect();
        Load { keys, requests }
    }

    /// Fills all caches side by side, key by key: what is filled first gets the heap that others left
    /// behind, and is slower for it by up to a tenth.
    pub(super) fn fill(&self, caches: &[&dyn Cache]) {
        let value = Sample::new(VALUE_BYTES);
        for key in &self.keys {
            caches.iter().for_each(|cache| cache.put(key, &value));
        }
    }

    /// How many of the keys a cache holds.
    fn held(&self, cache: &dyn Cache) -> usize {
        self.keys
            .iter()
            .filter(|key| cache.get(key).is_some())
            .count()
    }

    /// Nanoseconds one request takes a thread.
    pub(super) fn block(
        &self,
        threads: usize,
        turn: &mut usize,
        ask: impl Fn(&str) -> usize + Sync,
    ) -> f64 {
        let start = self::turn(turn);
        harness::on_threads(threads, BLOCK, |thread| {
            let key = |i: usize| &self.requests[thread][i * KEY_BYTES..(i + 1) * KEY_BYTES];
            let bytes: usize = (start..start + BLOCK).map(|i| ask(key(i))).sum();
            black_box(bytes);
        })
    }

    fn compare<A: Cache, B: Cache>(
        &self,
        threads: usize,
        how: How,
        ours: &A,
        peer: &B,
    ) -> Comparison {
        let (mut our_turn, mut peer_turn) = (0, 0);
        harness::compare(
            || self.block(threads, &mut our_turn, |key| how.ask(ours, key)),
            || self.block(threads, &mut peer_turn, |key| how.ask(peer, key)),
        )
    }
}

#[derive(Clone, Copy)]
pub(super) enum How {
    Get,
    Copy,
}

impl How {
    #[inline]
    pub(super) fn ask(self, cache: &impl Cache, key: &str) -> usize {
        match self {
            How::Get => cache.get(key).unwrap_or(0),
            How::Copy => {
                let mut buf = [0; VALUE_BYTES];
                let len = cache.copy(key, &mut buf).unwrap_or(0);
                black_box(&buf);
                len
            }
        }
    }
}

pub(super) fn label(keys: usize, threads: usize) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let over = if threads > cores {
        " (oversubscribed)"
    } else {
        ""
    };
    let keys = if keys < 1_000_000 {
        format!("{}k", keys / 1000)
    } else {
        format!("{}M", keys / 1_000_000)
    };
    format!("{keys} keys, {threads} threads{over}")
}

pub(super) fn ours(policy: Policy, keys: usize) -> Ours {
    Ours::bytes(policy, budget(keys))
}

/// Bytes in which so many keys fit, with room to spare.
pub(super) fn budget(keys: usize) -> u64 {
    (keys as u64) * 1_024 + (16 << 20)
}

/// Where the next block begins in a thread's requests.
pub(super) fn turn(turn: &mut usize) -> usize {
    let start = *turn % (SEQUENCE / BLOCK) * BLOCK;
    *turn += 1;
    start
}

/// The median row of those whose metric starts so.
pub(super) fn overall(id: &str, rows: &[Row], peer: &str, bar: Bar) -> Row {
    let of = |field: fn(&Row) -> f64| {
        median(
            rows.iter()
                .filter(|row| row.peer_name == peer)
                .map(field)
                .collect(),
        )
    };
    let measured = Comparison {
        ours: of(|row| row.ours),
        peer: of(|row| row.peer),
        ratio: of(|row| row.ratio),
        ci: (of(|row| row.ci_low), of(|row| row.ci_high)),
        n: rows.iter().filter(|row| row.peer_name == peer).count(),
    };
    Row::timed(id, "median of the grid, ns", peer, &measured).with_bar(bar)
}

/// P1: `Store::get` against every peer's.
pub fn hit() -> Vec<Row> {
    let mut rows = Vec::new();
    for count in KEYS {
        let load = Load::new(count);
        let (store, quick, moka) = (
            ours(Policy::Default, count),
            QuickCache::new(2 * count),
            Moka::new(2 * count),
        );
        let caches: [&dyn Cache; 3] = [&store, &quick, &moka];
        load.fill(&caches);
        for cache in caches {
            assert_eq!(load.held(cache), count, "every request must be a hit");
        }
        for threads in THREADS {
            let label = label(count, threads);
            let against_quick = load.compare(threads, How::Get, &store, &quick);
            rows.push(Row::timed(
                "P1",
                format!("hit, ns: {label}"),
                "quick_cache",
                &against_quick,
            ));
            let against_moka = load.compare(threads, How::Get, &store, &moka);
            rows.push(Row::timed(
                "P1",
                format!("hit, ns: {label}"),
                "moka",
                &against_moka,
            ));
        }
        if count == 100_000 {
            rows.extend(others(&load));
        }
    }
    rows.push(overall("P1", &rows, "quick_cache", Bar::AtMost(0.85)));
    rows.push(overall("P1", &rows, "moka", Bar::AtMost(0.35)));
    for row in rows
        .iter_mut()
        .filter(|row| row.peer_name == "quick_cache" && row.bar.is_none())
    {
        row.bar = Some(Bar::UpperEndAtMost(1.05));
    }
    rows
}

/// The rest of the field, the other policy, and the noise floor, at 100k keys on one and two threads.
fn others(load: &Load) -> Vec<Row> {
    let count = load.keys.len();
    let store = &ours(Policy::Default, count);
    let mut rows = Vec::new();
    let mut add = |name: &str, threads, measured: Comparison| {
        rows.push(Row::timed(
            "P1",
            format!("hit, ns: {}", label(count, threads)),
            name,
            &measured,
        ));
    };
    let (twin, lru) = (ours(Policy::Default, count), ours(Policy::Lru, count));
    let default = QuickCacheDefault::new(2 * count);
    let (mutex, schnell) = (MutexLru::new(2 * count), SchnellLru::new(2 * count));
    let (foyer, ufo) = (Foyer::new(2 * count), TinyUfo::new(2 * count));
    let unlocked = Unlocked::new(&load.keys, &Sample::new(VALUE_BYTES));
    load.fill(&[store, &twin, &lru, &default, &mutex, &schnell, &foyer, &ufo]);
    for threads in [1, 2] {
        add(
            "ours again (the noise floor)",
            threads,
            load.compare(threads, How::Get, store, &twin),
        );
        add(
            "ours, policy lru",
            threads,
            load.compare(threads, How::Get, store, &lru),
        );
        add(
            "quick_cache, own hasher",
            threads,
            load.compare(threads, How::Get, store, &default),
        );
        add(
            "Mutex<LruCache>",
            threads,
            load.compare(threads, How::Get, store, &mutex),
        );
        add(
            "Mutex<schnellru>",
            threads,
            load.compare(threads, How::Get, store, &schnell),
        );
        add(
            "foyer",
            threads,
            load.compare(threads, How::Get, store, &foyer),
        );
        add(
            "TinyUFO",
            threads,
            load.compare(threads, How::Get, store, &ufo),
        );
        add(
            "HashMap, no lock",
            threads,
            load.compare(threads, How::Get, store, &unlocked),
        );
    }
    rows
}

/// P2: `Store::peek_into` against quick_cache's get and copy.
pub fn copy() -> Vec<Row> {
    let mut rows = Vec::new();
    for count in KEYS {
        let load = Load::new(count);
        let (store, quick) = (ours(Policy::Default, count), QuickCache::new(2 * count));
        load.fill(&[&store, &quick]);
        for threads in THREADS {
            let measured = load.compare(threads, How::Copy, &store, &quick);
            let metric = format!("copy, ns: {}", label(count, threads));
            rows.push(Row::timed("P2", metric, "quick_cache", &measured));
        }
    }
    rows.push(overall("P2", &rows, "quick_cache", Bar::AtMost(0.78)));
    rows
}
