//! The link to one peer: a long-lived stream that carries this node's requests
//! in batches, and the peer's replies and invalidations back.
//!
//! Dialled at first use; every operation has an id, replies come out of order.
//! The lease on what was borrowed over the link is extended by answered pings
//! and ends with the link. Here is where requests go; `asks.rs` says which ones
//! there are, `session.rs` dials, reads and probes.
//!
//! Invariant: a request to a suspect peer fails at once; nobody waits for it.

mod asks;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::asking::Asking;
use super::breaker::Breaker;
use super::call::{self, CallError};
use super::connection::{Asked, Connection, Done, Unsent};
use super::hello::Identity;
use super::outbox::{Cork, MAX_QUEUED_BYTES, STALLED};
use super::session::{Lost, Next};
use super::standing::Counted;
use super::transport::Transport;
use super::unary::Unary;
use crate::clock::Clock;
use crate::generations::Slots;
use crate::hashing::random;
use crate::state::State;
use crate::wire::{Op, Request, Requests};
use crate::{Error, ErrorKind};

use self::asks::Leaving;

/// Larger values go by the unary call.
pub(crate) const MAX_LINK_VALUE: usize = 64 << 10;
/// A batch and one large value, decoded.
pub(crate) const MAX_MESSAGE: usize = 1 << 20;

/// Changes of view that a peer which is away is told one by one.
const MAX_OWED_WRITTEN: usize = 8;

/// What every link of a node is made with.
pub(crate) struct Dialer {
    pub(crate) state: Weak<State>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) transport: Transport,
    pub(crate) times: Times,
}

/// How a link keeps time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) connect_timeout: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) suspect_after: Duration,
    pub(crate) probe_interval: Duration,
}

impl Dialer {
    pub(crate) fn link(&self, address: Arc<str>) -> Link {
        let state = self
            .state
            .upgrade()
            .expect("links are made by a living node");
        // The unary client's worker is spawned on the node's own runtime.
        let _inside = state.runtime.enter();
        let unary = Unary::new(
            address.clone(),
            self.identity.clone(),
            &self.transport,
            self.times,
            state.message_limit.clone(),
        );
        Link(Arc::new(Shared {
            address,
            state: self.state.clone(),
            clock: state.clock.clone(),
            identity: self.identity.clone(),
            transport: self.transport.clone(),
            times: self.times,
            unary,
            line: Mutex::new(Line {
                connection: None,
                breaker: Breaker::new(self.times.probe_interval),
            }),
            epoch: AtomicU32::new(0),
            lease_until: AtomicU64::new(0),
            said: AtomicU64::new(0),
            owed: Mutex::default(),
            told: AtomicBool::new(false),
            nudge: Notify::new(),
            fell: Notify::new(),
            beside: AtomicUsize::new(0),
            traffic: Counted::default(),
            greeted: watch::Sender::new(None),
            leaving: Leaving::default(),
            removed: CancellationToken::new(),
        }))
    }
}

/// The handle that a view holds; its end closes the link.
pub(crate) struct Link(pub(super) Arc<Shared>);

impl Drop for Link {
    fn drop(&mut self) {
        self.0.removed.cancel();
    }
}

pub(super) struct Shared {
    pub(super) address: Arc<str>,
    pub(super) state: Weak<State>,
    clock: Clock,
    pub(super) identity: Arc<Identity>,
    pub(super) transport: Transport,
    pub(super) times: Times,
    unary: Unary,
    pub(super) line: Mutex<Line>,
    /// Counts lost connections: what was borrowed under another is void.
    pub(super) epoch: AtomicU32,
    /// On the node's clock, in milliseconds; 0: no lease.
    pub(super) lease_until: AtomicU64,
    /// The digest of the peer's view as it said last; 0: nothing said.
    pub(super) said: AtomicU64,
    /// What this peer must be told before anything else: clears that it has
    /// not acknowledged (S22), writes of views that this node has left.
    pub(super) owed: Mutex<Vec<Request>>,
    /// A refusal is logged once.
    pub(super) told: AtomicBool,
    /// The peer was heard of: a probe need not wait.
    pub(super) nudge: Notify,
    /// The peer has become suspect.
    fell: Notify,
    /// Unary calls on their way.
    beside: AtomicUsize,
    pub(super) traffic: Counted,
    /// Of the peer as it greeted over the connection that is open; `None`: it has
    /// not.
    pub(super) greeted: watch::Sender<Option<Greeted>>,
    /// Those who want to know whether the peer leaves.
    leaving: Leaving,
    removed: CancellationToken,
}

