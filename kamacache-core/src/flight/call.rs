//! One flight as its token, its waiters and the table see it, and those that
//! have left the table before their end.
//!
//! Invariant: `life` leaves `ACTIVE` once; hooks run with no lock held.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::Wake;

/// In order; most flights have one, which needs no allocation of its own.
pub(super) type Waiters<T> = SmallVec<[oneshot::Sender<Wake<T>>; 1]>;

/// Who is told when nobody may join a flight any more although it has not ended.
pub(super) enum Watch {
    Nobody,
    Told,
    Hook(Box<dyn FnOnce() + Send>),
}

pub(super) struct Call<T: Clone> {
    pub(super) waiters: Mutex<Waiters<T>>,
    /// Of the waiters, those that have left since they were counted; changed
    /// under their lock.
    left: AtomicUsize,
    pub(super) watch: Mutex<Watch>,
    pub(super) deserted: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    pub(super) begun: Instant,
    /// Detached: its result is not kept.
    pub(super) doomed: AtomicBool,
    /// One of the three below.
    pub(super) life: AtomicU8,
    /// Its leader waits for its turn.
    pub(super) queued: AtomicBool,
    /// Somebody waits who holds what the leader's turn may depend on.
    pub(super) urgent: AtomicBool,
    pub(super) urged: Notify,
}

impl<T: Clone> Call<T> {
    pub(super) fn new(first: oneshot::Sender<Wake<T>>, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            waiters: Mutex::new(smallvec![first]),
            left: AtomicUsize::new(0),
            watch: Mutex::new(Watch::Nobody),
            deserted: Mutex::new(None),
            begun: now,
            doomed: AtomicBool::new(false),
            life: AtomicU8::new(ACTIVE),
            queued: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            urged: Notify::new(),
        })
    }

    /// Whether it was this call that ended the flight, as what it says.
    pub(super) fn end(&self, how: u8) -> bool {
        let ended = self
            .life
            .compare_exchange(ACTIVE, how, Ordering::AcqRel, Ordering::Acquire);
        ended.is_ok()
    }

    /// Counted first, because the token counts back as soon as it sees it.
    pub(super) fn reap(&self, stuck: &AtomicU64) -> bool {
        stuck.fetch_add(1, Ordering::Relaxed);
        self.doomed.store(true, Ordering::Release);
        let reaped = self.end(REAPED);
        if !reaped {
            stuck.fetch_sub(1, Ordering::Relaxed);
        }
        reaped
    }

    pub(super) fn urge(&self) {
        self.urgent.store(true, Ordering::Release);
        self.urged.notify_one();
    }

    pub(super) fn tell(&self) {
        let watch = std::mem::replace(&mut *self.watch.lock(), Watch::Told);
        if let Watch::Hook(hook) = watch {
            hook();
        }
    }
}

impl<T: Clone> Call<T> {
    /// A waiter has left. Those that are gone are cleared away once they are
    /// half of all, so that leaving costs the same however many there are.
    pub(super) fn left(&self) {
        let mut waiters = self.waiters.lock();
        let left = self.left.load(Ordering::Relaxed) + 1;
        if 2 * left < waiters.len() {
            return self.left.store(left, Ordering::Relaxed);
        }
        waiters.retain(|waiter| !waiter.is_closed());
        self.left.store(0, Ordering::Relaxed);
        let deserted = waiters.is_empty();
        drop(waiters);
        if deserted {
            let hook = self.deserted.lock().take();
            hook.into_iter().for_each(|hook| hook());
        }
    }
}

/// Detached flights, some of which have ended since.
pub(super) struct Detachees<T: Clone> {
    pub(super) calls: Vec<(Arc<str>, Weak<Call<T>>)>,
    /// At this many, those that have ended are cleared away.
    full: usize,
}

/// Its result is awaited.
pub(super) const ACTIVE: u8 = 0;
/// It has its result, or nobody to compute it.
pub(super) const ENDED: u8 = 1;
/// Given up because it took too long.
pub(super) const REAPED: u8 = 2;

/// Fewer are not worth looking through.
const FEW: usize = 64;

impl<T: Clone> Default for Detachees<T> {
    fn default() -> Self {
        Self {
            calls: Vec::new(),
            full: FEW,
        }
    }
}

impl<T: Clone> Detachees<T> {
    pub(super) fn push(&mut self, key: Arc<str>, call: &Arc<Call<T>>) {
        if self.calls.len() >= self.full {
            self.calls.retain(|(_, call)| call.strong_count() > 0);
            self.full = FEW.max(2 * self.calls.len());
        }
        self.calls.push((key, Arc::downgrade(call)));
    }
}

/// Flights that were detached a moment ago, whose leaders are to be told.
/// Dropping it tells them, which runs their hooks: after every lock is free.
#[must_use]
pub(crate) struct Detached<T: Clone>(pub(super) SmallVec<[Arc<Call<T>>; 1]>);

impl<T: Clone> Drop for Detached<T> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|call| call.tell());
    }
}
