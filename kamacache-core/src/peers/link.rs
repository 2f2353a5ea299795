//! One peer's connection: the operations as calls, and what their failures
//! mean. Dialled at first use; a broken connection is dialled again by the
//! next call.
//!
//! Invariant: an error that the peer itself answered is never mistaken for a
//! peer that cannot be reached, because only the second allows a fallback
//! (S13, S25).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::status;
use crate::getter::Ttl;
use crate::wire::kama_cache_service_client::KamaCacheServiceClient;
use crate::wire::{DeleteRequest, GetRequest, SetRequest};
use crate::{Error, ErrorKind, Value};

/// Large fixed HTTP/2 windows: measured faster than adaptive ones.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 8 << 20;

/// What every link of a node is made with.
pub(crate) struct Dialer {
    pub(crate) runtime: Handle,
    pub(crate) connect_timeout: Duration,
    /// The largest message any group of the node may send or receive.
    pub(crate) message_limit: Arc<AtomicUsize>,
}

/// The connection to one peer.
pub(crate) struct Link {
    address: Arc<str>,
    client: KamaCacheServiceClient<Channel>,
    message_limit: Arc<AtomicUsize>,
}

/// Why a call to a peer brought no result.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The peer answered with this error.
    Answered(Error),
    /// The peer does not own the key; in its view `owner` does.
    NotOwner { owner: Option<String>, error: Error },
    /// The peer refused, reset or broke the call. `sent`: it may have been
    /// applied before that.
    Unreachable { error: Error, sent: bool },
    /// The caller's time was over.
    Deadline,
}

/// A value from its owner.
pub(crate) struct Fetched {
    pub(crate) value: Value,
}

impl Dialer {
    pub(crate) fn link(&self, address: Arc<str>) -> Link {
        // The client's worker task is spawned on the node's own runtime.
        let _inside = self.runtime.enter();
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .expect("a canonical address makes a URI")
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect_lazy();
        Link {
            address,
            client: KamaCacheServiceClient::new(channel),
            message_limit: self.message_limit.clone(),
        }
    }
}

impl Link {
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) async fn get(
        &self,
        group: &str,
        key: &str,
        deadline: Option<Instant>,
    ) -> Result<Fetched, CallError> {
        let request = GetRequest {
            group: group.into(),
            key: key.into(),
            route: false,
        };
        let answer = self
            .call(request, deadline, async |mut client, request| {
                client.get(request).await
            })
            .await?;
        Ok(Fetched {
            value: Value::from(answer.value),
        })
    }

    pub(crate) async fn set(
        &self,
        group: &str,
        key: &str,
        value: &Value,
        ttl: Ttl,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        let request = SetRequest {
            group: group.into(),
            key: key.into(),
            value: value.to_bytes(),
            route: false,
            ttl_ms: ttl.to_wire_ms(),
        };
        self.call(request, deadline, async |mut client, request| {
            client.set(request).await
        })
        .await?;
        Ok(())
    }

    pub(crate) async fn delete(
        &self,
        group: &str,
        key: &str,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        let request = DeleteRequest {
            group: group.into(),
            key: key.into(),
            route: false,
        };
        self.call(request, deadline, async |mut client, request| {
            client.delete(request).await
        })
        .await?;
        Ok(())
    }

    /// One unary call within the caller's deadline, which travels along.
    async fn call<Q, A>(
        &self,
        message: Q,
        deadline: Option<Instant>,
        send: impl AsyncFnOnce(
            KamaCacheServiceClient<Channel>,
            Request<Q>,
        ) -> Result<tonic::Response<A>, Status>,
    ) -> Result<A, CallError> {
        let mut request = Request::new(message);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        let limit = self.message_limit.load(Ordering::Relaxed);
        let client = self
            .client
            .clone()
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        let answer = match deadline {
            None => send(client, request).await,
            Some(deadline) => {
                match tokio::time::timeout_at(deadline, send(client, request)).await {
                    Ok(answer) => answer,
                    Err(_) => return Err(CallError::Deadline),
                }
            }
        };
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| self.explain(&status))
    }

    fn explain(&self, status: &Status) -> CallError {
        if let Some(error) = status::to_error(status) {
            let error = error.with_peer(&*self.address);
            return match status::owner(status) {
                Some(owner) => CallError::NotOwner {
                    owner: (!owner.is_empty()).then_some(owner),
                    error,
                },
                None if error.kind() == ErrorKind::Closed => CallError::Unreachable {
                    error: self.unreachable("it is closing"),
                    sent: false,
                },
                None => CallError::Answered(error),
            };
        }
        if status::is_timeout(status) {
            return CallError::Deadline;
        }
        let sent = !status::never_connected(status);
        CallError::Unreachable {
            error: self.unreachable(&status::reason(status)),
            sent,
        }
    }

    fn unreachable(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!("peer {} cannot be reached: {why}", self.address),
        )
        .with_peer(&*self.address)
    }
}