/// One unary call.
struct Beside<'a>(&'a AtomicUsize);

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a peer's hello says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Greeted {
    pub(super) incarnation: u64,
    pub(super) capabilities: u64,
}

/// Where requests go.
pub(super) struct Line {
    /// `None`: the next request dials, or, while the breaker is open, fails.
    pub(super) connection: Option<Arc<Connection>>,
    pub(super) breaker: Breaker,
}

impl Link {
    /// Ends the connection; the node is closing.
    pub(crate) fn close(&self) {
        self.0.removed.cancel();
    }

    pub(crate) fn address(&self) -> &str {
        &self.0.address
    }

    /// Another node than this incarnation answers at the address, over the
    /// connection that this node has dialled.
    pub(crate) fn answers_as_another(&self, incarnation: u64) -> bool {
        let greeted = *self.0.greeted.borrow();
        greeted.is_some_and(|greeted| greeted.incarnation != incarnation)
    }

    /// Changes when what was borrowed over this link is void.
    pub(crate) fn epoch(&self) -> u32 {
        self.0.epoch.load(Ordering::Acquire)
    }

    /// The digest of the peer's view, as it said last over this link.
    pub(crate) fn said(&self) -> Option<u64> {
        Some(self.0.said.load(Ordering::Relaxed)).filter(|said| *said != 0)
    }

    /// The owner still tells this node what is void.
    pub(crate) fn has_lease(&self, now_ms: u64) -> bool {
        now_ms < self.0.lease_until.load(Ordering::Acquire)
    }

    /// Until the guard is dropped, requests to the peer wait for more: a batch
    /// leaves as one message. Dials, so that this holds for the first one too.
    pub(crate) fn cork(&self) -> Option<Cork<Requests>> {
        let connection = self.0.connection().ok()?;
        Some(connection.outbox.cork())
    }

    /// Why requests fail at once: the last connection was refused, reset,
    /// closed or silent, and the peer has not greeted since (S25).
    pub(crate) fn suspicion(&self) -> Option<Error> {
        let line = self.0.line.lock();
        let reason = line.breaker.reason()?;
        Some(call::unreachable(self.address(), reason))
    }

    /// The peer was heard of otherwise: if it is suspect, it is probed now.
    pub(crate) fn nudge(&self) {
        if self.0.line.lock().breaker.reason().is_some() {
            self.0.nudge.notify_one();
        }
    }

    /// From now on the peer is probed until it greets, without any request.
    pub(crate) fn expect(&self) {
        // A connection that succeeds, or its loss, which starts the probes.
        drop(self.0.connection());
    }
}

impl Shared {
    /// Sends over the connection, or the next one when that has just been lost.
    /// `None`: `done` has run.
    fn send(self: &Arc<Self>, together: bool, asking: Asking<'_>, done: Done) -> Option<Asked> {
        let (mut asking, mut done) = (asking, done);
        loop {
            let connection = match self.connection() {
                Ok(connection) => connection,
                Err(error) => {
                    done.call(Err(error));
                    return None;
                }
            };
            match connection.send(together, asking, done) {
                Ok(asked) => return Some(asked),
                // The line knows by now, or does in a moment.
                Err(Unsent::Lost(again)) => (asking, done) = *again,
                Err(Unsent::Stalled(done)) => {
                    done.call(Err(CallError::Answered(self.overloaded())));
                    return None;
                }
            }
        }
    }

    /// What the peer is told first when it is reached again.
    fn owe(&self, request: Request) {
        let mut owed = self.owed.lock();
        if owed.contains(&request) {
            return;
        }
        let written = Op::Written as i32;
        let several = owed.iter().filter(|owed| owed.op == written).count();
        if request.op == written && several >= MAX_OWED_WRITTEN {
            // One for all: of no view that the peer knows, so it drops more.
            let all = owed.extract_if(.., |owed| owed.op == written);
            let all: Vec<_> = all.chain([request]).collect();
            let value = Slots::union(all.iter().map(|one| &one.value[..]));
            owed.push(Request {
                op: written,
                value: value.to_wire().into(),
                ..Request::default()
            });
        } else {
            owed.push(request);
        }
    }

