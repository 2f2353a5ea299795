//! P12 and P13: hit ratios on the traces, beside a reference simulator's.
//!
//! Invariant: the rows are those of `EXPECTED`; a trace that is absent leaves no row and says so.
//! The same table is asserted by `tests/hit_ratios.rs`.

use crate::{
    report::{Bar, Row},
    trace::{self, Request, Setup},
};
use kamacache_core::Policy;

/// What the reference simulator found: trace, capacity, percent with LRU, percent with S3-FIFO.
pub const EXPECTED: &[(&str, u64, f64, f64)] = &[
    ("oltp", 250, 16.47, 21.68),
    ("oltp", 500, 23.45, 32.42),
    ("oltp", 1000, 32.83, 40.86),
    ("oltp", 2000, 42.47, 47.03),
    ("oltp", 10000, 60.70, 62.69),
    ("loop", 256, 0.00, 22.80),
    ("loop", 512, 0.00, 45.51),
    ("loop", 1000, 0.00, 89.40),
    ("sprite", 250, 48.84, 54.47),
    ("sprite", 500, 78.30, 78.68),
    ("sprite", 1000, 90.64, 89.31),
    ("sprite", 2000, 93.48, 92.73),
    ("web12", 256, 47.02, 50.89),
    ("web12", 1024, 65.01, 69.28),
    ("web12", 4096, 79.18, 80.42),
    ("cloudphysics_bytes", 128 << 20, 18.00, 20.86),
    ("cloudphysics_bytes", 256 << 20, 21.15, 28.94),
    ("cloudphysics_bytes", 512 << 20, 28.23, 36.60),
    ("cloudphysics_bytes", 1 << 30, 37.03, 50.78),
];

/// The requests of a trace, or None when the folder does not have it.
pub fn requests(name: &str) -> Option<Vec<Request>> {
    trace::read(&trace::folder().join(format!("{name}.txt.xz"))).ok()
}

/// Percent of hits, rounded as the table is.
pub fn percent(requests: &[Request], policy: Policy, capacity: u64, shards: usize) -> f64 {
    let setup = Setup {
        policy,
        capacity,
        shards,
        strict: policy == Policy::Lru,
    };
    (trace::replay(requests, setup).percent() * 100.0).round() / 100.0
}

fn rows(id: &str, policy: Policy, expected: fn(&(&str, u64, f64, f64)) -> f64) -> Vec<Row> {
    let mut rows = Vec::new();
    for of_trace in EXPECTED.chunk_by(|a, b| a.0 == b.0) {
        let Some(requests) = requests(of_trace[0].0) else {
            continue;
        };
        for row in of_trace {
            let metric = format!("hit ratio, %: {} at {}", row.0, row.1);
            let (ours, theirs) = (percent(&requests, policy, row.1, 1), expected(row));
            let row = Row::counted(id, metric, "reference simulator", ours, theirs);
            let ratio = if theirs == ours { 1.0 } else { row.ratio };
            rows.push(Row {
                ratio,
                ci_low: ratio,
                ci_high: ratio,
                ..row
            });
        }
    }
    rows
}

/// P12: exact.
pub fn lru() -> Vec<Row> {
    let exact = |row: Row| row.with_bar(Bar::AtLeast(1.0));
    rows("P12", Policy::Lru, |row| row.2)
        .into_iter()
        .map(exact)
        .collect()
}

/// P13: at most a point below.
pub fn s3fifo() -> Vec<Row> {
    let floor = |row: Row| {
        let floor = (row.peer - 1.0) / row.peer;
        row.with_bar(Bar::AtLeast((floor * 1e4).round() / 1e4))
    };
    rows("P13", Policy::S3Fifo, |row| row.3)
        .into_iter()
        .map(floor)
        .collect()
}
