//! What this node asks of a peer: reads and writes of its callers, and what
//! members tell each other when views change.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Greeted, Link, MAX_LINK_VALUE};
use crate::Value;
use crate::getter::Ttl;
use crate::peers::asking::{Asking, left_ms};
use crate::peers::bulk::Get;
use crate::peers::call::{self, CallError, Fetched};
use crate::peers::connection::{Asked, Done};
use crate::peers::hello;
use crate::wire::{Op, Request};

/// Those who wait to hear whether the peer leaves; `None`: it is not asked.
#[derive(Default)]
pub(super) struct Leaving(Mutex<Option<Vec<oneshot::Sender<Option<u64>>>>>);

impl Link {
    /// Asks the owner for a value; `done` runs once, on a runtime task or on
    /// this thread, unless it is cancelled. `None`: it has run.
    pub(crate) fn get(&self, get: Get<'_>, done: Done) -> Option<Asked> {
        // What the owner has to load of a batch is one query.
        let together = matches!(done, Done::OfMany(..));
        self.0.send(together, Asking::Get(get), done)
    }

    /// The same for a value that is too large for the link.
    pub(crate) async fn get_large(
        &self,
        group: &str,
        key: &str,
        held: u64,
        inside: bool,
        deadline: Option<Instant>,
    ) -> Result<Fetched, CallError> {
        let get = self.0.unary.get(group, key, false, held, inside, deadline);
        self.0.beside(get).await
    }

    pub(crate) async fn set(
        &self,
        group: &Bytes,
        key: &str,
        value: &Value,
        ttl: Ttl,
        deadline: Option<Instant>,
        trace: String,
    ) -> Result<(), CallError> {
        if value.len() > MAX_LINK_VALUE {
            let group = String::from_utf8_lossy(group);
            let unary = &self.0.unary;
            let set = unary.set(&group, key, value, ttl, deadline, &trace);
            return self.0.beside(set).await;
        }
        let mut request = request(Op::Set, group, key, deadline);
        request.value = value.to_bytes();
        request.ttl_ms = ttl.to_wire_ms();
        request.trace = trace;
        self.call(request, deadline).await
    }

    pub(crate) async fn delete(
        &self,
        group: &Bytes,
        key: &str,
        deadline: Option<Instant>,
        trace: String,
    ) -> Result<(), CallError> {
        let mut request = request(Op::Delete, group, key, deadline);
        request.trace = trace;
        self.call(request, deadline).await
    }

    /// Clears the group at the peer, as this node has the view of the digest. A
    /// peer that does not answer is told when it is reached again, before
    /// anything else.
    pub(crate) async fn clear(
        &self,
        group: &Bytes,
        digest: u64,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        let mut clear = request(Op::Clear, group, "", deadline);
        clear.view_digest = digest;
        let result = self.call(clear, deadline).await;
        if matches!(
            result,
            Err(CallError::Unreachable { .. } | CallError::Deadline { .. })
        ) {
            let clear = Request {
                op: Op::Clear.into(),
                group: group.clone(),
                ..Request::default()
            };
            self.0.owe(clear);
        }
        result
    }

    /// Asks the previous owner for its former entry (S33).
    pub(crate) async fn take(
        &self,
        group: &Bytes,
        key: &str,
        deadline: Instant,
    ) -> Result<Fetched, CallError> {
        self.ask(
            request(Op::Take, group, key, Some(deadline)),
            Some(deadline),
        )
        .await
    }

    /// The same for a value that is too large for the link.
    pub(crate) async fn take_large(
        &self,
        group: &str,
        key: &str,
        deadline: Instant,
    ) -> Result<Fetched, CallError> {
        let deadline = Some(deadline);
        let get = self.0.unary.get(group, key, true, 0, false, deadline);
        self.0.beside(get).await
    }

    /// Gives an entry to the node that will own it when this one has left (S32).
    pub(crate) async fn give(
        &self,
        group: &Bytes,
        key: &str,
        value: &Value,
        ttl: Ttl,
        deadline: Instant,
    ) -> Result<(), CallError> {
        if value.len() > MAX_LINK_VALUE {
            let group = String::from_utf8_lossy(group);
            let give = self.0.unary.give(&group, key, value, ttl, deadline);
            return self.0.beside(give).await;
        }
        let mut request = request(Op::Give, group, key, Some(deadline));
        request.value = value.to_bytes();
        request.ttl_ms = ttl.to_wire_ms();
        self.call(request, Some(deadline)).await
    }

