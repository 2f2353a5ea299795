//! The right to one Get's result: it carries the deadline and the accounting.
//! Dropping it leaves the wait, never the load (S10).

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::flight::{Waiter, Wake};
use crate::group::{Answer, GroupInner, Origin, Resume};
use crate::stats::Count;
use crate::{Error, ErrorKind, Result, Value};

/// What the first, non-blocking step of a Get found.
#[derive(Debug)]
#[must_use]
pub enum Begin {
    /// The value is here.
    Hit(Value),
    /// The key is owned here and nobody loads it: the caller runs its getter
    /// and answers the token, then takes its own result from the pending. A
    /// caller that abandons its getter drops the pending first.
    Lead(crate::LoadToken, Pending),
    /// Another caller's load, or the owner's answer, is on its way.
    Wait(Pending),
}

/// The right to one Get's result. Await it, or pass it to
/// [`crate::blocking::Group::wait`].
#[must_use]
pub struct Pending {
    waiter: Waiter<Answer>,
    resume: Resume,
    deadline: Option<Instant>,
    tally: Tally,
}

impl Pending {
    pub(crate) fn new(
        waiter: Waiter<Answer>,
        resume: Resume,
        deadline: Option<Instant>,
        tally: Tally,
    ) -> Self {
        Self {
            waiter,
            resume,
            deadline,
            tally,
        }
    }

    /// The same for a plain client.
    pub(crate) fn for_client(mut self) -> Self {
        self.tally.side = Side::Client;
        self
    }

    /// Waits for the result, to this Get's own deadline.
    ///
    /// # Errors
    /// What the getter or the owner answered, DeadlineExceeded, or Closed.
    pub async fn wait(mut self) -> Result<Value> {
        self.ready().await
    }

    pub(crate) fn group_and_key(&self) -> (Arc<str>, Arc<str>) {
        self.resume.group_and_key()
    }

    /// The same with all that is known about the value.
    pub(crate) async fn served(mut self) -> Answer {
        self.decided().await
    }

    /// The same by reference; cancel-safe, and to be called no more once it
    /// has returned.
    pub(crate) async fn ready(&mut self) -> Result<Value> {
        self.decided().await.map(|served| served.value)
    }

    async fn decided(&mut self) -> Answer {
        let state = self.tally.group.state().clone();
        let deadline = self.deadline;
        let over = match self.tally.side {
            Side::Own => &state.closing,
            Side::Client | Side::Peer | Side::Uncounted => &state.closed,
        };
        let result = tokio::select! {
            biased;
            answer = self.landed() => answer,
            () = over.cancelled() => Err(Error::closed()),
            () = until(deadline) => Err(self.too_late()),
        };
        self.tally.end(&result);
        result
    }

    /// The result, if it is there already: a caller that has just answered its
    /// own token needs no runtime to take it.
    pub fn try_now(&mut self) -> Option<Result<Value>> {
        match self.waiter.try_wake()? {
            Wake::Done(answer) => {
                self.tally.end(&answer);
                Some(answer.map(|served| served.value))
            }
            Wake::Promoted(token) => {
                self.take_over(token);
                None
            }
        }
    }

    /// Calls `done` exactly once with the result, on a runtime task; the
    /// returned handle can end the wait early.
    pub fn on_done(self, done: impl FnOnce(Result<Value>) + Send + 'static) -> Abort {
        let (abort, aborted) = oneshot::channel();
        let runtime = self.tally.group.state().runtime.clone();
        let done = Once(Some(done));
        runtime.spawn(async move {
            let result = tokio::select! {
                biased;
                result = self.wait() => result,
                Ok(()) = aborted => Err(Error::new(ErrorKind::Cancelled, "the wait was cancelled by its caller")),
            };
            done.call(result);
        });
        Abort(Mutex::new(Some(abort)))
    }

    fn too_late(&self) -> Error {
        let queued = self.waiter.is_queued().then_some(&self.tally.group);
        queued
            .and_then(|group| group.queued_too_long())
            .unwrap_or_else(|| Error::deadline(self.resume.key()))
    }

    async fn landed(&mut self) -> Answer {
        loop {
            match self.waiter.wake().await {
                Wake::Done(answer) => return answer,
                Wake::Promoted(token) => self.take_over(token),
            }
        }
    }

