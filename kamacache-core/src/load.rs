//! One load of one key: the token that carries the duty, and the scope that
//! says which keys the running code is loading (S16).
//!
//! Invariant: a token is answered once; what the answer does to the cache is
//! decided in `group.rs`.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::span::EnteredSpan;
use tracing::{Instrument, Span};

use crate::error::Short;
use crate::flight::Token;
use crate::getter::{BoxFuture, Getter, LoadContext, Loaded};
use crate::group::{Answer, GroupInner, LoadStart};
use crate::limit::{Held, Running};
use crate::sync::Mutex;
use crate::{Error, Result};

/// The duty to load one key of a group.
///
/// Answer it exactly once, from any thread, with [`complete`](Self::complete),
/// [`not_found`](Self::not_found) or [`fail`](Self::fail). Dropping it
/// unanswered hands the duty to another waiter.
pub struct LoadToken {
    ctx: LoadContext,
    group: Arc<GroupInner>,
    /// `None` once it has been answered.
    flight: Option<Token<Answer>>,
    start: LoadStart,
    /// Of the group's limit on concurrent getters; given back with the answer.
    permit: Option<Arc<Held>>,
    /// Of the load, open until it is answered.
    span: Span,
}

/// A token that a panic drops has a getter that panicked before it could answer
/// (S12): another waiter would only meet the same panic.
impl Drop for LoadToken {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(flight) = self.flight.take()
        {
            flight.complete(Err(Error::panicked("the getter panicked")));
        }
    }
}

impl LoadToken {
    pub(crate) fn new(
        group: Arc<GroupInner>,
        flight: Token<Answer>,
        start: LoadStart,
        scope: LoadScope,
    ) -> Self {
        let key = Short(scope.key());
        let span = tracing::debug_span!("load", group = group.name(), ?key);
        Self {
            ctx: LoadContext::new(scope, group.state()),
            group,
            flight: Some(flight),
            start,
            permit: None,
            span,
        }
    }

    pub(crate) fn with_permit(mut self, permit: Option<OwnedSemaphorePermit>) -> Self {
        let limit = self.group.limit();
        self.permit = limit.zip(permit).map(|(limit, permit)| limit.hold(permit));
        self
    }

    /// The key, the group and the time left.
    pub fn context(&self) -> &LoadContext {
        &self.ctx
    }

    /// The node was closed or the load was given up: nobody waits for the
    /// answer any more, and it would not be kept.
    pub fn is_cancelled(&self) -> bool {
        let reaped = self.flight.as_ref().is_some_and(Token::is_reaped);
        self.group.state().closed.is_cancelled() || reaped
    }

    /// Calls `hook` once, on whatever thread, when the value of this load will
    /// not be kept: its key was set, deleted or cleared, or it has taken too
    /// long; at once if that was before. Those who wait still get the answer.
    /// The hook returns at once and does not call into the group.
    pub fn on_unwanted(&self, hook: impl FnOnce() + Send + 'static) {
        if let Some(flight) = &self.flight {
            flight.on_detach(hook);
        }
    }

    /// The key exists and has this value.
    pub fn complete(self, loaded: impl Into<Loaded>) {
        self.answer(Ok(Some(loaded.into())));
    }

    /// The data source does not have the key.
    pub fn not_found(self) {
        self.answer(Ok(None));
    }

    /// The getter failed. The error goes to everyone who waits and is not kept.
    pub fn fail(self, error: Error) {
        self.answer(Err(error));
    }

