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
use super::{GroupInner, Here, LoadStart, Origin, Served, millis};
use crate::generations::{Slot, Slots};
use crate::getter::Ttl;
use crate::load::LoadToken;
use crate::peers::View;
use crate::peers::call::{CallError, Fetched, Lifetime};
use crate::peers::link::{Link, MAX_LINK_VALUE};
use crate::stats::Count;
use crate::store::{EvictReason, Hit, Kind, Put, Stamp, Verdict};
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
    /// In how many parts the following sweeps are done.
    pub(crate) fn parts(&self) -> usize {
        self.store.parts()
    }

    pub(crate) fn wire_name(&self) -> &Bytes {
        &self.wire_name
    }

    /// Adjusts every entry to the current view: what is owned stays, what was
    /// given is owned now, what was lost is kept for the new owner to take, if
    /// it is to be, and what was borrowed goes.
    pub(crate) fn sweep(&self, part: usize, keep_former: bool) {
        let view = self.state.peers.view();
        let number = view.number();
        self.store.sweep_part(part, |key, stamp| {
            if stamp.view == number {
                return Verdict::Keep;
            }
            let lately = stamp.view.wrapping_add(1) == number;
            let kind = match stamp.kind {
                Kind::Owned | Kind::Absent if view.owns(key) => stamp.kind,
                Kind::Heir if lately && view.owns(key) => Kind::Owned,
                Kind::Owned if lately && keep_former => {
                    self.moved.former.store(true, Ordering::Release);
                    Kind::Former
                }
                _ => return Verdict::Drop(EvictReason::Moved),
            };
            Verdict::Restamp(Stamp {
                kind,
                view: number,
                ..stamp
            })
        });
    }

    /// Nobody asks for former entries any more.
    pub(crate) fn drop_former(&self, part: usize) {
        self.moved.former.store(false, Ordering::Release);
        self.store.sweep_part(part, |_, stamp| match stamp.kind {
            Kind::Former => Verdict::Drop(EvictReason::Moved),
            _ => Verdict::Keep,
        });
    }

    /// Drops what `writer` may have overwritten while it owned these slots, in
    /// the view of the digest. Where this node knows that view, only the keys
    /// that it gave to the writer: a long-lived view has written most slots.
    pub(crate) fn drop_written(&self, part: usize, writer: &str, digest: u64, written: &Slots) {
        let view = self.state.peers.view();
        let known = view.knows(digest);
        self.store.sweep_part(part, |key, _| {
            let theirs = !known
                || view
                    .owner_in(digest, key)
                    .is_some_and(|owner| **owner == *writer);
            if theirs && written.contains(Slot::of(&self.name, key)) {
                Verdict::Drop(EvictReason::Moved)
            } else {
                Verdict::Keep
            }
        });
    }

    // ---- a new owner ----

    /// What a member that has left gave for this key, now owned.
    pub(super) fn inherit(&self, key: &str, view: &View) -> Option<Hit> {
        let hit = self.store.hidden(key)?;
        let number = view.number();
        let mine = hit.stamp.kind == Kind::Heir
            && hit.stamp.view.wrapping_add(1) == number
            && view.owns(key);
        let stamp = Stamp {
            kind: Kind::Owned,
            view: number,
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
        if self.moved.is_bare(view.number(), link.address()) {
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
        let written = |number| self.state.generations.is_written(number, slot);
        written(view.number()) || (view.joined() && written(view.number() - 1))
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
                    let kept = group.keep_taken(&key, leading.start, taken);
                    return leading.flight.complete(Ok(kept));
                }
                Err(CallError::Answered(error)) if error.app_code() == Some(NOTHING_AT_ALL) => {
                    let number = group.state.peers.number();
                    group.moved.note_bare(number, link.address());
                }
                Err(_) => {}
            }
            if let Some(token) = group.admit(&key, leading) {
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

    fn keep_taken(&self, key: &str, start: LoadStart, taken: Fetched) -> Served {
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
            && view.owns(key)
            && self.fill(key, &taken.value, stamp, start.slot) == Put::Stored;
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
        let hidden = self.store.hidden(key);
        let told = |hit: &Hit| form == Form::OfLink && hit.value.len() > MAX_LINK_VALUE;
        if let Some(hit) = hidden.as_ref().filter(|hit| told(hit))
            && hit.stamp.kind == Kind::Former
        {
            return Ok((hit.clone(), true));
        }
        match hidden.and_then(|_| self.store.take(key)) {
            Some(hit) => Ok((hit, true)),
            None if !self.moved.former.load(Ordering::Acquire)
                && !self.state.peers.view().owns(key) =>
            {
                Err(Error::not_found(key).with_app_code(NOTHING_AT_ALL))
            }
            None => Err(Error::not_found(key)),
        }
    }

    // ---- a leaver, and those that it gives to ----

    /// What this node owns, the most recently used first in each shard, with
    /// what is left of its time.
    pub(crate) fn estate(&self) -> Vec<Gift> {
        let now = self.state.clock.now_ms();
        let hottest = self.store.hottest(self.config.max_bytes);
        let owned = hottest.into_iter().filter_map(|(key, value, stamp)| {
            let ttl = match stamp.expires_at {
                None => Ttl::Forever,
                Some(at) if at > now => Ttl::After(Duration::from_millis(at - now)),
                Some(_) => return None,
            };
            (stamp.kind == Kind::Owned).then_some((key, value, ttl))
        });
        owned.collect()
    }

    /// Keeps what a leaver gives, unseen until it has left; unless this node
    /// knows better.
    pub(crate) fn serve_give(&self, key: &str, value: &Value, ttl: Ttl) -> Result<()> {
        // Nor is anything kept by a node that is leaving itself.
        self.state.check_open()?;
        crate::options::check_key(key)?;
        let slot = Slot::of(&self.name, key);
        let number = self.state.peers.number();
        let known = self.store.get_stale(key).is_some()
            || self.loads.has(key)
            || self.state.generations.is_written(number, slot);
        if known || value.len() as u64 > self.config.storable {
            return Ok(());
        }
        let stamp = Stamp {
            kind: Kind::Heir,
            view: number,
            generation: self.state.generations.current(slot),
            expires_at: match ttl {
                Ttl::After(left) => Some(self.state.clock.now_ms().saturating_add(millis(left))),
                _ => None,
            },
        };
        self.fill(key, value, stamp, slot);
        Ok(())
    }
}
