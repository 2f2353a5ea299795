//! Keys of other owners, many at once: of each owner all are asked in one
//! message, waited for as a whole and counted together, without a flight for
//! each.
//!
//! Nobody joins these requests, and they join nobody's: a key that somebody
//! else fetches at the same moment is asked for twice, and loaded once, by its
//! owner. What does not end so, a large value or an owner that is gone, goes on
//! as a Get of its own as soon as that is known.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::GroupInner;
use super::fetch::{CopyStart, Unfetched};
use super::many::{Begun, Ended};
use crate::load::LoadScope;
use crate::peers::answers::{Answers, Came};
use crate::peers::asking::left_ms;
use crate::peers::bulk::Get;
use crate::peers::call::{CallError, Fetched};
use crate::peers::connection::{Asked, Done};
use crate::peers::link::Link;
use crate::peers::{Route, View};
use crate::pending::{Pending, until};
use crate::stats::Count;
use crate::{Error, ErrorKind, Result, Value, options, trace};

/// What one caller asks of other owners.
pub(super) struct Far<'a> {
    group: &'a Arc<GroupInner>,
    deadline: Option<Instant>,
    begun: Instant,
    /// Inside a getter, which may not ask for what it is loading, or after
    /// close, each key goes its own way.
    apart: bool,
    batches: Vec<Batch<'a>>,
}

/// What is asked of one owner.
struct Batch<'a> {
    group: &'a Arc<GroupInner>,
    link: Arc<Link>,
    /// The owner is suspect: it is asked nothing (S26).
    suspect: bool,
    keys: Vec<Key<'a>>,
    answers: Arc<Answers>,
    asked: Vec<Asked>,
    /// Of the keys, those that are counted as begun and not as ended.
    open: u64,
    span: tracing::Span,
}

/// How a key's part in a batch ends.
enum End {
    Is(Result<Value>),
    /// Its owner is gone, or has no such group.
    Alone,
    Large(Pending),
}

struct Key<'a> {
    /// Among the caller's keys.
    place: usize,
    key: &'a str,
    copy: Option<CopyStart>,
    /// It goes on by itself.
    is_apart: bool,
}

impl<'a> Far<'a> {
    pub(super) fn new(group: &'a Arc<GroupInner>, timeout: Option<Duration>) -> Self {
        let begun = Instant::now();
        Self {
            group,
            deadline: group.deadline(None, timeout, begun),
            begun,
            apart: LoadScope::current().is_some() || group.state.check_open().is_err(),
            batches: Vec::new(),
        }
    }

    /// Whether the key's owner is asked for it here.
    pub(super) fn takes(&mut self, view: &View, place: usize, key: &'a str) -> bool {
        if self.apart || options::check_key(key).is_err() {
            return false;
        }
        let Route::Remote(link) = view.route(key) else {
            return false;
        };
        let mut batches = self.batches.iter();
        let known = batches.position(|batch| Arc::ptr_eq(&batch.link, link));
        let index = known.unwrap_or_else(|| {
            self.batches.push(Batch::new(self.group, link));
            self.batches.len() - 1
        });
        let batch = &mut self.batches[index];
        if !batch.suspect {
            batch.keys.push(Key {
                place,
                key,
                copy: None,
                is_apart: false,
            });
        }
        !batch.suspect
    }

    /// Sends all that was taken.
    pub(super) fn ask(&mut self) {
        for batch in &mut self.batches {
            batch.ask(self.deadline, self.begun);
        }
    }

    /// How the keys of each owner end.
    pub(super) fn batches(self) -> impl Iterator<Item = impl Future<Output = Ended>> {
        let (begun, deadline) = (self.begun, self.deadline);
        let asked = self.batches.into_iter();
        asked.map(move |batch| batch.end(begun, deadline))
    }
}

impl<'a> Batch<'a> {
    fn new(group: &'a Arc<GroupInner>, link: &Arc<Link>) -> Self {
        Self {
            group,
            link: link.clone(),
            suspect: link.suspicion().is_some(),
            keys: Vec::new(),
            answers: Arc::new(Answers::new(0)),
            asked: Vec::new(),
            open: 0,
            span: tracing::Span::none(),
        }
    }

