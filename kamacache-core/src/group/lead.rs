//! Loads at their owner: who joins, who leads, who waits for a permit, and how
//! the duty to load reaches the getter.
//!
//! Invariant: one flight per key; its leader looks at the store once more, so
//! that a load that has just ended is not repeated (S9).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::Instrument;

use super::{Answer, GroupInner, Here, Lead, LoadStart, Purpose, Resume};
use crate::flight::{Role, Token};
use crate::generations::Slot;
use crate::getter::Getter;
use crate::limit::{Admission, Limit};
use crate::load::{Caller, LoadScope, LoadToken};
use crate::peers::View;
use crate::pending::{Begin, How, Pending, Tally, deadline_after};
use crate::stats::Count;
use crate::{Error, Result};

/// The lead of a load, on its way to the getter.
pub(super) struct Leading {
    pub(super) flight: Token<Answer>,
    pub(super) start: LoadStart,
    caller: Caller,
    deadline: Option<Instant>,
}

impl Leading {
    pub(super) fn new(
        flight: Token<Answer>,
        start: LoadStart,
        caller: Caller,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            flight,
            start,
            caller,
            deadline,
        }
    }
}

/// How the wait for a permit ends.
enum Turn {
    Permit(Option<OwnedSemaphorePermit>),
    Late,
}

impl GroupInner {
    /// Joins the load of `key`, or leads it.
    pub(super) fn begin_load(
        self: &Arc<Self>,
        key: &str,
        view: &View,
        deadline: Option<Instant>,
        mut tally: Tally,
        caller: Caller,
        lead: Lead,
    ) -> Result<Begin> {
        if self.getter.read().is_none()
            && (lead == Lead::Here || view.previous_owner(key).is_none())
        {
            let error = self
                .state
                .check_serving()
                .err()
                .unwrap_or_else(|| Error::not_found(key));
            return Err(tally.refuse(error));
        }
        if let Some(stale) = self.stale(key, self.config.stale_while_revalidate) {
            self.refresh(key, view);
            tally.stale_hit();
            return Ok(Begin::Hit(stale.value));
        }
        match self.loads.begin(key, Instant::now()) {
            Role::Wait(waiter) => {
                if caller.is_inside() {
                    // The load may wait for the permit that this getter holds.
                    waiter.urge();
                }
                let resume = Resume::new(self, key, Purpose::Load, caller);
                Ok(Begin::Wait(Pending::new(
                    waiter,
                    resume,
                    deadline,
                    tally.with(How::LoadJoined),
                )))
            }
            Role::Lead(flight, waiter) => {
                let start = self.load_start(key, view);
                // The previous leader may have finished between our look and
                // our lead (S9).
                let owned = || match self.here(key)? {
                    Here::Value(hit, _) => Some(hit),
                    Here::Absent => None,
                };
                // A sweep may make a gift owned between the first two looks.
                let found = owned().or_else(|| self.inherit(key, view)).or_else(owned);
                if let Some(hit) = found {
                    flight.complete(Ok(self.served(hit.clone())));
                    tally.hit();
                    return Ok(Begin::Hit(hit.value));
                }
                let resume = Resume::new(self, key, Purpose::Load, caller.clone());
                let pending = Pending::new(waiter, resume, deadline, tally.with(How::Loaded));
                let leading = Leading::new(flight, start, caller, deadline);
                let previous = self.previous_owner(key, &start, view);
                if let Some(link) = previous.filter(|_| lead == Lead::Anywhere) {
                    self.take_or_load(link, key, leading);
                    return Ok(Begin::Wait(pending));
                }
                Ok(match self.admit(leading) {
                    Some(token) => Begin::Lead(token, pending),
                    None => Begin::Wait(pending),
                })
            }
        }
    }

    /// Goes on with a load whose leader gave up: what may be here by now, or its
    /// place among those that wait for a permit. It has waited before, so it is
    /// never refused.
    pub(super) fn inherit_lead(self: &Arc<Self>, leading: Leading) {
        if let Some(answer) = self.found(leading.flight.key()) {
            return leading.flight.complete(answer);
        }
        let limit = self.limit.as_ref().filter(|_| !leading.caller.is_inside());
        match limit.map(|limit| (limit, limit.admit())) {
            None => self.start(self.token(leading, None)),
            Some((_, Admission::Now(permit))) => self.start(self.token(leading, Some(permit))),
            Some((limit, Admission::Wait | Admission::Overloaded)) => {
                self.start_when_admitted(limit, leading);
            }
        }
    }