    /// Tells the peer that this node leaves; it has adopted that once it answers.
    pub(crate) async fn say_goodbye(&self, deadline: Instant) -> Result<(), CallError> {
        let goodbye = request(Op::Goodbye, &Bytes::new(), "", Some(deadline));
        self.call(goodbye, Some(deadline)).await
    }

    /// Whether the peer leaves, as it says itself when this node asks it over
    /// its own link: anybody may say goodbye in its name. With that, what its
    /// incarnation is. Those who ask at the same time are told together.
    pub(crate) async fn is_leaving(self: &Arc<Self>) -> Option<u64> {
        let (tell, told) = oneshot::channel();
        let first = {
            let mut asking = self.0.leaving.0.lock();
            let first = asking.is_none();
            asking.get_or_insert_default().push(tell);
            first
        };
        if first {
            let link = self.clone();
            match self.0.state.upgrade() {
                Some(state) => drop(state.runtime.spawn(async move {
                    link.ask_whether_it_leaves().await;
                })),
                // The node is gone, and with it those who wait.
                None => *self.0.leaving.0.lock() = None,
            }
        }
        told.await.ok().flatten()
    }

    async fn ask_whether_it_leaves(&self) {
        loop {
            let waiting = {
                let mut asking = self.0.leaving.0.lock();
                match asking.as_mut().map(std::mem::take) {
                    Some(waiting) if !waiting.is_empty() => waiting,
                    _ => {
                        *asking = None;
                        return;
                    }
                }
            };
            let leaving = self.ask_once_whether_it_leaves().await;
            for tell in waiting {
                // One that has gone away need not know.
                let _ = tell.send(leaving);
            }
        }
    }

    async fn ask_once_whether_it_leaves(&self) -> Option<u64> {
        let deadline = Instant::now() + self.0.times.suspect_after;
        let mut greeted = self.0.greeted.subscribe();
        self.expect();
        let Greeted {
            incarnation,
            capabilities,
        } = {
            let hello = greeted.wait_for(Option::is_some);
            let hello = tokio::time::timeout_at(deadline, hello).await.ok()?;
            (*hello.ok()?)?
        };
        // An older release cannot say it, and is believed.
        if capabilities & hello::LEAVING != 0 {
            let ask = request(Op::Leaving, &Bytes::new(), "", Some(deadline));
            self.call(ask, Some(deadline)).await.ok()?;
        }
        Some(incarnation)
    }

    /// Tells the peer what this node wrote as an owner in a view that it has
    /// left, as on the wire: now, or when the peer is reached again, before
    /// anything else.
    pub(crate) fn tell_written(
        self: &Arc<Self>,
        digest: u64,
        written: Bytes,
    ) -> impl Future<Output = ()> + Send + use<> {
        let told = Request {
            op: Op::Written.into(),
            value: written,
            view_digest: digest,
            ..Request::default()
        };
        let link = self.clone();
        async move {
            if link.call(told.clone(), None).await.is_err() {
                link.0.owe(told);
            }
        }
    }

    async fn call(&self, request: Request, deadline: Option<Instant>) -> Result<(), CallError> {
        self.ask(request, deadline).await.map(drop)
    }

    async fn ask(&self, request: Request, deadline: Option<Instant>) -> Result<Fetched, CallError> {
        let (sender, receiver) = oneshot::channel();
        let done = |result: Result<Fetched, CallError>| {
            // A caller that has left is no error.
            let _ = sender.send(result);
        };
        let asking = Asking::Call(request, deadline);
        // Writes of one caller are one message; what cannot be taken is one
        // query if the answers come together.
        let asked = self.0.send(true, asking, Done::One(Box::new(done)));
        let mut place = Place(asked);
        let answer = match deadline {
            None => receiver.await,
            Some(deadline) => match tokio::time::timeout_at(deadline, receiver).await {
                Ok(answer) => answer,
                Err(_) => {
                    let sent = !place.leave();
                    return Err(CallError::Deadline { sent });
                }
            },
        };
        place.0 = None;
        let lost = || CallError::Unreachable {
            error: call::unreachable(self.address(), "the node is closing"),
            sent: true,
        };
        answer.map_err(|_| lost())?
    }
}

/// A caller's place in the link's line, left at the latest with the caller.
struct Place(Option<Asked>);

impl Place {
    /// Whether the request was still in line.
    fn leave(&mut self) -> bool {
        self.0.take().is_some_and(|asked| asked.withdraw())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

fn request(op: Op, group: &Bytes, key: &str, deadline: Option<Instant>) -> Request {
    Request {
        op: op.into(),
        group: group.clone(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        left_ms: left_ms(deadline, Instant::now()),
        ..Request::default()
    }
}
