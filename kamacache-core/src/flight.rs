//! Flight: one computation per key, many waiters, by tokens.
//!
//! `begin` makes its caller the leader, with a [`Token`] to complete, or a
//! waiter. Everyone, the leader included, takes the result from a [`Waiter`].
//! Whoever holds the token completes it once, from any thread; dropping it
//! uncompleted promotes a waiter, or ends the flight when none is left. A
//! flight therefore outlives every one of its callers.
//!
//! A write of the key dooms its flight: nobody joins it any more, and its result
//! is not kept. Whoever keeps results asks [`Token::is_doomed`] under a lock
//! that the write holds while it detaches, so that one of the two comes first
//! (S20).
//!
//! Invariants: the map's lock is taken before a call's lock; nothing is sent,
//! woken or dropped while either is held; a detached flight is never joined, and
//! stays doomed whoever inherits it, because no write finds it any more.

mod call;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use self::call::Detached;
use self::call::{Call, Detachees, ENDED, REAPED, Waiters, Watch};
use crate::hashing::{Hashing, seeded};

type Map<T> = std::collections::HashMap<Arc<str>, Arc<Call<T>>, Hashing>;

/// The flights of one group and one purpose.
pub(crate) struct Flights<T: Clone>(Arc<Table<T>>);

struct Table<T: Clone> {
    map: Mutex<Map<T>>,
    /// Flights that have left the map before their end.
    detached: Mutex<Detachees<T>>,
    /// Tokens of reaped flights that are still held.
    stuck: AtomicU64,
}

/// The duty to compute one key's result.
pub(crate) struct Token<T: Clone> {
    flights: Arc<Table<T>>,
    call: Arc<Call<T>>,
    key: Arc<str>,
    armed: bool,
    /// Not a copy that came back unsent.
    leads: bool,
}

/// The right to one key's result.
pub(crate) struct Waiter<T: Clone> {
    /// `None` once it has been woken.
    receiver: Option<oneshot::Receiver<Wake<T>>>,
    call: Arc<Call<T>>,
}

/// The waiters of a flight, seen by whoever computes for them.
pub(crate) struct Interest<T: Clone>(Arc<Call<T>>);

/// What a waiter is woken with.
pub(crate) enum Wake<T: Clone> {
    /// The result.
    Done(T),
    /// The leader gave up: this waiter has the duty now.
    Promoted(Token<T>),
}

/// What `begin` made of its caller.
pub(crate) enum Role<T: Clone> {
    Lead(Token<T>, Waiter<T>),
    Wait(Waiter<T>),
}

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self(Arc::new(Table {
            map: Mutex::new(Map::with_hasher(seeded())),
            detached: Mutex::default(),
            stuck: AtomicU64::new(0),
        }))
    }
}

impl<T: Clone> Flights<T> {
    /// Joins the flight of `key`, or starts it.
    pub(crate) fn begin(&self, key: &str, now: Instant) -> Role<T> {
        let (sender, receiver) = oneshot::channel();
        let mut map = self.0.map.lock();
        if let Some(call) = map.get(key) {
            call.waiters.lock().push(sender);
            return Role::Wait(Waiter::of(call, receiver));
        }
        let key: Arc<str> = key.into();
        let call = Call::new(sender, now);
        map.insert(key.clone(), call.clone());
        drop(map);
        let waiter = Waiter::of(&call, receiver);
        let token = Token {
            flights: self.0.clone(),
            call,
            key,
            armed: true,
            leads: true,
        };
        Role::Lead(token, waiter)
    }

