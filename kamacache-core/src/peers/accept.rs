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
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::gate::{Gate, MAX_CONNECTIONS, Pass, Seat};
use crate::node_stats::add;
use crate::security::refusal::{self, explained};
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
    let members = Arc::downgrade(state);
    let is_member = move |name: &str| {
        let state = members.upgrade();
        state.is_some_and(|state| state.peers.view().link_to(name).is_some())
    };
    let door = Arc::new(Door {
        me: state.address.clone(),
        gate: Gate::new(MAX_CONNECTIONS, is_member),
        tls,
        ready,
        state: Arc::downgrade(state),
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
                    self.warn(
                        "no connection can be taken",
                        &format!("no connection can be taken: {error}"),
                    );
                    if !made {
                        tokio::time::sleep(PAUSE).await;
                    }
                    continue;
                }
            };
            let Some(pass) = self.gate.enter(Some(from)) else {
                self.warn(
                    "full",
                    &format!(
                        "a connection from {from} was refused: {MAX_CONNECTIONS} are open, which is the limit, and all of them are members'"
                    ),
                );
                continue;
            };
            // Without it small messages are slow, and that is all.
            let _ = stream.set_nodelay(true);
            match &self.tls {
                None => {
                    self.hand_over(Io::Plain(stream), pass, Some(Silent::new()))
                        .await;
                }
                Some(tls) => {
                    let (door, tls) = (self.clone(), tls.clone());
                    tokio::spawn(async move {
                        let greeted = door.greet(&tls, stream, from);
                        let seat = pass.seat().clone();
                        let stopped = std::future::poll_fn(|cx| match seat.poll_stopped(cx) {
                            true => Poll::Ready(()),
                            false => Poll::Pending,
                        });
                        tokio::select! {
                            stream = greeted => if let Some(stream) = stream {
                                pass.spoke();
                                door.hand_over(Io::Tls(stream), pass, None).await;
                            },
                            () = stopped => {}
                            () = door.closed.cancelled() => {}
                        }
                    });
                }
            }
        }
    }

    async fn hand_over(self: &Arc<Self>, io: Io, pass: Pass, silent: Option<Silent>) {
        let accepted = Accepted {
            io,
            pass,
            silent,
            door: self.clone(),
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
        let kind = refusal::kind(&error);
        self.warn(
            kind,
            &format!("a connection from {from} was refused: {error}"),
        );
        None
    }

    /// One warning of each kind now and then.
    fn warn(&self, kind: &'static str, what: &str) {
        let state = self.state.upgrade();
        if state.is_some_and(|state| state.warnings.is_due(kind)) {
            tracing::warn!(node = self.me, "{what}");
        } else {
            tracing::debug!(node = self.me, "{what}");
        }
    }

    /// This side ends the connection.
    fn end(&self, seat: &Seat) -> io::Error {
        let why = seat.why();
        if let Some(from) = seat.from() {
            self.warn(why, &format!("a connection from {from} is closed: {why}"));
        }
        io::Error::new(io::ErrorKind::ConnectionAborted, why)
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
    door: Arc<Door>,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a connection in plaintext has said so far, and for how long it may say
/// no more.
struct Silent {
    read: usize,
    until: Pin<Box<Sleep>>,
}

impl Silent {
    fn new() -> Self {
        Self {
            read: 0,
            until: Box::pin(tokio::time::sleep(GREETING)),
        }
    }
}

/// The connection that a request came over.
#[derive(Clone)]
pub(crate) struct Origin(pub(crate) Arc<Seat>);

impl Connected for Accepted {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        Origin(self.pass.seat().clone())
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.pass.seat().poll_stopped(cx) {
            return Poll::Ready(Err(this.door.end(this.pass.seat())));
        }
        if let Some(silent) = &mut this.silent
            && silent.until.as_mut().poll(cx).is_ready()
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
