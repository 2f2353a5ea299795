//! The link to one peer: a long-lived stream that carries this node's requests
//! in batches, and the peer's replies and invalidations back.
//!
//! Dialled at first use; every operation has an id, replies come out of order.
//! The lease on what was borrowed over the link is extended by answered pings
//! and ends with the link.
//!
//! Invariants: each request's `done` runs exactly once, with no lock held; an
//! invalidation takes effect before a later pong extends the lease; what was
//! borrowed over a lost link is dropped before the next one is dialled.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::call::{self, CallError, Fetched};
use super::hello::Identity;
use super::outbox::{Cork, Outbox, Refused};
use super::transport::Transport;
use super::unary::{Unary, endpoint};
use crate::getter::Ttl;
use crate::state::State;
use crate::wire::kama_cache_service_client::KamaCacheServiceClient;
use crate::wire::{Op, Replies, Request, Requests};
use crate::{Error, ErrorKind, Value};

/// Larger values go by the unary call.
pub(crate) const MAX_LINK_VALUE: usize = 64 << 10;
/// What a request takes beside its key and value.
const REQUEST_BYTES: usize = 48;
/// A batch and one large value, decoded.
pub(crate) const MAX_MESSAGE: usize = 1 << 20;

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
            &self.transport,
            self.times.connect_timeout,
            state.message_limit.clone(),
        );
        Link(Arc::new(Shared {
            address,
            state: self.state.clone(),
            identity: self.identity.clone(),
            transport: self.transport.clone(),
            times: self.times,
            unary,
            connection: Mutex::new(None),
            epoch: AtomicU32::new(0),
            lease_until: AtomicU64::new(0),
            owed: Mutex::default(),
            told: AtomicBool::new(false),
            removed: CancellationToken::new(),
        }))
    }
}

/// The handle that a view holds; its end closes the link.
pub(crate) struct Link(Arc<Shared>);

impl Drop for Link {
    fn drop(&mut self) {
        self.0.removed.cancel();
    }
}

struct Shared {
    address: Arc<str>,
    state: Weak<State>,
    identity: Arc<Identity>,
    transport: Transport,
    times: Times,
    unary: Unary,
    connection: Mutex<Option<Arc<Connection>>>,
    /// Counts lost connections: what was borrowed under another is void.
    epoch: AtomicU32,
    /// On the node's clock, in milliseconds; 0: no lease.
    lease_until: AtomicU64,
    /// Clears that this peer has not acknowledged (S22).
    owed: Mutex<Vec<Bytes>>,
    /// A refusal is logged once.
    told: AtomicBool,
    removed: CancellationToken,
}

type Done = Box<dyn FnOnce(Result<Fetched, CallError>) + Send>;

/// One connection, from the first dial to its loss.
struct Connection {
    outbox: Arc<Outbox<Requests>>,
    /// `None` once it is lost.
    waiting: Mutex<Option<HashMap<u64, Done, foldhash::fast::RandomState>>>,
    next_id: AtomicU64,
}

/// Why a connection ended.
struct Lost {
    reason: String,
    /// Requests may have reached the peer.
    sent: bool,
}

impl Lost {
    fn before(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            sent: false,
        }
    }

    fn after(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            sent: true,
        }
    }
}

impl Link {
    /// Ends the connection; the node is closing.
    pub(crate) fn close(&self) {
        self.0.removed.cancel();
    }

    pub(crate) fn address(&self) -> &str {
        &self.0.address
    }

    /// Changes when what was borrowed over this link is void.
    pub(crate) fn epoch(&self) -> u32 {
        self.0.epoch.load(Ordering::Acquire)
    }

    /// The owner still tells this node what is void.
    pub(crate) fn has_lease(&self, now_ms: u64) -> bool {
        now_ms < self.0.lease_until.load(Ordering::Acquire)
    }

    /// Until the guard is dropped, requests over an open connection wait for
    /// more: a batch leaves as one message.
    pub(crate) fn cork(&self) -> Option<Cork<Requests>> {
        let connection = self.0.connection.lock();
        connection.as_ref().map(|open| open.outbox.cork())
    }

    /// Asks the owner for a value; `done` runs once, on a runtime task or on
    /// this thread.
    pub(crate) fn get(
        &self,
        group: &Bytes,
        key: &str,
        deadline: Option<Instant>,
        borrow: bool,
        done: impl FnOnce(Result<Fetched, CallError>) + Send + 'static,
    ) {
        let mut request = request(Op::Get, group, key, deadline);
        request.borrow = borrow;
        self.0.send(request, Box::new(done));
    }

    /// The same for a value that is too large for the link.
    pub(crate) async fn get_large(
        &self,
        group: &str,
        key: &str,
        deadline: Option<Instant>,
    ) -> Result<Fetched, CallError> {
        self.0.unary.get(group, key, deadline).await
    }

