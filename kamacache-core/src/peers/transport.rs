//! How a node's bytes travel: it binds once and dials its peers through this.
//! TCP, in plaintext or secure, except under the feature `test-util`, where a
//! test may give a [`Network`](crate::testing::Network) of its own and with it
//! tokio's clock.
//!
//! Called by the node when it starts, and by links when they dial.

use std::io;
use std::sync::Arc;

use tonic::transport::{Channel, Endpoint, Error};

use super::{plain, secure};
use crate::clock::Clock;
use crate::security::tls::Tls;
use crate::sockets::TcpListener;

/// What carries a node's connections.
#[derive(Clone)]
pub(crate) enum Transport {
    /// Secure with certificates.
    Tcp(Option<Arc<Tls>>),
    #[cfg(feature = "test-util")]
    Given(Arc<dyn crate::testing::Network>),
}

/// A bound address that takes connections.
pub(crate) enum Listener {
    Tcp(TcpListener, Option<Arc<Tls>>),
    #[cfg(feature = "test-util")]
    Given(crate::testing::Incoming),
}

impl Transport {
    /// Listens on `host:port`; the port that was bound.
    pub(crate) async fn bind(&self, address: &str) -> io::Result<(Listener, u16)> {
        match self {
            Self::Tcp(tls) => {
                let listener = TcpListener::bind(address).await?;
                let port = listener.local_addr()?.port();
                Ok((Listener::Tcp(listener, tls.clone()), port))
            }
            #[cfg(feature = "test-util")]
            Self::Given(network) => {
                let (incoming, port) = network.bind(address).await?;
                Ok((Listener::Given(incoming), port))
            }
        }
    }

    /// Dials now.
    pub(crate) async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        match self {
            Self::Tcp(None) => endpoint.connect_with_connector(plain::Connector).await,
            Self::Tcp(Some(tls)) => {
                let connector = secure::Connector(tls.clone());
                endpoint.connect_with_connector(connector).await
            }
            #[cfg(feature = "test-util")]
            Self::Given(network) => {
                let connector = given::Connector(network.clone());
                endpoint.connect_with_connector(connector).await
            }
        }
    }

    /// Dials at the first call. Inside a runtime.
    pub(crate) fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        match self {
            Self::Tcp(None) => endpoint.connect_with_connector_lazy(plain::Connector),
            Self::Tcp(Some(tls)) => {
                endpoint.connect_with_connector_lazy(secure::Connector(tls.clone()))
            }
            #[cfg(feature = "test-util")]
            Self::Given(network) => {
                endpoint.connect_with_connector_lazy(given::Connector(network.clone()))
            }
        }
    }

    /// The clock that goes with it: a test's network runs on tokio's, which
    /// can be paused and simulated.
    pub(crate) fn clock(&self) -> Clock {
        match self {
            Self::Tcp(_) => Clock::real(),
            #[cfg(feature = "test-util")]
            Self::Given(_) => Clock::tokio(),
        }
    }
}

/// A test's network, as tonic wants it.
#[cfg(feature = "test-util")]
pub(crate) mod given {
    use std::io;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tonic::codegen::Service;
    use tonic::codegen::http::Uri;
    use tonic::transport::server::Connected;

    use crate::getter::BoxFuture;
    use crate::testing::{Connection, Network};

    pub(super) struct Connector(pub(super) Arc<dyn Network>);

    impl Service<Uri> for Connector {
        type Response = TokioIo<Box<dyn Connection>>;
        type Error = io::Error;
        type Future = BoxFuture<io::Result<Self::Response>>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, uri: Uri) -> Self::Future {
            let address = uri.authority().map(ToString::to_string).unwrap_or_default();
            let connecting = self.0.connect(&address);
            Box::pin(async move { Ok(TokioIo::new(connecting.await?)) })
        }
    }

    /// A connection that was taken in.
    pub(crate) struct Accepted(pub(crate) Box<dyn Connection>);

    impl Connected for Accepted {
        type ConnectInfo = ();

        fn connect_info(&self) {}
    }

    impl AsyncRead for Accepted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Accepted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }
}