    /// Answers with a getter's whole result.
    pub fn answer(mut self, answer: Result<Option<Loaded>>) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        // A load that was given up has no waiters, and its value is too old to
        // be kept.
        if !flight.is_reaped() {
            let result = self.group.finish_load(&flight, self.start, answer);
            flight.complete(result);
        }
    }

    /// Marks this thread as loading the key while an inline getter runs, so
    /// that a Get of the same key in it is refused, and lets a close wait.
    pub fn enter(&self) -> LoadGuard {
        let running = self.running();
        // A thread that ends is inside of no getter: see `has_locals`.
        let _ = ENTERED.try_with(|stack| stack.borrow_mut().push(self.ctx.scope().clone()));
        LoadGuard {
            _span: self.span.clone().entered(),
            _running: running,
            _not_send: PhantomData,
        }
    }

    /// Lets a close wait for a getter that runs elsewhere, until it is dropped.
    pub fn running(&self) -> RunningGuard {
        RunningGuard(
            self.group.state().running.token(),
            self.permit.as_deref().map(Held::running),
        )
    }

    /// Runs the getter's future in a task of its own.
    pub(crate) fn spawn<G: Getter + ?Sized>(self, getter: Arc<G>) {
        let state = self.group.state().clone();
        let running = self.running();
        let scope = self.ctx.scope().clone();
        let ctx = self.ctx.clone();
        let runtime = state.runtime.clone();
        runtime.spawn(async move {
            let load = SCOPE.scope(scope, async move { getter.load(ctx).await });
            let load = load.instrument(self.span.clone());
            let answer = tokio::select! {
                caught = AssertUnwindSafe(load).catch_unwind() => caught.unwrap_or_else(|panic| Err(panicked(&*panic))),
                () = state.abandoned.cancelled() => Err(Error::closed()),
            };
            self.answer(answer);
            drop(running);
        });
    }

    /// Makes the first token's scope say that all these keys are being loaded,
    /// for a batch getter that runs inside that one scope (S16).
    pub fn share_scope(tokens: &mut [LoadToken]) {
        let Some((first, rest)) = tokens.split_first_mut() else {
            return;
        };
        let scope = rest.iter().fold(first.ctx.scope().clone(), |inner, token| {
            inner.and_loading(token.ctx.key())
        });
        first.ctx = LoadContext::new(scope, first.group.state());
    }

    /// Runs one batch getter for several keys in a task of its own.
    pub(crate) fn spawn_many(tokens: Vec<LoadToken>, load: BoxFuture<Result<Vec<Option<Loaded>>>>) {
        let Some(first) = tokens.first() else { return };
        let state = first.group.state().clone();
        let running = first.running();
        let scope = first.ctx.scope().clone();
        let (runtime, span) = (state.runtime.clone(), first.span.clone());
        runtime.spawn(async move {
            let load = SCOPE.scope(scope, load).instrument(span);
            let answers = tokio::select! {
                caught = AssertUnwindSafe(load).catch_unwind() => caught.unwrap_or_else(|panic| Err(panicked(&*panic))),
                () = state.abandoned.cancelled() => Err(Error::closed()),
            };
            answer_many(tokens, answers);
            drop(running);
        });
    }

    /// Runs `load` on a thread of the node's pool.
    pub fn spawn_blocking(
        self,
        load: impl FnOnce(LoadContext) -> Result<Option<Loaded>> + Send + 'static,
    ) {
        self.spawn_on_pool(move |token| {
            let answer = {
                let _inside = token.enter();
                let ctx = token.ctx.clone();
                catch_unwind(AssertUnwindSafe(|| load(ctx)))
                    .unwrap_or_else(|panic| Err(panicked(&*panic)))
            };
            token.answer(answer);
        });
    }

    /// Gives the token to `run` on a thread of the node's pool, where blocking
    /// calls are allowed: how a binding calls a getter for a remote peer.
    pub fn spawn_on_pool(self, run: impl FnOnce(LoadToken) + Send + 'static) {
        Self::spawn_many_on_pool(vec![self], move |mut tokens| {
            if let Some(token) = tokens.pop() {
                run(token);
            }
        });
    }

    /// The same for the tokens of one call of a batch getter, which are of one
    /// group.
    pub fn spawn_many_on_pool(
        tokens: Vec<LoadToken>,
        run: impl FnOnce(Vec<LoadToken>) + Send + 'static,
    ) {
        let Some(first) = tokens.first() else { return };
        let group = first.group.clone();
        let turn = Arc::as_ptr(&group).addr() as u64;
        let waiting = Arc::new(Mutex::new(tokens));
        let taken = waiting.clone();
        let job = move || {
            let tokens = std::mem::take(&mut *taken.lock());
            if !tokens.is_empty() {
                run(tokens);
            }
        };
        if let Err(error) = group.state().getters.run(turn, job) {
            let tokens = std::mem::take(&mut *waiting.lock());
            for token in tokens {
                token.fail(error.clone());
            }
        }
    }
}

impl fmt::Debug for LoadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadToken")
            .field("ctx", &self.ctx)
            .finish_non_exhaustive()
    }
}

/// While it lives, this thread is loading the key of its token.
#[must_use]
pub struct LoadGuard {
    _span: EnteredSpan,
    _running: RunningGuard,
    _not_send: PhantomData<*const ()>,
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        let _ = ENTERED.try_with(|stack| stack.borrow_mut().pop());
    }
}

