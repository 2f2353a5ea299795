//! Near copies: values that a language's runtime keeps in memory of its own, because reaching this
//! library costs it more than the lookup.
//!
//! A binding copies an owned entry out with [`crate::Group::near_into`] and remembers its slot, that
//! slot's generation and the number of the view. The copy stands while both are what they were,
//! which the binding reads from [`Freshness`] without a call, and for as long as `left` says.
//! Every write to the key, a clear, and a change of members move one of the two (S18, S20, S34).
//!
//! Invariant: only owned entries are copied, so nothing else (a lease, a fallback's time) ends
//! them; the generation is read before the value, so a write in between is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::state::State;

/// What a near copy is checked against, in place. Keeps the node's tables in memory, and nothing
/// of it open.
#[derive(Clone)]
pub struct Freshness(Arc<State>);

impl Freshness {
    pub(crate) fn new(state: &Arc<State>) -> Self {
        Self(state.clone())
    }

    /// The generations of all slots.
    pub fn generations(&self) -> &[AtomicU32] {
        self.0.generations.all()
    }

    /// The number of the current view.
    pub fn view(&self) -> &AtomicU32 {
        self.0.peers.number_cell()
    }
}

/// Of the same node.
impl PartialEq for Freshness {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Freshness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Freshness").finish_non_exhaustive()
    }
}

/// A value that was copied out, and how long the copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near {
    /// Bytes of the value.
    pub length: usize,
    /// Where its generation stands in [`Freshness::generations`].
    pub slot: usize,
    /// What that must be for the copy to stand.
    pub generation: u32,
    /// What [`Freshness::view`] must be for the copy to stand.
    pub view: u32,
    /// Until the value expires; `None`: never.
    pub left: Option<Duration>,
}

impl Near {
    /// Whether nothing has been written to the slot since, and no member has come or gone.
    pub fn stands(&self, freshness: &Freshness) -> bool {
        let generation = freshness.generations()[self.slot].load(Ordering::Acquire);
        generation == self.generation && freshness.view().load(Ordering::Acquire) == self.view
    }
}
