//! P12 and P13 as facts: exact with policy lru, at most a point below with policy s3fifo.

use kamacache_benches::{
    bars::ratios::{EXPECTED, percent, requests},
    trace,
};
use kamacache_core::Policy;

/// Calls `check(trace, capacity, ours, expected)` for every row whose trace is there.
#[expect(clippy::print_stderr, reason = "a test says that it skipped")]
fn each_row(
    policy: Policy,
    expected: fn(&(&str, u64, f64, f64)) -> f64,
    check: impl Fn(&str, u64, f64, f64),
) {
    for of_trace in EXPECTED.chunk_by(|a, b| a.0 == b.0) {
        let Some(requests) = requests(of_trace[0].0) else {
            eprintln!(
                "SKIPPED: no {} in {} (set KAMACACHE_TRACES)",
                of_trace[0].0,
                trace::folder().display()
            );
            continue;
        };
        for row in of_trace {
            check(
                row.0,
                row.1,
                percent(&requests, policy, row.1, 1),
                expected(row),
            );
        }
    }
}

#[test]
fn p12_lru_is_exact() {
    each_row(
        Policy::Lru,
        |row| row.2,
        |trace, capacity, ours, expected| {
            assert_eq!(ours, expected, "{trace} at {capacity}");
        },
    );
}

#[test]
fn p13_s3fifo_is_at_most_a_point_below() {
    each_row(
        Policy::S3Fifo,
        |row| row.3,
        |trace, capacity, ours, expected| {
            assert!(
                ours >= expected - 1.0,
                "{trace} at {capacity}: {ours} where {expected} was expected"
            );
        },
    );
}
