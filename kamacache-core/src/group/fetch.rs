//! A key of another owner: one flight of fetches over the owner's link, the
//! copy that may be kept, and the load that stands in for an owner that cannot
//! be reached.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument;

use super::{Answer, GroupInner, Lead, Origin, Purpose, Resume, Served, millis};
use crate::error::Short;
use crate::flight::{Role, Token};
use crate::generations::Slot;
use crate::latency::LatencyKind;
use crate::load::Caller;
use crate::peers::asking::left_ms;
use crate::peers::bulk::Get;
use crate::peers::call::{CallError, Fetched, Lifetime};
use crate::peers::connection::Done;
use crate::peers::link::Link;
use crate::pending::{How, Pending, Side, Tally};
use crate::stats::Count;
use crate::store::{Kind, Stamp};
use crate::{Error, ErrorKind, trace};

impl GroupInner {
    /// Joins the fetch of `key` from its owner, or sends it.
    pub(super) fn begin_fetch(
        self: &Arc<Self>,
        key: &str,
        link: &Arc<Link>,
        deadline: Option<Instant>,
        now: Instant,
        tally: Tally,
        caller: Caller,
    ) -> Pending {
        self.join_fetch(key, deadline, now, tally, caller.clone(), |flight| {
            self.fetch(flight, link, deadline, now, caller);
        })
    }

    /// Joins the fetch of `key`, or begins one, which `lead` goes on with.
    fn join_fetch(
        self: &Arc<Self>,
        key: &str,
        deadline: Option<Instant>,
        now: Instant,
        tally: Tally,
        caller: Caller,
        lead: impl FnOnce(Token<Answer>),
    ) -> Pending {
        let fetches = &self.fetches[usize::from(caller.is_inside())];
        let (waiter, key, how) = match fetches.begin(key, now) {
            Role::Wait(waiter) => (waiter, key.into(), How::FetchJoined),
            Role::Lead(flight, waiter) => {
                let key = flight.key().clone();
                lead(flight);
                (waiter, key, How::Fetched)
            }
        };
        Pending::new(
            waiter,
            Resume::new(self, key, Purpose::Fetch, caller),
            deadline,
            tally.with(how),
        )
    }

    /// Asks the owner; or, while that is suspect, nobody (S26).
    pub(super) fn fetch(
        self: &Arc<Self>,
        flight: Token<Answer>,
        link: &Arc<Link>,
        deadline: Option<Instant>,
        now: Instant,
        caller: Caller,
    ) {
        let key = flight.key().clone();
        if let Some(error) = link.suspicion() {
            return self.stand_in(flight, key, error, caller);
        }
        self.counters.add(Count::Fetch);
        let borrow = self.config.hot && self.heat.touch(&key);
        let copy = borrow.then(|| self.copy_start(&key, link));
        let peer = link.address();
        let span = tracing::debug_span!("fetch", group = &*self.name, key = ?Short(&key), peer);
        let fetch = Fetch {
            span: span.clone(),
            group: self.clone(),
            link: link.clone(),
            key: key.clone(),
            deadline,
            copy,
            began: now,
            caller,
        };
        let inside = fetch.caller.is_inside();
        let trace = span.in_scope(trace::current);
        let get = Get {
            group: &self.wire_name,
            key: &key,
            left_ms: left_ms(deadline, now),
            deadline,
            borrow,
            inside,
            trace: &trace,
        };
        let interest = flight.interest();
        let done = Done::One(Box::new(move |result| fetch.end(flight, result)));
        let asked = link.get(get, done);
        // When the last waiter leaves, the owner need not answer; what it has
        // begun to load it keeps (S10).
        if let Some(asked) = asked {
            interest.on_deserted(move || asked.cancel());
        }
    }

