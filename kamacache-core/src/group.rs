//! A Group and all routing policy of get, set and delete, in call order.
//!
//! A Get: look here, else ask the ring; a key of this node is loaded by one
//! flight of getter loads, a key of another is fetched by one flight of peer
//! fetches. Inbound requests of peers join `loads` only, so that an inbound
//! request never waits on an outbound one: one hop at most, never back (S7).
//!
//! Invariants: no lock is held across an await or across user code; a value is
//! stored only if its slot's generation still stands (S20); what a fallback
//! loaded is borrowed, never owned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::Instant;

use crate::flight::{Flights, Role, Token};
use crate::generations::Slot;
use crate::getter::{Getter, Loaded, Ttl};
use crate::load::{LoadScope, LoadToken};
use crate::node::Handle;
use crate::options::{self, GroupConfig};
use crate::peers::link::{CallError, Link};
use crate::peers::{Route, View};
use crate::pending::{Begin, How, Pending, Side, Tally, deadline_after};
use crate::state::State;
use crate::stats::{Count, Counters, Stats};
use crate::store::{EvictReason, Kind, Put, Stamp, Store, StoreOptions, Verdict, jittered};
use crate::{Error, ErrorKind, Result, Value};

/// A namespace of keys with a byte budget and a getter.
///
/// A cheap handle: clones share the group, and keep the node open. Usable from
/// any thread.
#[derive(Clone)]
pub struct Group {
    inner: Arc<GroupInner>,
    _node: Arc<Handle>,
}

/// What a flight ends with.
pub(crate) type Answer = Result<Served>;

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) value: Value,
    /// Loaded here because its owner could not be reached.
    pub(crate) fallback: bool,
}

/// What a load captured before it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadStart {
    slot: Slot,
    generation: u32,
    /// Self owned the key.
    owned: bool,
    begun_ms: u64,
}

impl Group {
    pub(crate) fn new(inner: Arc<GroupInner>, node: Arc<Handle>) -> Self {
        Self { inner, _node: node }
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The value of `key`: from this node's memory, from the key's owner, or
    /// from the getter of the owner.
    ///
    /// # Errors
    /// NotFound when the getter says so; the getter's own failure;
    /// DeadlineExceeded after the node's default timeout; InvalidArgument for a
    /// key that is not 1 to 4,096 bytes; ReentrantLoad inside a getter that is
    /// loading this very key; Closed.
    pub async fn get(&self, key: &str) -> Result<Value> {
        self.get_within(key, None).await
    }

    /// The same with its own timeout; `Duration::MAX` waits forever.
    ///
    /// # Errors
    /// As [`Group::get`].
    pub async fn get_timeout(&self, key: &str, timeout: Duration) -> Result<Value> {
        self.get_within(key, Some(timeout)).await
    }

    async fn get_within(&self, key: &str, timeout: Option<Duration>) -> Result<Value> {
        match self.begin(key, timeout)? {
            Begin::Hit(value) => Ok(value),
            Begin::Lead(token, pending) => {
                self.inner.start(token);
                pending.wait().await
            }
            Begin::Wait(pending) => pending.wait().await,
        }
    }

    /// The first step of a Get, which never blocks: what bindings build on.
    /// `timeout` is the node's default when `None`, and none when
    /// `Duration::MAX`.
    ///
    /// # Errors
    /// What can be refused at once: InvalidArgument, ReentrantLoad, Closed, and
    /// NotFound of a group without getter.
    pub fn begin(&self, key: &str, timeout: Option<Duration>) -> Result<Begin> {
        self.begin_in(None, key, timeout)
    }

    /// The same inside the getter of `scope`, for bindings whose language
    /// carries the scope itself; `None` looks at this thread and task.
    ///
    /// # Errors
    /// As [`Group::begin`].
    pub fn begin_in(
        &self,
        scope: Option<&LoadScope>,
        key: &str,
        timeout: Option<Duration>,
    ) -> Result<Begin> {
        if let Some((value, count)) = self.inner.fresh(key) {
            self.inner.counters.add(count);
            return Ok(Begin::Hit(value));
        }
        self.inner.begin_miss(scope, key, timeout)
    }

    /// Stores `value` at the key's owner, kept as long as the group says.
    ///
    /// # Errors
    /// TooLarge (the old entry is gone); Unavailable or DeadlineExceeded when
    /// the owner did not answer, which may have applied it all the same;
    /// InvalidArgument; UnknownGroup at the owner; Closed.
    pub async fn set(&self, key: &str, value: impl Into<Value>) -> Result<()> {
        self.set_with(key, value, Ttl::Group, None).await
    }

    /// The same with its own time to live and timeout.
    ///
    /// # Errors
    /// As [`Group::set`].
    pub async fn set_with(
        &self,
        key: &str,
        value: impl Into<Value>,
        ttl: Ttl,
        timeout: Option<Duration>,
    ) -> Result<()> {
        self.inner.counters.add(Count::Set);
        let value = value.into();
        let refused = self.inner.check_value(key, &value);
        let write = match (&refused, ttl) {
            (Ok(()), Ttl::NoStore) | (Err(_), _) => Write::Delete,
            (Ok(()), ttl) => Write::Set(value, ttl),
        };
        self.inner.write(key, write, timeout).await?;
        refused
    }

    /// Drops `key` at its owner. Deleting an absent key is fine; loads of it
    /// that are on their way are not kept.
    ///
    /// # Errors
    /// As [`Group::set`], without TooLarge.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.delete_with(key, None).await
    }

