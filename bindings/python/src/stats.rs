//! A group's counters as a tuple, in the order of `kamacache.Stats`.

use kamacache_core::Stats;
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
