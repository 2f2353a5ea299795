//! What crosses the port, counted: a service around each service that charges
//! what is unfinished to the node's [`Room`], from the first byte of a message
//! until the last byte of the reply was taken.
//!
//! Invariants: a message is charged while a part of it is here and, in a call
//! of one message, until the call has ended; a reply is charged while the
//! transport holds it. Where there is no room this side waits, and reads no
//! further meanwhile.

mod incoming;
mod outgoing;

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use self::incoming::{Incoming, Kind};
use self::outgoing::Outgoing;
use super::accept::Origin;
use super::gate::Seat;
use super::room::{CALLS, Large, PATIENCE, Place, ROOM, Room, Running, SMALL};
use super::status;
use crate::getter::BoxFuture;
use crate::{Error, ErrorKind};

/// The path of the call that is a link.
pub(crate) const LINK: &str = "/kama.v1.KamaCacheService/Link";

/// A service whose requests and replies are counted.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    service: S,
    room: Arc<Room>,
    /// The largest message that the service takes; no place is kept for more.
    limit: Limit,
}

/// In bytes.
#[derive(Clone)]
pub(crate) enum Limit {
    /// It takes no large ones.
    Small,
    /// What the node's largest group wants.
    OfGroups(Arc<AtomicUsize>),
}

impl<S> Counted<S> {
    pub(crate) fn new(service: S, room: &Arc<Room>, limit: Limit) -> Self {
        Self {
            service,
            room: room.clone(),
            limit,
        }
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let origin = request.extensions().get::<Origin>();
        let seat = origin.map_or_else(Seat::loose, |origin| origin.0.clone());
        let running = match request.uri().path() {
            LINK => None,
            _ => match self.room.call() {
                None => return Box::pin(ready_now(too_many())),
                running => running,
            },
        };
        let came = Came {
            place: self.room.open(&seat),
            large: Arc::default(),
            _running: running,
        };
        let goes = self.room.open(&seat);
        let kind = match &self.limit {
            _ if request.uri().path() == LINK => Kind::Stream,
            Limit::Small => Kind::Stream,
            Limit::OfGroups(most) => Kind::Call(most.load(Ordering::Relaxed)),
        };
        let incoming = |body| Body::new(Incoming::new(body, &came, kind));
        let mut request = request.map(incoming);
        request.extensions_mut().insert(goes.clone());
        if goes.is_full() {
            let mut service = self.service.clone();
            return Box::pin(async move {
                if !goes.clone().admitted().await {
                    return ready_now(full()).await;
                }
                answer(service.call(request), came, goes).await
            });
        }
        Box::pin(answer(self.service.call(request), came, goes))
    }
}

/// What a request holds until its reply has left.
struct Came {
    place: Place,
    /// Set when a large message has begun.
    large: Arc<OnceLock<Large>>,
    _running: Option<Running>,
}

async fn ready_now(error: Error) -> Result<http::Response<Body>, Infallible> {
    Ok(status::from_error(&error).into_http())
}

fn too_many() -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!("{CALLS} calls are under way at this node, which is its limit; try again later"),
    )
}

async fn answer(
    call: impl Future<Output = Result<http::Response<Body>, Infallible>>,
    came: Came,
    goes: Place,
) -> Result<http::Response<Body>, Infallible> {
    let mut response = call.await?;
    let large = response.extensions_mut().remove::<Reserved>();
    Ok(response.map(|body| {
        Body::new(Outgoing {
            body,
            large: large.map(|large| large.0),
            _came: came,
            goes,
            rest: None,
        })
    }))
}

fn refused() -> Status {
    status::from_error(&full())
}

fn full() -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!(
            "this node's memory for messages that are not complete and replies that are not taken, {} MiB, had no room within {PATIENCE:?}; try again later",
            ROOM >> 20
        ),
    )
}

/// The place of a large reply; it goes with the response.
#[derive(Clone)]
pub(crate) struct Reserved(Arc<Large>);

/// A place for a value in a reply, before it is copied for the transport: at
/// once, or after waiting for as long as it takes others to finish. `Ok(None)`: a
/// value of this size needs none.
///
/// # Errors
/// Overloaded: there was no room for a long time.
pub(crate) async fn reserve(
    place: Option<&Place>,
    bytes: usize,
) -> Result<Option<Reserved>, Error> {
    match place.filter(|_| needs_place(bytes)) {
        None => Ok(None),
        Some(place) => match place.clone().large(bytes).await {
            Some(large) => Ok(Some(Reserved(Arc::new(large)))),
            None => Err(full()),
        },
    }
}

/// The same without waiting; `None`: there is no room now.
pub(crate) fn reserve_now(place: Option<&Place>, bytes: usize) -> Option<Option<Reserved>> {
    match place.filter(|_| needs_place(bytes)) {
        None => Some(None),
        Some(place) => Some(Some(Reserved(Arc::new(place.large_now(bytes)?)))),
    }
}

fn needs_place(bytes: usize) -> bool {
    bytes > SMALL
}
