//! The life of a link: dial, greet, read until the connection is lost, probe
//! the peer until it greets again.
//!
//! Invariants: an invalidation takes effect before a later pong extends the
//! lease; what was borrowed over a lost link is dropped before another
//! connection is used; while the peer is suspect nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tonic::Streaming;

use super::asking::REQUEST_BYTES;
use super::call::{self, CallError};
use super::connection::Connection;
use super::link::{Greeted, MAX_MESSAGE, Shared};
use super::unary::endpoint;
use crate::error::Shown;
use crate::generations::Slot;
use crate::node_stats::add;
use crate::security::refusal;
use crate::wire::kama_cache_service_client::KamaCacheServiceClient;
use crate::wire::{GroupOptions, Hits, Replies, Request, Requests};
use crate::{Error, ErrorKind};

/// A connection that carries nothing but heartbeats for this long is closed;
/// the next request dials again.
const IDLE: Duration = Duration::from_secs(60);

/// Why a connection ended.
pub(super) struct Lost {
    pub(super) reason: String,
    /// Requests may have reached the peer.
    pub(super) sent: bool,
    pub(super) next: Next,
}

/// What follows the loss.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The peer is suspect: probe it.
    Probe,
    /// All is well; the next request dials.
    Rest,
    /// It is no peer; never dialled again.
    Never,
}

impl Lost {
    fn before(reason: impl Into<String>) -> Self {
        Self {
            sent: false,
            ..Self::after(reason)
        }
    }

    pub(super) fn after(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            sent: true,
            next: Next::Probe,
        }
    }
}

/// A connection that has been greeted, and the message that came with that.
pub(super) struct Session {
    inbound: Streaming<Replies>,
    first: Replies,
}

impl Shared {
    /// Keeps the link from its first request until it is removed or rests.
    pub(super) async fn keep(self: Arc<Self>, mut connection: Arc<Connection>) {
        let mut session = self.open(&connection).await;
        loop {
            let lost = match session {
                Ok(session) => self.read(&connection, session).await,
                Err(lost) => lost,
            };
            tracing::debug!(peer = &*self.address, reason = lost.reason, "link lost");
            self.hang_up(&connection, &lost);
            match lost.next {
                Next::Probe => {}
                Next::Rest => return,
                Next::Never => return std::future::pending().await,
            }
            let (probed, greeted) = self.probe().await;
            connection = probed;
            session = Ok(greeted);
        }
    }

