//! The counters of a group as a JavaScript object, under their names in camel case.
//!
//! Invariant: every field of the core's snapshot is here; a new one does not compile until it is.

use kamacache_core::Stats;

use crate::js::{Answer, Call};

/// Pairs each field with its name in JavaScript.
macro_rules! named {
    ($stats:expr, $($field:ident: $name:literal),* $(,)?) => {{
        let Stats { $($field),* } = $stats;
        [$(($name, $field)),*]
    }};
}

/// `stats(group)` -> an object with every counter.
pub(crate) fn stats<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let stats = call
        .bridge
        .groups
        .with(call.id(0)?, |group| Ok(group.inner().stats()))?;
    let counters = named!(stats,
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
    let fields = counters.map(|(name, count)| {
        call.env
            .make_number(count as f64)
            .map(|number| (name, number))
    });
    call.env
        .make_object(&fields.into_iter().collect::<Result<Vec<_>, _>>()?)
}
