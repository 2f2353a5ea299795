//! Loads that wait for a getter thread, and blocked getters that wait for a load.
//!
//! A getter that asks for another key whose load is still queued runs that load
//! itself, so that getters that wait for each other cannot starve the threads.
//!
//! Invariant: a token is with one taker: the queue, a seat, or whoever runs it.

use std::collections::HashMap;
use std::sync::Arc;

use kamacache_core::sync::{Condvar, Mutex};
use kamacache_core::{LoadToken, Pending, Result, Value};

/// The queue and the seats of one group.
#[derive(Default)]
pub(crate) struct Desk(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    queued: HashMap<Box<str>, Vec<LoadToken>>,
    seats: HashMap<Box<str>, Vec<Arc<Seat>>>,
}

/// A getter that is blocked on another key's load.
#[derive(Default)]
struct Seat {
    offered: Mutex<Offered>,
    changed: Condvar,
}

#[derive(Default)]
struct Offered {
    load: Option<LoadToken>,
    result: Option<Result<Value>>,
}

impl Desk {
    /// Gives the token to a getter that is blocked on its key, or else queues it:
    /// then true, and a thread is to [`take`](Self::take) it.
    pub(crate) fn place(&self, token: LoadToken) -> bool {
        let mut inner = self.0.lock();
        let key = token.context().key();
        let seat = inner
            .seats
            .get(key)
            .and_then(|seats| seats.first())
            .cloned();
        if let Some(seat) = seat {
            drop(inner);
            seat.offer(token);
            return false;
        }
        let key = key.into();
        inner.queued.entry(key).or_default().push(token);
        true
    }

    /// A queued load of `key`, unless somebody else has taken it.
    pub(crate) fn take(&self, key: &str) -> Option<LoadToken> {
        self.0.lock().take(key)
    }

    /// Waits for the result, inside a getter; runs the awaited load with `run` if
    /// no thread has it.
    pub(crate) fn wait(
        &self,
        key: &str,
        pending: Pending,
        run: impl Fn(LoadToken),
    ) -> Result<Value> {
        let seat = Arc::new(Seat::default());
        let mut load = self.0.lock().sit(key, &seat);
        let told = seat.clone();
        let _leave = pending.on_done(move |result| told.decide(result));
        let result = loop {
            if let Some(token) = load.take() {
                run(token);
            }
            let offered = seat.next();
            load = offered.load;
            if let Some(result) = offered.result {
                break result;
            }
        };
        self.0.lock().leave(key, &seat);
        // Offered as the result came: dropping it makes somebody else run it.
        drop((load, seat.offered.lock().load.take()));
        result
    }

    /// Drops everything that is queued.
    pub(crate) fn clear(&self) {
        let queued = std::mem::take(&mut self.0.lock().queued);
        drop(queued);
    }
}

impl Inner {
    fn take(&mut self, key: &str) -> Option<LoadToken> {
        let tokens = self.queued.get_mut(key)?;
        let token = tokens.pop();
        if tokens.is_empty() {
            self.queued.remove(key);
        }
        token
    }

    /// From now on loads of `key` are offered to this seat; the one that is
    /// queued already, if any.
    fn sit(&mut self, key: &str, seat: &Arc<Seat>) -> Option<LoadToken> {
        self.seats.entry(key.into()).or_default().push(seat.clone());
        self.take(key)
    }

    fn leave(&mut self, key: &str, seat: &Arc<Seat>) {
        if let Some(seats) = self.seats.get_mut(key) {
            seats.retain(|other| !Arc::ptr_eq(other, seat));
            if seats.is_empty() {
                self.seats.remove(key);
            }
        }
    }
}

impl Seat {
    fn offer(&self, token: LoadToken) {
        let before = self.offered.lock().load.replace(token);
        self.changed.notify_one();
        drop(before);
    }

    fn decide(&self, result: Result<Value>) {
        self.offered.lock().result = Some(result);
        self.changed.notify_one();
    }

    /// What was offered, once something is.
    fn next(&self) -> Offered {
        let mut offered = self.offered.lock();
        while offered.load.is_none() && offered.result.is_none() {
            offered = self.changed.wait(offered);
        }
        std::mem::take(&mut offered)
    }
}