    /// The same with its own timeout.
    ///
    /// # Errors
    /// As [`Group::delete`].
    pub async fn delete_with(&self, key: &str, timeout: Option<Duration>) -> Result<()> {
        self.inner.counters.add(Count::Delete);
        self.inner.write(key, Write::Delete, timeout).await
    }

    /// The value if it is in this node's memory now. Never blocks, loads or
    /// asks anybody; counts nothing.
    pub fn peek(&self, key: &str) -> Option<Value> {
        self.inner.fresh(key).map(|(value, _)| value)
    }

    /// Copies the value into `buf` if it is in this node's memory: its length,
    /// or `Err` with the length that `buf` would need.
    pub fn peek_into(&self, key: &str, buf: &mut [u8]) -> Option<Result<usize, usize>> {
        let number = self.inner.state.peers.number();
        let current = |stamp: Stamp| stamp.view == number;
        if let Some(copied) = self.inner.store.peek_into(key, current, buf) {
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

    /// Counters and sizes of this group on this node.
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.inner.name)
            .finish_non_exhaustive()
    }
}

/// A change of one key at its owner.
enum Write {
    Set(Value, Ttl),
    Delete,
}

pub(crate) struct GroupInner {
    name: Arc<str>,
    config: GroupConfig,
    store: Store,
    /// Taken at close, so that the user's data is freed.
    getter: RwLock<Option<Arc<dyn Getter>>>,
    loads: Flights<Answer>,
    fetches: Flights<Answer>,
    counters: Counters,
    state: Arc<State>,
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
        options.clock = state.clock.clone();
        options.on_evict = config.on_evict.clone();
        Self {
            name: name.into(),
            config,
            store: Store::new(options),
            getter: RwLock::new(getter),
            loads: Flights::default(),
            fetches: Flights::default(),
            counters: Counters::new(),
            state,
            warned: AtomicBool::new(false),
        }
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    // ---- get, from the nearest place to the farthest ----

    /// An entry of this node that may be served now, and what it counts as.
    fn fresh(&self, key: &str) -> Option<(Value, Count)> {
        let hit = self.store.get(key)?;
        let number = self.state.peers.number();
        if hit.stamp.view != number && !self.still_owned(key, hit.stamp, number) {
            return None;
        }
        let count = if hit.stamp.kind == Kind::Hot {
            Count::HotHit
        } else {
            Count::Hit
        };
        Some((hit.value, count))
    }

    /// An entry of the previous view counts if it was owned and still is.
    fn still_owned(&self, key: &str, stamp: Stamp, number: u32) -> bool {
        if stamp.kind != Kind::Owned || stamp.view.wrapping_add(1) != number {
            return false;
        }
        let view = self.state.peers.view();
        let owned = view.number() == number && view.owns(key);
        if owned {
            self.store.restamp(
                key,
                stamp,
                Stamp {
                    view: number,
                    ..stamp
                },
            );
        }
        owned
    }