    /// The leader gave up; the load goes on in a task of its own.
    fn take_over(&mut self, token: crate::flight::Token<Answer>) {
        if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return; // dropped: the next waiter has more time
        }
        self.waiter = token.waiter();
        self.resume.run(token, self.deadline);
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("key", &self.resume.key())
            .finish_non_exhaustive()
    }
}

impl IntoFuture for Pending {
    type Output = Result<Value>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Value>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}

/// Ends the wait of one [`Pending::on_done`].
#[derive(Debug)]
pub struct Abort(Mutex<Option<oneshot::Sender<()>>>);

impl Abort {
    /// Ends the wait with Cancelled unless it is decided already; whether the
    /// request came in time to be looked at. The load goes on.
    pub fn cancel(&self) -> bool {
        self.0
            .lock()
            .take()
            .is_some_and(|abort| abort.send(()).is_ok())
    }
}

/// Calls back exactly once, also when its task is dropped with the runtime.
struct Once<F: FnOnce(Result<Value>)>(Option<F>);

impl<F: FnOnce(Result<Value>)> Once<F> {
    fn call(mut self, result: Result<Value>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl<F: FnOnce(Result<Value>)> Drop for Once<F> {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(Error::closed()));
        }
    }
}

/// Counts one Get's outcome exactly once (S38); a Get whose caller left has
/// failed.
pub(crate) struct Tally {
    group: Arc<GroupInner>,
    side: Side,
    how: How,
    ended: bool,
}

/// Whose Get it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// A public Get of this node.
    Own,
    /// The same for a plain client, which is served to its end while the node
    /// leaves (S37).
    Client,
    /// A Get served for a peer.
    Peer,
    /// A load that stands in for an unreachable owner: the Get around it is
    /// counted elsewhere.
    Uncounted,
}

/// What a Get counts as if it succeeds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Loaded,
    LoadJoined,
    Fetched,
    FetchJoined,
}

impl Tally {
    /// Begins to count a miss.
    pub(crate) fn start(group: &Arc<GroupInner>, side: Side) -> Self {
        if side == Side::Own {
            group.counters().add(Count::MissStarted);
        }
        Self {
            group: group.clone(),
            side,
            how: How::Loaded,
            ended: false,
        }
    }

    pub(crate) fn with(mut self, how: How) -> Self {
        self.how = how;
        self
    }

    /// The value was here when the leader looked once more.
    pub(crate) fn hit(mut self) {
        self.count(Count::Hit, Count::PeerHit);
    }

    /// An expired value was served while it is refreshed.
    pub(crate) fn stale_hit(mut self) {
        self.count(Count::StaleHit, Count::PeerStaleHit);
    }

    /// Ends at once with this error.
    pub(crate) fn refuse(&mut self, error: Error) -> Error {
        self.end(&Err(error.clone()));
        error
    }

    pub(crate) fn end(&mut self, answer: &Answer) {
        match answer {
            Ok(served) if served.origin == Origin::Stale => {
                self.count(Count::StaleHit, Count::PeerStaleHit)
            }
            Ok(served) if served.origin == Origin::Fallback && self.how == How::Fetched => {
                self.count(Count::Fallback, Count::PeerFailed);
            }
            Ok(_) => match self.how {
                How::Loaded => self.count(Count::Loaded, Count::PeerLoaded),
                How::LoadJoined => self.count(Count::LoadJoined, Count::PeerLoadJoined),
                How::Fetched => self.count(Count::Fetched, Count::PeerFailed),
                How::FetchJoined => self.count(Count::FetchJoined, Count::PeerFailed),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.count(Count::NotFound, Count::PeerNotFound)
            }
            Err(_) => self.count(Count::Failed, Count::PeerFailed),
        }
    }

    fn count(&mut self, own: Count, peer: Count) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        match self.side {
            Side::Own | Side::Client => {
                self.group.counters().add(own);
                self.group.counters().add(Count::MissEnded);
            }
            Side::Peer => self.group.counters().add(peer),
            Side::Uncounted => {}
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.count(Count::Failed, Count::PeerFailed);
    }
}

pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// `timeout` from now; none when it is too far away to matter.
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    deadline_from(Instant::now(), timeout)
}

/// A duration from which on a time counts as none. Longer ones are cut to it, so
/// that a clock can add a few of them up.
pub(crate) const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// The same for who knows the time.
pub(crate) fn deadline_from(now: Instant, timeout: Duration) -> Option<Instant> {
    (timeout < NEVER).then(|| now + timeout)
}
