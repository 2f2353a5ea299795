//! The services that peers and any gRPC client talk to: name -> group -> the
//! local door. It never forwards, except for a plain client that asks for the
//! full routed operation with `route` (S7).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::error::Shown;
use crate::getter::Ttl;
use crate::group::{Door, Form, GroupInner};
use crate::node_stats::add;
use crate::peers::accept;
use crate::peers::gate::MAX_CONNECTIONS;
use crate::peers::hello::Refused;
use crate::peers::inbound::Inbound;
use crate::peers::intake::{self, Counted, LINK, Limit};
use crate::peers::link::MAX_MESSAGE;
use crate::peers::outbox::{Outbox, Outflow};
use crate::peers::room::Place;
use crate::peers::status;
use crate::peers::transport::Listener;
use crate::peers::unary::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::state::State;
use crate::stats::Count;
use crate::wire::kama_cache_service_server::{KamaCacheService, KamaCacheServiceServer};
use crate::wire::{
    DESCRIPTORS, DeleteRequest, DeleteResponse, GetRequest, GetResponse, Replies, Requests,
    SetRequest, SetResponse,
};
use crate::{Error, ErrorKind, Result, Value, trace};

/// How long a link's hello may take.
const HELLO: Duration = Duration::from_secs(5);

/// Calls that may be under way on one connection; peers have one link and
/// large values there.
const MAX_STREAMS: u32 = 256;
/// Links that may be open: a few for each connection, as some end and others begin.
const MAX_LINKS: usize = 4 * MAX_CONNECTIONS;
/// The metadata of one call, in bytes.
const MAX_HEADERS: u32 = 16 << 10;
/// A connection that has been silent for this long is asked whether it lives.
const ALIVE: Duration = Duration::from_secs(60);
/// The largest message of a call without data, in bytes.
const WITHOUT_DATA: usize = 16 << 10;

/// Serves until the node is closed.
pub(crate) async fn serve(state: Arc<State>, listener: Listener) {
    let closed = state.closed.clone().cancelled_owned();
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<KamaCacheServiceServer<Local>>().await;
    let closing = state.closing.clone();
    state.runtime.spawn({
        let closed = state.closed.clone();
        async move {
            tokio::select! {
                () = closing.cancelled() => {}
                () = closed.cancelled() => {}
            }
            health
                .set_not_serving::<KamaCacheServiceServer<Local>>()
                .await;
        }
    });
    let service = Sized {
        service: KamaCacheServiceServer::new(Local(state.clone())),
        state: state.clone(),
    };
    let counted = Limit::OfGroups(state.message_limit.clone());
    let room = &state.room;
    let router = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_keepalive_interval(Some(ALIVE))
        .add_service(Counted::new(service, room, counted))
        .add_service(Counted::new(
            health_service.max_decoding_message_size(WITHOUT_DATA),
            room,
            Limit::Small,
        ))
        .add_service(Counted::new(
            reflection().max_decoding_message_size(WITHOUT_DATA),
            room,
            Limit::Small,
        ));
    let served = match listener {
        Listener::Tcp(listener, tls) => {
            let incoming = accept::incoming(listener, tls, &state);
            router.serve_with_incoming_shutdown(incoming, closed).await
        }
        #[cfg(feature = "test-util")]
        Listener::Given(incoming) => {
            use tokio_stream::StreamExt;
            let incoming =
                incoming.map(|taken| taken.map(crate::peers::transport::given::Accepted));
            router.serve_with_incoming_shutdown(incoming, closed).await
        }
    };
    if let Err(error) = served {
        tracing::error!(%error, "the server for peers has stopped; peers load this node's keys themselves");
    }
}

fn reflection() -> tonic_reflection::server::v1::ServerReflectionServer<
    impl tonic_reflection::server::v1::ServerReflection,
> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()
        .expect("the descriptors were made by this build")
}

/// The local half of every group.
pub(crate) struct Local(pub(crate) Arc<State>);

impl Local {
    async fn group(&self, name: &str) -> Result<Arc<GroupInner>, Status> {
        self.0.group_for_peer(name).await.map_err(refuse)
    }

    fn not_owner(&self, key: &str) -> Status {
        let view = self.0.peers.view();
        status::not_owner(&self.0.address, key, view.owner(key).map(|owner| &**owner))
    }