    fn begin_miss(
        self: &Arc<Self>,
        scope: Option<&LoadScope>,
        key: &str,
        timeout: Option<Duration>,
    ) -> Result<Begin> {
        self.check_open()?;
        options::check_key(key)?;
        let mut tally = Tally::start(self, Side::Own);
        let scope = scope.cloned().or_else(LoadScope::current);
        if scope
            .as_ref()
            .is_some_and(|scope| scope.is_loading(&self.name, key))
        {
            let error = Err(self.reentrant(key));
            tally.end(&error);
            return error.map(|served: Served| Begin::Hit(served.value));
        }
        let deadline = self.deadline(scope.as_ref(), timeout);
        let view = self.state.peers.view();
        match view.route(key) {
            Route::Local => self.begin_load(key, &view, deadline, tally, scope),
            Route::Remote(link) => Ok(Begin::Wait(self.begin_fetch(key, link, deadline, tally))),
        }
    }

    /// Joins the load of `key`, or leads it.
    fn begin_load(
        self: &Arc<Self>,
        key: &str,
        view: &View,
        deadline: Option<Instant>,
        mut tally: Tally,
        parent: Option<LoadScope>,
    ) -> Result<Begin> {
        if self.getter.read().is_none() {
            let answer: Answer = self.check_open().and(Err(Error::not_found(key)));
            tally.end(&answer);
            return answer.map(|served| Begin::Hit(served.value));
        }
        let resume = Resume {
            group: self.clone(),
            key: key.into(),
            purpose: Purpose::Load,
        };
        match self.loads.begin(key) {
            Role::Wait(waiter) => Ok(Begin::Wait(Pending::new(
                waiter,
                resume,
                deadline,
                tally.with(How::LoadJoined),
            ))),
            Role::Lead(flight, waiter) => {
                let start = self.load_start(key, view);
                // The previous leader may have finished between our look and
                // our lead (S9).
                if let Some((value, _)) = self.fresh(key) {
                    flight.complete(Ok(Served {
                        value: value.clone(),
                        fallback: false,
                    }));
                    tally.hit();
                    return Ok(Begin::Hit(value));
                }
                let token = self.token(key, flight, start, parent);
                let pending = Pending::new(waiter, resume, deadline, tally.with(How::Loaded));
                Ok(Begin::Lead(token, pending))
            }
        }
    }

    fn load_start(&self, key: &str, view: &View) -> LoadStart {
        let slot = Slot::of(&self.name, key);
        LoadStart {
            slot,
            generation: self.state.generations.current(slot),
            owned: view.owns(key),
            begun_ms: self.state.clock.now_ms(),
        }
    }

