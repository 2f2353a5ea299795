//! The sockets of this process's nodes: tokio's, and a list of their descriptors
//! for the child of a fork. A child inherits every descriptor; unless it closes
//! them, the parent's port stays taken and its connections stay open for as long
//! as the child lives. The adapters call [`give_up`] in their handlers of fork.
//!
//! Invariants: a descriptor leaves the list before it is closed, so that a number
//! which the system gives to somebody else is never in it; the list is read and
//! written without a lock and without memory from the heap, so that a child may
//! read it while the threads of its parent were writing.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{self, ToSocketAddrs};

/// A bit for each descriptor below 2^20, Linux's usual limit; others are not listed.
static OPEN: [AtomicU64; 1 << 14] = [const { AtomicU64::new(0) }; 1 << 14];

fn place(fd: i32) -> Option<(&'static AtomicU64, u64)> {
    let fd = usize::try_from(fd).ok()?;
    Some((OPEN.get(fd / 64)?, 1 << (fd % 64)))
}

/// Calls `close` with the descriptor of each socket of this process's nodes, and
/// empties the list. For a child of a fork, which uses none of its parent's nodes:
/// nothing else closes these descriptors there. Takes no lock and no memory.
pub fn give_up(mut close: impl FnMut(i32)) {
    for (i, word) in OPEN.iter().enumerate() {
        if word.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let mut bits = word.swap(0, Ordering::AcqRel);
        while bits != 0 {
            close(i as i32 * 64 + bits.trailing_zeros() as i32);
            bits &= bits - 1;
        }
    }
}

/// A place in the list, until it is dropped.
struct Listed(i32);

impl Listed {
    #[cfg(unix)]
    fn new(socket: &impl std::os::fd::AsRawFd) -> Self {
        let fd = socket.as_raw_fd();
        if let Some((word, bit)) = place(fd) {
            word.fetch_or(bit, Ordering::AcqRel);
        }
        Self(fd)
    }

    /// Where there is no fork there is no list.
    #[cfg(not(unix))]
    fn new<S>(_: &S) -> Self {
        Self(-1)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some((word, bit)) = place(self.0) {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }
}

/// tokio's, listed.
pub(crate) struct TcpListener {
    // First: it leaves the list before the socket is closed.
    _listed: Listed,
    socket: net::TcpListener,
}

impl TcpListener {
    pub(crate) async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let socket = net::TcpListener::bind(address).await?;
        Ok(Self {
            _listed: Listed::new(&socket),
            socket,
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, from) = self.socket.accept().await?;
        Ok((TcpStream::new(socket), from))
    }
}

/// tokio's, listed.
pub(crate) struct TcpStream {
    // First, as above.
    _listed: Listed,
    socket: net::TcpStream,
}

impl TcpStream {
    fn new(socket: net::TcpStream) -> Self {
        Self {
            _listed: Listed::new(&socket),
            socket,
        }
    }

    pub(crate) async fn connect(address: impl ToSocketAddrs) -> io::Result<Self> {
        net::TcpStream::connect(address).await.map(Self::new)
    }

    pub(crate) fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.set_nodelay(nodelay)
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn is_listed(fd: i32) -> bool {
        place(fd).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    #[tokio::test]
    async fn a_socket_is_listed_while_it_is_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (dialled, (accepted, _)) = (dialled.unwrap(), accepted.unwrap());
        let fds = [
            listener.socket.as_raw_fd(),
            dialled.socket.as_raw_fd(),
            accepted.socket.as_raw_fd(),
        ];
        assert!(fds.iter().all(|fd| is_listed(*fd)));
    }

    #[test]
    fn a_place_is_left_when_it_is_dropped() {
        // A number that no other test's socket has.
        let fd = (1 << 20) - 2;
        let (word, bit) = place(fd).unwrap();
        word.fetch_or(bit, Ordering::Relaxed);
        drop(Listed(fd));
        assert!(!is_listed(fd));
    }

    #[test]
    fn a_descriptor_beyond_the_list_is_ignored() {
        assert!(place(-1).is_none() && place(1 << 20).is_none() && place((1 << 20) - 1).is_some());
    }
}