    /// Joins or begins a fetch whose owner has said already that the value is
    /// too large for the link.
    pub(super) fn begin_large(
        self: &Arc<Self>,
        key: &str,
        link: &Arc<Link>,
        deadline: Option<Instant>,
        copy: Option<CopyStart>,
        kept: Option<Lifetime>,
        held: u64,
    ) -> Pending {
        let now = Instant::now();
        let tally = Tally::start(self, Side::Own);
        // Keys that are asked for inside a getter are no batch.
        let caller = Caller::Outside;
        self.join_fetch(key, deadline, now, tally, caller.clone(), |flight| {
            let fetch = Fetch {
                span: tracing::Span::none(),
                group: self.clone(),
                link: link.clone(),
                key: flight.key().clone(),
                deadline,
                copy,
                began: now,
                caller,
            };
            fetch.go_on_by_unary(flight, kept, held);
        })
    }

    pub(super) fn copy_start(&self, key: &str, link: &Link) -> CopyStart {
        let slot = Slot::of(&self.name, key);
        CopyStart {
            slot,
            generation: self.generation_of_copy(slot, link),
            view: self.state.peers.number(),
            sent_ms: self.state.clock.now_ms(),
        }
    }

    /// Counts a value that came from its owner.
    pub(super) fn fetched(&self, link: &Link, fetched: &Fetched, began: Instant) {
        let took = fetched.arrived.saturating_duration_since(began);
        self.latencies.record(LatencyKind::Fetch, took);
        link.count_fetch(Some(fetched.value.len()), took);
    }

    /// Counts a fetch that brought no value, and says what follows. Only a peer
    /// that cannot be reached, or that has no such group, is stood in for:
    /// not-found, a failed getter and slowness are its answers (S13, S25, S8b).
    pub(super) fn unfetched(
        &self,
        key: &str,
        link: &Link,
        error: CallError,
        deadline: Option<Instant>,
        began: Instant,
    ) -> Unfetched {
        self.counters.add(Count::FetchError);
        link.count_fetch(None, began.elapsed());
        match error {
            CallError::Answered(error) if error.kind() == ErrorKind::UnknownGroup => {
                self.warn_unknown(link);
                Unfetched::StandIn(error)
            }
            CallError::Unreachable { error, .. } => Unfetched::StandIn(error),
            CallError::Answered(error) | CallError::NotOwner { error, .. } => {
                Unfetched::Answer(error)
            }
            CallError::Deadline { .. } if deadline.is_some_and(|at| at <= Instant::now()) => {
                Unfetched::Late
            }
            // The owner's own getter gave up before that: its answer.
            CallError::Deadline { .. } => {
                Unfetched::Answer(Error::deadline(key).with_peer(link.address()))
            }
        }
    }

    /// Keeps a copy, if one was wanted and nothing has voided it meanwhile.
    pub(super) fn keep_copy(
        &self,
        key: &str,
        link: &Link,
        copy: Option<&CopyStart>,
        fetched: &Fetched,
    ) {
        let (Some(copy), Some(kept)) = (copy, fetched.kept) else {
            return;
        };
        let mut ttl = self.config.hot_ttl;
        if let Lifetime::Left(left) = kept {
            // The two clocks count whole milliseconds from different starts.
            ttl = ttl.min(left.saturating_sub(Duration::from_millis(1)));
        }
        let stamp = Stamp {
            kind: Kind::Hot,
            view: copy.view,
            generation: copy.generation,
            expires_at: Some(copy.sent_ms.saturating_add(millis(ttl))),
        };
        self.store.put_if(key, &fetched.value, stamp, || {
            self.generation_of_copy(copy.slot, link) == copy.generation
                && self.state.peers.number() == copy.view
                && !self.state.closed.is_cancelled()
        });
    }

