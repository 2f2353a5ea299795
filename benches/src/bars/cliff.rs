//! P20: the latency cliff of evictions in a full cache whose entries were all read, so that every
//! victim that is looked at has a second chance.
//!
//! Invariant: the caches hold as many entries, all of them read before each round; what is compared
//! are medians over rounds, since a busy machine delays some rounds of everybody.

use crate::{
    harness::{self, Random, VALUE_BYTES},
    peers::*,
    report::{Bar, Row},
};
use kamacache_core::Policy;
use std::{
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

const MAX_BYTES: u64 = 1 << 30;
const PUTS: usize = 20_000;
/// Rounds for each cache.
const ROUNDS: usize = 7;
/// A hit counts up to three uses with the default policy.
const READS: usize = 3;
const SLOW: Duration = Duration::from_millis(1);

/// What one round brought.
struct Round {
    worst_put: f64,
    worst_get: f64,
    slow_gets: f64,
}

struct Subject<'a> {
    cache: &'a dyn Cache,
    /// Keys up to this one were put.
    next: usize,
    held: usize,
}

impl Subject<'_> {
    fn fill(&mut self, count: usize, value: &Sample) {
        for _ in 0..count {
            self.cache.put(&harness::key(self.next), value);
            self.next += 1;
        }
    }

    /// One thread puts new keys, another one gets what should be there.
    fn round(&mut self, value: &Sample) -> Round {
        let resident = self.next - self.held..self.next;
        for _ in 0..READS {
            for number in resident.clone() {
                black_box(self.cache.get(&harness::key(number)));
            }
        }
        let keys: Vec<_> = (self.next..self.next + PUTS).map(harness::key).collect();
        self.next += PUTS;
        let (over, start) = (AtomicBool::new(false), Barrier::new(2));
        let cache = self.cache;
        let mut random = Random::new(self.next as u64);
        let (worst_put, (worst_get, slow_gets)) = std::thread::scope(|scope| {
            let getter = scope.spawn(|| {
                let (mut worst, mut slow) = (Duration::ZERO, 0_u32);
                start.wait();
                while !over.load(Ordering::Relaxed) {
                    let number = resident.start + random.below(resident.len() as u64) as usize;
                    let key = harness::key(number);
                    let begun = Instant::now();
                    black_box(cache.get(&key));
                    let took = begun.elapsed();
                    worst = worst.max(took);
                    slow += u32::from(took > SLOW);
                }
                (worst, slow)
            });
            start.wait();
            let mut worst = Duration::ZERO;
            for key in &keys {
                let begun = Instant::now();
                cache.put(key, value);
                worst = worst.max(begun.elapsed());
            }
            over.store(true, Ordering::Relaxed);
            (worst, getter.join().expect("the getter ends"))
        });
        Round {
            worst_put: worst_put.as_secs_f64() * 1e6,
            worst_get: worst_get.as_secs_f64() * 1e6,
            slow_gets: f64::from(slow_gets),
        }
    }
}

/// Measures.
pub fn run() -> Vec<Row> {
    let value = Sample::new(VALUE_BYTES);
    let ours = Ours::bytes(Policy::Default, MAX_BYTES);
    let mut filled = 0;
    while ours.0.stats().evictions == 0 {
        ours.put(&harness::key(filled), &value);
        filled += 1;
    }
    let held = ours.0.stats().entries as usize;
    let quick = QuickCache::new(held);
    let subject = |cache, next| Subject { cache, next, held };
    let mut subjects = [subject(&ours as &dyn Cache, filled), subject(&quick, 0)];
    subjects[1].fill(held + held / 10, &value);
    let mut rounds: [Vec<Round>; 2] = Default::default();
    for turn in 0..2 * ROUNDS {
        // Ours, peer, peer, ours.
        let which = usize::from(turn % 4 == 1 || turn % 4 == 2);
        rounds[which].push(subjects[which].round(&value));
    }
    let median = |which: usize, of: fn(&Round) -> f64| {
        harness::median(rounds[which].iter().map(of).collect())
    };
    let row = |metric: &str, of: fn(&Round) -> f64, bar: Bar| {
        let metric = format!("{metric}, 1 GiB of read entries, {PUTS} puts, 2 threads");
        let (ours, peer) = (median(0, of), median(1, of));
        Row::counted("P20", metric, "quick_cache", ours, peer).with_bar(bar)
    };
    vec![
        row("worst put, us", |round| round.worst_put, Bar::AtMost(1.5)),
        row("worst get, us", |round| round.worst_get, Bar::AtMost(1.5)),
        // One more of each, so that none is a ratio too.
        row(
            "gets over 1 ms, and 1",
            |round| round.slow_gets + 1.0,
            Bar::AtMost(1.0),
        ),
    ]
}
