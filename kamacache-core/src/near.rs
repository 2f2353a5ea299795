//! Near copies: values that a language's runtime keeps in memory of its own, because reaching this
//! library costs it more than the lookup.
//!
//! A binding copies an owned entry out with [`crate::Group::near_into`] and remembers its slot, that
//! slot's generation, the group's count of clears and the number of the view. The copy stands while
//! all three are what they were, which the binding reads from [`Freshness`] without a call, and for
//! as long as `left` says. A write to the key moves the first, a clear of the group the second, a
//! change of members and what a peer says it wrote the third (S18, S20, S22, S34).
//!
//! Invariant: only owned entries are copied, so nothing else (a lease, a fallback's time) ends
//! them. The three are read before the value, and whoever makes a value void moves one of them
//! afterwards, or while nobody can read it: so a copy of a void value never stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::state::State;

/// What a near copy is checked against, in place. Keeps the node's tables in memory, and nothing
/// of it open.
#[derive(Clone)]
pub struct Freshness {
    state: Arc<State>,
    clears: Arc<AtomicU32>,
}

impl Freshness {
    pub(crate) fn new(state: &Arc<State>, clears: &Arc<AtomicU32>) -> Self {
        Self {
            state: state.clone(),
            clears: clears.clone(),
        }
    }

    /// The generations of all slots.
    pub fn generations(&self) -> &[AtomicU32] {
        self.state.generations.all()
    }

    /// The number of the current view.
    pub fn view(&self) -> &AtomicU32 {
        self.state.peers.number_cell()
    }

    /// How often the group was cleared, about.
    pub fn clears(&self) -> &AtomicU32 {
        &self.clears
    }
}

/// Of the same group of the same node.
impl PartialEq for Freshness {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.clears, &other.clears)
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
    /// What [`Freshness::clears`] must be for the copy to stand.
    pub clears: u32,
    /// Until the value expires; `None`: never.
    pub left: Option<Duration>,
}

impl Near {
    /// Whether nothing has been written to the slot since, the group was not cleared, and no member
    /// has come or gone.
    pub fn stands(&self, freshness: &Freshness) -> bool {
        let generation = freshness.generations()[self.slot].load(Ordering::Acquire);
        generation == self.generation
            && freshness.view().load(Ordering::Acquire) == self.view
            && freshness.clears().load(Ordering::Acquire) == self.clears
    }
}
