//! The unary calls to a peer: for values too large for the link, on a
//! connection of their own so that they never block small ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::call::{CallError, Fetched, Lifetime, explain};
use super::hello::Identity;
use super::link::Times;
use super::transport::Transport;
use crate::Value;
use crate::getter::Ttl;
use crate::wire::kama_cache_service_client::KamaCacheServiceClient;
use crate::wire::{GetRequest, SetRequest};

/// Large fixed HTTP/2 windows: measured faster than adaptive ones.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 8 << 20;

/// How a peer is dialled, for the link and for this.
pub(crate) fn endpoint(address: &str, connect_timeout: Duration) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("a canonical address makes a URI")
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

/// The unary half of a link; dialled at first use.
pub(crate) struct Unary {
    address: Arc<str>,
    identity: Arc<Identity>,
    client: KamaCacheServiceClient<Channel>,
    /// The largest message any group of the node may send or receive.
    limit: Arc<AtomicUsize>,
}

impl Unary {
    /// Inside a runtime.
    pub(crate) fn new(
        address: Arc<str>,
        identity: Arc<Identity>,
        transport: &Transport,
        times: Times,
        limit: Arc<AtomicUsize>,
    ) -> Self {
        // A connection that died alone is noticed while calls wait on it.
        let endpoint = endpoint(&address, times.connect_timeout)
            .http2_keep_alive_interval(times.suspect_after)
            .keep_alive_timeout(times.suspect_after);
        let channel = transport.connect_lazy(&endpoint);
        Self {
            address,
            identity,
            client: KamaCacheServiceClient::new(channel),
            limit,
        }
    }

    pub(crate) async fn get(
        &self,
        group: &str,
        key: &str,
        take: bool,
        held: u64,
        inside: bool,
        deadline: Option<Instant>,
    ) -> Result<Fetched, CallError> {
        let request = GetRequest {
            group: group.into(),
            key: key.into(),
            route: false,
            take,
            held,
            inside,
        };
        let answer = self
            .call(request, deadline, async |mut client, request| {
                client.get(request).await
            })
            .await?;
        Ok(Fetched {
            value: Value::from(answer.value),
            // For how long is told on the link.
            kept: (!answer.not_owner).then_some(Lifetime::Unlimited),
            by_unary: false,
            held: 0,
            arrived: Instant::now(),
        })
    }

    pub(crate) async fn set(
        &self,
        group: &str,
        key: &str,
        value: &Value,
        ttl: Ttl,
        deadline: Option<Instant>,
        trace: &str,
    ) -> Result<(), CallError> {
        let request = set_request(group, key, value, ttl);
        let trace = trace.parse().ok().filter(|_| !trace.is_empty());
        self.send_set(request, deadline, trace).await
    }

    pub(crate) async fn give(
        &self,
        group: &str,
        key: &str,
        value: &Value,
        ttl: Ttl,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let request = SetRequest {
            give: true,
            ..set_request(group, key, value, ttl)
        };
        self.send_set(request, Some(deadline), None).await
    }

    async fn send_set(
        &self,
        request: SetRequest,
        deadline: Option<Instant>,
        trace: Option<AsciiMetadataValue>,
    ) -> Result<(), CallError> {
        self.call(request, deadline, async |mut client, mut request| {
            if let Some(trace) = trace {
                request.metadata_mut().insert("traceparent", trace);
            }
            client.set(request).await
        })
        .await?;
        Ok(())
    }

    /// One call within the caller's deadline, which travels along.
    async fn call<Q, A>(
        &self,
        message: Q,
        deadline: Option<Instant>,
        send: impl AsyncFnOnce(
            KamaCacheServiceClient<Channel>,
            Request<Q>,
        ) -> Result<tonic::Response<A>, Status>,
    ) -> Result<A, CallError> {
        let mut request = self.identity.request(message);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        let limit = self.limit.load(Ordering::Relaxed);
        // What a getter answered is returned however large it is (S1).
        let client = self
            .client
            .clone()
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(limit);
        let answer = match deadline {
            None => send(client, request).await,
            Some(deadline) => {
                match tokio::time::timeout_at(deadline, send(client, request)).await {
                    Ok(answer) => answer,
                    Err(_) => return Err(CallError::Deadline { sent: true }),
                }
            }
        };
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| explain(&self.address, &status))
    }
}

fn set_request(group: &str, key: &str, value: &Value, ttl: Ttl) -> SetRequest {
    SetRequest {
        group: group.into(),
        key: key.into(),
        value: value.to_bytes(),
        ttl_ms: ttl.to_wire_ms(),
        ..SetRequest::default()
    }
}
