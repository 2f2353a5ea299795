//! Takes connections of the admin HTTP until the node is closed.
//!
//! Invariant: a client that is slow, silent or greedy costs one of a bounded
//! number of places for a bounded time, and nothing of the cache.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::routes;
use crate::sockets::{TcpListener, TcpStream};
use crate::state::State;

/// Connections at the same time; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's head may take, and a connection may be silent.
const HEAD: Duration = Duration::from_secs(10);
const MAX_HEAD_BYTES: usize = 32 << 10;
/// How long a connection may live: a client that does not read its answer loses
/// its place.
const LIFE: Duration = Duration::from_secs(300);
/// What a request under way at close still gets.
const LAST: Duration = Duration::from_millis(250);
/// After an accept that failed, as for want of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Serves to the very end of the node: while it leaves, and waits for getters,
/// `/readyz` says so.
pub(crate) async fn serve(state: Arc<State>, listener: TcpListener) {
    let closed = state.abandoned.clone();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let router = routes::router(state);
    loop {
        let taken = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            taken = taken => taken,
            () = closed.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let talk = talk(stream, router.clone(), closed.clone());
                tokio::spawn(async move {
                    let _ = timeout(LIFE, talk).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "the admin HTTP could not take a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// One connection, to its end.
async fn talk(stream: TcpStream, router: axum::Router, closed: CancellationToken) {
    let talk = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(talk);
    // A connection that breaks is the client's affair.
    tokio::select! {
        _ = talk.as_mut() => {}
        () = closed.cancelled() => {
            talk.as_mut().graceful_shutdown();
            let _ = timeout(LAST, talk).await;
        }
    }
}