    fn token(
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

    /// Hands the duty to load to the getter.
    fn start(&self, token: LoadToken) {
        let getter = self.getter.read().clone();
        match getter {
            Some(getter) => getter.start(token),
            None => token.fail(Error::closed()),
        }
    }

    /// Keeps what a getter answered, if it may be kept; what the waiters get.
    pub(crate) fn finish_load(
        &self,
        key: &str,
        start: LoadStart,
        answer: Result<Option<Loaded>>,
    ) -> Answer {
        match answer {
            Ok(Some(loaded)) => {
                self.keep(key, start, &loaded);
                Ok(Served {
                    value: loaded.value,
                    fallback: false,
                })
            }
            Ok(None) => Err(Error::not_found(key)),
            Err(error) => {
                self.counters.add(Count::LoadError);
                Err(error)
            }
        }
    }

    fn keep(&self, key: &str, start: LoadStart, loaded: &Loaded) {
        if loaded.ttl == Ttl::NoStore || loaded.value.len() as u64 > self.config.storable {
            return;
        }
        let view = self.state.peers.view();
        let (kind, expires_at) = if start.owned && view.owns(key) {
            (Kind::Owned, self.expires_at(loaded.ttl))
        } else {
            let borrowed = start.begun_ms + self.config.fallback_ttl.as_millis() as u64;
            let own = self.expires_at(loaded.ttl).unwrap_or(u64::MAX);
            (Kind::Fallback, Some(own.min(borrowed)))
        };
        let stamp = Stamp {
            kind,
            view: view.number(),
            generation: start.generation,
            expires_at,
        };
        self.store.put_if(key, &loaded.value, stamp, || {
            self.state.generations.current(start.slot) == start.generation
                && self.state.peers.number() == stamp.view
                && !self.state.closed.is_cancelled()
        });
    }

    /// Joins the fetch of `key` from its owner, or sends it in a task of its
    /// own.
    fn begin_fetch(
        self: &Arc<Self>,
        key: &str,
        link: &Arc<Link>,
        deadline: Option<Instant>,
        tally: Tally,
    ) -> Pending {
        let resume = Resume {
            group: self.clone(),
            key: key.into(),
            purpose: Purpose::Fetch,
        };
        let (waiter, how) = match self.fetches.begin(key) {
            Role::Wait(waiter) => (waiter, How::FetchJoined),
            Role::Lead(flight, waiter) => {
                self.spawn_fetch(flight, key, link.clone(), deadline);
                (waiter, How::Fetched)
            }
        };
        Pending::new(waiter, resume, deadline, tally.with(how))
    }

    fn spawn_fetch(
        self: &Arc<Self>,
        flight: Token<Answer>,
        key: &str,
        link: Arc<Link>,
        deadline: Option<Instant>,
    ) {
        let group = self.clone();
        let key: Box<str> = key.into();
        self.state.runtime.spawn(async move {
            match group.fetch(&key, &link, deadline).await {
                Some(answer) => flight.complete(answer),
                // The leader's time is over; a waiter with more goes on.
                None => drop(flight),
            }
        });
    }

    /// Asks the owner. Only a peer that cannot be reached, or that has no such
    /// group, is stood in for: not-found, a failed getter and slowness are its
    /// answers (S13, S25, S8b).
    async fn fetch(
        self: &Arc<Self>,
        key: &str,
        link: &Link,
        deadline: Option<Instant>,
    ) -> Option<Answer> {
        self.counters.add(Count::Fetch);
        let error = match link.get(&self.name, key, deadline).await {
            Ok(fetched) => {
                return Some(Ok(Served {
                    value: fetched.value,
                    fallback: false,
                }));
            }
            Err(error) => error,
        };
        self.counters.add(Count::FetchError);
        match error {
            CallError::Answered(error) if error.kind() == ErrorKind::UnknownGroup => {
                self.warn_unknown(link);
                Some(self.fall_back(key, error).await)
            }
            CallError::Unreachable { error, .. } => Some(self.fall_back(key, error).await),
            CallError::Answered(error) | CallError::NotOwner { error, .. } => Some(Err(error)),
            CallError::Deadline => None,
        }
    }

    /// Loads here in place of the owner; the value is borrowed.
    async fn fall_back(self: &Arc<Self>, key: &str, error: Error) -> Answer {
        if self.getter.read().is_none() {
            return Err(error);
        }
        let value = self.load_here(key).await?;
        Ok(Served {
            value,
            fallback: true,
        })
    }

    /// A load on behalf of a flight of fetches. It waits without a deadline:
    /// those who wait for the fetch have their own.
    async fn load_here(self: &Arc<Self>, key: &str) -> Result<Value> {
        let tally = Tally::start(self, Side::Uncounted);
        let begun = {
            let view = self.state.peers.view();
            self.begin_load(key, &view, None, tally, None)?
        };
        self.complete_here(begun).await
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

    // ---- a peer's get: local only, never forwarded ----

    /// The value, and whether this node owns the key in its own view.
    pub(crate) async fn serve_get(
        self: &Arc<Self>,
        key: &str,
        deadline: Option<Instant>,
    ) -> Result<(Value, bool)> {
        if let Some((value, _)) = self.fresh(key) {
            self.counters.add(Count::PeerHit);
            return Ok((value, self.state.peers.view().owns(key)));
        }
        self.check_open()?;
        options::check_key(key)?;
        let (begun, owned) = {
            let view = self.state.peers.view();
            let tally = Tally::start(self, Side::Peer);
            (
                self.begin_load(key, &view, deadline, tally, None)?,
                view.owns(key),
            )
        };
        Ok((self.complete_here(begun).await?, owned))
    }

    // ---- set and delete ----

    /// Applies a write at the key's owner.
    async fn write(
        self: &Arc<Self>,
        key: &str,
        write: Write,
        timeout: Option<Duration>,
    ) -> Result<()> {
        self.check_open()?;
        options::check_key(key)?;
        let deadline = self.deadline(LoadScope::current().as_ref(), timeout);
        loop {
            let view = arc_swap::Guard::into_inner(self.state.peers.view());
            match view.route(key) {
                Route::Local => self.apply(key, &write, &view)?,
                Route::Remote(link) => self.send(key, &write, link, &view, deadline).await?,
            }
            // A write that straddled a view change is replayed under the new
            // view before it is called done.
            let moved = self.state.peers.view().owner(key) != view.owner(key);
            if !moved {
                return Ok(());
            }
        }
    }

    /// Applies a write here: bump under the shard's lock, then let nobody join
    /// what began before it.
    fn apply(&self, key: &str, write: &Write, view: &View) -> Result<()> {
        let slot = Slot::of(&self.name, key);
        let applied = match write {
            Write::Set(value, ttl) => {
                let stamp = Stamp {
                    kind: Kind::Owned,
                    view: view.number(),
                    generation: self.state.generations.current(slot).wrapping_add(1),
                    expires_at: self.expires_at(*ttl),
                };
                let put = self.store.put_if(key, value, stamp, || {
                    self.state.generations.bump(slot);
                    !self.state.closed.is_cancelled()
                });
                match put {
                    Put::Stored => Ok(()),
                    Put::Refused => Err(Error::closed()),
                    Put::TooLarge => Err(options::too_large(
                        &self.name,
                        key,
                        value.len(),
                        self.config.storable,
                    )),
                }
            }
            Write::Delete => {
                self.store.remove_with(key, EvictReason::Deleted, || {
                    self.state.generations.bump(slot);
                });
                Ok(())
            }
        };
        self.loads.detach(key);
        self.fetches.detach(key);
        applied
    }

    /// Sends a write to the owner, and once more to the one that the receiver
    /// names if views differ.
    async fn send(
        &self,
        key: &str,
        write: &Write,
        link: &Arc<Link>,
        view: &View,
        deadline: Option<Instant>,
    ) -> Result<()> {
        // In every outcome, also when the caller leaves, what was borrowed or
        // is being fetched here is gone before the caller goes on (S17, S18).
        let _forget = Forget { group: self, key };
        let error = match self.send_once(key, write, link, deadline).await {
            Err(CallError::NotOwner {
                owner: Some(owner),
                error,
            }) => match view.link_to(&owner) {
                Some(named) => self
                    .send_once(key, write, named, deadline)
                    .await
                    .map_err(|again| match again {
                        CallError::NotOwner { .. } => CallError::NotOwner { owner: None, error },
                        other => other,
                    }),
                None => Err(CallError::NotOwner { owner: None, error }),
            },
            other => other,
        };
        error.map_err(|error| uncertain(error, key))
    }

    async fn send_once(
        &self,
        key: &str,
        write: &Write,
        link: &Link,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        match write {
            Write::Set(value, ttl) => link.set(&self.name, key, value, *ttl, deadline).await,
            Write::Delete => link.delete(&self.name, key, deadline).await,
        }
    }

    /// Drops what is borrowed of a key, and dooms what is on its way.
    fn forget(&self, key: &str) {
        let slot = Slot::of(&self.name, key);
        self.store.remove_with(key, EvictReason::Deleted, || {
            self.state.generations.bump(slot);
        });
        self.fetches.detach(key);
        self.loads.detach(key);
    }

    // ---- a peer's set and delete ----

    /// Applies a peer's Set here; `Ok(false)`: this node is not the owner.
    pub(crate) fn serve_set(&self, key: &str, value: Value, ttl: Ttl) -> Result<bool> {
        let refused = self.check_value(key, &value);
        let write = match (&refused, ttl) {
            (Ok(()), Ttl::NoStore) | (Err(_), _) => Write::Delete,
            (Ok(()), ttl) => Write::Set(value, ttl),
        };
        let owned = self.serve_write(key, &write)?;
        if owned {
            refused.map(|()| true)
        } else {
            Ok(false)
        }
    }

    /// Applies a peer's Delete here; `Ok(false)`: this node is not the owner.
    pub(crate) fn serve_delete(&self, key: &str) -> Result<bool> {
        self.serve_write(key, &Write::Delete)
    }

    fn serve_write(&self, key: &str, write: &Write) -> Result<bool> {
        self.check_open()?;
        options::check_key(key)?;
        let view = self.state.peers.view();
        if !view.owns(key) {
            return Ok(false);
        }
        self.apply(key, write, &view)?;
        // Ownership that was lost meanwhile is the caller's to follow up.
        Ok(self.state.peers.view().owns(key))
    }

    // ---- life and accounts ----

    /// Adjusts every entry to the current view: what is still owned stays,
    /// what was borrowed or has moved goes.
    pub(crate) fn sweep(&self) {
        let view = self.state.peers.view();
        let number = view.number();
        self.store.sweep(|key, stamp| {
            if stamp.view == number {
                Verdict::Keep
            } else if stamp.kind == Kind::Owned && view.owns(key) {
                Verdict::Restamp(Stamp {
                    view: number,
                    ..stamp
                })
            } else {
                Verdict::Drop(EvictReason::Moved)
            }
        });
    }

    /// Frees the getter and every entry; the node has been marked closed.
    pub(crate) fn close(&self) {
        let getter = self.getter.write().take();
        drop(getter);
        self.store.clear_with(|| {});
    }

    fn stats(&self) -> Stats {
        let store = self.store.stats();
        Stats {
            evictions: store.evictions,
            expirations: store.expirations,
            entries: store.entries,
            hot_entries: store.hot_entries,
            bytes: store.bytes,
            hot_bytes: store.hot_bytes,
            max_bytes: self.config.max_bytes,
            ..Stats::of(&self.counters)
        }
    }

    pub(crate) fn max_value_bytes(&self) -> u64 {
        self.config.max_value_bytes
    }

    fn check_open(&self) -> Result<()> {
        if self.state.closed.is_cancelled() {
            Err(Error::closed())
        } else {
            Ok(())
        }
    }

    fn check_value(&self, key: &str, value: &Value) -> Result<()> {
        if value.len() as u64 <= self.config.storable {
            return Ok(());
        }
        Err(options::too_large(
            &self.name,
            key,
            value.len(),
            self.config.storable,
        ))
    }

    /// A call inside a getter has no more time than the load around it (S16).
    fn deadline(&self, scope: Option<&LoadScope>, timeout: Option<Duration>) -> Option<Instant> {
        let own = deadline_after(timeout.unwrap_or(self.state.default_timeout));
        let around = scope.and_then(LoadScope::deadline);
        match (own, around) {
            (Some(own), Some(around)) => Some(own.min(around)),
            (own, around) => own.or(around),
        }
    }

    /// When a value stored now expires, on the store's clock.
    fn expires_at(&self, ttl: Ttl) -> Option<u64> {
        let ttl = match ttl {
            Ttl::Forever | Ttl::NoStore => return None,
            Ttl::After(ttl) => ttl,
            Ttl::Group if self.config.jitter => jittered(self.config.ttl?, random()),
            Ttl::Group => self.config.ttl?,
        };
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Some(self.state.clock.now_ms().saturating_add(ttl))
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

/// A number that differs from call to call, for jitter.
fn random() -> u64 {
    use std::hash::BuildHasher;
    static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    foldhash::fast::RandomState::default().hash_one(COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Drops what this node borrowed of a key, at the latest when its writer leaves.
struct Forget<'a> {
    group: &'a GroupInner,
    key: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.group.forget(self.key);
    }
}

/// What a writer is told: whether its write may have been applied.
fn uncertain(error: CallError, key: &str) -> Error {
    match error {
        CallError::Answered(error) | CallError::NotOwner { error, .. } => error,
        CallError::Unreachable { error, sent } => {
            let applied = if sent {
                "the write may have been applied"
            } else {
                "nothing was written"
            };
            let told = Error::new(error.kind(), format!("{}; {applied}", error.message()));
            match error.peer() {
                Some(peer) => told.with_peer(peer),
                None => told,
            }
        }
        CallError::Deadline => {
            let error = Error::deadline(key);
            Error::new(
                error.kind(),
                format!("{}; the write may have been applied", error.message()),
            )
        }
    }
}

/// How a promoted waiter goes on with what its leader gave up.
pub(crate) struct Resume {
    group: Arc<GroupInner>,
    key: Box<str>,
    purpose: Purpose,
}

#[derive(Clone, Copy)]
enum Purpose {
    Load,
    Fetch,
}

impl Resume {
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Runs the load by the getter, or the fetch from whoever owns the key now.
    pub(crate) fn run(&self, flight: Token<Answer>, deadline: Option<Instant>) {
        let group = &self.group;
        let view = group.state.peers.view();
        match (self.purpose, view.route(&self.key)) {
            (Purpose::Load, _) => {
                let start = group.load_start(&self.key, &view);
                group.start(group.token(&self.key, flight, start, None));
            }
            (Purpose::Fetch, Route::Remote(link)) => {
                group.spawn_fetch(flight, &self.key, link.clone(), deadline)
            }
            // The key has become ours meanwhile.
            (Purpose::Fetch, Route::Local) => {
                let (group, key) = (group.clone(), self.key.clone());
                group.state.runtime.clone().spawn(async move {
                    let answer = group.load_here(&key).await;
                    flight.complete(answer.map(|value| Served {
                        value,
                        fallback: false,
                    }));
                });
            }
        }
    }
}