    pub(crate) async fn set(
        &self,
        group: &Bytes,
        key: &str,
        value: &Value,
        ttl: Ttl,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        if value.len() > MAX_LINK_VALUE {
            let group = String::from_utf8_lossy(group);
            return self.0.unary.set(&group, key, value, ttl, deadline).await;
        }
        let mut request = request(Op::Set, group, key, deadline);
        request.value = value.to_bytes();
        request.ttl_ms = ttl.to_wire_ms();
        self.call(request, deadline).await
    }

    pub(crate) async fn delete(
        &self,
        group: &Bytes,
        key: &str,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        self.call(request(Op::Delete, group, key, deadline), deadline)
            .await
    }

    /// Clears the group at the peer. A peer that does not answer is told when
    /// it is reached again, before anything else.
    pub(crate) async fn clear(
        &self,
        group: &Bytes,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        let result = self
            .call(request(Op::Clear, group, "", deadline), deadline)
            .await;
        if matches!(
            result,
            Err(CallError::Unreachable { .. } | CallError::Deadline)
        ) {
            let mut owed = self.0.owed.lock();
            if !owed.contains(group) {
                owed.push(group.clone());
            }
        }
        result
    }

    async fn call(&self, request: Request, deadline: Option<Instant>) -> Result<(), CallError> {
        let (sender, receiver) = oneshot::channel();
        let done = |result: Result<Fetched, CallError>| {
            // A caller that has left is no error.
            let _ = sender.send(result);
        };
        self.0.send(request, Box::new(done));
        let answer = match deadline {
            None => receiver.await,
            Some(deadline) => match tokio::time::timeout_at(deadline, receiver).await {
                Ok(answer) => answer,
                Err(_) => return Err(CallError::Deadline),
            },
        };
        let lost = || CallError::Unreachable {
            error: call::unreachable(self.address(), "the node is closing"),
            sent: true,
        };
        answer.map_err(|_| lost())?.map(drop)
    }
}

