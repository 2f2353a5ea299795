//! A group over changes of view: what stays, what this node has lost and may
//! still be asked for, what it takes from the previous owner, and what it gives
//! to the next ones when it leaves.
//!
//! Invariants: a former entry is served to nobody but the key's new owner, and
//! an heir to nobody before the node that gave it has left (S34); neither is
//! used where its slot was written since the change of view (S32, S33).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::Instrument;

use super::lead::Leading;
use super::{Answer, GroupInner, Here, LoadStart, Origin, Served, millis};
use crate::flight::Token;
use crate::generations::Slot;
use crate::getter::Ttl;
use crate::load::LoadToken;
use crate::peers::call::{CallError, Fetched, Lifetime};
use crate::peers::link::{Link, MAX_LINK_VALUE};
use crate::peers::{Standing, View, is_newer};
use crate::stats::Count;
use crate::store::{EvictReason, Hit, Kind, Put, Stamp, Verdict, Walk};
use crate::{Error, Result, Value};

/// With "not found", in answer to a take: this group has no former entries here.
const NOTHING_AT_ALL: i64 = 1;

/// How much more time a large value has to come from its previous owner.
const LARGE_TAKES_LONGER: u32 = 10;

/// An entry that a leaver gives: its key, its value and what is left of its time.
pub(crate) type Gift = (String, Value, Ttl);

/// How a taken value travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Over a link: of a large one only how long it is kept; the entry stays.
    OfLink,
    Whole,
}

/// What a group remembers of a change of view.
#[derive(Default)]
pub(super) struct Moved {
    /// There may be former entries here.
    former: AtomicBool,
    /// Previous owners that have nothing to take, in the view of the number.
    bare: Mutex<(u32, Vec<Box<str>>)>,
    /// Loads that wait for others of the same batch.
    waiting: Mutex<Vec<LoadToken>>,
}

impl Moved {
    fn is_bare(&self, view: u32, owner: &str) -> bool {
        let bare = self.bare.lock();
        bare.0 == view && bare.1.iter().any(|known| **known == *owner)
    }

    fn note_bare(&self, view: u32, owner: &str) {
        let mut bare = self.bare.lock();
        if bare.0 != view {
            *bare = (view, Vec::new());
        }
        if !bare.1.iter().any(|known| **known == *owner) {
            bare.1.push(owner.into());
        }
    }
}

impl GroupInner {
    pub(crate) fn wire_name(&self) -> &Bytes {
        &self.wire_name
    }

    /// A view is about to begin in which others may own what is held here now,
    /// and take it if `keep_lost`.
    pub(crate) fn expect_takers(&self, keep_lost: bool) {
        let lost = keep_lost && self.store.stats().entries > 0;
        self.moved.former.store(lost, Ordering::Release);
    }

    /// Nobody asks any more for what this node has lost.
    pub(crate) fn expect_no_takers(&self) {
        self.moved.former.store(false, Ordering::Release);
    }

    /// One slice of a sweep over entries of earlier numbers: what still stands
    /// carries the current one then, what is void goes; whether more is left.
    pub(crate) fn sweep_slice(&self, walk: &mut Walk) -> bool {
        let view = self.state.peers.view();
        self.store
            .sweep_slice(walk, |key, stamp| self.judge(&view, key, stamp))
    }

    fn judge(&self, view: &View, key: &str, stamp: Stamp) -> Verdict {
        if !is_newer(view.number(), stamp.view) {
            return Verdict::Keep;
        }
        match self.standing(view, key, stamp) {
            Standing::Kept => Verdict::Restamp(Stamp {
                kind: self.kind_now(view, key, stamp),
                view: view.number(),
                ..stamp
            }),
            // It keeps its number, which says since when it has been lost.
            Standing::Lost => Verdict::Keep,
            Standing::Void => Verdict::Drop(EvictReason::Moved),
        }
    }