    /// Whether a local write was applied, or who else would have to.
    fn owned(&self, key: &str, written: Result<bool>) -> Result<(), Status> {
        if written.map_err(refuse)? {
            Ok(())
        } else {
            Err(self.not_owner(key))
        }
    }
}

#[tonic::async_trait]
impl KamaCacheService for Local {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let deadline = deadline(&request);
        let trace = traceparent(&request);
        let place = request.extensions().get::<Place>().cloned();
        let GetRequest {
            group,
            key,
            route,
            take,
            held,
            inside,
        } = request.into_inner();
        let group = self.group(&group).await?;
        if let Some(value) = self.0.held.take(held, group.name(), &key) {
            group.counters().add(Count::PeerHit);
            return Ok(Response::new(GetResponse {
                value: value.to_bytes(),
                not_owner: false,
            }));
        }
        if take {
            let (taken, given) = group.serve_take(&key, Form::Whole).map_err(refuse)?;
            return Ok(Response::new(GetResponse {
                value: taken.value.to_bytes(),
                not_owner: !given,
            }));
        }
        let span = trace::served(group.name(), &key, &trace);
        let answer = async || {
            if route {
                let value = group.get_for_client(&key, left(deadline)).await?;
                return Ok((value, false));
            }
            let (value, served) = group.serve_get(&key, inside, deadline).await?;
            Ok((value, served.other_owner.is_some()))
        };
        let answer = async || {
            let answered = answer().instrument(span.clone()).await;
            answered.map_err(|error: Error| refuse(error))
        };
        let (mut value, mut not_owner) = answer().await?;
        let reserved = match intake::reserve_now(place.as_ref(), value.len()) {
            Some(reserved) => reserved,
            None => {
                // Not held while it waits for room: it is in the store.
                let bytes = std::mem::take(&mut value).len();
                let reserved = intake::reserve(place.as_ref(), bytes).await;
                let reserved = reserved.map_err(refuse)?;
                (value, not_owner) = answer().await?;
                reserved
            }
        };
        let mut response = Response::new(GetResponse {
            value: value.to_bytes(),
            not_owner,
        });
        if let Some(reserved) = reserved {
            response.extensions_mut().insert(reserved);
        }
        Ok(response)
    }

    async fn set(&self, request: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        let deadline = deadline(&request);
        let trace = traceparent(&request);
        let SetRequest {
            group,
            key,
            value,
            route,
            ttl_ms,
            give,
        } = request.into_inner();
        let group = self.group(&group).await?;
        let (kept, ttl) = (Value::from(&value[..]), Ttl::from_wire_ms(ttl_ms));
        if give {
            group.serve_give(&key, &kept, ttl).map_err(refuse)?;
            return Ok(Response::new(SetResponse::default()));
        }
        let span = trace::served(group.name(), &key, &trace);
        if route {
            let set = group.set(Door::Client, &key, kept, ttl, Some(left(deadline)));
            set.instrument(span).await.map_err(refuse)?;
        } else {
            let written = span.in_scope(|| group.serve_set(&key, kept, ttl));
            self.owned(&key, written)?;
        }
        Ok(Response::new(SetResponse { value }))
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let deadline = deadline(&request);
        let trace = traceparent(&request);
        let DeleteRequest { group, key, route } = request.into_inner();
        let group = self.group(&group).await?;
        let span = trace::served(group.name(), &key, &trace);
        if route {
            let delete = group.delete(Door::Client, &key, Some(left(deadline)));
            delete.instrument(span).await.map_err(refuse)?;
        } else {
            let written = span.in_scope(|| group.serve_delete(&key));
            self.owned(&key, written)?;
        }
        Ok(Response::new(DeleteResponse { value: true }))
    }

    type LinkStream = Outflow<Replies>;

    async fn link(
        &self,
        request: Request<Streaming<Requests>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let place = request.extensions().get::<Place>().cloned();
        let mut stream_in = request.into_inner();
        let first = tokio::time::timeout(HELLO, stream_in.message()).await;
        let mut first = first
            .map_err(|_| Status::deadline_exceeded("no hello came"))??
            .unwrap_or_default();
        let hello = first.hello.take().ok_or_else(|| {
            add(&self.0.counters.malformed);
            refuse(Error::invalid_argument(
                "the first message of a link carries no hello",
            ))
        })?;
        self.0.identity.check_caller(&hello).map_err(|refused| {
            add(&self.0.counters.links_refused);
            let Refused { kind, error } = refused;
            if self.0.warnings.is_due(kind) {
                tracing::warn!(peer = %Shown(&hello.address), %error, "a link was refused");
            }
            refuse(error)
        })?;
        self.0.check_serving().map_err(refuse)?;
        if self.0.lenders.count() >= MAX_LINKS {
            return Err(refuse(Error::new(
                ErrorKind::Overloaded,
                format!("{MAX_LINKS} links to this node are open, which is its limit"),
            )));
        }
        let view = self.0.peers.view();
        self.0.membership.heard_of(&view, &hello).map_err(|error| {
            add(&self.0.counters.links_refused);
            if self.0.warnings.is_due("the same address") {
                tracing::warn!(peer = hello.address, %error, "a link was refused");
            }
            refuse(error)
        })?;
        let outbox = match &place {
            Some(place) => {
                place.seat().greeted(&hello.address);
                Outbox::of(place.clone())
            }
            None => Outbox::new(),
        };
        if let Some(link) = view.link_to(&hello.address) {
            link.nudge();
        }
        let digest = view.digest();
        drop(view);
        outbox.push_first(Replies {
            hello: Some(self.0.identity.hello("", digest, self.0.membership.left())),
            ..Replies::default()
        });
        let stream = outbox.stream();
        let inbound = Inbound::new(self.0.clone(), outbox, &hello, place);
        self.0.runtime.spawn(inbound.serve(first, stream_in));
        Ok(Response::new(stream))
    }
}

