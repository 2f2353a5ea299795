//! How a ratio is measured: interleaved blocks, their median, a bootstrap interval.
//!
//! Invariant: ours and the peer's run in the order A B B A within one process and one minute, so
//! that a drift of the machine hits both; only ratios leave this file. Called by every timed bar.

use std::{
    sync::Barrier,
    time::{Duration, Instant},
};

/// The blocks of one comparison, and what they say.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Median of ours, in the unit measured (ns an operation).
    pub ours: f64,
    /// Median of the peer's.
    pub peer: f64,
    /// Median of the ratios of neighbouring blocks, ours over the peer's.
    pub ratio: f64,
    /// Bootstrap 95 % interval of that median.
    pub ci: (f64, f64),
    /// Pairs of blocks.
    pub n: usize,
}

/// Pairs of blocks in one comparison.
pub const PAIRS: usize = 30;

/// Compares two blocks of work, each of which says what one operation cost.
pub fn compare(ours: impl FnMut() -> f64, peer: impl FnMut() -> f64) -> Comparison {
    compare_few(PAIRS, ours, peer)
}

/// The same with fewer pairs, for blocks that take seconds.
pub fn compare_few(
    count: usize,
    mut ours: impl FnMut() -> f64,
    mut peer: impl FnMut() -> f64,
) -> Comparison {
    ours();
    peer();
    let mut pairs = Vec::with_capacity(count);
    while pairs.len() < count {
        let first = (ours(), peer());
        let (second_peer, second_ours) = (peer(), ours());
        pairs.extend([first, (second_ours, second_peer)]);
    }
    let ratios: Vec<f64> = pairs.iter().map(|pair| pair.0 / pair.1).collect();
    Comparison {
        ours: median(pairs.iter().map(|pair| pair.0).collect()),
        peer: median(pairs.iter().map(|pair| pair.1).collect()),
        ratio: median(ratios.clone()),
        ci: bootstrap(&ratios),
        n: ratios.len(),
    }
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// 95 % of the medians of resamples lie in this interval.
fn bootstrap(values: &[f64]) -> (f64, f64) {
    const RESAMPLES: usize = 2_000;
    let mut random = Random::new(values.len() as u64);
    let mut resample = || {
        (0..values.len())
            .map(|_| values[random.below(values.len() as u64) as usize])
            .collect()
    };
    let mut medians: Vec<f64> = (0..RESAMPLES).map(|_| median(resample())).collect();
    medians.sort_by(f64::total_cmp);
    (
        medians[RESAMPLES / 40],
        medians[RESAMPLES - RESAMPLES / 40 - 1],
    )
}

/// Runs `work(thread)` on so many threads at once; nanoseconds one of `operations` takes a thread.
pub fn on_threads(threads: usize, operations: usize, work: impl Fn(usize) + Sync) -> f64 {
    let start = Barrier::new(threads);
    let run = |thread| {
        start.wait();
        let begin = Instant::now();
        work(thread);
        begin.elapsed()
    };
    let elapsed: Duration = if threads == 1 {
        run(0)
    } else {
        let run = &run;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| scope.spawn(move || run(thread)))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_default())
                .sum()
        })
    };
    elapsed.as_nanos() as f64 / (threads * operations) as f64
}

/// A small generator with a fixed seed: every run measures the same requests.
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next 64 bits (xorshift*).
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Evenly below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// Evenly in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Numbers below `count` by Zipf's law (rank-frequency exponent `theta` below 1), after Gray et al.,
/// "Quickly generating billion-record synthetic databases". Ranks are shuffled over the numbers.
pub fn zipf(count: usize, theta: f64, length: usize, seed: u64) -> Vec<u32> {
    let zeta = |n: usize| (1..=n).map(|rank| (rank as f64).powf(-theta)).sum::<f64>();
    let (all, two) = (zeta(count), zeta(2));
    let alpha = 1.0 / (1.0 - theta);
    let eta = (1.0 - (2.0 / count as f64).powf(1.0 - theta)) / (1.0 - two / all);
    let mut random = Random::new(seed);
    let mut places: Vec<u32> = (0..count as u32).collect();
    let mut shuffle = Random::new(7);
    for i in (1..count).rev() {
        places.swap(i, shuffle.below(i as u64 + 1) as usize);
    }
    let mut rank = || {
        let u = random.unit();
        match u * all {
            uz if uz < 1.0 => 0,
            uz if uz < two => 1,
            _ => (count as f64 * (eta * u - eta + 1.0).powf(alpha)) as usize,
        }
    };
    (0..length).map(|_| places[rank().min(count - 1)]).collect()
}

/// A key of 20 bytes.
pub fn key(number: usize) -> Box<str> {
    format!("user:{number:015}").into()
}

/// Keys of 20 bytes.
pub fn keys(count: usize) -> Vec<Box<str>> {
    (0..count).map(key).collect()
}

/// Bytes of every key.
pub const KEY_BYTES: usize = 20;

/// Bytes of every value in the timed bars.
pub const VALUE_BYTES: usize = 128;
