//! The queue in front of one direction of a link: group commit without timers.
//! What is pushed while the last message is being written goes out as the next
//! one; on an idle link a push goes out at once.
//!
//! A message of operations that have nothing to do with each other takes no more
//! than half of what is under way, so that the peer works on one half while this
//! side works on the other; with all in one message the two would take turns.
//!
//! Invariant: what is queued is bounded in bytes; a message is at most 1,024
//! operations or about 256 KiB (one operation may be larger).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_stream::Stream;

const MAX_OPS: usize = 1024;
/// A message with fewer is not worth what sending it costs.
pub(crate) const WORTHWHILE_OPS: usize = 32;
const MAX_BATCH_BYTES: usize = 256 << 10;
/// Beyond this a link refuses to queue (S42).
pub(crate) const MAX_QUEUED_BYTES: usize = 4 << 20;

/// Messages of type `M` that wait to be written.
pub(crate) struct Outbox<M> {
    queue: Mutex<Queue<M>>,
    room: Notify,
}

struct Queue<M> {
    batches: VecDeque<Batch<M>>,
    bytes: usize,
    /// The writer waits for a push.
    idle: Option<Waker>,
    /// Callers that have more to push before the writer needs to know.
    corks: usize,
    closed: bool,
}

struct Batch<M> {
    message: M,
    ops: usize,
    bytes: usize,
}

/// Why nothing was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full.
    Full,
    /// The link is gone.
    Closed,
}

impl<M: Default> Outbox<M> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue {
                batches: VecDeque::new(),
                bytes: 0,
                idle: None,
                corks: 0,
                closed: false,
            }),
            room: Notify::new(),
        })
    }

    /// Adds one operation of about `bytes` to the message that goes out next.
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
        let most = (under_way / 2).clamp(WORTHWHILE_OPS, MAX_OPS);
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(Refused::Closed);
        }
        if queue.bytes + bytes > MAX_QUEUED_BYTES && queue.bytes > 0 {
            return Err(Refused::Full);
        }
        queue.bytes += bytes;
        let open = queue
            .batches
            .back()
            .is_some_and(|last| last.ops < most && last.bytes < MAX_BATCH_BYTES);
        if !open {
            queue.batches.push_back(Batch {
                message: M::default(),
                ops: 0,
                bytes: 0,
            });
        }
        if let Some(last) = queue.batches.back_mut() {
            add(&mut last.message);
            last.ops += 1;
            last.bytes += bytes;
        }
        let idle = if queue.corks == 0 {
            queue.idle.take()
        } else {
            None
        };
        drop(queue);
        wake(idle);
        Ok(())
    }

    /// Until the returned guard is dropped, what is pushed waits for more: a
    /// batch leaves as one message instead of waking the writer for each part.
    pub(crate) fn cork(self: &Arc<Self>) -> Cork<M> {
        self.queue.lock().corks += 1;
        Cork(self.clone())
    }

    fn uncork(&self) {
        let mut queue = self.queue.lock();
        queue.corks -= 1;
        let ready = queue.corks == 0 && !queue.batches.is_empty();
        let idle = if ready { queue.idle.take() } else { None };
        drop(queue);
        wake(idle);
    }

    /// Puts a message before everything that waits.
    pub(crate) fn push_first(&self, message: M) {
        let mut queue = self.queue.lock();
        queue.batches.push_front(Batch {
            message,
            ops: MAX_OPS,
            bytes: 0,
        });
        let idle = queue.idle.take();
        drop(queue);
        wake(idle);
    }

    /// Ends the stream once everything that is queued has been written.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let idle = queue.idle.take();
        drop(queue);
        wake(idle);
        self.room.notify_waiters();
    }

    /// Waits until half of the queue is free: a reader that produces replies
    /// stops reading meanwhile.
    pub(crate) async fn has_room(&self) {
        loop {
            let room = self.room.notified();
            {
                let queue = self.queue.lock();
                if queue.closed || queue.bytes <= MAX_QUEUED_BYTES / 2 {
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

    fn next(&self, cx: &Context<'_>) -> Poll<Option<M>> {
        let mut queue = self.queue.lock();
        match queue.batches.pop_front() {
            Some(batch) => {
                queue.bytes -= batch.bytes;
                drop(queue);
                self.room.notify_waiters();
                Poll::Ready(Some(batch.message))
            }
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
pub(crate) struct Cork<M: Default>(Arc<Outbox<M>>);

impl<M: Default> Drop for Cork<M> {
    fn drop(&mut self) {
        self.0.uncork();
    }
}

/// The stream of an outbox's messages. Dropping it closes the outbox.
pub(crate) struct Outflow<M: Default>(Arc<Outbox<M>>);

impl<M: Default> Outflow<M> {
    fn poll(&self, cx: &Context<'_>) -> Poll<Option<M>> {
        self.0.next(cx)
    }
}

impl<M: Default> Drop for Outflow<M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Stream for Outflow<crate::wire::Requests> {
    type Item = crate::wire::Requests;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl Stream for Outflow<crate::wire::Replies> {
    type Item = Result<crate::wire::Replies, tonic::Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx).map(|message| message.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

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

    #[test]
    fn the_first_message_goes_before_what_waits() {
        let outbox = Outbox::<Vec<usize>>::new();
        outbox.push(1, |message| message.push(1)).unwrap();
        outbox.push_first(vec![0]);
        assert_eq!(drain(&outbox), [vec![0], vec![1]]);
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