    /// Whether a flight of `key` may be joined.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.map.lock().contains_key(key)
    }

    /// Dooms the flight of `key`: nobody joins it any more, its waiters keep it.
    /// Under the lock that guards what is kept.
    pub(crate) fn detach(&self, key: &str) -> Detached<T> {
        let mut map = self.0.map.lock();
        let Some((key, call)) = map.remove_entry(key) else {
            return Detached(SmallVec::new());
        };
        call.doomed.store(true, Ordering::Release);
        self.0.detached.lock().push(key, &call);
        drop(map);
        Detached(smallvec![call])
    }

    /// Dooms every flight that has begun.
    pub(crate) fn detach_all(&self) -> Detached<T> {
        self.detach_where(|_| true)
    }

    /// Dooms every flight that has begun and whose key is `chosen`.
    pub(crate) fn detach_where(&self, mut chosen: impl FnMut(&str) -> bool) -> Detached<T> {
        let mut map = self.0.map.lock();
        let gone = map.extract_if(|key, _| chosen(key));
        let mut detached = self.0.detached.lock();
        let mut calls = SmallVec::new();
        for (key, call) in gone {
            call.doomed.store(true, Ordering::Release);
            detached.push(key, &call);
            calls.push(call);
        }
        Detached(calls)
    }

    /// Gives up every flight that has taken `too_long`, detached or not: its
    /// waiters get `result`, the next caller starts afresh.
    pub(crate) fn reap(&self, too_long: Duration, result: impl Fn(&str) -> T) {
        let late = |call: &Call<T>| call.begun.elapsed() >= too_long;
        let mut reaped: Vec<_> = {
            let mut map = self.0.map.lock();
            map.extract_if(|_, call| late(call)).collect()
        };
        // What is dropped here may be the last of its flight: after the lock.
        let mut seen = Vec::new();
        self.0.detached.lock().calls.retain(|(key, call)| {
            let Some(call) = call.upgrade() else {
                return false;
            };
            let stays = !late(&call);
            if stays {
                seen.push(call);
            } else {
                reaped.push((key.clone(), call));
            }
            stays
        });
        drop(seen);
        for (key, call) in reaped {
            // Its token may have ended it at this very moment.
            if !call.reap(&self.0.stuck) {
                continue;
            }
            call.tell();
            let waiters = std::mem::take(&mut *call.waiters.lock());
            wake(waiters, result(&key));
        }
    }

    /// Reaped flights whose leader has not come back yet.
    pub(crate) fn stuck(&self) -> u64 {
        self.0.stuck.load(Ordering::Relaxed)
    }
}

/// Gives each the result, the last one without a copy. A waiter that has left
/// by its own deadline is no error.
fn wake<T: Clone>(mut waiters: Waiters<T>, result: T) {
    let last = waiters.pop();
    for waiter in waiters {
        let _ = waiter.send(Wake::Done(result.clone()));
    }
    if let Some(last) = last {
        let _ = last.send(Wake::Done(result));
    }
}

impl<T: Clone> Token<T> {
    /// A further waiter of this very flight, detached or not.
    pub(crate) fn waiter(&self) -> Waiter<T> {
        let (sender, receiver) = oneshot::channel();
        self.call.waiters.lock().push(sender);
        Waiter::of(&self.call, receiver)
    }

    pub(crate) fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// Whether anybody still waits, for whoever gives the token away.
    pub(crate) fn interest(&self) -> Interest<T> {
        Interest(self.call.clone())
    }

    /// The flight was given up: its result goes to nobody.
    pub(crate) fn is_reaped(&self) -> bool {
        self.call.life.load(Ordering::Acquire) == REAPED
    }

    /// Its key was written since it began, or it was given up: its result is
    /// not kept. Exact under the lock that writes hold while they detach.
    pub(crate) fn is_doomed(&self) -> bool {
        self.call.doomed.load(Ordering::Acquire)
    }

    /// Says that the leader waits for its turn, or does so no more.
    pub(crate) fn set_queued(&self, queued: bool) {
        self.call.queued.store(queued, Ordering::Release);
    }

    /// Waits until somebody has joined who must not wait for the leader's turn;
    /// at once if that was before. Cancel-safe.
    pub(crate) async fn urged(&self) {
        while !self.call.urgent.load(Ordering::Acquire) {
            self.call.urged.notified().await;
        }
    }

    /// Calls `hook` once, from whatever thread, when the flight is detached or
    /// reaped; at once if it was. Not when it ends.
    pub(crate) fn on_detach(&self, hook: impl FnOnce() + Send + 'static) {
        let mut watch = self.call.watch.lock();
        if matches!(*watch, Watch::Told) {
            drop(watch);
            return hook();
        }
        let earlier = std::mem::replace(&mut *watch, Watch::Hook(Box::new(hook)));
        drop(watch);
        drop(earlier);
    }

    /// Gives every waiter the result and ends the flight.
    pub(crate) fn complete(mut self, result: T) {
        self.armed = false;
        self.call.end(ENDED);
        wake(self.land(), result);
    }

    /// Still in the map, so that a new caller would join it.
    #[cfg(test)]
    pub(crate) fn is_joinable(&self) -> bool {
        self.flights
            .map
            .lock()
            .get(&self.key)
            .is_some_and(|call| Arc::ptr_eq(call, &self.call))
    }

    /// Takes the flight out of the map, unless a newer one has its place, and
    /// all its waiters. After this nobody can join.
    fn land(&self) -> Waiters<T> {
        let mut map = self.flights.map.lock();
        let removed = self.remove_from(&mut map);
        let waiters = std::mem::take(&mut *self.call.waiters.lock());
        drop(map);
        drop(removed);
        waiters
    }

