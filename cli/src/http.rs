//! GET over HTTP/1.1, within a time and a size: what the URL getter and the
//! questions to an admin HTTP need, and no more. Redirects are answers like any
//! other.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// A client that keeps its connections for the next request. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Http(Client<HttpConnector, Empty<Bytes>>);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Why nothing did.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Refused, reset, not HTTP.
    Broken(String),
    /// Not within the time.
    Slow,
    /// The body is longer than the limit.
    TooLong,
}

impl Http {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }

    pub(crate) async fn get(
        &self,
        uri: Uri,
        within: Duration,
        limit: usize,
    ) -> Result<Answer, Trouble> {
        let asking = async {
            let answer = self.0.get(uri).await.map_err(|error| broken(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, limit).collect().await;
            let body =
                body.map_err(
                    |error| match error.is::<http_body_util::LengthLimitError>() {
                        true => Trouble::TooLong,
                        false => broken(&*error),
                    },
                )?;
            Ok(Answer {
                status: head.status,
                body: body.to_bytes(),
            })
        };
        match tokio::time::timeout(within, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Slow),
        }
    }
}

/// The innermost cause, which says most.
fn broken(error: &(dyn std::error::Error + 'static)) -> Trouble {
    let causes = std::iter::successors(Some(error), |error| error.source());
    Trouble::Broken(causes.last().map(ToString::to_string).unwrap_or_default())
}
