//! Loads at their owner: who joins, who leads, who waits for a permit, and how
//! the duty to load reaches the getter.
//!
//! Invariant: one flight per key; its leader looks at the store once more, so
//! that a load that has just ended is not repeated (S9).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;
use tracing::Instrument;

use super::{Answer, GroupInner, Here, Lead, LoadStart, Purpose, Resume};
use crate::flight::{Role, Token};
use crate::generations::Slot;
use crate::getter::Getter;
use crate::limit::{Admission, Limit};
use crate::load::{LoadScope, LoadToken};
use crate::peers::View;
use crate::pending::{Begin, How, Pending, Tally, deadline_after};
use crate::stats::Count;
use crate::{Error, Result};

/// The lead of a load, on its way to the getter.
pub(super) struct Leading {
    pub(super) flight: Token<Answer>,
    pub(super) start: LoadStart,
    /// The load in whose getter this one was asked for.
    parent: Option<LoadScope>,
    deadline: Option<Instant>,
    /// While it waits for a permit, as its caller's outcome shows (S15).
    queued: Arc<AtomicBool>,
}

impl GroupInner {
    /// Joins the load of `key`, or leads it.
    pub(super) fn begin_load(
        self: &Arc<Self>,
        key: &str,
        view: &View,
        deadline: Option<Instant>,
        mut tally: Tally,
        parent: Option<LoadScope>,
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
                let resume = Resume::new(self, key, Purpose::Load);
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
                if let Some(Here::Value(hit, _)) = self.here(key) {
                    flight.complete(Ok(self.served(hit.clone())));
                    tally.hit();
                    return Ok(Begin::Hit(hit.value));
                }
                if let Some(hit) = self.inherit(key, view) {
                    flight.complete(Ok(self.served(hit.clone())));
                    tally.hit();
                    return Ok(Begin::Hit(hit.value));
                }
                let resume = Resume::new(self, key, Purpose::Load);
                let mut pending = Pending::new(waiter, resume, deadline, tally.with(How::Loaded));
                let leading = Leading {
                    flight,
                    start,
                    parent,
                    deadline,
                    queued: pending.queued(),
                };
                let previous = self.previous_owner(key, &start, view);
                if let Some(link) = previous.filter(|_| lead == Lead::Anywhere) {
                    self.take_or_load(link, key, leading);
                    return Ok(Begin::Wait(pending));
                }
                let token = self.admit(key, leading);
                Ok(match token {
                    Some(token) => Begin::Lead(token, pending),
                    None => Begin::Wait(pending),
                })
            }
        }
    }

    /// The leader's token; `None`: it is queued, or refused, because the group's
    /// limit of concurrent getters is reached (S15).
    pub(super) fn admit(self: &Arc<Self>, key: &str, leading: Leading) -> Option<LoadToken> {
        // A load inside another getter takes no second permit, or the two
        // could starve each other.
        let limit = self.limit.as_ref().filter(|_| leading.parent.is_none());
        let permit = match limit.map(|limit| (limit, limit.admit())) {
            None => None,
            Some((_, Admission::Now(permit))) => Some(permit),
            Some((limit, Admission::Wait)) => {
                self.start_when_admitted(limit, key, leading);
                return None;
            }
            Some((limit, Admission::Overloaded)) => {
                let overloaded = limit.overloaded(&self.name);
                leading.flight.complete(Err(overloaded));
                return None;
            }
        };
        let token = self.token(key, leading.flight, leading.start, leading.parent);
        Some(token.with_permit(permit))
    }

    fn start_when_admitted(self: &Arc<Self>, limit: &Arc<Limit>, key: &str, leading: Leading) {
        let (group, limit, key) = (self.clone(), limit.clone(), Box::<str>::from(key));
        let place = limit.queue();
        leading.queued.store(true, Ordering::Release);
        let wait = async move {
            let permit = tokio::select! {
                permit = limit.permit() => permit,
                () = crate::pending::until(leading.deadline) => None,
            };
            drop(place);
            // Without a permit the flight is dropped: a waiter with more time
            // takes its own place.
            let Some(permit) = permit else { return };
            leading.queued.store(false, Ordering::Release);
            let start = {
                let view = group.state.peers.view();
                group.load_start(&key, &view)
            };
            let token = group.token(&key, leading.flight, start, None);
            group.start(token.with_permit(Some(permit)));
        };
        self.state.runtime.spawn(wait.in_current_span());
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

    pub(super) fn token(
        self: &Arc<Self>,
        key: &str,
        flight: Token<Answer>,
        start: LoadStart,
        parent: Option<LoadScope>,
    ) -> LoadToken {
        self.counters.add(Count::Load);
        let deadline = deadline_after(self.config.load_timeout);
        let scope = LoadScope::new(self.name.clone(), key, deadline, parent);
        LoadToken::new(self.clone(), flight, start, scope)
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
            Some(getter) => getter.start(token),
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
            Some(getter) => getter.start_many(tokens),
            None => tokens
                .into_iter()
                .for_each(|token| token.fail(Error::closed())),
        }
    }
}
