//! The counters and times of a group as JavaScript objects, under their names in camel case.
//!
//! Invariant: every field of the core's snapshot is here; a new one does not compile until it is.

use kamacache_core::{Latency, LatencyKind, Result, Stats};

use crate::js::{Answer, Call};

/// Pairs each field of a snapshot with its name in JavaScript.
macro_rules! named {
    ($kind:ident, $stats:expr, $($field:ident: $name:literal),* $(,)?) => {{
        let $kind { $($field),* } = $stats;
        [$(($name, $field)),*]
    }};
}

/// `stats(group)` -> an object with every counter.
pub(crate) fn stats<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let stats = call
        .bridge
        .groups
        .with(call.id(0)?, |group| Ok(group.inner().stats()))?;
    let counters = named!(Stats, stats,
        gets: "gets", hits: "hits", hot_hits: "hotHits", stale_hits: "staleHits", negative_hits: "negativeHits",
        loaded: "loaded", load_joined: "loadJoined", fetched: "fetched", fetch_joined: "fetchJoined",
        fallbacks: "fallbacks", not_found: "notFound", failed: "failed", in_progress: "inProgress",
        peer_gets: "peerGets", peer_hits: "peerHits", peer_stale_hits: "peerStaleHits",
        peer_negative_hits: "peerNegativeHits", peer_loaded: "peerLoaded", peer_load_joined: "peerLoadJoined",
        peer_not_found: "peerNotFound", peer_failed: "peerFailed",
        loads: "loads", load_errors: "loadErrors", stuck_loads: "stuckLoads", fetches: "fetches",
        fetch_errors: "fetchErrors", refreshes: "refreshes", sets: "sets", deletes: "deletes", clears: "clears",
        invalidations: "invalidations", evictions: "evictions", expirations: "expirations",
        entries: "entries", hot_entries: "hotEntries", bytes: "bytes", hot_bytes: "hotBytes", max_bytes: "maxBytes",
    );
    object(call, &counters)
}

/// `latency(group)` -> `{ hit, load, fetch }`, each with a count and times in nanoseconds.
pub(crate) fn latency<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let kinds = [
        ("hit", LatencyKind::Hit),
        ("load", LatencyKind::Load),
        ("fetch", LatencyKind::Fetch),
    ];
    let mut fields = Vec::new();
    for (name, kind) in kinds {
        let latency = call
            .bridge
            .groups
            .with(call.id(0)?, |group| Ok(group.inner().latency(kind)))?;
        let times = named!(Latency, latency,
            count: "count", sum_ns: "sumNs", p50_ns: "p50Ns", p90_ns: "p90Ns", p99_ns: "p99Ns", p999_ns: "p999Ns",
            max_ns: "maxNs",
        );
        fields.push((name, object(call, &times)?));
    }
    call.env.make_object(&fields)
}

fn object<'a>(call: &'a Call<'a>, counts: &[(&str, u64)]) -> Answer<'a> {
    let number = |(name, count): &(_, u64)| Ok((*name, call.env.make_number(*count as f64)?));
    call.env
        .make_object(&counts.iter().map(number).collect::<Result<Vec<_>>>()?)
}