fn refuse(error: impl std::borrow::Borrow<Error>) -> Status {
    status::from_error(error.borrow())
}

/// The trace that the request belongs to; empty without one.
fn traceparent<T>(request: &Request<T>) -> String {
    let given = request.metadata().get("traceparent");
    let text = given.and_then(|given| given.to_str().ok());
    text.unwrap_or_default().to_owned()
}

/// When the time that travelled with the request is over: gRPC's own header,
/// up to eight digits and a unit.
fn deadline<T>(request: &Request<T>) -> Option<Instant> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let unit = text.chars().last()?;
    let count: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let timeout = match unit {
        'H' => Duration::from_secs(count.saturating_mul(3600)),
        'M' => Duration::from_secs(count.saturating_mul(60)),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return None,
    };
    crate::pending::deadline_after(timeout)
}

fn left(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| {
        deadline.saturating_duration_since(Instant::now())
    })
}

/// The service for those who carry the cluster's token, with the message limit
/// of the node's largest group, which may be opened after the server has started.
#[derive(Clone)]
struct Sized {
    service: KamaCacheServiceServer<Local>,
    state: Arc<State>,
}

impl Sized {
    /// Whether a request carries the token that this cluster has, if it has one.
    fn admit<B>(&self, request: &http::Request<B>) -> Result<()> {
        let Some(token) = &self.state.identity.token else {
            return Ok(());
        };
        token.admit(request.headers()).inspect_err(|error| {
            add(&self.state.counters.links_refused);
            let kind = match request.headers().contains_key("authorization") {
                true => "another token",
                false => "no token",
            };
            if self.state.warnings.is_due(kind) {
                let origin = request.extensions().get::<accept::Origin>();
                let from = origin.and_then(|origin| origin.0.from());
                tracing::warn!(node = self.state.address, ?from, %error, "a request was refused");
            }
        })
    }
}

impl NamedService for Sized {
    const NAME: &'static str = <KamaCacheServiceServer<Local> as NamedService>::NAME;
}

impl Service<http::Request<tonic::body::Body>> for Sized {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future =
        <KamaCacheServiceServer<Local> as Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<tonic::body::Body>>::poll_ready(&mut self.service, cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        if let Err(error) = self.admit(&request) {
            let refused = refuse(error).into_http();
            return Box::pin(std::future::ready(Ok(refused)));
        }
        if let Some(origin) = request.extensions().get::<accept::Origin>() {
            origin.0.asked();
        }
        let limit = match request.uri().path() {
            LINK => MAX_MESSAGE,
            _ => self.state.message_limit.load(Ordering::Relaxed),
        };
        self.service
            .clone()
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX)
            .call(request)
    }
}
