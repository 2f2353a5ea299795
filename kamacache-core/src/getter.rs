//! What a user plugs in: the [`Getter`] that loads a missing key from the real
//! data source, and what it is given and answers with.
//!
//! Invariant: a getter never runs under a lock of kamacache.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::BoxError;
use crate::load::{LoadScope, LoadToken};
use crate::state::State;
use crate::{Error, Group, Result, Value};

/// A boxed future, as [`Getter::load`] returns it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How long a value is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// The group's own.
    #[default]
    Group,
    /// Exactly this long, without jitter.
    After(Duration),
    /// Until it is evicted, replaced or deleted.
    Forever,
    /// Not at all: answer those who wait, keep nothing.
    NoStore,
}

impl Ttl {
    /// The milliseconds of the wire and the C ABI: 0 is the group's, 2^64-1
    /// forever, 2^64-2 not at all.
    pub fn from_wire_ms(ms: u64) -> Self {
        match ms {
            0 => Self::Group,
            u64::MAX => Self::Forever,
            NO_STORE => Self::NoStore,
            ms => Self::After(Duration::from_millis(ms)),
        }
    }

    /// The inverse of [`Ttl::from_wire_ms`]; a duration below 1 ms is 1 ms.
    pub fn to_wire_ms(self) -> u64 {
        match self {
            Self::Group => 0,
            Self::Forever => u64::MAX,
            Self::NoStore => NO_STORE,
            Self::After(ttl) => u64::try_from(ttl.as_millis())
                .unwrap_or(u64::MAX)
                .clamp(1, NO_STORE - 1),
        }
    }
}

const NO_STORE: u64 = u64::MAX - 1;

/// A getter's answer for a key that exists.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The value's bytes.
    pub value: Value,
    /// How long to keep it.
    pub ttl: Ttl,
}

impl Loaded {
    /// This value, kept as long as the group says.
    pub fn new(value: impl Into<Value>) -> Self {
        Self {
            value: value.into(),
            ttl: Ttl::Group,
        }
    }

    /// The same value with its own time to live.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }
}

impl<V: Into<Value>> From<V> for Loaded {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

/// Loads missing keys from the real data source.
///
/// Getters of one group must be equivalent on all nodes: whichever node owns a
/// key runs its own. A getter may ask kamacache for other keys; asking for the
/// very key it is loading is refused with ReentrantLoad, and a cycle through
/// several keys ends at the deadline. It takes the group of those keys from
/// [`LoadContext::find_group`].
pub trait Getter: Send + Sync + 'static {
    /// Loads `ctx.key()`. `Ok(None)` says that the key does not exist.
    ///
    /// The future runs in a task of its own: no caller's cancellation stops it.
    fn load(&self, ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>>;

    /// Loads several keys with one query, where the data source can do that:
    /// the answers in the order of `ctxs`, `None` for a key that does not
    /// exist. `None` (the default): each key is loaded by [`Getter::load`].
    fn load_many(&self, ctxs: Vec<LoadContext>) -> Option<BoxFuture<Result<Vec<Option<Loaded>>>>> {
        let _ = ctxs;
        None
    }

    /// Takes over the duty to load several keys at once. The default runs
    /// [`Getter::load_many`] in a task, or each key's [`Getter::start`].
    fn start_many(self: Arc<Self>, tokens: Vec<LoadToken>) {
        let ctxs = tokens.iter().map(|token| token.context().clone()).collect();
        match catch_unwind(AssertUnwindSafe(|| self.load_many(ctxs))) {
            Ok(Some(load)) => LoadToken::spawn_many(tokens, load),
            Ok(None) => tokens
                .into_iter()
                .for_each(|token| self.clone().start(token)),
            Err(panic) => {
                let error = crate::load::panicked(&*panic);
                tokens
                    .into_iter()
                    .for_each(|token| token.fail(error.clone()));
            }
        }
    }

    /// Takes over the duty to load one key. The default runs [`Getter::load`]
    /// in a task and turns a panic into an error.
    ///
    /// This is the door for language bindings. It is called on a runtime
    /// worker: hand the token over and return at once.
    fn start(self: Arc<Self>, token: LoadToken) {
        token.spawn(self);
    }
}

/// What a getter is told about the load.
#[derive(Clone)]
pub struct LoadContext {
    scope: LoadScope,
    state: Weak<State>,
}

impl LoadContext {
    pub(crate) fn new(scope: LoadScope, state: &Arc<State>) -> Self {
        let state = Arc::downgrade(state);
        Self { scope, state }
    }