    /// A gift is owned once a view has followed that makes it so.
    fn kind_now(&self, view: &View, key: &str, stamp: Stamp) -> Kind {
        let slot = || Slot::of(&self.name, key);
        match stamp.kind {
            Kind::Heir if view.inherited(key, slot, stamp.view).is_some() => Kind::Owned,
            kind => kind,
        }
    }

    // ---- a new owner ----

    /// What a member that has left gave for this key, now owned.
    pub(super) fn inherit(&self, key: &str, view: &View) -> Option<Hit> {
        let hit = self.store.hidden(key)?;
        let slot = || Slot::of(&self.name, key);
        let mine = view.inherited(key, slot, hit.stamp.view) == Some(Standing::Kept);
        let stamp = Stamp {
            kind: Kind::Owned,
            view: view.number(),
            ..hit.stamp
        };
        let done = mine && self.store.restamp(key, hit.stamp, stamp);
        done.then_some(Hit { stamp, ..hit })
    }

    /// Whom a new owner asks before it runs the getter (S33).
    pub(super) fn previous_owner(
        &self,
        key: &str,
        start: &LoadStart,
        view: &View,
    ) -> Option<Arc<Link>> {
        // While this node leaves, what it has written is counted anew.
        let leaving = self.state.closing.is_cancelled();
        if !start.owned || leaving || self.is_overtaken(start.slot, view) {
            return None;
        }
        let link = view.previous_owner(key)?;
        if self.moved.is_bare(view.serial(), link.address()) {
            return None;
        }
        if self.state.membership.is_doubtful(view, start.slot) {
            return None;
        }
        link.suspicion().is_none().then(|| link.clone())
    }

    /// This node has written the slot itself since the previous owner could
    /// hear of it.
    fn is_overtaken(&self, slot: Slot, view: &View) -> bool {
        let written = |serial| self.state.generations.is_written(serial, slot);
        written(view.serial()) || (view.joined() && written(view.serial() - 1))
    }

    /// Takes the entry from the previous owner, or goes on to the getter.
    pub(super) fn take_or_load(self: &Arc<Self>, link: Arc<Link>, key: &str, leading: Leading) {
        let (group, key) = (self.clone(), Box::<str>::from(key));
        let take = async move {
            let until = Instant::now() + group.state.take_timeout;
            let taken = match link.take(&group.wire_name, &key, until).await {
                Ok(told) if told.by_unary => group.take_large(&link, &key, told).await,
                taken => taken,
            };
            match taken {
                Ok(taken) => {
                    let kept = group.keep_taken(&leading.flight, leading.start, taken);
                    return leading.flight.complete(Ok(kept));
                }
                Err(CallError::Answered(error)) if error.app_code() == Some(NOTHING_AT_ALL) => {
                    let serial = group.state.peers.view().serial();
                    group.moved.note_bare(serial, link.address());
                }
                Err(_) => {}
            }
            if let Some(token) = group.admit(leading) {
                group.start_with_others(token);
            }
        };
        self.state.runtime.spawn(take.in_current_span());
    }

    /// A large value, of which the link has told how long it is kept.
    async fn take_large(
        &self,
        link: &Link,
        key: &str,
        told: Fetched,
    ) -> Result<Fetched, CallError> {
        let until = Instant::now() + LARGE_TAKES_LONGER * self.state.take_timeout;
        let taken = link.take_large(&self.name, key, until).await?;
        Ok(taken.kept_as_told(told.kept))
    }

    /// Gathers the loads of keys that were asked for together and could not be
    /// taken, so that they are one query of a batch getter all the same.
    fn start_with_others(self: &Arc<Self>, token: LoadToken) {
        let mut waiting = self.moved.waiting.lock();
        waiting.push(token);
        if waiting.len() > 1 {
            return;
        }
        drop(waiting);
        let group = self.clone();
        self.state.runtime.spawn(async move {
            // Those whose answers came in the same message run first.
            tokio::task::yield_now().await;
            let tokens = std::mem::take(&mut *group.moved.waiting.lock());
            group.start_many(tokens);
        });
    }