    fn remove_from(&self, map: &mut Map<T>) -> Option<Arc<Call<T>>> {
        let removed = map.remove(&self.key)?;
        if Arc::ptr_eq(&removed, &self.call) {
            return Some(removed);
        }
        // A newer flight has its place.
        map.insert(self.key.clone(), removed);
        None
    }

    /// The first waiter; when there is none, the flight has ended.
    fn next_waiter(&self) -> Option<oneshot::Sender<Wake<T>>> {
        let mut map = self.flights.map.lock();
        let mut waiters = self.call.waiters.lock();
        let next = (!waiters.is_empty()).then(|| waiters.remove(0));
        drop(waiters);
        if next.is_none() {
            self.call.end(ENDED);
            let removed = self.remove_from(&mut map);
            drop(map);
            drop(removed);
        }
        next
    }
}

impl<T: Clone> Token<T> {
    /// Hands the duty to the first waiter that is still there.
    fn promote(&self) {
        // The heir computes anew: what made the result unwanted came before.
        let watch = std::mem::replace(&mut *self.call.watch.lock(), Watch::Nobody);
        drop(watch);
        while let Some(waiter) = self.next_waiter() {
            let heir = Token {
                flights: self.flights.clone(),
                call: self.call.clone(),
                key: self.key.clone(),
                armed: true,
                leads: true,
            };
            match waiter.send(Wake::Promoted(heir)) {
                Ok(()) => return,
                // That waiter is gone; disarm what came back and try the next.
                Err(Wake::Promoted(mut back)) => {
                    back.armed = false;
                    back.leads = false;
                }
                Err(Wake::Done(_)) => unreachable!("a promotion was sent"),
            }
        }
    }
}

impl<T: Clone> Drop for Token<T> {
    fn drop(&mut self) {
        if self.leads && self.is_reaped() {
            self.flights.stuck.fetch_sub(1, Ordering::Relaxed);
        }
        if self.armed {
            self.promote();
        }
    }
}

impl<T: Clone> Interest<T> {
    /// Calls `hook`, from whatever thread, when the last waiter has left; one
    /// may join at the same moment. Not when the flight ends.
    pub(crate) fn on_deserted(self, hook: impl FnOnce() + Send + 'static) {
        let earlier = self.0.deserted.lock().replace(Box::new(hook));
        drop(earlier);
    }
}

impl<T: Clone> Drop for Waiter<T> {
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            // Before any lock: what it was just woken with may be a token.
            drop(receiver);
            self.call.left();
        }
    }
}

impl<T: Clone> Waiter<T> {
    fn of(call: &Arc<Call<T>>, receiver: oneshot::Receiver<Wake<T>>) -> Self {
        Self {
            receiver: Some(receiver),
            call: call.clone(),
        }
    }

    /// The leader still waits for its turn.
    pub(crate) fn is_queued(&self) -> bool {
        self.call.queued.load(Ordering::Acquire)
    }

    /// The leader is not to wait for its turn: it may depend on this waiter.
    pub(crate) fn urge(&self) {
        self.call.urge();
    }

    /// Waits for the result or the duty; forever once it has been woken.
    /// Cancel-safe.
    pub(crate) async fn wake(&mut self) -> Wake<T> {
        let woken = match &mut self.receiver {
            Some(receiver) => receiver.await.ok(),
            None => None,
        };
        self.receiver = None;
        match woken {
            Some(wake) => wake,
            None => std::future::pending().await,
        }
    }

