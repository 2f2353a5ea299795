//! Connections that come in over TCP: counted, made secure if the node has
//! certificates, and given to the server once they are fit to be served.
//!
//! Invariant: whoever delays its greeting delays only itself, and not for
//! longer than [`GREETING`].

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::gate::{Gate, MAX_CONNECTIONS, Pass};
use crate::getter::BoxFuture;
use crate::node_stats::add;
use crate::security::refusal::explained;
use crate::security::seldom::Seldom;
use crate::security::tls::Tls;
use crate::sockets::{TcpListener, TcpStream};
use crate::state::State;

/// How long a handshake, or the first words of HTTP/2, may take.
const GREETING: Duration = Duration::from_secs(10);
/// The first words of HTTP/2.
const PREFACE: usize = 24;
/// Connections that the server has not taken yet.
const WAITING: usize = 64;
/// After an error of the operating system.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a refused peer may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// Takes connections until the node is closed.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    state: &Arc<State>,
) -> ReceiverStream<io::Result<Accepted>> {
    let (ready, taken) = mpsc::channel(WAITING);
    let door = Arc::new(Door {
        me: state.address.clone(),
        gate: Gate::new(MAX_CONNECTIONS),
        tls,
        ready,
        state: Arc::downgrade(state),
        warnings: Seldom::default(),
        closed: state.closed.clone(),
    });
    state.runtime.spawn(async move {
        tokio::select! {
            () = door.clone().take_all(listener) => {}
            () = door.closed.cancelled() => {}
        }
    });
    ReceiverStream::new(taken)
}

struct Door {
    me: String,
    gate: Arc<Gate>,
    tls: Option<Arc<Tls>>,
    ready: mpsc::Sender<io::Result<Accepted>>,
    state: Weak<State>,
    warnings: Seldom,
    closed: CancellationToken,
}

impl Door {
    async fn take_all(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly: too many open files.
                    let made = self.gate.make_room();
                    self.warn(&format!("no connection can be taken: {error}"));
                    if !made {
                        tokio::time::sleep(PAUSE).await;
                    }
                    continue;
                }
            };
            let Some((pass, turned_out)) = self.gate.enter() else {
                self.warn(&format!(
                    "a connection from {from} was refused: {MAX_CONNECTIONS} are open"
                ));
                continue;
            };
            // Without it small messages are slow, and that is all.
            let _ = stream.set_nodelay(true);
            match &self.tls {
                None => {
                    let silent = Silent::new(turned_out);
                    self.hand_over(Io::Plain(stream), pass, Some(silent), from)
                        .await;
                }
                Some(tls) => {
                    let (door, tls) = (self.clone(), tls.clone());
                    tokio::spawn(async move {
                        let greeted = door.greet(&tls, stream, from);
                        tokio::select! {
                            stream = greeted => if let Some(stream) = stream {
                                pass.spoke();
                                door.hand_over(Io::Tls(stream), pass, None, from).await;
                            },
                            () = turned_out.cancelled() => {}
                            () = door.closed.cancelled() => {}
                        }
                    });
                }
            }
        }
    }

    async fn hand_over(&self, io: Io, pass: Pass, silent: Option<Silent>, from: SocketAddr) {
        let accepted = Accepted {
            io,
            pass,
            silent,
            from,
        };
        // The server is gone when the node is.
        let _ = self.ready.send(Ok(accepted)).await;
    }

    /// The handshake; a peer that is refused is told why.
    async fn greet(
        &self,
        tls: &Tls,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Option<Box<TlsStream<TcpStream>>> {
        let accepting = tls.acceptor().accept(stream).into_fallible();
        let error = match tokio::time::timeout(GREETING, accepting).await {
            Ok(Ok(stream)) => return Some(Box::new(stream)),
            Ok(Err((error, stream))) => {
                let _ = tokio::time::timeout(LINGER, linger(stream)).await;
                explained(error)
            }
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        if let Some(state) = self.state.upgrade() {
            add(&state.counters.links_refused);
        }
        self.warn(&format!("a connection from {from} was refused: {error}"));
        None
    }

    fn warn(&self, what: &str) {
        if self.warnings.is_due() {
            tracing::warn!(node = self.me, "{what}");
        } else {
            tracing::debug!(node = self.me, "{what}");
        }
    }
}

/// Reads on until the other side has closed: a connection that is closed over
/// unread bytes is reset, and the alert that says why is lost with it.
async fn linger(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut sink = [0; 1024];
    while matches!(stream.read(&mut sink).await, Ok(1..)) {}
}

/// A connection that the server serves.
pub(crate) struct Accepted {
    io: Io,
    pass: Pass,
    /// Until it has greeted.
    silent: Option<Silent>,
    from: SocketAddr,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a connection in plaintext has said so far, and for how long it may say
/// no more.
struct Silent {
    read: usize,
    /// `None`: it is over.
    over: Option<BoxFuture<()>>,
}

impl Silent {
    fn new(turned_out: CancellationToken) -> Self {
        let over = async move {
            let _ = tokio::time::timeout(GREETING, turned_out.cancelled()).await;
        };
        Self {
            read: 0,
            over: Some(Box::pin(over)),
        }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let waiting = self.over.as_mut();
        let is_over = waiting.is_none_or(|over| over.as_mut().poll(cx).is_ready());
        if is_over {
            self.over = None;
        }
        is_over
    }
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin(pub(crate) SocketAddr);

impl Connected for Accepted {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        Origin(self.from)
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(silent) = &mut this.silent
            && silent.is_over(cx)
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        ready!(match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        })?;
        if let Some(silent) = &mut this.silent {
            silent.read += buf.filled().len() - before;
            if silent.read >= PREFACE {
                this.silent = None;
                this.pass.spoke();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
