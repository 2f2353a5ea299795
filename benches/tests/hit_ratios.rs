//! P12 and P13 as facts: exact with policy lru, at most a point below with policy s3fifo.

use kamacache_benches::{
    bars::ratios::{EXPECTED, percent, requests},
    trace,
};
use kamacache_core::Policy;
use std::process::Command;

/// Unoptimised, one row of each trace: `make bench ONLY=P12,P13` has them all.
fn rows<R>(of_trace: &[R]) -> &[R] {
    if cfg!(debug_assertions) {
        std::slice::from_ref(&of_trace[of_trace.len() / 2])
    } else {
        of_trace
    }
}

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
        for row in rows(of_trace) {
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

/// The same row in a process of its own.
fn elsewhere(trace: &str, capacity: u64) -> f64 {
    let replay = Command::new(env!("CARGO_BIN_EXE_replay"))
        .arg("--trace")
        .arg(trace::folder().join(format!("{trace}.txt.xz")))
        .args(["--policy", "s3fifo", "--capacity", &capacity.to_string()])
        .output()
        .expect("replay runs");
    let printed = String::from_utf8_lossy(&replay.stdout);
    let last = printed.lines().last().unwrap_or_default();
    last.parse().unwrap_or_else(|_| panic!("{replay:?}"))
}

#[test]
fn a_row_is_the_same_elsewhere_but_for_the_seed() {
    let (trace, capacity, _, expected) = EXPECTED[0];
    if requests(trace).is_some() {
        assert!((elsewhere(trace, capacity) - expected).abs() < 1.0);
    }
}
