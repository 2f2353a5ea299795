//! All routing policy of a group's get, set, delete and clear, in call order.
//!
//! A Get: look here, else ask the ring; a key of this node is loaded by one
//! flight of getter loads, a key of another is fetched by one flight of peer
//! fetches. Inbound requests of peers join `loads` only, so that an inbound
//! request never waits on an outbound one: one hop at most, never back (S7).
//!
//! Invariants: no lock is held across an await or across user code; a value is
//! stored only if no write has doomed its load, or voided its slot for a copy
//! (S20); what a fallback
//! loaded is borrowed, never owned; a hot copy is served only under its
//! owner's lease (S21).

mod api;
mod care;
mod clear;
#[cfg(feature = "admin")]
mod explain;
mod far;
mod fetch;
mod keep;
mod lead;
mod many;
mod moved;
mod near;
mod resume;
mod serve;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::time::Instant;

pub use self::api::Group;
use self::moved::Moved;
pub(crate) use self::moved::{Form, Gift};
use self::resume::Purpose;
pub(crate) use self::resume::Resume;
pub(crate) use self::serve::ServedGet;
pub(crate) use self::write::Door;
use crate::flight::Flights;
use crate::generations::Slot;
use crate::getter::Getter;
use crate::heat::Heat;
use crate::hot_keys::HotKeys;
use crate::latency::{Histograms, LatencyKind};
use crate::limit::Limit;
use crate::load::{Caller, LoadScope};
use crate::options::{self, GroupConfig};
use crate::peers::link::Link;
use crate::peers::{Route, Standing, View, is_newer};
use crate::pending::{Begin, Side, Tally, deadline_from};
use crate::state::State;
use crate::stats::{Count, Counters};
use crate::store::{EvictHook, Hit, Kind, Stamp, Store, StoreOptions};
use crate::{Error, ErrorKind, Result, Value};

/// What a flight ends with.
pub(crate) type Answer = Result<Served>;

/// A value and what is known about it.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
    /// When it expires, on the node's clock.
    pub(crate) expires_at: Option<u64>,
    /// A peer may keep a copy of it.
    pub(crate) lendable: bool,
}

/// How a value came to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Normal,
    /// Loaded here because its owner could not be reached.
    Fallback,
    /// Expired, and served because its refresh failed.
    Stale,
}

/// What a load captured before it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadStart {
    slot: Slot,
    generation: u32,
    /// Self owned the key as of this number of the view.
    owned: bool,
    view: u32,
    begun_ms: u64,
    began: std::time::Instant,
}

/// Where the getter of a load may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// The caller runs it itself, at once (S11): nobody else is asked first.
    Here,
    /// The load is handed on, and may be taken from a previous owner (S33).
    Anywhere,
}

/// An entry of this node that may be served now.
enum Here {
    Value(Hit, Count),
    /// The getter said a moment ago that there is none.
    Absent,
}

pub(crate) struct GroupInner {
    name: Arc<str>,
    /// The name as requests carry it.
    wire_name: Bytes,
    config: GroupConfig,
    store: Store,
    /// Taken at close, so that the user's data is freed.
    getter: RwLock<Option<Arc<dyn Getter>>>,
    loads: Flights<Answer>,
    /// Those begun outside of any getter, and those begun inside one, which must
    /// not join a fetch that waits for a permit at the owner (S16).
    fetches: [Flights<Answer>; 2],
    limit: Option<Arc<Limit>>,
    heat: Heat,
    hot_keys: HotKeys,
    counters: Counters,
    latencies: Histograms,
    state: Arc<State>,
    moved: Moved,
    /// Grows with every clear; see `generations.rs`.
    clears: Arc<AtomicU32>,
    warned: AtomicBool,
}

