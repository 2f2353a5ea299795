//! Takes connections of the admin HTTP until the node is closed.
//!
//! Invariant: a client that is slow, silent or greedy costs one of a bounded
//! number of places, which it loses to the next client when all are taken; so
//! `/healthz` is answered whatever others do.

use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::hosts::{self, Hosts};
use super::places::{Place, Placed, Places};
use super::routes;
use crate::sockets::{TcpListener, TcpStream};
use crate::state::State;

/// Connections at the same time; one more closes another, as `places.rs` says.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's head may take, and a connection may be silent. How long
/// an answer may stay unread is in `places.rs`.
const HEAD: Duration = Duration::from_secs(10);
const MAX_HEAD_BYTES: usize = 32 << 10;
/// What a request under way at close still gets.
const LAST: Duration = Duration::from_millis(250);
/// After an accept that failed, as for want of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Serves to the very end of the node: while it leaves, and waits for getters,
/// `/readyz` says so. `names`: by which it may be asked beside `localhost` and
/// any IP address.
pub(crate) async fn serve(state: Arc<State>, listener: TcpListener, names: Vec<String>) {
    let closed = state.abandoned.clone();
    let places = Places::new(MAX_CONNECTIONS);
    let hosts = Hosts::new(names);
    let router = routes::router(state).layer(from_fn_with_state(hosts, hosts::check));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closed.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let talk = talk(stream, places.enter(), router.clone(), closed.clone());
                tokio::spawn(talk);
            }
            Err(error) => {
                tracing::debug!(%error, "the admin HTTP could not take a connection");
                places.make_room();
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// One connection, to its end.
async fn talk(stream: TcpStream, place: Place, router: axum::Router, closed: CancellationToken) {
    let lost = place.lost();
    let talk = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(
            TokioIo::new(Placed::new(stream, place)),
            TowerToHyperService::new(router),
        );
    tokio::pin!(talk);
    // A connection that breaks is the client's affair.
    tokio::select! {
        _ = talk.as_mut() => {}
        () = lost.cancelled() => {}
        () = closed.cancelled() => {
            talk.as_mut().graceful_shutdown();
            let _ = timeout(LAST, talk).await;
        }
    }
}