    /// Dials and greets until the peer answers; from then on requests use it.
    async fn probe(&self) -> (Arc<Connection>, Session) {
        loop {
            let pause = self.next_probe();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.nudge.notified() => {}
            }
            let connection = self.new_connection();
            match self.open(&connection).await {
                Ok(session) => {
                    self.restore(&connection);
                    return (connection, session);
                }
                Err(lost) if lost.next == Next::Never => std::future::pending().await,
                Err(lost) => self.suspect(&lost.reason),
            }
        }
    }

    /// Dials, greets, and waits for the answer.
    async fn open(&self, connection: &Connection) -> Result<Session, Lost> {
        let endpoint = endpoint(&self.address, self.times.connect_timeout);
        let channel = self
            .transport
            .connect(&endpoint)
            .await
            .map_err(|error| self.undialled(&error))?;
        let owed = self.owed.lock().clone();
        connection.outbox.push_first(self.greeting(&owed));
        let mut client =
            KamaCacheServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let greeted = async {
            let request = self.identity.request(connection.outbox.stream());
            let opened = client.link(request).await;
            let mut inbound = opened.map_err(|status| self.refused(&status))?.into_inner();
            match inbound.message().await {
                Ok(Some(first)) => Ok(Session { inbound, first }),
                Ok(None) => Err(Lost::after("it closed the link")),
                Err(status) => Err(self.refused(&status)),
            }
        };
        let mut session = tokio::time::timeout(self.times.suspect_after, greeted)
            .await
            .map_err(|_| Lost::after("it accepted the connection and said nothing"))??;
        let hello = session.first.hello.take().unwrap_or_default();
        if let Err(error) = self.identity.check_answer(&self.address, &hello) {
            let mut lost = self.refused(&super::status::from_error(&error.error));
            if hello.incarnation == self.identity.incarnation {
                lost.next = Next::Never;
            }
            return Err(lost);
        }
        if let Some(state) = self.state.upgrade()
            && let Err(error) = state.membership.greeted(&hello)
        {
            return Err(self.refused(&super::status::from_error(&error)));
        }
        connection.greeted(&hello);
        self.greeted.send_replace(Some(Greeted {
            incarnation: hello.incarnation,
            capabilities: hello.capabilities,
        }));
        self.said.store(hello.view_digest, Ordering::Relaxed);
        self.greeted(&owed);
        Ok(session)
    }

    /// The hello, and what this peer missed while it was away.
    fn greeting(&self, owed: &[Request]) -> Requests {
        let digest = self.digest();
        let state = self.state.upgrade();
        let left = state.map_or_else(Vec::new, |state| state.membership.left());
        Requests {
            hello: Some(self.identity.hello(&self.address, digest, left)),
            requests: owed.to_vec(),
            ping: self.now_ms(),
            ..Requests::default()
        }
    }

    /// The peer has taken the greeting, and with it what it was owed.
    fn greeted(&self, owed: &[Request]) {
        self.owed.lock().retain(|request| !owed.contains(request));
        self.told.store(false, Ordering::Relaxed);
    }

    /// No connection was made; a certificate is worth a warning.
    fn undialled(&self, error: &tonic::transport::Error) -> Lost {
        if let Some(refusal) = refusal::find(error) {
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(peer = &*self.address, reason = %refusal, "no secure connection to the peer");
            }
            if let Some(state) = self.state.upgrade() {
                add(&state.counters.links_refused);
            }
        }
        Lost::before(innermost(error))
    }

    fn refused(&self, status: &tonic::Status) -> Lost {
        let reason = super::status::reason(status);
        let said = super::status::to_error(status);
        let refusal = match &said {
            Some(error) => error.kind() != ErrorKind::Closed,
            // A broken connection refuses nothing; an answer of another program does.
            None => std::error::Error::source(status).is_none(),
        };
        if refusal && !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(peer = &*self.address, reason = %Shown(&reason), "the peer refused the link");
        }
        if let Some(state) = self.state.upgrade().filter(|_| refusal && said.is_some()) {
            add(&state.counters.links_refused);
        }
        Lost::after(reason)
    }

    async fn read(&self, connection: &Connection, session: Session) -> Lost {
        let Session { mut inbound, first } = session;
        self.take(connection, first);
        let mut watch = Watch::new(self.times.heartbeat, self.times.suspect_after);
        // The groups that the peer has been told of.
        let mut told = 0;
        let mut tick = tokio::time::interval(watch.period());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                biased;
                message = inbound.message() => message,
                now = tick.tick() => {
                    for done in connection.give_up_stalled() {
                        done.call(Err(CallError::Answered(self.overloaded())));
                    }
                    let waited_for = connection.is_waited_for() || self.is_beside();
                    match watch.look(now, waited_for, connection.count()) {
                        Look::Fine => {}
                        Look::Ping => {
                            let (ping, view_digest) = (self.now_ms(), self.digest());
                            let options = self.options_beyond(&mut told);
                            let bytes = REQUEST_BYTES * (1 + options.len());
                            let pushed = connection.outbox.push_urgent(bytes, |message| {
                                message.ping = ping;
                                message.view_digest = view_digest;
                                message.options.extend(options);
                            });
                            if pushed.is_err() {
                                return Lost::after("it does not read what is sent");
                            }
                        }
                        Look::Silent(silence) => return Lost::after(format!("no word for {silence:?}")),
                        Look::Idle => {
                            return Lost { next: Next::Rest, ..Lost::after("nothing was asked for a while") };
                        }
                    }
                    continue;
                }
            };
            watch.heard();
            match message {
                Ok(Some(message)) => self.take(connection, message),
                Ok(None) => return Lost::after("it closed the link"),
                Err(status) => return Lost::after(super::status::reason(&status)),
            }
        }
    }

    /// One message: invalidations, then replies, then the lease.
    pub(super) fn take(&self, connection: &Connection, message: Replies) {
        let Some(state) = self.state.upgrade() else {
            return;
        };
        if message.all_invalid {
            state.generations.bump_all();
        }
        for slot in &message.invalid {
            state.generations.bump(Slot::from_wire(*slot));
        }
        for group in &message.cleared {
            let name = std::str::from_utf8(group).unwrap_or_default();
            if let Some(group) = state.find_now(name) {
                group.void_copies();
            }
        }
        let told = message.invalid.len() + message.cleared.len();
        state.count_invalidations(told as u64 + u64::from(message.all_invalid));
        let bulk = message.hits.iter().flat_map(|hits| &hits.ids).copied();
        let ids = message.replies.iter().map(|reply| reply.id).chain(bulk);
        if connection.is_strange(ids) {
            add(&state.counters.malformed);
        }
        if let Some(hits) = message.hits
            && !self.take_hits(connection, &hits)
        {
            add(&state.counters.malformed);
        }
        for (done, reply) in connection.answered(message.replies) {
            done.call(call::read(&self.address, &reply));
        }
        // What was never sent proves nothing.
        if message.pong > self.now_ms() {
            add(&state.counters.malformed);
        } else if message.pong > 0 {
            connection.outbox.confirm(message.pong);
            let lease = message.pong
                + 2 * u64::try_from(self.times.heartbeat.as_millis()).unwrap_or(u64::MAX / 4);
            self.lease_until.fetch_max(lease, Ordering::AcqRel);
            let incarnation = connection.incarnation();
            state.membership.is_heard(&self.address, incarnation);
            if message.view_digest != 0 {
                self.said.store(message.view_digest, Ordering::Relaxed);
            }
        }
    }

    /// Whether the list was whole.
    fn take_hits(&self, connection: &Connection, hits: &Hits) -> bool {
        let waiting = connection.take_all(&hits.ids);
        let Some(values) = hits.each() else {
            let error = Error::new(ErrorKind::Internal, "the peer sent a broken list of values")
                .with_peer(&*self.address);
            let waiting = waiting.into_iter().flatten();
            waiting.for_each(|done| done.call(Err(CallError::Answered(error.clone()))));
            return false;
        };
        let now = Instant::now();
        for (done, (ttl_ms, value)) in waiting.into_iter().zip(values) {
            // A reply that nobody waits for is dropped.
            if let Some(done) = done {
                done.call(Ok(call::hit(value, ttl_ms, now)));
            }
        }
        true
    }

    /// Voids what was borrowed by its epoch, then lets requests go on, by the next dial or
    /// without this peer, then tells everyone who waits.
    pub(super) fn hang_up(&self, connection: &Arc<Connection>, lost: &Lost) {
        self.lease_until.store(0, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.said.store(0, Ordering::Relaxed);
        if let Some(state) = self.state.upgrade() {
            let incarnation = connection.incarnation();
            state.membership.hung_up(&self.address, incarnation);
        }
        self.greeted.send_replace(None);
        self.let_go(connection, lost);
        for (done, may_be_sent) in connection.end() {
            done.call(Err(CallError::Unreachable {
                error: call::unreachable(&self.address, &lost.reason),
                sent: lost.sent && may_be_sent,
            }));
        }
    }

    /// Of this node's view.
    fn digest(&self) -> u64 {
        self.state
            .upgrade()
            .map_or(0, |state| state.peers.view().digest())
    }

    /// How all groups are run, if there are more than the peer was `told` of.
    fn options_beyond(&self, told: &mut usize) -> Vec<GroupOptions> {
        let Some(state) = self.state.upgrade() else {
            return Vec::new();
        };
        if state.groups.read().len() <= *told {
            return Vec::new();
        }
        let options = state.options();
        *told = options.len();
        options
    }

    fn now_ms(&self) -> u64 {
        // Never 0, which is no ping.
        self.state
            .upgrade()
            .map_or(1, |state| state.clock.now_ms().max(1))
    }
}

