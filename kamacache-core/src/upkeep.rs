//! Upkeep: the two tasks of a node that go over its entries, one for what is void, one for what
//! has expired.
//!
//! What a clear, a change of members or a telling makes void is void at once, because readers
//! compare, and so is what has expired; these tasks take the memory back. The first is woken by
//! whoever made something void, the second by the clock.
//!
//! Invariant: one sweep at most is due at a time, however many changes asked for it. Entries are
//! handled in slices of 64, between which other tasks run, and after a turn of slices the task
//! sleeps: the worker that it runs on attends to its sockets at least once a turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::Instant;

use crate::state::State;
use crate::store::Walk;

/// A sweep is followed by a pause of so many times its own duration.
const REST: u32 = 4;
/// The longest such pause.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// How often expired entries are looked for.
const EXPIRY: Duration = Duration::from_millis(250);
/// The longest turn: both tasks together stay below a millisecond.
const TURN: Duration = Duration::from_micros(400);
/// The most slices of a turn, for clocks that stand still.
const SLICES: u32 = 32;
/// Between two turns; a timer of tokio has no finer steps.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(crate) struct Upkeep {
    sweep: AtomicBool,
    wake: Notify,
    /// Whose walk over the entries it is: two at the same time would lead each
    /// other past some of them.
    walks: Mutex<()>,
}

impl Upkeep {
    /// Entries may have become void: each is looked at, some time soon. O(1).
    pub(crate) fn sweep_is_due(&self) {
        self.sweep.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Until the guard is dropped no sweep runs, so that its holder can walk over
    /// all entries. Waits for one slice at most.
    pub(crate) async fn walk(&self) -> MutexGuard<'_, ()> {
        self.walks.lock().await
    }

    /// A store has memory of a clear to give back. O(1).
    pub(crate) fn reclaim_is_due(&self) {
        self.wake.notify_one();
    }
}

/// What a task has done of its turn.
struct Turn {
    begun: Instant,
    slices: u32,
}

impl Turn {
    fn begin() -> Self {
        Self {
            begun: Instant::now(),
            slices: 0,
        }
    }

    /// To be awaited after each slice. A yield alone is not enough: a worker that has tasks to run
    /// looks at its sockets only now and then, but it always does when all of them sleep.
    async fn slice_is_done(&mut self) {
        self.slices += 1;
        if self.slices < SLICES && self.begun.elapsed() < TURN {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(PAUSE).await;
            *self = Self::begin();
        }
    }
}

/// Begins both tasks, which run until the node is closed.
pub(crate) fn begin(state: &Arc<State>) {
    tokio::spawn(take_back(Arc::downgrade(state)));
    tokio::spawn(expire(Arc::downgrade(state)));
}

/// Takes back what is void.
async fn take_back(state: Weak<State>) {
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
            let rest = if sweep(&state).await {
                begun.elapsed().saturating_mul(REST)
            } else {
                upkeep.sweep_is_due();
                EXPIRY
            };
            rested = Instant::now() + rest.min(LONGEST_REST);
        }
    }
}

/// Gives back what clears have left.
async fn reclaim(state: &State) {
    let mut turn = Turn::begin();
    for group in state.all_groups() {
        while group.reclaim() {
            turn.slice_is_done().await;
            if state.closed.is_cancelled() {
                return;
            }
        }
    }
}

/// Looks at every entry that is older than now; whether it came to the end, which it does not while
/// a leaving node walks over its entries. A clear need not wait for that to get its memory back.
async fn sweep(state: &State) -> bool {
    let number = state.peers.number();
    let groups = state.all_groups();
    let mut turn = Turn::begin();
    for group in &groups {
        let mut walk = Walk::default();
        loop {
            let has_more = match state.upkeep.walks.try_lock() {
                Ok(_walk) => group.sweep_slice(&mut walk),
                Err(_) => return false,
            };
            if !has_more {
                break;
            }
            for any in &groups {
                any.reclaim();
            }
            turn.slice_is_done().await;
            if state.closed.is_cancelled() {
                return false;
            }
        }
    }
    state.peers.settle(number);
    true
}

/// Drops what has expired.
async fn expire(state: Weak<State>) {
    let Some(closed) = state.upgrade().map(|state| state.closed.clone()) else {
        return;
    };
    let mut tick = tokio::time::interval(EXPIRY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = closed.cancelled() => return,
        }
        let Some(state) = state.upgrade() else { return };
        let mut turn = Turn::begin();
        for group in state.all_groups() {
            let mut shard = 0;
            while group.expire_slice(&mut shard) {
                turn.slice_is_done().await;
                if state.closed.is_cancelled() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupOptions;
    use crate::testing::{Cluster, CountingGetter};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn s32_a_sweep_during_a_leave_leads_past_no_entry() {
        const KEYS: usize = 20_000;
        let cluster = Cluster::start(2).await.unwrap();
        let getter = CountingGetter::new();
        let options = GroupOptions::new(64 << 20);
        let groups = cluster.groups("g", &options, &getter).unwrap();
        let node = cluster.node(0);
        let keys: Vec<String> = (0..2 * KEYS)
            .map(|n| format!("key-{n}"))
            .filter(|key| node.owner(key).unwrap() == node.address())
            .collect();
        for key in &keys {
            groups[0].set(key, "v").await.unwrap();
        }
        let upkeep = node.state().upkeep.clone();
        let sweeping = tokio::spawn(async move {
            loop {
                upkeep.sweep_is_due();
                tokio::task::yield_now().await;
            }
        });
        node.close(Some(Duration::from_secs(120))).await.unwrap();
        sweeping.abort();
        for key in &keys {
            groups[1].get(key).await.unwrap();
        }
        assert_eq!(getter.total(), 0, "of {} entries", keys.len());
    }
}
