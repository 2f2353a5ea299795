//! One connection of a link, from the first dial to its loss: what is to be
//! sent, and who waits for which reply.
//!
//! Invariant: each request's `done` runs exactly once, with no lock held,
//! unless whoever asked has cancelled: then it is dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::call::{CallError, Fetched};
use super::hello;
use super::outbox::{Outbox, Refused};
use crate::wire::{Op, Reply, Request, Requests};

/// What a request takes beside its key and value.
pub(crate) const REQUEST_BYTES: usize = 48;

pub(crate) type Done = Box<dyn FnOnce(Result<Fetched, CallError>) + Send>;

pub(crate) struct Connection {
    pub(crate) outbox: Arc<Outbox<Requests>>,
    /// `None` once it is lost.
    waiting: Mutex<Option<HashMap<u64, Done, foldhash::fast::RandomState>>>,
    next_id: AtomicU64,
    greeting: Mutex<Greeting>,
}

/// What the peer takes, as its hello says.
enum Greeting {
    /// It has not come yet; these requests have been cancelled meanwhile.
    Awaited(Vec<u64>),
    Come(u64),
}

/// What became of a request.
pub(crate) enum Sent {
    Queued(Asked),
    /// The connection was lost a moment ago; nothing was sent.
    Lost(Request, Done),
    /// The peer does not read; nothing was sent.
    Full(Done),
}

impl Connection {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            outbox: Outbox::new(),
            waiting: Mutex::new(Some(HashMap::default())),
            next_id: AtomicU64::new(1),
            greeting: Mutex::new(Greeting::Awaited(Vec::new())),
        })
    }

    pub(crate) fn send(self: &Arc<Self>, mut request: Request, done: Done) -> Sent {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        match &mut *self.waiting.lock() {
            Some(waiting) => {
                waiting.insert(id, done);
            }
            None => return Sent::Lost(request, done),
        }
        request.id = id;
        if !request.trace.is_empty() && !self.takes(hello::TRACE) {
            request.trace.clear();
        }
        let bytes = REQUEST_BYTES + request.group.len() + request.key.len() + request.value.len();
        match self
            .outbox
            .push(bytes, |message| message.requests.push(request))
        {
            // Whoever lost the connection ends what waits on it.
            Ok(()) | Err(Refused::Closed) => Sent::Queued(self.asked(id)),
            Err(Refused::Full) => match self.take(id) {
                Some(done) => Sent::Full(done),
                None => Sent::Queued(self.asked(id)),
            },
        }
    }

    fn asked(self: &Arc<Self>, id: u64) -> Asked {
        Asked {
            connection: Arc::downgrade(self),
            id,
        }
    }

    /// The peer has greeted.
    pub(crate) fn greeted(&self, capabilities: u64) {
        let come = Greeting::Come(capabilities);
        let before = std::mem::replace(&mut *self.greeting.lock(), come);
        if let Greeting::Awaited(cancelled) = before {
            for id in cancelled {
                self.tell_cancelled(id, capabilities);
            }
        }
    }

    /// The peer has greeted, and takes this.
    fn takes(&self, capability: u64) -> bool {
        match &*self.greeting.lock() {
            Greeting::Awaited(_) => false,
            Greeting::Come(capabilities) => capabilities & capability != 0,
        }
    }

    fn cancel(&self, id: u64) {
        // Whoever is answered already has nothing to cancel.
        let Some(done) = self.take(id) else { return };
        drop(done);
        let capabilities = match &mut *self.greeting.lock() {
            Greeting::Awaited(cancelled) => return cancelled.push(id),
            Greeting::Come(capabilities) => *capabilities,
        };
        self.tell_cancelled(id, capabilities);
    }

    fn tell_cancelled(&self, id: u64, capabilities: u64) {
        if capabilities & hello::CANCEL != 0 {
            let request = Request {
                id,
                op: Op::Cancel.into(),
                ..Request::default()
            };
            // A queue that is full or closed has other worries.
            let _ = self
                .outbox
                .push(REQUEST_BYTES, |message| message.requests.push(request));
        }
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
        let mut waiting = self.waiting.lock();
        let Some(waiting) = &mut *waiting else {
            return Vec::new();
        };
        replies
            .into_iter()
            .filter_map(|reply| Some((waiting.remove(&reply.id)?, reply)))
            .collect()
    }

    /// Ends it: nothing more is sent or answered. Those who still waited, first
    /// come first.
    pub(crate) fn end(&self) -> impl Iterator<Item = Done> {
        self.outbox.close();
        let waiting = self.waiting.lock().take();
        let mut waiting: Vec<_> = waiting.into_iter().flatten().collect();
        waiting.sort_unstable_by_key(|(id, _)| *id);
        waiting.into_iter().map(|(_, done)| done)
    }

    fn take(&self, id: u64) -> Option<Done> {
        self.waiting.lock().as_mut()?.remove(&id)
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
}
