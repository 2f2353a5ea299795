//! Dialling a peer in plaintext, as tonic wants it.

use std::io;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;

use crate::getter::BoxFuture;
use crate::sockets::TcpStream;

#[derive(Clone, Copy)]
pub(crate) struct Connector;

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move { Ok(TokioIo::new(dial(&uri).await?.1)) })
    }
}

/// A connection to the address of `uri`, and its host without brackets.
pub(super) async fn dial(uri: &Uri) -> io::Result<(&str, TcpStream)> {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or_default();
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok((host, stream))
}
