//! The service that peers and any gRPC client talk to: name -> group -> the
//! local door. It never forwards, except for a plain client that asks for the
//! full routed operation with `route` (S7).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Request, Response, Status};

use crate::getter::Ttl;
use crate::group::{Group, GroupInner};
use crate::node::{Handle, Inner};
use crate::peers::link::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::peers::status;
use crate::wire::kama_cache_service_server::{KamaCacheService, KamaCacheServiceServer};
use crate::wire::{
    DeleteRequest, DeleteResponse, GetRequest, GetResponse, SetRequest, SetResponse,
};
use crate::{Result, Value};

/// Serves until the node is closed.
pub(crate) async fn serve(node: Arc<Inner>, listener: tokio::net::TcpListener) {
    let closed = node.state().closed.clone();
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = Sized {
        service: KamaCacheServiceServer::new(Local(node.clone())),
        node,
    };
    let served = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, closed.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the server for peers has stopped; peers load this node's keys themselves");
    }
}

/// The local half of every group.
struct Local(Arc<Inner>);

impl Local {
    async fn group(&self, name: &str) -> Result<Arc<GroupInner>, Status> {
        self.0
            .group_for_peer(name)
            .await
            .map_err(|error| status::from_error(&error))
    }

    /// The routed door, for a plain client's `route`.
    async fn routed(&self, name: &str) -> Result<Group, Status> {
        let group = self.group(name).await?;
        Ok(Group::new(group, Arc::new(Handle::passing(self.0.clone()))))
    }

    fn not_owner(&self, key: &str) -> Status {
        let view = self.0.state().peers.view();
        status::not_owner(self.0.address(), key, view.owner(key).map(|owner| &**owner))
    }
}

#[tonic::async_trait]
impl KamaCacheService for Local {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let deadline = deadline(&request);
        let GetRequest { group, key, route } = request.into_inner();
        let answer = if route {
            let routed = self.routed(&group).await?;
            routed
                .get_timeout(&key, left(deadline))
                .await
                .map(|value| (value, true))
        } else {
            self.group(&group).await?.serve_get(&key, deadline).await
        };
        let (value, owned) = answer.map_err(|error| status::from_error(&error))?;
        Ok(Response::new(GetResponse {
            value: value.to_bytes(),
            not_owner: !owned,
        }))
    }

    async fn set(&self, request: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        let deadline = deadline(&request);
        let SetRequest {
            group,
            key,
            value,
            route,
            ttl_ms,
        } = request.into_inner();
        let ttl = Ttl::from_wire_ms(ttl_ms);
        let kept = Value::from(&value[..]);
        if route {
            let set = self.routed(&group).await?;
            let set = set.set_with(&key, kept, ttl, Some(left(deadline))).await;
            set.map_err(|error| status::from_error(&error))?;
        } else {
            let set = self.group(&group).await?.serve_set(&key, kept, ttl);
            if !set.map_err(|error| status::from_error(&error))? {
                return Err(self.not_owner(&key));
            }
        }
        Ok(Response::new(SetResponse { value }))
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let deadline = deadline(&request);
        let DeleteRequest { group, key, route } = request.into_inner();
        if route {
            let delete = self.routed(&group).await?;
            let delete = delete.delete_with(&key, Some(left(deadline))).await;
            delete.map_err(|error| status::from_error(&error))?;
        } else {
            let delete = self.group(&group).await?.serve_delete(&key);
            if !delete.map_err(|error| status::from_error(&error))? {
                return Err(self.not_owner(&key));
            }
        }
        Ok(Response::new(DeleteResponse { value: true }))
    }
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

/// The service with the message limit of the node's largest group, which may
/// be opened after the server has started.
#[derive(Clone)]
struct Sized {
    service: KamaCacheServiceServer<Local>,
    node: Arc<Inner>,
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
        let limit = self.node.message_limit().load(Ordering::Relaxed);
        self.service
            .clone()
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit)
            .call(request)
    }
}
