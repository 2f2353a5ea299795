//! What waits in an outbox, and what leaves it next: messages that are being
//! filled, urgent ones, and the line of operations that found no room.
//!
//! Invariant: everything here runs under the outbox's lock, and none of it wakes
//! or waits: it hands wakers out.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use tokio::time::Instant;

use super::{MAX_OPS, MAX_QUEUED_BYTES, MAX_UNANSWERED, STALLED, WORTHWHILE_OPS};
use crate::peers::ahead::Ahead;
use crate::wire::{Replies, Requests};

const MAX_BATCH_BYTES: usize = 256 << 10;

/// What an outbox sends.
pub(crate) trait Message: Default {
    /// Adds what is urgent and waits in a message of its own.
    fn absorb(&mut self, urgent: Self);

    /// The ping of a message of requests.
    fn ping(&mut self) -> Option<&mut u64>;
}

/// Puts an operation that waited in line into a message.
pub(crate) type Add<M> = Box<dyn FnOnce(&mut M) + Send>;

pub(super) struct Queue<M> {
    pub(super) batches: VecDeque<Batch<M>>,
    pub(super) bytes: usize,
    pub(super) urgent: VecDeque<Batch<M>>,
    pub(super) urgent_bytes: usize,
    /// Operations without room, by their number.
    pub(super) line: BTreeMap<u64, Later<M>>,
    pub(super) line_bytes: usize,
    /// When the line began, or has moved last.
    pub(super) moved: Option<Instant>,
    /// Of requests.
    pub(super) ahead: Option<Ahead>,
    /// Requests in messages, those already written too, without an answer.
    pub(super) unanswered: usize,
    /// What the place was charged for all of it.
    pub(super) charged: usize,
    /// The writer waits for a push.
    pub(super) idle: Option<Waker>,
    /// Callers that have more to push before the writer needs to know.
    pub(super) corks: usize,
    pub(super) closed: bool,
}

pub(super) struct Batch<M> {
    pub(super) message: M,
    pub(super) ops: usize,
    pub(super) bytes: usize,
    /// Nothing is added any more.
    pub(super) sealed: bool,
}

/// An operation that waits in line.
pub(crate) struct Later<M> {
    /// As in [`Outbox::push_among`].
    pub(crate) under_way: usize,
    pub(crate) bytes: usize,
    /// The peer will answer it.
    pub(crate) is_answered: bool,
    pub(crate) add: Add<M>,
}

impl<M: Message> Queue<M> {
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        let fits = self.bytes + bytes <= MAX_QUEUED_BYTES || self.bytes == 0;
        fits && (self.ahead.is_none() || self.unanswered < MAX_UNANSWERED)
    }

    pub(super) fn add(&mut self, under_way: usize, bytes: usize, add: impl FnOnce(&mut M)) {
        self.bytes += bytes;
        let most = (under_way / 2).clamp(WORTHWHILE_OPS, MAX_OPS);
        extend(&mut self.batches, most, bytes, add);
    }

    pub(super) fn has_moved(&mut self) {
        self.moved = self.moved.map(|_| Instant::now());
    }

    /// Lets in as many from the line as there is room for.
    pub(super) fn admit(&mut self) {
        while let Some((_, first)) = self.line.first_key_value() {
            if !self.has_room_for(first.bytes) {
                return;
            }
            if let Some((_, first)) = self.line.pop_first() {
                self.line_bytes -= first.bytes;
                self.unanswered += usize::from(first.is_answered);
                self.add(first.under_way, first.bytes, first.add);
            }
        }
        self.moved = None;
    }

    pub(super) fn leave(&mut self) -> BTreeMap<u64, Later<M>> {
        self.moved = None;
        self.line_bytes = 0;
        std::mem::take(&mut self.line)
    }

    pub(super) fn has_stalled(&self) -> bool {
        self.moved.is_some_and(|moved| moved.elapsed() >= STALLED)
    }

    pub(super) fn may_send(&self) -> bool {
        self.ahead.as_ref().is_none_or(Ahead::is_open)
    }

    /// The next message: what is urgent, with the next operations if they may go.
    pub(super) fn pop(&mut self) -> Option<M> {
        let urgent = self.urgent.pop_front();
        let batch = if self.has_message() && self.may_send() {
            self.batches.pop_front()
        } else {
            None
        };
        let (mut message, ops) = match (batch, urgent) {
            (None, None) => return None,
            (None, Some(urgent)) => {
                self.urgent_bytes -= urgent.bytes;
                (urgent.message, 0)
            }
            (Some(mut batch), urgent) => {
                self.bytes -= batch.bytes;
                self.has_moved();
                if let Some(urgent) = urgent {
                    self.urgent_bytes -= urgent.bytes;
                    batch.message.absorb(urgent.message);
                }
                (batch.message, batch.ops)
            }
        };
        self.admit();
        if let (Some(ahead), Some(ping)) = (&mut self.ahead, message.ping()) {
            ahead.send(ops, ping);
        }
        Some(message)
    }

    /// The writer, if it waits and has something to write now.
    pub(super) fn writer(&mut self) -> Option<Waker> {
        let ready = !self.urgent.is_empty() || (self.has_message() && self.may_send());
        if ready { self.idle.take() } else { None }
    }

    /// There is a message to which nothing more will be added: the last one may
    /// become fuller while a cork is held.
    pub(super) fn has_message(&self) -> bool {
        match self.batches.len() {
            0 => false,
            1 => self.corks == 0 || self.closed || self.batches[0].sealed,
            _ => true,
        }
    }
}

/// Adds to the last message, or to a new one if that is full.
pub(super) fn extend<M: Default>(
    batches: &mut VecDeque<Batch<M>>,
    most: usize,
    bytes: usize,
    add: impl FnOnce(&mut M),
) {
    let open = |last: &Batch<M>| !last.sealed && last.ops < most && last.bytes < MAX_BATCH_BYTES;
    if !batches.back().is_some_and(open) {
        batches.push_back(Batch {
            message: M::default(),
            ops: 0,
            bytes: 0,
            sealed: false,
        });
    }
    if let Some(last) = batches.back_mut() {
        add(&mut last.message);
        last.ops += 1;
        last.bytes += bytes;
    }
}

impl Message for Requests {
    fn absorb(&mut self, urgent: Self) {
        // Each field is named, so that a new one is not lost here.
        let Self {
            ping,
            view_digest,
            options,
            hello: _,
            requests: _,
            gets: _,
        } = urgent;
        if ping > 0 {
            self.ping = ping;
            self.view_digest = view_digest;
        }
        self.options.extend(options);
    }

    fn ping(&mut self) -> Option<&mut u64> {
        Some(&mut self.ping)
    }
}

impl Message for Replies {
    fn absorb(&mut self, urgent: Self) {
        // Each field is named, so that a new one is not lost here.
        let Self {
            invalid,
            all_invalid,
            cleared,
            pong,
            view_digest,
            hello: _,
            replies: _,
            hits: _,
        } = urgent;
        self.invalid.extend(invalid);
        self.all_invalid |= all_invalid;
        self.cleared.extend(cleared);
        if pong > 0 {
            self.pong = pong;
            self.view_digest = view_digest;
        }
    }

    fn ping(&mut self) -> Option<&mut u64> {
        None
    }
}
