//! The queue in front of one direction of a link: group commit without timers.
//! What is pushed while the last message is being written goes out as the next
//! one; on an idle link a push goes out at once.
//!
//! A message of operations that have nothing to do with each other takes no more
//! than half of what is under way, so that the peer works on one half while this
//! side works on the other; with all in one message the two would take turns.
//!
//! Operations that find the queue full wait in line for room, in order, as their
//! callers' own: they are put into messages only when they fit. Heartbeats and
//! invalidations are urgent: they overtake operations, never each other, and
//! have a limit of their own.
//!
//! Invariant: what is queued as messages is bounded in bytes; a message is at
//! most 1,024 operations or about 256 KiB (one operation may be larger).

mod queue;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_stream::Stream;

pub(crate) use self::queue::{Add, Later, Message};
use self::queue::{Batch, Queue, extend};
use super::ahead::Ahead;
use super::room::Place;
use crate::clock::Clock;
use crate::wire::{Replies, Requests};

pub(crate) const MAX_OPS: usize = 1024;
/// A message with fewer is not worth what sending it costs.
pub(crate) const WORTHWHILE_OPS: usize = 32;
/// Beyond this operations wait in line, and urgent ones are refused (S42).
pub(crate) const MAX_QUEUED_BYTES: usize = 4 << 20;
/// Requests that the peer may have without an answer: half as many as may wait
/// there for loads, so that it never has to refuse one.
pub(crate) const MAX_UNANSWERED: usize = 32_768;
/// A line from which nothing has left for this long is stalled.
pub(crate) const STALLED: Duration = Duration::from_secs(2);

/// Messages of type `M` that wait to be written.
pub(crate) struct Outbox<M> {
    queue: Mutex<Queue<M>>,
    room: Notify,
    /// What the queue is charged to, if others decide how much is in it.
    place: Option<Place>,
}

/// Why nothing was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full.
    Full,
    /// The link is gone.
    Closed,
}