    /// What those get who wait for room that does not come.
    pub(super) fn overloaded(&self) -> Error {
        Error::new(
            ErrorKind::Overloaded,
            format!(
                "{} MiB of requests wait for peer {}, which has taken in none of them for {STALLED:?}; \
                 this one was not sent; try again later",
                MAX_QUEUED_BYTES >> 20,
                self.address
            ),
        )
        .with_peer(&*self.address)
    }

    pub(super) fn new_connection(&self) -> Arc<Connection> {
        Connection::new(self.clock.clone())
    }

    /// The connection, dialled now if there is none; an error while the peer is
    /// suspect.
    fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, CallError> {
        let mut line = self.line.lock();
        if let Some(connection) = &line.connection {
            return Ok(connection.clone());
        }
        self.check(&line)?;
        let connection = self.new_connection();
        line.connection = Some(connection.clone());
        drop(line);
        let Some(state) = self.state.upgrade() else {
            return Ok(connection);
        };
        let (shared, mine) = (self.clone(), connection.clone());
        state.runtime.spawn(async move {
            let removed = shared.removed.clone();
            tokio::select! {
                () = shared.clone().keep(mine) => {}
                () = removed.cancelled() => shared.leave(),
            }
        });
        Ok(connection)
    }

    /// The link is not used any more: what is under way on it ends.
    fn leave(&self) {
        let connection = self.line.lock().connection.clone();
        if let Some(connection) = connection {
            let lost = Lost {
                next: Next::Rest,
                ..Lost::after("it has left the members")
            };
            self.hang_up(&connection, &lost);
        }
    }

    fn check(&self, line: &Line) -> Result<(), CallError> {
        match line.breaker.reason() {
            None => Ok(()),
            Some(reason) => Err(CallError::Unreachable {
                error: call::unreachable(&self.address, reason),
                sent: false,
            }),
        }
    }

    /// Requests dial anew, or fail at once if the peer is suspect.
    pub(super) fn let_go(&self, connection: &Arc<Connection>, lost: &Lost) {
        let mut line = self.line.lock();
        let current = line.connection.as_ref();
        if current.is_some_and(|current| Arc::ptr_eq(current, connection)) {
            line.connection = None;
        }
        let is_new = lost.next != Next::Rest && line.breaker.open(&lost.reason);
        drop(line);
        if is_new {
            self.fell.notify_waiters();
        }
        if is_new && self.is_of_a_member() {
            tracing::warn!(
                peer = &*self.address,
                reason = lost.reason,
                "peer suspected: its keys are loaded here until it is back"
            );
        }
    }

    /// Else the peer has left in order, and the loss of its link is no news.
    fn is_of_a_member(&self) -> bool {
        let state = self.state.upgrade();
        state.is_some_and(|state| state.peers.view().link_to(&self.address).is_some())
    }

    pub(super) fn suspect(&self, reason: &str) {
        self.line.lock().breaker.open(reason);
    }

    /// The peer has greeted: requests use this connection.
    pub(super) fn restore(&self, connection: &Arc<Connection>) {
        let mut line = self.line.lock();
        line.connection = Some(connection.clone());
        line.breaker.close();
        drop(line);
        tracing::info!(peer = &*self.address, "peer is back");
    }

    /// Runs a unary call for as long as the peer is not suspect. The link is
    /// what notices silence: it is dialled, and watched, meanwhile.
    async fn beside<T>(
        self: &Arc<Self>,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        self.connection()?;
        self.beside.fetch_add(1, Ordering::Relaxed);
        let _counted = Beside(&self.beside);
        tokio::select! {
            biased;
            result = call => result,
            error = self.until_suspect() => Err(CallError::Unreachable { error, sent: true }),
        }
    }

    /// Unary calls are on their way.
    pub(super) fn is_beside(&self) -> bool {
        self.beside.load(Ordering::Relaxed) > 0
    }

    async fn until_suspect(&self) -> Error {
        loop {
            let fell = self.fell.notified();
            if let Some(reason) = self.line.lock().breaker.reason() {
                return call::unreachable(&self.address, reason);
            }
            fell.await;
        }
    }

    pub(super) fn next_probe(&self) -> Duration {
        self.line.lock().breaker.next_probe(random())
    }
}