    /// A group of the node that loads, this one or another, for the other keys
    /// that a value is made of. A getter that holds a [`Group`] or
    /// [`Node`](crate::Node) of its own instead keeps that node open until
    /// somebody calls `close`, because the node holds the getter.
    ///
    /// # Errors
    /// UnknownGroup; Closed, also when the last handle to the node is gone.
    pub fn find_group(&self, name: &str) -> Result<Group> {
        let state = self.state.upgrade().ok_or_else(Error::closed)?;
        let handle = state.handle.get().and_then(Weak::upgrade);
        state.check_open()?;
        Ok(Group::new(
            state.find(name)?,
            handle.ok_or_else(Error::closed)?,
        ))
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        self.scope.group()
    }

    /// The key to load.
    pub fn key(&self) -> &str {
        self.scope.key()
    }

    /// When the load is given up; `None` is never.
    pub fn deadline(&self) -> Option<Instant> {
        self.scope.deadline().map(tokio::time::Instant::into_std)
    }

    /// The time left until then.
    pub fn time_left(&self) -> Option<Duration> {
        let deadline = self.scope.deadline()?;
        Some(deadline.saturating_duration_since(tokio::time::Instant::now()))
    }

    /// Which keys the current code is loading: what a binding carries along in
    /// its language's own task context.
    pub fn scope(&self) -> &LoadScope {
        &self.scope
    }
}

impl std::fmt::Debug for LoadContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadContext")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// A getter from an async closure. An error of any type becomes GetterFailed
/// with its text; a [`crate::Error`] stays what it is.
pub fn getter_fn<F, Fut, L, E>(load: F) -> impl Getter
where
    F: Fn(LoadContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<L>, E>> + Send + 'static,
    L: Into<Loaded> + 'static,
    E: Into<BoxError> + 'static,
{
    AsyncFn(load)
}

/// A getter from a blocking closure. It runs on a thread of the node's own pool,
/// of `getter_threads` threads.
pub fn blocking_getter<F, L, E>(load: F) -> impl Getter
where
    F: Fn(LoadContext) -> Result<Option<L>, E> + Send + Sync + 'static,
    L: Into<Loaded> + 'static,
    E: Into<BoxError> + 'static,
{
    BlockingFn(Arc::new(load))
}

struct AsyncFn<F>(F);

impl<F, Fut, L, E> Getter for AsyncFn<F>
where
    F: Fn(LoadContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<L>, E>> + Send + 'static,
    L: Into<Loaded> + 'static,
    E: Into<BoxError> + 'static,
{
    fn load(&self, ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        let answer = (self.0)(ctx);
        Box::pin(async move { convert(answer.await) })
    }
}

struct BlockingFn<F>(Arc<F>);

impl<F, L, E> Getter for BlockingFn<F>
where
    F: Fn(LoadContext) -> Result<Option<L>, E> + Send + Sync + 'static,
    L: Into<Loaded> + 'static,
    E: Into<BoxError> + 'static,
{
    fn load(&self, ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        let load = self.0.clone();
        Box::pin(async move { convert(load(ctx)) })
    }

    fn start(self: Arc<Self>, token: LoadToken) {
        token.spawn_blocking(move |ctx| convert((self.0)(ctx)));
    }
}

fn convert<L: Into<Loaded>, E: Into<BoxError>>(
    answer: Result<Option<L>, E>,
) -> Result<Option<Loaded>> {
    match answer {
        Ok(loaded) => Ok(loaded.map(Into::into)),
        Err(error) => Err(into_error(error.into())),
    }
}

fn into_error(error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => *ours,
        Err(theirs) => Error::getter(theirs.to_string()).with_source(theirs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls_travel() {
        for ttl in [
            Ttl::Group,
            Ttl::Forever,
            Ttl::NoStore,
            Ttl::After(Duration::from_millis(7)),
        ] {
            assert_eq!(Ttl::from_wire_ms(ttl.to_wire_ms()), ttl);
        }
        assert_eq!(Ttl::After(Duration::ZERO).to_wire_ms(), 1);
        assert_eq!(Ttl::After(Duration::MAX).to_wire_ms(), NO_STORE - 1);
    }
}
