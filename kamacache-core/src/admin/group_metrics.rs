//! The metrics of the groups, as tables: a family is a row.

use std::sync::Arc;

use super::text::{Kind, Text};
use crate::group::GroupInner;
use crate::latency::LatencyKind;
use crate::stats::Stats;

type Field = fn(&Stats) -> u64;

/// How a Get of this node may end; the sum is `gets` without those in progress.
const RESULTS: [(&str, Field); 11] = [
    ("hit", |s| s.hits),
    ("hot_hit", |s| s.hot_hits),
    ("stale_hit", |s| s.stale_hits),
    ("negative_hit", |s| s.negative_hits),
    ("loaded", |s| s.loaded),
    ("load_joined", |s| s.load_joined),
    ("fetched", |s| s.fetched),
    ("fetch_joined", |s| s.fetch_joined),
    ("fallback", |s| s.fallbacks),
    ("not_found", |s| s.not_found),
    ("failed", |s| s.failed),
];

/// How a Get served for a peer may end.
const PEER_RESULTS: [(&str, Field); 7] = [
    ("hit", |s| s.peer_hits),
    ("stale_hit", |s| s.peer_stale_hits),
    ("negative_hit", |s| s.peer_negative_hits),
    ("loaded", |s| s.peer_loaded),
    ("load_joined", |s| s.peer_load_joined),
    ("not_found", |s| s.peer_not_found),
    ("failed", |s| s.peer_failed),
];

/// Families with one sample a group.
const PLAIN: [(&str, Kind, &str, Field); 17] = [
    (
        "kamacache_gets_in_progress",
        Kind::Gauge,
        "Gets begun on this node and not yet ended.",
        |s| s.in_progress,
    ),
    (
        "kamacache_loads_total",
        Kind::Counter,
        "Getter calls on this node.",
        |s| s.loads,
    ),
    (
        "kamacache_load_errors_total",
        Kind::Counter,
        "Getter calls that failed.",
        |s| s.load_errors,
    ),
    (
        "kamacache_stuck_loads",
        Kind::Gauge,
        "Getters that still run after their load timeout.",
        |s| s.stuck_loads,
    ),
    (
        "kamacache_fetches_total",
        Kind::Counter,
        "Gets sent to owners.",
        |s| s.fetches,
    ),
    (
        "kamacache_fetch_errors_total",
        Kind::Counter,
        "Gets sent to owners that ended in an error.",
        |s| s.fetch_errors,
    ),
    (
        "kamacache_refreshes_total",
        Kind::Counter,
        "Background refreshes of expired values.",
        |s| s.refreshes,
    ),
    (
        "kamacache_sets_total",
        Kind::Counter,
        "Sets called on this node.",
        |s| s.sets,
    ),
    (
        "kamacache_deletes_total",
        Kind::Counter,
        "Deletes called on this node.",
        |s| s.deletes,
    ),
    (
        "kamacache_clears_total",
        Kind::Counter,
        "Clears called on this node.",
        |s| s.clears,
    ),
    (
        "kamacache_evictions_total",
        Kind::Counter,
        "Entries dropped for room.",
        |s| s.evictions,
    ),
    (
        "kamacache_expirations_total",
        Kind::Counter,
        "Entries dropped because their time was over.",
        |s| s.expirations,
    ),
    (
        "kamacache_entries",
        Kind::Gauge,
        "Entries held now, hot copies among them.",
        |s| s.entries,
    ),
    (
        "kamacache_hot_entries",
        Kind::Gauge,
        "Copies of other owners' entries held now.",
        |s| s.hot_entries,
    ),
    (
        "kamacache_bytes",
        Kind::Gauge,
        "Bytes charged now, those of hot copies among them.",
        |s| s.bytes,
    ),
    (
        "kamacache_hot_bytes",
        Kind::Gauge,
        "Bytes charged for copies of other owners' entries.",
        |s| s.hot_bytes,
    ),
    (
        "kamacache_max_bytes",
        Kind::Gauge,
        "The group's budget on this node.",
        |s| s.max_bytes,
    ),
];

const OPERATIONS: [(&str, LatencyKind); 3] = [
    ("hit", LatencyKind::Hit),
    ("load", LatencyKind::Load),
    ("fetch", LatencyKind::Fetch),
];

/// The upper ends of the histograms' buckets, in nanoseconds and as the text
/// writes them in seconds.
const BUCKETS: [(u64, &str); 20] = [
    (250, "2.5e-07"),
    (1_000, "1e-06"),
    (2_500, "2.5e-06"),
    (10_000, "1e-05"),
    (50_000, "5e-05"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
    (10_000_000_000, "10"),
    (30_000_000_000, "30"),
];

/// Every group family.
pub(super) fn write(groups: &[Arc<GroupInner>], text: &mut Text) {
    let groups: Vec<(&GroupInner, Stats)> = groups
        .iter()
        .map(|group| (&**group, group.stats()))
        .collect();
    outcomes(
        &groups,
        text,
        "kamacache_gets_total",
        "Gets of this node, by how they ended.",
        &RESULTS,
    );
    let help = "Gets served for peers, by how they ended.";
    outcomes(
        &groups,
        text,
        "kamacache_peer_gets_total",
        help,
        &PEER_RESULTS,
    );
    for (name, kind, help, field) in PLAIN {
        let mut family = text.family(name, kind, help);
        for (group, stats) in &groups {
            family.sample(&[("group", group.name())], field(stats));
        }
    }
    latencies(&groups, text);
}

fn outcomes(
    groups: &[(&GroupInner, Stats)],
    text: &mut Text,
    name: &'static str,
    help: &str,
    rows: &[(&str, Field)],
) {
    let mut family = text.family(name, Kind::Counter, help);
    for (group, stats) in groups {
        for (result, field) in rows {
            family.sample(&[("group", group.name()), ("result", result)], field(stats));
        }
    }
}

fn latencies(groups: &[(&GroupInner, Stats)], text: &mut Text) {
    let help =
        "How long hits (one in 1,024 is measured), getter calls and Gets sent to owners took.";
    let mut family = text.family("kamacache_latency_seconds", Kind::Histogram, help);
    for (group, _) in groups {
        for (operation, kind) in OPERATIONS {
            let labels = [("group", group.name()), ("operation", operation)];
            let spread = group.spread(kind, &BUCKETS.map(|(ns, _)| ns));
            for ((_, le), count) in BUCKETS.iter().zip(&spread.up_to) {
                family.part("_bucket", &[labels[0], labels[1], ("le", le)], count);
            }
            family.part(
                "_bucket",
                &[labels[0], labels[1], ("le", "+Inf")],
                spread.count,
            );
            family.part("_sum", &labels, spread.sum_ns as f64 / 1e9);
            family.part("_count", &labels, spread.count);
        }
    }
}