    /// The result or the duty if it is there already.
    pub(crate) fn try_wake(&mut self) -> Option<Wake<T>> {
        let wake = self.receiver.as_mut()?.try_recv().ok()?;
        self.receiver = None;
        Some(wake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type F = Flights<u32>;

    fn lead(flights: &F) -> (Token<u32>, Waiter<u32>) {
        match flights.begin("k", Instant::now()) {
            Role::Lead(token, waiter) => (token, waiter),
            Role::Wait(_) => panic!("somebody else leads"),
        }
    }

    fn join(flights: &F) -> Waiter<u32> {
        match flights.begin("k", Instant::now()) {
            Role::Wait(waiter) => waiter,
            Role::Lead(..) => panic!("nobody leads"),
        }
    }

    fn done(waiter: &mut Waiter<u32>) -> u32 {
        match waiter.try_wake() {
            Some(Wake::Done(result)) => result,
            Some(Wake::Promoted(_)) => panic!("promoted"),
            None => panic!("not woken"),
        }
    }

    #[test]
    fn one_leads_and_all_get_the_result() {
        let flights = F::default();
        let (token, mut mine) = lead(&flights);
        let mut others: Vec<_> = (0..10).map(|_| join(&flights)).collect();
        token.complete(7);
        assert_eq!(done(&mut mine), 7);
        assert!(others.iter_mut().all(|waiter| done(waiter) == 7));
        let _next = lead(&flights);
    }

    #[test]
    fn s10_a_dropped_token_promotes_the_first_waiter_that_is_left() {
        let flights = F::default();
        let (token, mine) = lead(&flights);
        let gone = join(&flights);
        let mut heir = join(&flights);
        let mut last = join(&flights);
        drop(mine);
        drop(gone);
        drop(token);
        let Some(Wake::Promoted(token)) = heir.try_wake() else {
            panic!("not promoted")
        };
        let mut joined = join(&flights);
        token.complete(3);
        assert_eq!(done(&mut last), 3);
        assert_eq!(done(&mut joined), 3);
    }

    #[test]
    fn a_promotion_that_nobody_takes_goes_on_to_the_next() {
        let flights = F::default();
        let (token, mine) = lead(&flights);
        let mut next = join(&flights);
        drop(token);
        drop(mine);
        let Some(Wake::Promoted(token)) = next.try_wake() else {
            panic!("not promoted")
        };
        drop(token);
        let _fresh = lead(&flights);
    }

    #[test]
    fn s10_whoever_computes_is_told_when_the_last_waiter_has_left() {
        let flights = F::default();
        let told = Arc::new(AtomicU64::new(0));
        let hook = || {
            let told = told.clone();
            move || {
                told.fetch_add(1, Ordering::Relaxed);
            }
        };
        let (token, mine) = lead(&flights);
        token.interest().on_deserted(hook());
        let mut others: Vec<_> = (0..100).map(|_| join(&flights)).collect();
        drop(mine);
        let last = others.pop();
        drop(others);
        assert_eq!(told.load(Ordering::Relaxed), 0, "one is left");
        drop(last);
        assert_eq!(told.load(Ordering::Relaxed), 1);
        let mut late = join(&flights);
        token.complete(4);
        assert_eq!(done(&mut late), 4);
        drop(late);
        let (token, mut mine) = lead(&flights);
        token.interest().on_deserted(hook());
        token.complete(5);
        assert_eq!(done(&mut mine), 5);
        drop(mine);
        assert_eq!(told.load(Ordering::Relaxed), 1, "it ended, nobody left");
    }

    #[test]
    fn a_flight_without_waiters_ends_with_its_token() {
        let flights = F::default();
        let (token, mine) = lead(&flights);
        drop(mine);
        drop(token);
        let _fresh = lead(&flights);
    }

    #[test]
    fn a_leader_is_told_of_a_detached_flight_once_and_of_no_other_end() {
        let flights = F::default();
        let told = Arc::new(AtomicU64::new(0));
        let hook = || {
            let told = told.clone();
            move || {
                told.fetch_add(1, Ordering::Relaxed);
            }
        };
        let count = || told.load(Ordering::Relaxed);
        let (token, _) = lead(&flights);
        token.on_detach(hook());
        token.complete(1);
        assert_eq!(count(), 0);
        let (token, mine) = lead(&flights);
        token.on_detach(hook());
        drop(flights.detach("k"));
        drop(flights.detach_all());
        assert_eq!(count(), 1);
        token.on_detach(hook());
        assert_eq!(count(), 2);
        let mut heir = token.waiter();
        drop(mine);
        drop(token);
        let Some(Wake::Promoted(token)) = heir.try_wake() else {
            panic!("not promoted")
        };
        token.on_detach(hook());
        assert_eq!(count(), 2);
        let (slow, _other) = lead(&flights);
        slow.on_detach(hook());
        flights.reap(Duration::ZERO, |_| 9);
        assert_eq!(count(), 4, "the detached one is given up as well");
    }

    #[test]
    fn s20_a_detached_flight_is_not_joined_and_does_not_end_its_successor() {
        let flights = F::default();
        let (old, mut old_waiter) = lead(&flights);
        assert!(old.is_joinable());
        assert!(!old.is_doomed());
        let _told_later = flights.detach("k");
        assert!(!old.is_joinable() && old.is_doomed());
        let (new, mut new_waiter) = lead(&flights);
        let mut extra = old.waiter();
        old.complete(1);
        assert_eq!(done(&mut old_waiter), 1);
        assert_eq!(done(&mut extra), 1);
        assert!(new.is_joinable());
        new.complete(2);
        assert_eq!(done(&mut new_waiter), 2);
    }
}