    /// Loads here in place of the owner; the value is borrowed.
    fn stand_in(
        self: &Arc<Self>,
        flight: Token<Answer>,
        key: Arc<str>,
        error: Error,
        caller: Caller,
    ) {
        if self.getter.read().is_none() {
            return flight.complete(Err(error));
        }
        let group = self.clone();
        let load = async move {
            let answer = group.load_here(&key, caller).await.map(|served| Served {
                origin: Origin::Fallback,
                ..served
            });
            flight.complete(answer);
        };
        self.state.runtime.spawn(load.in_current_span());
    }

    /// A load on behalf of a flight of fetches. It waits without a deadline:
    /// those who wait for the fetch have their own.
    pub(super) async fn load_here(self: &Arc<Self>, key: &str, caller: Caller) -> Answer {
        let begun = {
            let view = self.state.peers.view();
            self.begin_load(
                key,
                &view,
                None,
                Tally::start(self, Side::Uncounted),
                caller,
                Lead::Anywhere,
            )?
        };
        let value = self.complete_here(begun).await?;
        Ok(Served {
            value,
            origin: Origin::Normal,
            expires_at: None,
            lendable: false,
        })
    }

    fn warn_unknown(&self, link: &Link) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                group = &*self.name,
                peer = link.address(),
                "the peer has no group of this name; its keys are loaded here until it has"
            );
        }
    }
}

/// One fetch on its way, and what it captured before it was sent.
struct Fetch {
    /// Open until it has ended.
    #[expect(dead_code, reason = "held for its drop")]
    span: tracing::Span,
    group: Arc<GroupInner>,
    link: Arc<Link>,
    key: Arc<str>,
    deadline: Option<Instant>,
    /// A copy is to be kept.
    copy: Option<CopyStart>,
    began: Instant,
    /// Of whoever leads it.
    caller: Caller,
}

/// Why a fetch brought no value, by what follows.
pub(super) enum Unfetched {
    /// This node loads in its owner's place.
    StandIn(Error),
    /// The owner's word.
    Answer(Error),
    /// The caller's own time is over.
    Late,
}

/// What must still stand when a copy is kept.
pub(super) struct CopyStart {
    slot: Slot,
    generation: u32,
    view: u32,
    /// The copy's time counts from here, so that it ends before the owner's.
    sent_ms: u64,
}

impl Fetch {
    /// The owner's answer, or none.
    fn end(self, flight: Token<Answer>, result: Result<Fetched, CallError>) {
        let error = match result {
            Ok(fetched) if fetched.by_unary => {
                return self.go_on_by_unary(flight, fetched.kept, fetched.held);
            }
            Ok(fetched) => {
                self.group.fetched(&self.link, &fetched, self.began);
                return flight.complete(Ok(self.keep(fetched)));
            }
            Err(error) => error,
        };
        let (group, key) = (&self.group, &self.key);
        match group.unfetched(key, &self.link, error, self.deadline, self.began) {
            Unfetched::StandIn(error) => {
                group.stand_in(flight, key.clone(), error, self.caller.clone());
            }
            Unfetched::Answer(error) => flight.complete(Err(error)),
            // The leader's time is over: a waiter with more goes on.
            Unfetched::Late => drop(flight),
        }
    }

    fn keep(&self, fetched: Fetched) -> Served {
        self.group
            .keep_copy(&self.key, &self.link, self.copy.as_ref(), &fetched);
        Served {
            value: fetched.value,
            origin: Origin::Normal,
            expires_at: None,
            lendable: false,
        }
    }

    /// A large value: once more, beside the link.
    fn go_on_by_unary(self, flight: Token<Answer>, kept: Option<Lifetime>, held: u64) {
        // The owner serves a second Get for it.
        self.group.counters.add(Count::Fetch);
        let runtime = self.group.state.runtime.clone();
        runtime.spawn(async move {
            let result = self
                .link
                .get_large(
                    &self.group.name,
                    &self.key,
                    held,
                    self.caller.is_inside(),
                    self.deadline,
                )
                .await;
            self.end(flight, result.map(|fetched| fetched.kept_as_told(kept)));
        });
    }
}