impl<M: Message> Outbox<M> {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(None, None)
    }

    /// One whose bytes are charged to this place.
    pub(crate) fn of(place: Place) -> Arc<Self> {
        Self::with(None, Some(place))
    }

    /// For requests, which are confirmed by pongs.
    pub(crate) fn confirmed(clock: Clock) -> Arc<Self> {
        Self::with(Some(Ahead::new(clock)), None)
    }

    fn with(ahead: Option<Ahead>, place: Option<Place>) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue {
                batches: VecDeque::new(),
                bytes: 0,
                urgent: VecDeque::new(),
                urgent_bytes: 0,
                line: BTreeMap::new(),
                line_bytes: 0,
                charged: 0,
                moved: None,
                ahead,
                unanswered: 0,
                idle: None,
                corks: 0,
                closed: false,
            }),
            room: Notify::new(),
            place,
        })
    }

    /// Adds one operation of about `bytes` to the message that goes out next,
    /// unless the queue is full or others wait in line.
    pub(crate) fn push(&self, bytes: usize, add: impl FnOnce(&mut M)) -> Result<(), Refused> {
        self.push_among(usize::MAX, bytes, add)
    }

    /// The same for one of `under_way` operations that wait for an answer, of
    /// which a message takes half.
    pub(crate) fn push_among(
        &self,
        under_way: usize,
        bytes: usize,
        add: impl FnOnce(&mut M),
    ) -> Result<(), Refused> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(Refused::Closed);
        }
        if !queue.line.is_empty() || !queue.has_room_for(bytes) {
            return Err(Refused::Full);
        }
        queue.unanswered += 1;
        queue.add(under_way, bytes, add);
        self.settle(&mut queue);
        let idle = queue.writer();
        drop(queue);
        wake(idle);
        Ok(())
    }

    /// Puts one operation that was refused as too many in line; it enters a
    /// message when there is room. In line, lower numbers go first. Nothing
    /// happens once the outbox is closed.
    pub(crate) fn wait_in_line(&self, number: u64, later: Later<M>) {
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        queue.moved.get_or_insert_with(Instant::now);
        queue.line_bytes += later.bytes;
        queue.line.insert(number, later);
        // There may be room since it was refused.
        queue.admit();
        self.settle(&mut queue);
        let idle = queue.writer();
        drop(queue);
        wake(idle);
    }

    /// Takes an operation out of the line; whether it was still there.
    pub(crate) fn withdraw(&self, number: u64) -> bool {
        let mut queue = self.queue.lock();
        let withdrawn = queue.line.remove(&number);
        queue.line_bytes -= withdrawn.as_ref().map_or(0, |later| later.bytes);
        self.settle(&mut queue);
        if queue.line.is_empty() {
            queue.moved = None;
        }
        drop(queue);
        withdrawn.is_some()
    }

    /// A line has waited for [`STALLED`] in which nothing left the queue and the
    /// peer answered nothing.
    pub(crate) fn has_stalled(&self) -> bool {
        self.queue.lock().has_stalled()
    }

    /// The numbers of those in line, who leave it, if it has stalled.
    pub(crate) fn give_up_stalled(&self) -> Vec<u64> {
        let mut queue = self.queue.lock();
        if !queue.has_stalled() {
            return Vec::new();
        }
        let line = queue.leave();
        drop(queue);
        line.into_keys().collect()
    }

    /// The peer has answered so many requests, or they need no answer any more.
    pub(crate) fn answered(&self, count: usize) {
        let mut queue = self.queue.lock();
        queue.unanswered = queue.unanswered.saturating_sub(count);
        queue.has_moved();
        queue.admit();
        let idle = queue.writer();
        drop(queue);
        wake(idle);
    }

    /// The peer has handled what was sent up to this ping.
    pub(crate) fn confirm(&self, pong: u64) {
        let mut queue = self.queue.lock();
        if let Some(ahead) = &mut queue.ahead {
            ahead.confirm(pong);
        }
        queue.has_moved();
        let idle = queue.writer();
        drop(queue);
        wake(idle);
    }

    /// Adds an operation that goes before all others, after earlier urgent ones.
    pub(crate) fn push_urgent(
        &self,
        bytes: usize,
        add: impl FnOnce(&mut M),
    ) -> Result<(), Refused> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(Refused::Closed);
        }
        if queue.urgent_bytes + bytes > MAX_QUEUED_BYTES {
            return Err(Refused::Full);
        }
        queue.urgent_bytes += bytes;
        self.settle(&mut queue);
        extend(&mut queue.urgent, MAX_OPS, bytes, add);
        let idle = queue.writer();
        drop(queue);
        wake(idle);
        Ok(())
    }

    /// Until the returned guard is dropped, what is pushed waits for more: a
    /// batch leaves as one message instead of waking the writer for each part.
    /// A message that is full leaves all the same.
    pub(crate) fn cork(self: &Arc<Self>) -> Cork<M> {
        self.queue.lock().corks += 1;
        Cork(self.clone())
    }

    fn uncork(&self) {
        let mut queue = self.queue.lock();
        queue.corks -= 1;
        let idle = queue.writer();
        drop(queue);
        wake(idle);
    }

    /// Puts a message before everything that waits.
    pub(crate) fn push_first(&self, message: M) {
        let mut queue = self.queue.lock();
        queue.batches.push_front(Batch {
            message,
            ops: 0,
            bytes: 0,
            sealed: true,
        });
        let idle = queue.idle.take();
        drop(queue);
        wake(idle);
    }

    /// Ends the stream once all messages have been written. Those in line are
    /// never sent: their numbers.
    pub(crate) fn close(&self) -> Vec<u64> {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let line = queue.leave();
        self.settle(&mut queue);
        let idle = queue.idle.take();
        drop(queue);
        wake(idle);
        self.room.notify_waiters();
        line.into_keys().collect()
    }

    /// Waits until nothing is in line and half of the queue is free: a reader
    /// that produces replies stops reading meanwhile.
    pub(crate) async fn has_room(&self) {
        loop {
            let room = self.room.notified();
            {
                let queue = self.queue.lock();
                let room = queue.line.is_empty() && queue.bytes <= MAX_QUEUED_BYTES / 2;
                if queue.closed || room {
                    return;
                }
            }
            room.await;
        }
    }

    /// The writer's side: the messages, in order.
    pub(crate) fn stream(self: &Arc<Self>) -> Outflow<M> {
        Outflow(self.clone())
    }

    /// Charges the place for what is here now.
    fn settle(&self, queue: &mut Queue<M>) {
        let Some(place) = &self.place else { return };
        let held = queue.bytes + queue.urgent_bytes + queue.line_bytes;
        if held > queue.charged {
            place.charge(held - queue.charged);
        } else {
            place.give_back(queue.charged - held);
        }
        queue.charged = held;
    }

    fn next(&self, cx: &Context<'_>) -> Poll<Option<M>> {
        let mut queue = self.queue.lock();
        match queue.pop() {
            Some(message) => {
                self.settle(&mut queue);
                drop(queue);
                self.room.notify_waiters();
                Poll::Ready(Some(message))
            }
            // What has no leave to be sent goes with the link.
            None if queue.closed => Poll::Ready(None),
            None => {
                queue.idle = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn wake(writer: Option<Waker>) {
    if let Some(writer) = writer {
        writer.wake();
    }
}

/// While it lives, its outbox gathers.
pub(crate) struct Cork<M: Message>(Arc<Outbox<M>>);

impl<M: Message> Drop for Cork<M> {
    fn drop(&mut self) {
        self.0.uncork();
    }
}

/// The stream of an outbox's messages. Dropping it closes the outbox.
pub(crate) struct Outflow<M: Message>(Arc<Outbox<M>>);

impl<M: Message> Outflow<M> {
    fn poll(&self, cx: &Context<'_>) -> Poll<Option<M>> {
        self.0.next(cx)
    }
}

impl<M: Message> Drop for Outflow<M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Stream for Outflow<Requests> {
    type Item = Requests;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl Stream for Outflow<Replies> {
    type Item = Result<Replies, tonic::Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx).map(|message| message.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    impl Message for Vec<usize> {
        fn absorb(&mut self, urgent: Self) {
            self.splice(0..0, urgent);
        }

        fn ping(&mut self) -> Option<&mut u64> {
            None
        }
    }

    fn drain(outbox: &Arc<Outbox<Vec<usize>>>) -> Vec<Vec<usize>> {
        let cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match outbox.next(&cx) {
            Poll::Ready(message) => message,
            Poll::Pending => None,
        })
        .collect()
    }

    #[test]
    fn what_queued_meanwhile_is_one_message_within_the_limits() {
        let outbox = Outbox::<Vec<usize>>::new();
        for n in 0..2500 {
            outbox.push(10, |message| message.push(n)).unwrap();
        }
        let sizes: Vec<usize> = drain(&outbox).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1024, 1024, 452]);
        outbox.push(300 << 10, |message| message.push(1)).unwrap();
        outbox.push(1, |message| message.push(2)).unwrap();
        assert_eq!(drain(&outbox), [vec![1], vec![2]]);
    }

    #[test]
    fn a_message_takes_half_of_what_is_under_way() {
        let outbox = Outbox::<Vec<usize>>::new();
        let sizes = |under_way: usize| {
            for n in 0..under_way {
                let add = |message: &mut Vec<usize>| message.push(n);
                outbox.push_among(under_way, 10, add).unwrap();
            }
            drain(&outbox).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(20), [20], "few are not worth two messages");
        assert_eq!(sizes(64), [32, 32]);
        assert_eq!(sizes(300), [150, 150]);
        assert_eq!(sizes(4096), [1024; 4]);
    }

    #[test]
    fn s42_a_full_queue_refuses_and_one_large_operation_still_passes() {
        let outbox = Outbox::<Vec<usize>>::new();
        outbox
            .push(MAX_QUEUED_BYTES + 1, |message| message.push(0))
            .unwrap();
        assert_eq!(
            outbox.push(1, |message| message.push(1)),
            Err(Refused::Full)
        );
        assert_eq!(drain(&outbox), [vec![0]]);
        outbox.push(1, |message| message.push(2)).unwrap();
    }

    fn in_line(outbox: &Outbox<Vec<usize>>, number: usize, bytes: usize) {
        let later = Later {
            under_way: usize::MAX,
            bytes,
            is_answered: true,
            add: Box::new(move |message: &mut Vec<usize>| message.push(number)),
        };
        outbox.wait_in_line(number as u64, later);
    }

    #[test]
    fn s42_what_waits_in_line_enters_by_number_when_there_is_room() {
        let outbox = Outbox::<Vec<usize>>::new();
        outbox
            .push(MAX_QUEUED_BYTES, |message| message.push(0))
            .unwrap();
        for number in [3, 1, 2, 4] {
            in_line(&outbox, number, MAX_QUEUED_BYTES / 2);
        }
        assert!(outbox.withdraw(2) && !outbox.withdraw(2));
        // Nobody overtakes the line.
        assert_eq!(outbox.push(0, |_| ()), Err(Refused::Full));
        assert_eq!(drain(&outbox), [[0], [1], [3], [4]]);
        outbox.push(1, |message| message.push(5)).unwrap();
        in_line(&outbox, 6, 1);
        assert_eq!(drain(&outbox), [[5, 6]], "there is room at once");
    }

    #[tokio::test(start_paused = true)]
    async fn s42_a_line_is_stalled_when_nothing_has_left_for_long() {
        let outbox = Outbox::<Vec<usize>>::new();
        outbox
            .push(MAX_QUEUED_BYTES, |message| message.push(0))
            .unwrap();
        tokio::time::advance(STALLED).await;
        assert!(!outbox.has_stalled(), "nobody is in line");
        in_line(&outbox, 1, MAX_QUEUED_BYTES);
        in_line(&outbox, 2, 1);
        for _ in 0..2 {
            tokio::time::advance(STALLED * 3 / 4).await;
            assert!(!outbox.has_stalled());
            outbox.answered(0);
        }
        assert!(outbox.next(&Context::from_waker(Waker::noop())).is_ready());
        tokio::time::advance(STALLED * 3 / 4).await;
        assert!(outbox.give_up_stalled().is_empty());
        tokio::time::advance(STALLED / 4).await;
        assert_eq!(outbox.give_up_stalled(), [2]);
        assert!(!outbox.has_stalled());
        in_line(&outbox, 3, 1);
        assert_eq!(outbox.close(), [3]);
        assert_eq!(drain(&outbox), [[1]]);
    }

    #[test]
    fn what_is_urgent_overtakes_operations_and_has_room_of_its_own() {
        let outbox = Outbox::<Vec<usize>>::new();
        outbox
            .push(MAX_QUEUED_BYTES, |message| message.push(2))
            .unwrap();
        in_line(&outbox, 3, 1);
        for number in 0..2 {
            let add = |message: &mut Vec<usize>| message.push(number);
            outbox.push_urgent(MAX_QUEUED_BYTES / 2, add).unwrap();
        }
        assert_eq!(outbox.push_urgent(1, |_| ()), Err(Refused::Full));
        assert_eq!(drain(&outbox), [vec![0, 2], vec![1, 3]]);
    }

    #[test]
    fn requests_beyond_what_the_peer_has_confirmed_wait_and_a_heartbeat_does_not() {
        let (clock, time) = crate::clock::Clock::manual();
        time.advance(Duration::from_millis(1));
        let outbox = Outbox::<Requests>::confirmed(clock);
        let cx = Context::from_waker(Waker::noop());
        for id in 0..3000 {
            let add = |message: &mut Requests| {
                message.requests.push(crate::wire::Request {
                    id,
                    ..Default::default()
                });
            };
            outbox.push(10, add).unwrap();
        }
        let next = || match outbox.next(&cx) {
            Poll::Ready(Some(message)) => Some((message.requests.len(), message.ping)),
            _ => None,
        };
        assert_eq!(next(), Some((1024, 1)), "a ping goes with it");
        assert_eq!(next(), None);
        time.advance(Duration::from_millis(1));
        outbox.push_urgent(1, |message| message.ping = 2).unwrap();
        assert_eq!(next(), Some((0, 2)));
        outbox.confirm(1);
        assert_eq!(next(), Some((1024, 2)));
        outbox.confirm(2);
        assert_eq!(next(), Some((952, 0)), "far from the limit by now");
    }

    #[test]
    fn what_is_urgent_is_whole_in_the_message_that_it_joins() {
        let outbox = Outbox::<Replies>::new();
        let reply = crate::wire::Reply::default();
        outbox
            .push(1, |all| all.replies.push(reply.clone()))
            .unwrap();
        let urgent = Replies {
            invalid: vec![7],
            all_invalid: true,
            cleared: vec![b"scores".to_vec()],
            pong: 3,
            view_digest: 5,
            ..Replies::default()
        };
        outbox.push_urgent(1, |all| *all = urgent.clone()).unwrap();
        let sent = match outbox.next(&Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(message)) => message,
            other => panic!("{other:?}"),
        };
        let expected = Replies {
            replies: vec![reply],
            ..urgent
        };
        assert_eq!(sent, expected);
    }

    #[test]
    fn the_first_message_goes_before_what_waits() {
        let outbox = Outbox::<Vec<usize>>::new();
        outbox.push(1, |message| message.push(1)).unwrap();
        outbox.push_first(vec![0]);
        assert_eq!(drain(&outbox), [vec![0], vec![1]]);
    }

    #[test]
    fn an_urgent_message_takes_no_part_of_a_corked_batch() {
        let outbox = Outbox::<Vec<usize>>::new();
        let cork = outbox.cork();
        outbox.push(1, |message| message.push(1)).unwrap();
        outbox.push_urgent(1, |message| message.push(0)).unwrap();
        assert_eq!(drain(&outbox), [[0]]);
        outbox.push(1, |message| message.push(2)).unwrap();
        drop(cork);
        assert_eq!(drain(&outbox), [[1, 2]]);
    }

    #[test]
    fn a_corked_queue_wakes_its_writer_once() {
        struct Count(std::sync::atomic::AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let outbox = Outbox::<Vec<usize>>::new();
        let count = Arc::new(Count(0.into()));
        let waker = Waker::from(count.clone());
        let woken = || count.0.load(std::sync::atomic::Ordering::SeqCst);
        assert!(outbox.next(&Context::from_waker(&waker)).is_pending());
        let (first, second) = (outbox.cork(), outbox.cork());
        for n in 0..10 {
            outbox.push(1, |message| message.push(n)).unwrap();
        }
        drop(first);
        assert_eq!(woken(), 0);
        drop(second);
        assert_eq!(woken(), 1);
        assert_eq!(drain(&outbox), [(0..10).collect::<Vec<_>>()]);
        drop(outbox.cork());
        assert_eq!(woken(), 1, "nothing to say");
        assert!(outbox.next(&Context::from_waker(&waker)).is_pending());
        let _cork = outbox.cork();
        for n in 0..=MAX_OPS {
            assert_eq!(woken(), 1);
            outbox.push(1, |message| message.push(n)).unwrap();
        }
        assert_eq!(woken(), 2, "a message is full");
    }

    #[tokio::test]
    async fn a_dropped_stream_closes_the_queue() {
        let outbox = Outbox::<crate::wire::Replies>::new();
        let mut stream = outbox.stream();
        outbox.push(1, |message| message.pong = 7).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().pong, 7);
        drop(stream);
        assert_eq!(outbox.push(1, |_| ()), Err(Refused::Closed));
    }
}