/// While it lives, a close waits for the getter.
#[must_use]
pub struct RunningGuard(
    #[expect(dead_code, reason = "held for its drop")] TaskTrackerToken,
    #[expect(dead_code, reason = "held for its drop")] Option<Running>,
);

tokio::task_local! {
    static SCOPE: LoadScope;
}

thread_local! {
    static ENTERED: RefCell<Vec<LoadScope>> = const { RefCell::new(Vec::new()) };
}

/// Uses this module's thread-local storage; false: it is destroyed.
pub(crate) fn has_locals() -> bool {
    // Outside of a task SCOPE has no value, which is no sign of its end.
    let _ = SCOPE.try_with(|_| ());
    ENTERED.try_with(|_| ()).is_ok()
}

/// Which keys the current code is loading, innermost first, and its deadline.
#[derive(Clone)]
pub struct LoadScope(Arc<Scope>);

struct Scope {
    /// Its address is the group's identity: two nodes in one process may both
    /// have a group of this name.
    group: Arc<str>,
    key: Box<str>,
    deadline: Option<Instant>,
    parent: Option<LoadScope>,
}

impl LoadScope {
    pub(crate) fn new(
        group: Arc<str>,
        key: &str,
        deadline: Option<Instant>,
        parent: Option<LoadScope>,
    ) -> Self {
        Self(Arc::new(Scope {
            group,
            key: key.into(),
            deadline,
            parent,
        }))
    }

    /// The scope of the getter that this code runs in, if any.
    pub fn current() -> Option<Self> {
        let entered = ENTERED.try_with(|stack| stack.borrow().last().cloned());
        entered
            .ok()
            .flatten()
            .or_else(|| SCOPE.try_with(Self::clone).ok())
    }

    /// This scope, in which a further key of the same group is being loaded.
    fn and_loading(self, key: &str) -> Self {
        let Scope {
            group,
            key: own,
            deadline,
            parent,
        } = &*self.0;
        let around = Self::new(group.clone(), key, *deadline, parent.clone());
        Self::new(group.clone(), own, *deadline, Some(around))
    }

    pub(crate) fn group(&self) -> &str {
        &self.0.group
    }

    pub(crate) fn key(&self) -> &str {
        &self.0.key
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// This code, or a getter around it, is loading that very key.
    pub(crate) fn is_loading(&self, group: &Arc<str>, key: &str) -> bool {
        let mut scope = Some(self);
        while let Some(LoadScope(inner)) = scope {
            if Arc::ptr_eq(&inner.group, group) && *inner.key == *key {
                return true;
            }
            scope = inner.parent.as_ref();
        }
        false
    }
}

/// Where a Get is made. Inside a getter it waits for nothing that the getter may
/// hold itself: it takes no permit (S16).
#[derive(Clone, Default)]
pub(crate) enum Caller {
    #[default]
    Outside,
    /// Inside the getter of this scope.
    Getter(LoadScope),
    /// Inside a getter of the peer that asks.
    PeersGetter,
}

impl Caller {
    /// By the scope that a binding carries, else by this thread and task.
    pub(crate) fn of(scope: Option<&LoadScope>) -> Self {
        let scope = scope.cloned().or_else(LoadScope::current);
        scope.map_or(Self::Outside, Self::Getter)
    }

    pub(crate) fn is_inside(&self) -> bool {
        !matches!(self, Self::Outside)
    }

    pub(crate) fn scope(&self) -> Option<&LoadScope> {
        match self {
            Self::Getter(scope) => Some(scope),
            Self::Outside | Self::PeersGetter => None,
        }
    }
}

impl fmt::Debug for LoadScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadScope")
            .field("group", &self.0.group)
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

fn answer_many(tokens: Vec<LoadToken>, answers: Result<Vec<Option<Loaded>>>) {
    match answers {
        Ok(answers) if answers.len() == tokens.len() => {
            tokens
                .into_iter()
                .zip(answers)
                .for_each(|(token, answer)| token.answer(Ok(answer)));
        }
        Ok(answers) => {
            let error = Error::getter(format!(
                "the batch getter answered {} of {} keys; it must answer each, in order, None for not found",
                answers.len(),
                tokens.len()
            ));
            tokens
                .into_iter()
                .for_each(|token| token.answer(Err(error.clone())));
        }
        Err(error) => tokens
            .into_iter()
            .for_each(|token| token.answer(Err(error.clone()))),
    }
}

pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::panicked(format!("the getter panicked: {text}"))
}
