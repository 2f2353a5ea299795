//! Upkeep: the one task of a node that goes over its entries.
//!
//! What a clear, a change of members or a telling makes void is void at once, because readers
//! compare; this task takes the memory back. It is woken by whoever made something void, works in
//! slices of 64 entries a lock hold, and lets others run in between.
//!
//! Invariant: one sweep at most is due at a time, however many changes asked for it, and sweeps take
//! a bounded part of one thread's time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::state::State;
use crate::store::Walk;

/// A sweep is followed by a pause of so many times its own duration.
const REST: u32 = 4;
/// The longest such pause.
const LONGEST_REST: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct Upkeep {
    sweep: AtomicBool,
    wake: Notify,
}

impl Upkeep {
    /// Entries may have become void: each is looked at, some time soon. O(1).
    pub(crate) fn sweep_is_due(&self) {
        self.sweep.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// A store has memory of a clear to give back. O(1).
    pub(crate) fn reclaim_is_due(&self) {
        self.wake.notify_one();
    }
}

/// Runs until the node is closed.
pub(crate) async fn run(state: Weak<State>) {
    let Some((closed, upkeep)) = state
        .upgrade()
        .map(|state| (state.closed.clone(), state.upkeep.clone()))
    else {
        return;
    };
    let mut rested = Instant::now();
    loop {
        tokio::select! {
            () = upkeep.wake.notified() => {}
            () = tokio::time::sleep_until(rested), if upkeep.sweep.load(Ordering::Acquire) => {}
            () = closed.cancelled() => return,
        }
        let Some(state) = state.upgrade() else { return };
        reclaim(&state).await;
        let begun = Instant::now();
        if begun >= rested && upkeep.sweep.swap(false, Ordering::AcqRel) {
            sweep(&state).await;
            let rest = begun.elapsed().saturating_mul(REST);
            rested = Instant::now() + rest.min(LONGEST_REST);
        }
    }
}

/// Gives back what clears have left.
async fn reclaim(state: &State) {
    for group in state.all_groups() {
        while group.reclaim() {
            tokio::task::yield_now().await;
        }
    }
}

/// Looks at every entry that is older than now.
async fn sweep(state: &Arc<State>) {
    let number = state.peers.number();
    for group in state.all_groups() {
        let mut walk = Walk::default();
        while group.sweep_slice(&mut walk) {
            group.reclaim();
            tokio::task::yield_now().await;
            if state.closed.is_cancelled() {
                return;
            }
        }
    }
    state.peers.settle(number);
}