    fn keep_taken(&self, flight: &Token<Answer>, start: LoadStart, taken: Fetched) -> Served {
        let key = &**flight.key();
        let view = self.state.peers.view();
        let now = self.state.clock.now_ms();
        let expires_at = match taken.kept {
            Some(Lifetime::Left(left)) => Some(now.saturating_add(millis(left))),
            _ => None,
        };
        let stamp = Stamp {
            kind: Kind::Owned,
            view: view.number(),
            generation: start.generation,
            expires_at,
        };
        let stored = taken.kept.is_some()
            && self.is_still_owned(key, start, &view)
            && self.fill(key, &taken.value, stamp, || !flight.is_doomed()) == Put::Stored;
        Served {
            value: taken.value,
            origin: Origin::Normal,
            expires_at,
            lendable: stored,
        }
    }

    // ---- a previous owner ----

    /// Gives a former entry up, if it travels whole; or, when this node has not
    /// heard of the change of view yet, tells the value and keeps the entry.
    pub(crate) fn serve_take(&self, key: &str, form: Form) -> Result<(Hit, bool)> {
        self.state.check_serving()?;
        if let Some(Here::Value(hit, Count::Hit)) = self.here(key)
            && hit.stamp.kind == Kind::Owned
        {
            return Ok((hit, false));
        }
        let view = self.state.peers.view();
        let lost = |hit: &Hit| {
            hit.stamp.kind == Kind::Owned && self.standing(&view, key, hit.stamp) == Standing::Lost
        };
        let former = self.store.get(key).filter(lost);
        let told = |hit: &Hit| form == Form::OfLink && hit.value.len() > MAX_LINK_VALUE;
        if let Some(hit) = former.as_ref().filter(|hit| told(hit)) {
            return Ok((hit.clone(), true));
        }
        match former.and_then(|hit| self.store.take(key, hit.stamp)) {
            Some(hit) => Ok((hit, true)),
            None if !self.moved.former.load(Ordering::Acquire) && !view.owns(key) => {
                Err(Error::not_found(key).with_app_code(NOTHING_AT_ALL))
            }
            None => Err(Error::not_found(key)),
        }
    }

    // ---- a leaver, and those that it gives to ----

    /// The next entries of what this node owns, the most recently used of each
    /// shard first, with what is left of their time; `None` after the last.
    pub(crate) fn next_gifts(&self, walk: &mut Walk) -> Option<Vec<Gift>> {
        let hottest = self.store.hottest(walk)?;
        let now = self.state.clock.now_ms();
        let owned = hottest.into_iter().filter_map(|(key, value, stamp)| {
            let ttl = match stamp.expires_at {
                None => Ttl::Forever,
                Some(at) if at > now => Ttl::After(Duration::from_millis(at - now)),
                Some(_) => return None,
            };
            let owned = stamp.kind == Kind::Owned && self.stands(&key, stamp);
            owned.then_some((key, value, ttl))
        });
        Some(owned.collect())
    }

    /// Keeps what a leaver gives, unseen until it has left; unless this node
    /// knows better.
    pub(crate) fn serve_give(&self, key: &str, value: &Value, ttl: Ttl) -> Result<()> {
        // Nor is anything kept by a node that is leaving itself.
        self.state.check_open()?;
        crate::options::check_key(key)?;
        let slot = Slot::of(&self.name, key);
        let view = self.state.peers.view();
        let held = self.store.get_stale(key);
        let known = held.is_some_and(|hit| self.stands(key, hit.stamp))
            || self.loads.has(key)
            || self.state.generations.is_written(view.serial(), slot);
        if known || value.len() as u64 > self.config.storable {
            return Ok(());
        }
        let stamp = Stamp {
            kind: Kind::Heir,
            view: view.number(),
            generation: self.generation(slot),
            expires_at: match ttl {
                Ttl::After(left) => Some(self.state.clock.now_ms().saturating_add(millis(left))),
                _ => None,
            },
        };
        let stands = || self.generation(slot) == stamp.generation;
        self.fill(key, value, stamp, stands);
        Ok(())
    }
}
