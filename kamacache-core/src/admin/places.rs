//! How many connections of the admin HTTP may be open, and which one makes
//! room for another: one whose client does not read its answer before one that
//! is idle, and of these the longest.
//!
//! Invariant: a new connection always gets a place. Called by `listen.rs`.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

/// How long a client may take no byte of its answer.
pub(super) const UNREAD: Duration = Duration::from_secs(10);

pub(super) struct Places {
    limit: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// By whether it reads its answer and by its last use: the first makes room.
    by_use: BTreeMap<(Reads, u64), CancellationToken>,
}

/// Whether a client reads its answer, or has none to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reads {
    No,
    Yes,
}

/// The right of one connection to be open; ends with its drop.
pub(super) struct Place {
    places: Arc<Places>,
    last: (Reads, u64),
    lost: CancellationToken,
}

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            open: Mutex::default(),
        })
    }

    /// A connection comes; if there are as many as may be, another one goes.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let mut open = self.open.lock();
        if open.by_use.len() >= self.limit {
            open.make_room();
        }
        let lost = CancellationToken::new();
        Place {
            last: open.put(Reads::Yes, lost.clone()),
            lost,
            places: self.clone(),
        }
    }

    /// The process can open nothing more: the longest idle connection goes.
    pub(super) fn make_room(&self) {
        self.open.lock().make_room();
    }
}

impl Open {
    fn put(&mut self, reads: Reads, lost: CancellationToken) -> (Reads, u64) {
        self.next += 1;
        self.by_use.insert((reads, self.next), lost);
        (reads, self.next)
    }

    fn make_room(&mut self) {
        if let Some((_, lost)) = self.by_use.pop_first() {
            lost.cancel();
        }
    }
}

impl Place {
    /// Cancelled when this connection makes room.
    pub(super) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn used(&mut self, reads: Reads) {
        let mut open = self.places.open.lock();
        if let Some(lost) = open.by_use.remove(&self.last) {
            self.last = open.put(reads, lost);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.lock().by_use.remove(&self.last);
    }
}

/// A connection in its place: every byte that passes is a use, and a client
/// that takes no byte for [`UNREAD`] is given up.
pub(super) struct Placed<S> {
    stream: S,
    place: Place,
    unread: Option<Pin<Box<Sleep>>>,
}

impl<S> Placed<S> {
    pub(super) fn new(stream: S, place: Place) -> Self {
        Self {
            stream,
            place,
            unread: None,
        }
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.unread = None;
            self.place.used(Reads::Yes);
            return written;
        }
        if self.unread.is_none() {
            self.place.used(Reads::No);
        }
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(UNREAD)));
        ready!(unread.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Placed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.place.used(Reads::Yes);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Placed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn s43_the_connection_that_is_idle_longest_makes_room() {
        let places = Places::new(2);
        let (mut near, far) = duplex(64);
        let mut first = Placed::new(far, places.enter());
        let second = places.enter();
        near.write_all(b"GET").await.unwrap();
        first.read_exact(&mut [0; 3]).await.unwrap();
        let third = places.enter();
        let lost = |place: &Place| place.lost().is_cancelled();
        assert!(lost(&second) && !lost(&first.place) && !lost(&third));
        drop(first);
        drop(second);
        let fourth = places.enter();
        assert!(!lost(&third) && !lost(&fourth));
        places.make_room();
        assert!(lost(&third) && !lost(&fourth));
    }

    #[tokio::test]
    async fn s43_a_client_that_does_not_read_makes_room_before_an_idle_one() {
        let places = Places::new(2);
        let idle = places.enter();
        let (near, far) = duplex(1);
        let mut greedy = Placed::new(far, places.enter());
        let greedy_lost = greedy.place.lost();
        let written = tokio::spawn(async move { greedy.write_all(&[0; 8]).await });
        while places.open.lock().by_use.keys().next().unwrap().0 == Reads::Yes {
            tokio::task::yield_now().await;
        }
        let next = places.enter();
        assert!(greedy_lost.is_cancelled() && !idle.lost().is_cancelled());
        drop((near, next));
        written.await.unwrap().unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn s43_a_client_that_does_not_read_is_given_up() {
        let (mut near, far) = duplex(4);
        let mut placed = Placed::new(far, Places::new(1).enter());
        let begun = Instant::now();
        // It reads once, late, and then no more.
        let reader = tokio::spawn(async move {
            sleep(UNREAD - Duration::from_secs(1)).await;
            near.read_exact(&mut [0; 2]).await.unwrap();
            near
        });
        let error = placed.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), 2 * UNREAD - Duration::from_secs(1));
        drop(reader.await.unwrap());
    }
}