/// What a look at a connection says.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Fine,
    /// A heartbeat is due.
    Ping,
    /// Requests or pings have waited this long, and no frame came.
    Silent(Duration),
    /// There is nothing to keep the connection for.
    Idle,
}

/// How long nothing was heard, and nothing asked, on one connection. Pure.
struct Watch {
    heartbeat: Duration,
    suspect_after: Duration,
    /// Since when something has waited without any frame.
    asked: Option<Instant>,
    looked: Instant,
    next_ping: Instant,
    /// The requests counted so far, and since when none came.
    count: u64,
    used: Instant,
}

impl Watch {
    fn new(heartbeat: Duration, suspect_after: Duration) -> Self {
        let now = Instant::now();
        Self {
            // A peer that is asked nothing else must have time to answer.
            heartbeat: heartbeat.min(suspect_after / 2),
            suspect_after,
            asked: None,
            looked: now,
            next_ping: now,
            count: 0,
            used: now,
        }
    }

    /// Between two looks.
    fn period(&self) -> Duration {
        self.heartbeat
            .min(self.suspect_after / 8)
            .max(Duration::from_millis(5))
    }

    fn heard(&mut self) {
        self.asked = None;
    }

    fn look(&mut self, now: Instant, waited_for: bool, count: u64) -> Look {
        // It was this process that stood still, not the peer.
        if now - self.looked > self.suspect_after / 2 + self.period() {
            self.asked = None;
        }
        self.looked = now;
        if waited_for || count != self.count {
            self.count = count;
            self.used = now;
        }
        if waited_for {
            self.asked.get_or_insert(now);
        }
        let silence = self.asked.map_or(Duration::ZERO, |asked| now - asked);
        if silence >= self.suspect_after {
            return Look::Silent(silence);
        }
        if now - self.used >= IDLE {
            return Look::Idle;
        }
        if now >= self.next_ping {
            self.next_ping = now + self.heartbeat;
            self.asked.get_or_insert(now);
            return Look::Ping;
        }
        Look::Fine
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A watch of the default times, and what it says every 125 ms.
    fn looks(count: u32, mut each: impl FnMut(u32, &mut Watch) -> bool) -> Vec<Look> {
        let mut watch = Watch::new(500 * MS, 1000 * MS);
        let start = watch.looked;
        (0..count)
            .map(|step| {
                let waited_for = each(step, &mut watch);
                watch.look(start + 125 * MS * step, waited_for, 1)
            })
            .collect()
    }

    #[test]
    fn s25_silence_with_requests_outstanding_is_suspect() {
        let seen = looks(9, |_, _| true);
        assert_eq!(seen[8], Look::Silent(1000 * MS));
        assert!(!seen[..8].iter().any(|look| matches!(look, Look::Silent(_))));
    }

    #[test]
    fn s25_an_unanswered_ping_is_suspect_too() {
        assert_eq!(looks(9, |_, _| false)[8], Look::Silent(1000 * MS));
    }

    #[test]
    fn s25_any_frame_ends_the_silence_and_a_slow_getter_is_no_reason() {
        let seen = looks(40, |step, watch| {
            if step % 4 == 3 {
                watch.heard();
            }
            true
        });
        assert!(!seen.iter().any(|look| matches!(look, Look::Silent(_))));
    }

    #[test]
    fn s25_a_process_that_stood_still_does_not_suspect_its_peers() {
        let mut watch = Watch::new(500 * MS, 1000 * MS);
        let start = watch.looked;
        watch.look(start, true, 1);
        let later = start + 5000 * MS;
        assert!(!matches!(watch.look(later, true, 1), Look::Silent(_)));
        let silent = watch.look(later + 500 * MS, true, 1);
        assert!(!matches!(silent, Look::Silent(_)), "{silent:?}");
    }

    #[test]
    fn a_connection_nobody_uses_is_idle() {
        let seen = looks(481, |_, watch| {
            watch.heard();
            false
        });
        assert_eq!(seen[480], Look::Idle);
        assert!(!seen[..480].contains(&Look::Idle));
    }
}
