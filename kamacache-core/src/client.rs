//! A plain client of a running node: for programs that are not members, as the
//! `kamacache` command. Any node answers for any key; it routes the request.
//!
//! A program that reads often starts a [`Node`](crate::Node) instead, which
//! keeps what is hot in its own memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::address::Address;
use crate::getter::Ttl;
use crate::options::TlsOptions;
use crate::peers::call::unreachable;
use crate::peers::token::Token;
use crate::peers::transport::Transport;
use crate::peers::{status, unary};
use crate::security::tls::Tls;
use crate::units::bounded;
use crate::wire::kama_cache_service_client::KamaCacheServiceClient;
use crate::wire::{DeleteRequest, GetRequest, SetRequest};
use crate::{Error, Result};

/// The largest value that a group may accept, and room for the rest.
const MAX_MESSAGE: usize = (1 << 30) + (64 << 10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client shows to a cluster that lets in members only.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ClientOptions {
    /// The token that the members share.
    pub cluster_token: Option<String>,
    /// A certificate that the members' authority has signed, read once.
    pub tls: Option<TlsOptions>,
}

/// A connection to one node, made at the first call and again when it was lost.
/// A cheap handle; usable from any thread of a tokio runtime.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
    service: KamaCacheServiceClient<Channel>,
    token: Option<Token>,
}

impl Client {
    /// A client of the node that advertises `address`, as `"127.0.0.1:8001"`.
    ///
    /// # Errors
    /// InvalidArgument for what is not one `host:port`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(address: &str) -> Result<Self> {
        Self::with(address, &ClientOptions::default())
    }

    /// The same for a cluster with a token or certificates.
    ///
    /// # Errors
    /// InvalidArgument also for a token or files that cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn with(address: &str, options: &ClientOptions) -> Result<Self> {
        let address = Address::parse(address)?.to_string();
        let token = options.cluster_token.as_deref().map(Token::check);
        let tls = options.tls.as_ref().map(Tls::load).transpose()?;
        let transport = Transport::Tcp(tls.map(Arc::new));
        let channel = transport.connect_lazy(&unary::endpoint(&address, CONNECT_TIMEOUT));
        let service = KamaCacheServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        Ok(Self {
            address,
            service,
            token: token.transpose()?,
        })
    }

    /// The value of a key, from wherever it is.
    ///
    /// # Errors
    /// As [`Group::get`](crate::Group::get); UnknownGroup; Unavailable when the
    /// node cannot be reached.
    pub async fn get(&self, group: &str, key: &str, timeout: Duration) -> Result<Bytes> {
        let request = GetRequest {
            group: group.into(),
            key: key.into(),
            route: true,
            ..GetRequest::default()
        };
        let mut service = self.service.clone();
        let answer = service.get(self.within(request, timeout));
        let answer = self.finish(key, timeout, answer).await?;
        Ok(answer.value)
    }

    /// Stores a value at the key's owner.
    ///
    /// # Errors
    /// As [`Group::set`](crate::Group::set); UnknownGroup; Unavailable.
    pub async fn set(
        &self,
        group: &str,
        key: &str,
        value: impl Into<Bytes>,
        ttl: Ttl,
        timeout: Duration,
    ) -> Result<()> {
        let request = SetRequest {
            group: group.into(),
            key: key.into(),
            value: value.into(),
            route: true,
            ttl_ms: ttl.to_wire_ms(),
            ..SetRequest::default()
        };
        let mut service = self.service.clone();
        let answer = service.set(self.within(request, timeout));
        self.finish(key, timeout, answer).await.map(drop)
    }

    /// Drops a key at its owner.
    ///
    /// # Errors
    /// As [`Group::delete`](crate::Group::delete); UnknownGroup; Unavailable.
    pub async fn delete(&self, group: &str, key: &str, timeout: Duration) -> Result<()> {
        let request = DeleteRequest {
            group: group.into(),
            key: key.into(),
            route: true,
        };
        let mut service = self.service.clone();
        let answer = service.delete(self.within(request, timeout));
        self.finish(key, timeout, answer).await.map(drop)
    }

    /// A call's answer, within the caller's time.
    async fn finish<A>(
        &self,
        key: &str,
        timeout: Duration,
        call: impl Future<Output = Result<tonic::Response<A>, Status>>,
    ) -> Result<A> {
        match tokio::time::timeout(timeout, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.explain(key, &status)),
            Err(_) => Err(Error::deadline(key)),
        }
    }

    fn within<Q>(&self, message: Q, timeout: Duration) -> Request<Q> {
        let mut request = Request::new(message);
        request.set_timeout(bounded(timeout));
        if let Some(token) = &self.token {
            token.sign(&mut request);
        }
        request
    }

    fn explain(&self, key: &str, status: &Status) -> Error {
        match status::to_error(status) {
            Some(error) => error,
            None if status::is_timeout(status) => Error::deadline(key),
            None => unreachable(&self.address, &status::reason(status)),
        }
    }
}