fn request(op: Op, group: &Bytes, key: &str, deadline: Option<Instant>) -> Request {
    Request {
        op: op.into(),
        group: group.clone(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        left_ms: deadline.map_or(0, left_ms),
        ..Request::default()
    }
}

/// Rounded up, so that the peer does not give up before the caller does.
fn left_ms(deadline: Instant) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

impl Shared {
    fn send(self: &Arc<Self>, mut request: Request, mut done: Done) {
        loop {
            let connection = self.connection();
            let id = connection.next_id.fetch_add(1, Ordering::Relaxed);
            match &mut *connection.waiting.lock() {
                Some(waiting) => {
                    waiting.insert(id, done);
                }
                // Lost a moment ago: the next one is dialled.
                None => continue,
            }
            request.id = id;
            let bytes =
                REQUEST_BYTES + request.group.len() + request.key.len() + request.value.len();
            let pushed = connection
                .outbox
                .push(bytes, |message| message.requests.push(request));
            match pushed {
                Ok(()) => return,
                // Whoever lost the connection ends what waits on it.
                Err(Refused::Closed) => return,
                Err(Refused::Full) => {
                    let taken = connection
                        .waiting
                        .lock()
                        .as_mut()
                        .and_then(|waiting| waiting.remove(&id));
                    done = match taken {
                        Some(done) => done,
                        None => return,
                    };
                    done(Err(CallError::Answered(self.overloaded())));
                    return;
                }
            }
        }
    }

    fn overloaded(&self) -> Error {
        Error::new(
            ErrorKind::Overloaded,
            format!(
                "4 MiB of requests wait for peer {}, which does not read them; try again later",
                self.address
            ),
        )
        .with_peer(&*self.address)
    }

    /// The connection, dialled now if there is none.
    fn connection(self: &Arc<Self>) -> Arc<Connection> {
        let mut current = self.connection.lock();
        if let Some(connection) = &*current {
            return connection.clone();
        }
        let connection = Arc::new(Connection {
            outbox: Outbox::new(),
            waiting: Mutex::new(Some(HashMap::default())),
            next_id: AtomicU64::new(1),
        });
        *current = Some(connection.clone());
        drop(current);
        if let Some(state) = self.state.upgrade() {
            let (shared, mine) = (self.clone(), connection.clone());
            state.runtime.spawn(async move {
                let lost = tokio::select! {
                    lost = shared.converse(&mine) => lost,
                    () = shared.removed.cancelled() => Lost::after("it has left the members"),
                };
                shared.hang_up(&mine, &lost);
            });
        }
        connection
    }

    /// Dials, greets, and reads until the connection is lost.
    async fn converse(&self, connection: &Connection) -> Lost {
        let endpoint = endpoint(&self.address, self.times.connect_timeout);
        let channel = match self.transport.connect(&endpoint).await {
            Ok(channel) => channel,
            Err(error) => return Lost::before(innermost(&error)),
        };
        let owed = self.owed.lock().clone();
        connection.outbox.push_first(self.greeting(&owed));
        let mut client =
            KamaCacheServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let opening = client.link(connection.outbox.stream());
        let mut inbound = match tokio::time::timeout(self.times.suspect_after, opening).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return self.refused(&status),
            Err(_) => return Lost::after("it accepted the connection and said nothing"),
        };
        let lost = self.read(connection, &mut inbound, &owed).await;
        tracing::debug!(peer = &*self.address, reason = lost.reason, "link lost");
        lost
    }

    /// The hello, and the clears that this peer missed while it was away.
    fn greeting(&self, owed: &[Bytes]) -> Requests {
        let digest = self
            .state
            .upgrade()
            .map_or(0, |state| state.peers.view().digest());
        let clear = |group: &Bytes| Request {
            op: Op::Clear.into(),
            group: group.clone(),
            ..Request::default()
        };
        Requests {
            hello: Some(self.identity.hello(&self.address, digest)),
            requests: owed.iter().map(clear).collect(),
            ping: self.now_ms(),
        }
    }

    /// The peer has taken the greeting, and with it what it was owed.
    fn greeted(&self, owed: &[Bytes]) {
        self.owed.lock().retain(|group| !owed.contains(group));
        self.told.store(false, Ordering::Relaxed);
    }

    fn refused(&self, status: &tonic::Status) -> Lost {
        let reason = super::status::reason(status);
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(peer = &*self.address, reason, "the peer refused the link");
        }
        Lost::after(reason)
    }

    async fn read(
        &self,
        connection: &Connection,
        inbound: &mut Streaming<Replies>,
        owed: &[Bytes],
    ) -> Lost {
        let mut beat = tokio::time::interval(self.times.heartbeat);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_frame = Instant::now();
        let mut greeted = false;
        loop {
            let message = tokio::select! {
                biased;
                message = inbound.message() => message,
                _ = beat.tick() => {
                    if last_frame.elapsed() >= self.times.suspect_after && connection.is_waited_for() {
                        return Lost::after(format!("no word for {:?}", last_frame.elapsed()));
                    }
                    let now = self.now_ms();
                    if connection.outbox.push(REQUEST_BYTES, |message| message.ping = now).is_err() {
                        return Lost::after("it does not read what is sent");
                    }
                    continue;
                }
            };
            last_frame = Instant::now();
            match message {
                Ok(Some(mut message)) => {
                    if !greeted {
                        let hello = message.hello.take().unwrap_or_default();
                        if let Err(error) = self.identity.check_answer(&self.address, &hello) {
                            return self.refused(&super::status::from_error(&error));
                        }
                        greeted = true;
                        self.greeted(owed);
                    }
                    self.take(connection, message);
                }
                Ok(None) => return Lost::after("it closed the link"),
                Err(status) => return Lost::after(super::status::reason(&status)),
            }
        }
    }

    /// One message: invalidations, then replies, then the lease.
    fn take(&self, connection: &Connection, message: Replies) {
        let Some(state) = self.state.upgrade() else {
            return;
        };
        if message.all_invalid {
            state.generations.bump_all();
        }
        for slot in &message.invalid {
            state
                .generations
                .bump(crate::generations::Slot::from_wire(*slot));
        }
        state.count_invalidations(message.invalid.len() as u64 + u64::from(message.all_invalid));
        for (done, reply) in connection.answered(message.replies) {
            done(call::read(&self.address, &reply));
        }
        if message.pong > 0 {
            let lease = message.pong
                + 2 * u64::try_from(self.times.heartbeat.as_millis()).unwrap_or(u64::MAX / 4);
            self.lease_until.fetch_max(lease, Ordering::AcqRel);
        }
    }

    /// Voids what was borrowed, then lets the next request dial, then tells
    /// everyone who waits.
    fn hang_up(&self, connection: &Arc<Connection>, lost: &Lost) {
        self.lease_until.store(0, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        if let Some(state) = self.state.upgrade() {
            state.drop_borrowed(&self.address);
        }
        let mut current = self.connection.lock();
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, connection))
        {
            *current = None;
        }
        drop(current);
        connection.outbox.close();
        let waiting = connection.waiting.lock().take();
        for done in waiting.into_iter().flat_map(HashMap::into_values) {
            let error = call::unreachable(&self.address, &lost.reason);
            done(Err(CallError::Unreachable {
                error,
                sent: lost.sent,
            }));
        }
    }

    fn now_ms(&self) -> u64 {
        // Never 0, which is no ping.
        self.state
            .upgrade()
            .map_or(1, |state| state.clock.now_ms().max(1))
    }
}

impl Connection {
    fn is_waited_for(&self) -> bool {
        self.waiting
            .lock()
            .as_ref()
            .is_some_and(|waiting| !waiting.is_empty())
    }

    /// Pairs replies with those who wait; a reply nobody waits for is dropped.
    fn answered(&self, replies: Vec<crate::wire::Reply>) -> Vec<(Done, crate::wire::Reply)> {
        let mut waiting = self.waiting.lock();
        let Some(waiting) = &mut *waiting else {
            return Vec::new();
        };
        replies
            .into_iter()
            .filter_map(|reply| Some((waiting.remove(&reply.id)?, reply)))
            .collect()
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}