    /// The leader's token; `None`: it is queued, or refused, because the group's
    /// limit of concurrent getters is reached (S15).
    pub(super) fn admit(self: &Arc<Self>, leading: Leading) -> Option<LoadToken> {
        // A load inside another getter takes no second permit, or the two
        // could starve each other.
        let limit = self.limit.as_ref().filter(|_| !leading.caller.is_inside());
        let permit = match limit.map(|limit| (limit, limit.admit())) {
            None => None,
            Some((_, Admission::Now(permit))) => Some(permit),
            Some((limit, Admission::Wait)) => {
                self.start_when_admitted(limit, leading);
                return None;
            }
            Some((limit, Admission::Overloaded)) => {
                let overloaded = limit.overloaded(&self.name);
                leading.flight.complete(Err(overloaded));
                return None;
            }
        };
        Some(self.token(leading, permit))
    }

    fn start_when_admitted(self: &Arc<Self>, limit: &Arc<Limit>, leading: Leading) {
        let (group, limit) = (self.clone(), limit.clone());
        let place = limit.queue();
        leading.flight.set_queued(true);
        let wait = async move {
            let turn = tokio::select! {
                permit = limit.permit() => Turn::Permit(permit),
                () = leading.flight.urged() => Turn::Permit(None),
                () = crate::pending::until(leading.deadline) => Turn::Late,
            };
            drop(place);
            // Too late: the flight is dropped, and a waiter with more time takes
            // its own place.
            let Turn::Permit(permit) = turn else { return };
            leading.flight.set_queued(false);
            // What was set meanwhile is newer than what a getter would bring,
            // and would not be kept (S20).
            if let Some(answer) = group.found(leading.flight.key()) {
                return leading.flight.complete(answer);
            }
            group.start(group.token(leading, permit));
        };
        self.state.runtime.spawn(wait.in_current_span());
    }

    /// What a load may be answered with that has come without it.
    fn found(&self, key: &str) -> Option<Answer> {
        Some(match self.here(key)? {
            Here::Value(hit, _) => Ok(self.served(hit)),
            Here::Absent => Err(Error::not_found(key)),
        })
    }

    pub(super) fn load_start(&self, key: &str, view: &View) -> LoadStart {
        let slot = Slot::of(&self.name, key);
        LoadStart {
            slot,
            generation: self.generation(slot),
            owned: view.owns(key),
            view: view.number(),
            begun_ms: self.state.clock.now_ms(),
            began: std::time::Instant::now(),
        }
    }

    fn token(
        self: &Arc<Self>,
        leading: Leading,
        permit: Option<OwnedSemaphorePermit>,
    ) -> LoadToken {
        let Leading {
            flight,
            start,
            caller,
            ..
        } = leading;
        self.counters.add(Count::Load);
        let deadline = deadline_after(self.config.load_timeout);
        let parent = caller.scope().cloned();
        let scope = LoadScope::new(self.name.clone(), flight.key(), deadline, parent);
        LoadToken::new(self.clone(), flight, start, scope).with_permit(permit)
    }

    /// Loads go to this getter from now on; those on their way stay where they are.
    pub(crate) fn set_getter(&self, getter: Arc<dyn Getter>) -> Result<()> {
        self.state.check_open()?;
        let previous = self.getter.write().replace(getter);
        drop(previous);
        Ok(())
    }

    /// Hands the duty to load to the getter.
    pub(crate) fn start(&self, token: LoadToken) {
        let getter = self.getter.read().clone();
        match getter {
            Some(getter) => self.guard(|| getter.start(token)),
            None => token.answer(self.state.check_serving().map(|()| None)),
        }
    }

    /// The same for several keys, as one query where the getter can do that.
    pub(crate) fn start_many(&self, mut tokens: Vec<LoadToken>) {
        if tokens.len() == 1 {
            return tokens.drain(..).for_each(|token| self.start(token));
        }
        LoadToken::share_scope(&mut tokens);
        let getter = self.getter.read().clone();
        match getter {
            Some(getter) => self.guard(|| getter.start_many(tokens)),
            None => tokens
                .into_iter()
                .for_each(|token| token.answer(self.state.check_serving().map(|()| None))),
        }
    }

    /// Runs the user's own `start` on a thread that is not the user's: a panic
    /// ends the loads that it drops (S12), and nothing else.
    fn guard(&self, start: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(start)).is_err() {
            tracing::error!(
                group = &*self.name,
                "the getter panicked while it took over a load"
            );
        }
    }
}
