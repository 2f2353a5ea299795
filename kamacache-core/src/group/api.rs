//! The public handle of a group: names, defaults and docs; what happens is in
//! the parent file.

use std::sync::Arc;
use std::time::Duration;

use super::{Door, GroupInner, Lead};
use crate::getter::{Getter, Ttl};
use crate::latency::{Latency, LatencyKind};
use crate::load::LoadScope;
use crate::near::{Freshness, Near};
use crate::node::Handle;
use crate::pending::Begin;
use crate::stats::{Count, Stats};
use crate::{Result, Value};

/// A namespace of keys with a byte budget and a getter.
///
/// A cheap handle: clones share the group, and keep the node open. Usable from
/// any thread.
#[derive(Clone)]
pub struct Group {
    inner: Arc<GroupInner>,
    _node: Arc<Handle>,
}

impl Group {
    pub(crate) fn new(inner: Arc<GroupInner>, node: Arc<Handle>) -> Self {
        Self { inner, _node: node }
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// The value of `key`: from this node's memory, from the key's owner, or
    /// from the getter of the owner.
    ///
    /// # Errors
    /// NotFound when the getter says so; the getter's own failure;
    /// DeadlineExceeded after the node's default timeout; InvalidArgument for a
    /// key that is not 1 to 4,096 bytes; ReentrantLoad inside a getter that is
    /// loading this very key; Overloaded; Closed.
    pub async fn get(&self, key: &str) -> Result<Value> {
        self.inner.get(key, None).await
    }

    /// The same with its own timeout; `Duration::MAX` waits forever.
    ///
    /// # Errors
    /// As [`Group::get`].
    pub async fn get_timeout(&self, key: &str, timeout: Duration) -> Result<Value> {
        self.inner.get(key, Some(timeout)).await
    }

    /// Many keys at once: one pass over what is here, one message to each other
    /// owner, one call of a batch getter for what this node has to load. The
    /// results are in the order of the keys; a bad key or peer fails its own
    /// keys only. `timeout` is the node's default when `None`.
    pub async fn get_many(
        &self,
        keys: &[impl AsRef<str>],
        timeout: Option<Duration>,
    ) -> Vec<Result<Value>> {
        self.inner.get_many(keys, timeout).await
    }

    /// Copies the value into `buf`, counted as a hit, if it is an entry of this
    /// node and fits: its length. `None` counts nothing and says nothing about
    /// the key: go on with [`Group::begin`]. For bindings, whose own calls cost
    /// more than a copy of a small value.
    pub fn hit_into(&self, key: &str, buf: &mut [u8]) -> Option<usize> {
        self.inner.hit_into(key, buf)
    }

    /// Copies the value into `buf` if it is an entry that this node owns and
    /// fits, with what it takes to know how long the copy stands; see [`Near`].
    /// Counts `hits`: those of copies since the last call, and this one if it
    /// is a Get. For bindings.
    pub fn near_into(&self, key: &str, hits: u64, buf: &mut [u8]) -> Option<Near> {
        self.inner.near_into(key, hits, buf)
    }

    /// What near copies of this group are checked against.
    pub fn freshness(&self) -> Freshness {
        self.inner.freshness()
    }

    /// Counts hits of copies that nothing else has reported.
    pub fn add_hits(&self, hits: u64) {
        self.inner.counters().add_many(Count::Hit, hits);
    }

    /// How many bytes of near copies a binding may keep of this group: an
    /// eighth of `max_bytes` and at most 1 MiB; none with `strict`, which has
    /// to see every hit.
    pub fn near_room(&self) -> u64 {
        self.inner.near_room()
    }

    /// The first step of a Get, which never blocks: what bindings build on.
    /// `timeout` is the node's default when `None`, and none when
    /// `Duration::MAX`.
    ///
    /// # Errors
    /// What can be refused at once: InvalidArgument, ReentrantLoad, Closed,
    /// Overloaded, and NotFound of a group without getter.
    pub fn begin(&self, key: &str, timeout: Option<Duration>) -> Result<Begin> {
        self.inner.begin(None, key, timeout, Lead::Here)
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
        self.inner.begin(scope, key, timeout, Lead::Here)
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
        let value = value.into();
        self.inner
            .set(Door::Program, key, value, ttl, timeout)
            .await
    }

    /// Many Sets at once, each with a result of its own, in the order given.
    pub async fn set_many(
        &self,
        entries: impl IntoIterator<Item = (impl AsRef<str>, impl Into<Value>)>,
        ttl: Ttl,
        timeout: Option<Duration>,
    ) -> Vec<Result<()>> {
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect();
        let sets = entries.iter().map(|(key, value)| {
            let (key, value) = (key.as_ref(), value.clone());
            self.inner.set(Door::Program, key, value, ttl, timeout)
        });
        futures_util::future::join_all(sets).await
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
        self.inner.delete(Door::Program, key, timeout).await
    }

    /// Drops every entry of the group on every member; loads on their way are
    /// not kept.
    ///
    /// # Errors
    /// Unavailable, naming the members that did not acknowledge; they are told
    /// when they are reached again, before anything else. Closed.
    pub async fn clear(&self, timeout: Option<Duration>) -> Result<()> {
        self.inner.clear(timeout).await
    }

    /// The value if it is in this node's memory now. Never blocks, loads or
    /// asks anybody; counts nothing.
    pub fn peek(&self, key: &str) -> Option<Value> {
        self.inner.peek(key)
    }

    /// Copies the value into `buf` if it is in this node's memory: its length,
    /// or `Err` with the length that `buf` would need.
    pub fn peek_into(&self, key: &str, buf: &mut [u8]) -> Option<Result<usize, usize>> {
        self.inner.peek_into(key, buf)
    }

    /// Gives the group a getter, or another one: for bindings whose functions
    /// register one by one with a group that was opened without. Loads on their
    /// way are not moved.
    ///
    /// # Errors
    /// Closed.
    pub fn set_getter(&self, getter: Arc<dyn Getter>) -> Result<()> {
        self.inner.set_getter(getter)
    }

    /// Counters and sizes of this group on this node.
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    /// The keys that are hit most on this node, by it and by its peers, and
    /// about how often lately; at most 32. One hit in 1,024 is looked at, so a
    /// key that is hit seldom may be missing.
    pub fn hot_keys(&self, count: usize) -> Vec<(String, u64)> {
        self.inner.hot_keys(count)
    }

    /// How long hits, loads or fetches of this group took on this node.
    pub fn latency(&self, kind: LatencyKind) -> Latency {
        self.inner.latency(kind)
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
