//! The body of a request: its messages are charged as they come, and large ones
//! wait for a place before they are read.
//!
//! Invariant: what is charged for a call stays until the call has ended; of a
//! stream, only what is not complete is charged.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

use super::{Came, refused};
use crate::getter::BoxFuture;
use crate::peers::room::{Large, Place, SMALL};

/// The flag and the length in front of a message.
const HEAD: usize = 5;

/// Where a reader of gRPC's framing stands.
#[derive(Default)]
struct Framing {
    head: [u8; HEAD],
    /// Bytes of the head that have come.
    known: usize,
    /// Bytes of the message that are to come.
    left: usize,
    /// Bytes of the message that have come.
    come: usize,
}

impl Framing {
    /// Reads on; the length of a message that has begun in these bytes and does
    /// not end in them.
    fn take(&mut self, mut bytes: &[u8]) -> Option<usize> {
        let mut begun = None;
        while !bytes.is_empty() {
            if self.known < HEAD {
                let count = bytes.len().min(HEAD - self.known);
                self.head[self.known..self.known + count].copy_from_slice(&bytes[..count]);
                self.known += count;
                bytes = &bytes[count..];
                if self.known < HEAD {
                    break;
                }
                let [_, length @ ..] = self.head;
                self.left = u32::from_be_bytes(length) as usize;
                begun = Some(self.left);
            }
            let count = bytes.len().min(self.left);
            self.left -= count;
            self.come += count;
            bytes = &bytes[count..];
            if self.left == 0 {
                (self.known, self.come, begun) = (0, 0, None);
            }
        }
        begun
    }

    /// Bytes of a message that is not complete.
    fn open(&self) -> usize {
        self.known + self.come
    }
}

/// How the messages of a body are held.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// One after the other, none of them large.
    Stream,
    /// One, of so many bytes at the most, until the call has ended.
    Call(usize),
}

/// The body of a request.
pub(super) struct Incoming {
    body: Body,
    place: Place,
    kind: Kind,
    framing: Framing,
    charged: usize,
    large: Arc<OnceLock<Large>>,
    /// A frame that waits for room, and what it waits for.
    waiting: Option<(Bytes, BoxFuture<Option<Granted>>)>,
}

enum Granted {
    Large(Large),
    Small,
}

impl Incoming {
    pub(super) fn new(body: Body, came: &Came, kind: Kind) -> Self {
        let place = came.place.clone();
        if let Kind::Call(_) = kind {
            // For its end; a stream may rest between two messages.
            place.waits();
        }
        Self {
            body,
            place,
            kind,
            framing: Framing::default(),
            charged: 0,
            large: came.large.clone(),
            waiting: None,
        }
    }

    /// Counts what has come; what it must wait for, if anything.
    fn count(&mut self, bytes: &[u8]) -> Option<BoxFuture<Option<Granted>>> {
        self.place.moved(bytes.len());
        let begun = self.framing.take(bytes);
        match self.kind {
            Kind::Stream => {
                self.charge(self.framing.open());
                if self.framing.open() == 0 {
                    self.place.works();
                } else {
                    self.place.waits();
                }
            }
            Kind::Call(most) => {
                let large = begun.filter(|length| (SMALL + 1..=most).contains(length));
                if let Some(length) = large.filter(|_| self.large.get().is_none()) {
                    self.charge(0);
                    self.place.works();
                    let place = self.place.clone();
                    let granted = async move { place.large(length).await.map(Granted::Large) };
                    return Some(Box::pin(granted));
                }
                if self.large.get().is_none() {
                    self.charge(self.charged + bytes.len());
                }
            }
        }
        if !self.place.is_full() || self.large.get().is_some() {
            return None;
        }
        self.place.works();
        let admitted = self.place.clone().admitted();
        Some(Box::pin(
            async move { admitted.await.then_some(Granted::Small) },
        ))
    }

    fn charge(&mut self, bytes: usize) {
        if bytes > self.charged {
            self.place.charge(bytes - self.charged);
        } else {
            self.place.give_back(self.charged - bytes);
        }
        self.charged = bytes;
    }

    /// All has come.
    fn end(&mut self) {
        self.place.works();
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.waiting.is_none() {
            let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
            let bytes = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => bytes,
                Some(Ok(Err(trailers))) => {
                    this.end();
                    return Poll::Ready(Some(Ok(trailers)));
                }
                Some(Err(error)) => {
                    this.end();
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.end();
                    return Poll::Ready(None);
                }
            };
            match this.count(&bytes) {
                Some(granted) => this.waiting = Some((bytes, granted)),
                None => {
                    if this.body.is_end_stream() {
                        this.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
        }
        let Some((_, granted)) = &mut this.waiting else {
            unreachable!("it was set above")
        };
        let granted = ready!(granted.as_mut().poll(cx));
        let bytes = this.waiting.take().map(|(bytes, _)| bytes);
        match granted {
            None => return Poll::Ready(Some(Err(refused()))),
            // Only one is asked for.
            Some(Granted::Large(large)) => drop(this.large.set(large)),
            Some(Granted::Small) => {}
        }
        if this.body.is_end_stream() {
            this.end();
        } else {
            this.place.waits();
        }
        Poll::Ready(Some(Ok(Frame::data(bytes.unwrap_or_default()))))
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s42_what_is_open_of_a_message_is_known_however_it_is_cut() {
        let mut stream = Vec::new();
        let lengths = [0, 1, 70_000, 5, 3];
        for length in lengths {
            stream.push(0);
            stream.extend(u32::try_from(length).unwrap().to_be_bytes());
            stream.extend(vec![7; length]);
        }
        for cut in [1, 2, 5, 6, 7, 4096, 100_000] {
            let mut framing = Framing::default();
            let mut sent = 0;
            for part in stream.chunks(cut) {
                let begun = framing.take(part);
                sent += part.len();
                let mut at = 0;
                let open = lengths.iter().find_map(|length| {
                    let from = at;
                    at += HEAD + length;
                    (sent < at).then_some((sent - from, *length))
                });
                let (open, length) = open.unwrap_or((0, 0));
                assert_eq!(framing.open(), open, "after {sent} bytes in parts of {cut}");
                assert!(begun.is_none_or(|begun| begun == length));
            }
            assert_eq!(framing.open(), 0);
        }
    }
}