impl GroupInner {
    pub(crate) fn new(
        name: &str,
        config: GroupConfig,
        getter: Option<Arc<dyn Getter>>,
        state: Arc<State>,
    ) -> Self {
        let mut options = StoreOptions::new(config.max_bytes);
        options.policy = config.policy;
        options.strict = config.strict;
        options.keep_stale_ms = millis(config.stale_while_revalidate.max(config.stale_if_error));
        options.clock = state.clock.clone();
        options.on_evict = config.on_evict.clone().map(|hook| guarded(name, hook));
        Self {
            name: name.into(),
            wire_name: Bytes::copy_from_slice(name.as_bytes()),
            limit: config.max_concurrent_loads.map(Limit::new),
            config,
            store: Store::new(options),
            getter: RwLock::new(getter),
            loads: Flights::default(),
            fetches: Default::default(),
            heat: Heat::new(),
            hot_keys: HotKeys::default(),
            counters: Counters::new(),
            latencies: Histograms::new(),
            state,
            moved: Moved::default(),
            clears: Arc::default(),
            warned: AtomicBool::new(false),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn limit(&self) -> Option<&Arc<Limit>> {
        self.limit.as_ref()
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    // ---- get, from the nearest place to the farthest ----

    pub(crate) async fn get(
        self: &Arc<Self>,
        key: &str,
        timeout: Option<Duration>,
    ) -> Result<Value> {
        let begun = self.begin(None, key, timeout, Lead::Anywhere)?;
        self.complete_here(begun).await
    }

    /// A plain client's Get, routed as the program's own, and served to its end
    /// while this node leaves (S37).
    pub(crate) async fn get_for_client(
        self: &Arc<Self>,
        key: &str,
        timeout: Duration,
    ) -> Result<Value> {
        let _under_way = self.state.routed.token();
        let begun = match self.begin(None, key, Some(timeout), Lead::Anywhere)? {
            Begin::Wait(pending) => Begin::Wait(pending.for_client()),
            Begin::Lead(token, pending) => Begin::Lead(token, pending.for_client()),
            hit => hit,
        };
        self.complete_here(begun).await
    }

    pub(crate) fn begin(
        self: &Arc<Self>,
        scope: Option<&LoadScope>,
        key: &str,
        timeout: Option<Duration>,
        lead: Lead,
    ) -> Result<Begin> {
        match self.answer_here(key) {
            Some(answer) => answer.map(Begin::Hit),
            None => self.begin_miss(scope, key, timeout, lead),
        }
    }

    /// A Get's answer, if it is here.
    #[inline]
    fn answer_here(&self, key: &str) -> Option<Result<Value>> {
        Some(match self.look(key)? {
            Here::Value(hit, _) => Ok(hit.value),
            Here::Absent => {
                self.counters.add(Count::NegativeHit);
                Err(Error::not_found(key))
            }
        })
    }

    /// What is here for a Get; a value is counted and, now and then, timed.
    #[inline]
    fn look(&self, key: &str) -> Option<Here> {
        let sampled = self
            .counters
            .is_sample(Count::Hit)
            .then(std::time::Instant::now);
        let here = self.here(key)?;
        if let Here::Value(_, count) = &here {
            self.counters.add(*count);
            if let Some(began) = sampled {
                self.latencies.record(LatencyKind::Hit, began.elapsed());
                self.hot_keys.note(key);
            }
        }
        Some(here)
    }

    /// An entry of this node that may be served now.
    fn here(&self, key: &str) -> Option<Here> {
        let hit = self.store.get(key)?;
        if hit.stamp.view != self.state.peers.number() && !self.refresh_stamp(key, hit.stamp) {
            return None;
        }
        match hit.stamp.kind {
            Kind::Absent => Some(Here::Absent),
            Kind::Hot if !self.may_serve_copy(key, hit.stamp) => None,
            Kind::Hot => Some(Here::Value(hit, Count::HotHit)),
            Kind::Owned | Kind::Fallback => Some(Here::Value(hit, Count::Hit)),
            Kind::Heir => None,
        }
    }

    /// A hot copy counts while its generation stands and its owner's lease
    /// lasts (S21).
    fn may_serve_copy(&self, key: &str, stamp: Stamp) -> bool {
        match self.state.peers.view().route(key) {
            Route::Remote(link) => {
                self.generation_of_copy(Slot::of(&self.name, key), link) == stamp.generation
                    && link.has_lease(self.state.clock.now_ms())
            }
            Route::Local => false,
        }
    }

    /// What a fill is checked against: moves with every write to the slot and
    /// with every clear of the group.
    fn generation(&self, slot: Slot) -> u32 {
        let generation = self.state.generations.current(slot);
        generation.wrapping_add(self.clears.load(Ordering::Acquire))
    }

    /// What a copy is checked against: also the link's epoch, which grows when
    /// what was borrowed over it ends. A copy whose key has another owner now,
    /// and so another link, is known by its view.
    fn generation_of_copy(&self, slot: Slot, link: &Link) -> u32 {
        self.generation(slot).wrapping_add(link.epoch())
    }

    /// Everything that was borrowed is void, and so is what is on its way.
    pub(crate) fn void_copies(&self) {
        self.clears.fetch_add(1, Ordering::AcqRel);
    }

    /// What became of an entry since the number that it carries.
    fn standing(&self, view: &View, key: &str, stamp: Stamp) -> Standing {
        let slot = || Slot::of(&self.name, key);
        match stamp.kind {
            Kind::Owned => view.standing(key, slot, stamp.view),
            Kind::Absent => match view.standing(key, slot, stamp.view) {
                Standing::Kept => Standing::Kept,
                Standing::Lost | Standing::Void => Standing::Void,
            },
            Kind::Hot if view.is_still_lent(key, slot, stamp.view) => Standing::Kept,
            Kind::Hot | Kind::Fallback => Standing::Void,
            Kind::Heir => view
                .inherited(key, slot, stamp.view)
                .unwrap_or(Standing::Kept),
        }
    }

    /// Whether an entry of an earlier number still stands; it carries the
    /// current one then.
    fn refresh_stamp(&self, key: &str, stamp: Stamp) -> bool {
        let view = self.state.peers.view();
        let number = view.number();
        let stands = self.standing(&view, key, stamp) == Standing::Kept;
        if stands && is_newer(number, stamp.view) {
            let refreshed = Stamp {
                view: number,
                ..stamp
            };
            self.store.restamp(key, stamp, refreshed);
        }
        stands
    }

    fn begin_miss(
        self: &Arc<Self>,
        scope: Option<&LoadScope>,
        key: &str,
        timeout: Option<Duration>,
        lead: Lead,
    ) -> Result<Begin> {
        self.state.check_open()?;
        options::check_key(key)?;
        let mut tally = Tally::start(self, Side::Own);
        let caller = Caller::of(scope);
        let scope = caller.scope();
        if scope.is_some_and(|scope| scope.is_loading(&self.name, key)) {
            return Err(tally.refuse(self.reentrant(key)));
        }
        let now = Instant::now();
        let deadline = self.deadline(scope, timeout, now);
        let view = self.state.peers.view();
        match view.route(key) {
            Route::Local => self.begin_load(key, &view, deadline, tally, caller, lead),
            Route::Remote(link) => {
                let pending = self.begin_fetch(key, link, deadline, now, tally, caller);
                Ok(Begin::Wait(pending))
            }
        }
    }

    async fn complete_here(&self, begun: Begin) -> Result<Value> {
        match begun {
            Begin::Hit(value) => Ok(value),
            Begin::Wait(pending) => pending.wait().await,
            Begin::Lead(token, pending) => {
                self.start(token);
                pending.wait().await
            }
        }
    }

    // ---- local reads ----

    pub(crate) fn peek(&self, key: &str) -> Option<Value> {
        match self.here(key)? {
            Here::Value(hit, _) => Some(hit.value),
            Here::Absent => None,
        }
    }

    pub(crate) fn peek_into(&self, key: &str, buf: &mut [u8]) -> Option<Result<usize, usize>> {
        let number = self.state.peers.number();
        let plain = |stamp: Stamp| stamp.view == number && stamp.kind == Kind::Owned;
        if let Some(copied) = self.store.peek_into(key, plain, buf) {
            return Some(copied);
        }
        let value = self.peek(key)?;
        Some(match buf.get_mut(..value.len()) {
            Some(room) => {
                room.copy_from_slice(&value);
                Ok(value.len())
            }
            None => Err(value.len()),
        })
    }

    /// `peek_into` as a Get: counted as a hit. One that is to be timed, a copy
    /// of another owner's value, and what does not fit are left to `begin`.
    pub(crate) fn hit_into(&self, key: &str, buf: &mut [u8]) -> Option<usize> {
        if self.counters.is_sample(Count::Hit) {
            return None;
        }
        let number = self.state.peers.number();
        let plain = |stamp: Stamp| stamp.view == number && stamp.kind == Kind::Owned;
        let len = self.store.peek_into(key, plain, buf)?.ok()?;
        self.counters.add(Count::Hit);
        Some(len)
    }

    /// A call inside a getter has no more time than the load around it (S16).
    fn deadline(
        &self,
        scope: Option<&LoadScope>,
        timeout: Option<Duration>,
        now: Instant,
    ) -> Option<Instant> {
        let own = deadline_from(now, timeout.unwrap_or(self.state.default_timeout));
        let around = scope.and_then(LoadScope::deadline);
        match (own, around) {
            (Some(own), Some(around)) => Some(own.min(around)),
            (own, around) => own.or(around),
        }
    }

    fn reentrant(&self, key: &str) -> Error {
        Error::new(
            ErrorKind::ReentrantLoad,
            format!(
                "the getter of group {:?} asked for key {:?} while it is loading that very key; \
                 read the data source instead",
                &*self.name,
                crate::error::Short(key)
            ),
        )
    }
}

/// The user's hook, whose panics end nothing of ours: it is called wherever an
/// entry leaves, also by what looks after the groups.
fn guarded(group: &str, hook: EvictHook) -> EvictHook {
    let group: Box<str> = group.into();
    Arc::new(move |key, value, reason| {
        if catch_unwind(AssertUnwindSafe(|| hook(key, value, reason))).is_err() {
            tracing::error!(
                group = &*group,
                "on_evict panicked; the entry has left all the same"
            );
        }
    })
}

fn millis(duration: impl Into<Option<Duration>>) -> u64 {
    duration.into().map_or(0, |duration| {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    })
}
