//! One connection of a link, from the first dial to its loss: what is to be
//! sent, and who waits for which reply.
//!
//! Invariant: each request's `done` runs exactly once, with no lock held,
//! unless whoever asked has cancelled: then it is dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::answers::Answers;
use super::asking::{Asking, REQUEST_BYTES};
use super::call::{CallError, Fetched};
use super::hello;
use super::outbox::{Later, Outbox, Refused};
use crate::clock::Clock;
use crate::hashing::{Hashing, seeded};
use crate::wire::{Hello, Op, Reply, Request, Requests};

/// Who is told of a request's end.
pub(crate) enum Done {
    One(Box<dyn FnOnce(Result<Fetched, CallError>) + Send>),
    /// One of a caller's many, by its place among them.
    OfMany(Arc<Answers>, u32),
}

impl Done {
    pub(crate) fn call(self, result: Result<Fetched, CallError>) {
        match self {
            Self::One(done) => done(result),
            Self::OfMany(answers, place) => answers.put(place as usize, result),
        }
    }
}

pub(crate) struct Connection {
    pub(crate) outbox: Arc<Outbox<Requests>>,
    /// `None` once it is lost.
    waiting: Mutex<Option<HashMap<u64, Done, Hashing>>>,
    next_id: AtomicU64,
    /// What the peer takes, as its hello says; nothing before it.
    capabilities: AtomicU64,
    /// Of the peer, as its hello says.
    incarnation: AtomicU64,
    /// Requests that were cancelled before the hello; `None` after it.
    early: Mutex<Option<Vec<u64>>>,
}

/// Why a request was not queued; nothing was sent.
pub(crate) enum Unsent<'a> {
    /// The connection was lost a moment ago.
    Lost(Box<(Asking<'a>, Done)>),
    /// The peer does not read.
    Stalled(Done),
}

impl Connection {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            outbox: Outbox::confirmed(clock),
            waiting: Mutex::new(Some(HashMap::with_hasher(seeded()))),
            next_id: AtomicU64::new(1),
            capabilities: AtomicU64::new(0),
            incarnation: AtomicU64::new(0),
            early: Mutex::new(Some(Vec::new())),
        })
    }

    /// Queues a request, or puts it in line when the queue is full. Those that
    /// go `together` share a message as long as there is room.
    pub(crate) fn send<'a>(
        self: &Arc<Self>,
        together: bool,
        asking: Asking<'a>,
        done: Done,
    ) -> Result<Asked, Unsent<'a>> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let under_way = match &mut *self.waiting.lock() {
            Some(waiting) => {
                waiting.insert(id, done);
                if together { usize::MAX } else { waiting.len() }
            }
            None => return Err(Unsent::Lost(Box::new((asking, done)))),
        };
        let bytes = asking.bytes();
        let capabilities = self.capabilities.load(Ordering::Relaxed);
        let mut asking = Some(asking);
        let put = |message: &mut Requests| {
            if let Some(asking) = asking.take() {
                asking.put(message, id, capabilities);
            }
        };
        let pushed = self.outbox.push_among(under_way, bytes, put);
        // Whoever lost the connection ends what waits on it.
        if let (Err(Refused::Full), Some(asking)) = (pushed, asking) {
            if self.outbox.has_stalled()
                && let Some(done) = self.take(id)
            {
                return Err(Unsent::Stalled(done));
            }
            let later = Later {
                under_way,
                bytes,
                is_answered: true,
                add: asking.keep(id, capabilities),
            };
            self.outbox.wait_in_line(id, later);
        }
        Ok(self.asked(id))
    }

    fn asked(self: &Arc<Self>, id: u64) -> Asked {
        Asked {
            connection: Arc::downgrade(self),
            id,
        }
    }

    /// The peer has greeted.
    pub(crate) fn greeted(&self, hello: &Hello) {
        self.incarnation.store(hello.incarnation, Ordering::Release);
        self.capabilities
            .store(hello.capabilities, Ordering::Release);
        let early = self.early.lock().take();
        for id in early.into_iter().flatten() {
            self.tell_cancelled(id);
        }
    }

    /// Which node is at its other end; 0 before its hello.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// What the peer takes beyond protocol 1.0.
    pub(crate) fn takes(&self, capability: u64) -> bool {
        self.capabilities.load(Ordering::Relaxed) & capability != 0
    }

    fn cancel(&self, id: u64) {
        // Whoever is answered already has nothing to cancel.
        let Some(done) = self.take(id) else { return };
        drop(done);
        if self.outbox.withdraw(id) {
            return;
        }
        self.outbox.answered(1);
        if let Some(early) = &mut *self.early.lock() {
            return early.push(id);
        }
        self.tell_cancelled(id);
    }

    fn tell_cancelled(&self, id: u64) {
        if self.takes(hello::CANCEL) {
            let request = Request {
                id,
                op: Op::Cancel.into(),
                ..Request::default()
            };
            let later = Later {
                under_way: usize::MAX,
                bytes: REQUEST_BYTES,
                is_answered: false,
                add: Box::new(|message: &mut Requests| message.requests.push(request)),
            };
            // In line it has the place of what it cancels, which was sent.
            self.outbox.wait_in_line(id, later);
        }
    }

    /// Those in line, if nothing has been taken in for long: they leave.
    pub(crate) fn give_up_stalled(&self) -> Vec<Done> {
        let stalled = self.outbox.give_up_stalled();
        stalled.into_iter().filter_map(|id| self.take(id)).collect()
    }

    /// Somebody waits for a reply.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting
            .lock()
            .as_ref()
            .is_some_and(|waiting| !waiting.is_empty())
    }

    /// Grows with every request.
    pub(crate) fn count(&self) -> u64 {
        self.next_id.load(Ordering::Relaxed)
    }

    /// Pairs replies with those who wait; a reply nobody waits for is dropped.
    pub(crate) fn answered(&self, replies: Vec<Reply>) -> Vec<(Done, Reply)> {
        if replies.is_empty() {
            return Vec::new();
        }
        let answered: Vec<_> = match &mut *self.waiting.lock() {
            Some(waiting) => replies
                .into_iter()
                .filter_map(|reply| Some((waiting.remove(&reply.id)?, reply)))
                .collect(),
            None => Vec::new(),
        };
        self.outbox.answered(answered.len());
        answered
    }

    /// Whether one of these ids was never sent here. What was cancelled was, and
    /// may be answered late.
    pub(crate) fn is_strange(&self, mut ids: impl Iterator<Item = u64>) -> bool {
        let sent = 1..self.next_id.load(Ordering::Relaxed);
        ids.any(|id| !sent.contains(&id))
    }

    /// Those who wait for these ids, in their order.
    pub(crate) fn take_all(&self, ids: &[u64]) -> Vec<Option<Done>> {
        let waiting: Vec<_> = match &mut *self.waiting.lock() {
            Some(waiting) => ids.iter().map(|id| waiting.remove(id)).collect(),
            None => Vec::new(),
        };
        self.outbox.answered(waiting.iter().flatten().count());
        waiting
    }

    /// Ends it: nothing more is sent or answered. Those who still waited, first
    /// come first, and whether their requests may have been sent.
    pub(crate) fn end(&self) -> impl Iterator<Item = (Done, bool)> {
        let waiting = self.waiting.lock().take();
        let in_line = self.outbox.close();
        let mut waiting: Vec<_> = waiting.into_iter().flatten().collect();
        waiting.sort_unstable_by_key(|(id, _)| *id);
        waiting
            .into_iter()
            .map(move |(id, done)| (done, in_line.binary_search(&id).is_err()))
    }

    fn take(&self, id: u64) -> Option<Done> {
        self.waiting.lock().as_mut()?.remove(&id)
    }
}

