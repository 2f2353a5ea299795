//! A group's counters and latencies as tuples, in the order of
//! `kamacache.Stats` and `kamacache.Latency`.

use kamacache_core::{Group, Latency, LatencyKind, Stats};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Every field of the core's snapshot, in its order; a field that is added
/// there is an error here.
pub(crate) fn fields<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyTuple>> {
    macro_rules! tuple {
        ($($field:ident)*) => {{
            let Stats { $($field),* } = *stats;
            PyTuple::new(py, [$($field),*])
        }};
    }
    tuple! {
        gets hits hot_hits stale_hits negative_hits loaded load_joined fetched fetch_joined fallbacks not_found failed in_progress
        peer_gets peer_hits peer_stale_hits peer_negative_hits peer_loaded peer_load_joined peer_not_found peer_failed
        loads load_errors stuck_loads fetches fetch_errors refreshes sets deletes clears invalidations evictions expirations
        entries hot_entries bytes hot_bytes max_bytes
    }
}

/// (hit, load, fetch), each with every field of the core's summary.
pub(crate) fn latencies<'py>(py: Python<'py>, group: &Group) -> PyResult<Bound<'py, PyTuple>> {
    let kinds = [LatencyKind::Hit, LatencyKind::Load, LatencyKind::Fetch];
    let summaries = kinds.map(|kind| {
        let Latency {
            count,
            sum_ns,
            p50_ns,
            p90_ns,
            p99_ns,
            p999_ns,
            max_ns,
        } = group.latency(kind);
        (count, sum_ns, p50_ns, p90_ns, p99_ns, p999_ns, max_ns)
    });
    PyTuple::new(py, summaries)
}