    fn ask(&mut self, deadline: Option<Instant>, now: Instant) {
        let (group, count, left_ms) = (self.group, self.keys.len(), left_ms(deadline, now));
        if count == 0 {
            return;
        }
        let peer = self.link.address();
        self.span = tracing::debug_span!("fetch_many", group = &*group.name, count, peer);
        let trace = self.span.in_scope(trace::current);
        self.open = count as u64;
        group.counters.add_many(Count::MissStarted, self.open);
        group.counters.add_many(Count::Fetch, self.open);
        self.answers = Arc::new(Answers::new(count));
        self.asked.reserve(count);
        let _leaves_as_one_message = self.link.cork();
        for (index, key) in self.keys.iter_mut().enumerate() {
            let borrow = group.config.hot && group.heat.touch(key.key);
            key.copy = borrow.then(|| group.copy_start(key.key, &self.link));
            let get = Get {
                group: &group.wire_name,
                key: key.key,
                left_ms,
                deadline,
                borrow,
                // Inside a getter each key goes its own way.
                inside: false,
                trace: &trace,
            };
            let done = Done::OfMany(self.answers.clone(), index as u32);
            self.asked.extend(self.link.get(get, done));
        }
    }

    /// Waits for the owner, and meanwhile for the keys that go on by themselves.
    async fn end(mut self, begun: Instant, deadline: Option<Instant>) -> Ended {
        let (group, answers) = (self.group, self.answers.clone());
        let mut apart = Begun::default();
        let over = loop {
            let came = tokio::select! {
                biased;
                came = answers.come() => came,
                Some(()) = apart.next() => continue,
                () = group.state.closing.cancelled() => break Some(Error::closed()),
                () = until(deadline) => break None,
            };
            let Came::Some(places) = came else { break None };
            for at in places {
                if let Some(answer) = answers.take_one(at) {
                    self.keys[at].is_apart = true;
                    self.end_one(at, Some(answer), None, (begun, deadline), &mut apart);
                }
            }
            apart.start(group);
        };
        let answers = answers.take();
        if answers.iter().all(Option::is_some) {
            self.asked.clear();
        }
        for (at, answer) in answers.into_iter().enumerate() {
            if !self.keys[at].is_apart {
                self.end_one(at, answer, over.as_ref(), (begun, deadline), &mut apart);
            }
        }
        apart.start(group);
        apart.end().await
    }

    /// Ends one key's part: with its answer or, without one, with `over` or as too
    /// late.
    fn end_one(
        &mut self,
        at: usize,
        answer: Option<Result<Fetched, CallError>>,
        over: Option<&Error>,
        (begun, deadline): (Instant, Option<Instant>),
        apart: &mut Begun,
    ) {
        let group = self.group;
        let Key { place, key, .. } = self.keys[at];
        let copy = self.keys[at].copy.take();
        let end = match (answer, over) {
            (Some(Ok(fetched)), _) if fetched.by_unary => {
                let Fetched { kept, held, .. } = fetched;
                End::Large(group.begin_large(key, &self.link, deadline, copy, kept, held))
            }
            (Some(Ok(fetched)), _) => {
                group.fetched(&self.link, &fetched, begun);
                group.keep_copy(key, &self.link, copy.as_ref(), &fetched);
                End::Is(Ok(fetched.value))
            }
            (Some(Err(error)), _) => {
                match group.unfetched(key, &self.link, error, deadline, begun) {
                    Unfetched::StandIn(_) => End::Alone,
                    Unfetched::Answer(error) => End::Is(Err(error)),
                    Unfetched::Late => End::Is(Err(Error::deadline(key))),
                }
            }
            (None, Some(over)) => End::Is(Err(over.clone())),
            (None, None) => End::Is(Err(Error::deadline(key))),
        };
        self.count(&end);
        match end {
            End::Is(result) => apart.add_ended(place, result),
            End::Large(pending) => apart.add(place, pending),
            End::Alone => {
                let left = deadline.map_or(Duration::MAX, |deadline| {
                    deadline.saturating_duration_since(Instant::now())
                });
                apart.begin(group, place, key, Some(left));
            }
        }
    }

    /// A key has ended; one that goes on is counted anew.
    fn count(&mut self, end: &End) {
        let outcome = match end {
            End::Is(Ok(_)) => Some(Count::Fetched),
            End::Is(Err(error)) if error.kind() == ErrorKind::NotFound => Some(Count::NotFound),
            End::Is(Err(_)) => Some(Count::Failed),
            End::Alone | End::Large(_) => None,
        };
        outcome
            .into_iter()
            .for_each(|outcome| self.group.counters.add(outcome));
        self.group.counters.add(Count::MissEnded);
        self.open -= 1;
    }
}

/// Nobody waits any more: what is still open has failed, and the owner need not
/// answer it (S10).
impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.group.counters.add_many(Count::Failed, self.open);
        self.group.counters.add_many(Count::MissEnded, self.open);
        self.asked.drain(..).for_each(Asked::cancel);
    }
}