/// Ends the stream of requests, which would keep open a connection that nobody
/// uses: a peer may answer it and never say hello.
impl Drop for Connection {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

/// A request that was sent, by whoever may lose interest in it.
pub(crate) struct Asked {
    connection: Weak<Connection>,
    id: u64,
}

impl Asked {
    /// Nobody waits for the answer any more: `done` is dropped, not called, and
    /// a peer that takes that is told.
    pub(crate) fn cancel(self) {
        if let Some(connection) = self.connection.upgrade() {
            connection.cancel(self.id);
        }
    }

    /// Takes the request out of the line, `done` with it; whether it was there,
    /// and so has certainly not been sent.
    pub(crate) fn withdraw(&self) -> bool {
        let Some(connection) = self.connection.upgrade() else {
            return false;
        };
        let withdrawn = connection.outbox.withdraw(self.id);
        if withdrawn {
            drop(connection.take(self.id));
        }
        withdrawn
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn reply(id: u64) -> Reply {
        Reply {
            id,
            ..Reply::default()
        }
    }

    #[test]
    fn s42_a_late_reply_to_a_cancelled_id_is_dropped_and_one_never_sent_is_strange() {
        let connection = Connection::new(Clock::real());
        let (told, heard) = mpsc::channel();
        let asked = [0, 1].map(|number| {
            let told = told.clone();
            let done = Done::One(Box::new(move |_| told.send(number).unwrap()));
            let asking = Asking::Call(Request::default(), None);
            let sent = connection.send(false, asking, done);
            sent.unwrap_or_else(|_| panic!("the queue is empty"))
        });
        let [first, second] = asked;
        let ids = [first.id, second.id];
        first.cancel();
        let late = connection.answered(ids.map(reply).into());
        assert_eq!(late.len(), 1, "nobody waits for the cancelled one");
        for (done, reply) in late {
            assert_eq!(reply.id, ids[1]);
            done.call(Err(CallError::Deadline { sent: true }));
        }
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [1]);
        assert!(connection.take_all(&ids).iter().all(Option::is_none));
        assert!(!connection.is_strange(ids.into_iter()), "late is not wrong");
        assert!(connection.is_strange([ids[1] + 1].into_iter()));
        assert!(connection.is_strange([0].into_iter()));
    }
}
