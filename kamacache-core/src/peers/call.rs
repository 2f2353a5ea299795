//! What a call to a peer brings: a value, or why not.
//!
//! Invariant: an error that the peer itself answered is never mistaken for a
//! peer that cannot be reached, because only the second allows a fallback
//! (S13, S25).

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use super::status;
use crate::wire::Reply;
use crate::{Error, ErrorKind, Value};

/// A value from its owner.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) value: Value,
    /// How long a copy may be kept; `None`: not at all.
    pub(crate) kept: Option<Lifetime>,
    /// The value is too large for the link; ask again by the unary call.
    pub(crate) by_unary: bool,
    /// What it is held under for that call; 0: nothing.
    pub(crate) held: u64,
    /// When the reply was read.
    pub(crate) arrived: Instant,
}

impl Fetched {
    /// A large value, which came by the unary call, kept for as long as the link
    /// has told; not at all if the peer does not own the key any more.
    pub(crate) fn kept_as_told(self, kept: Option<Lifetime>) -> Self {
        let kept = self.kept.and(kept);
        Self { kept, ..self }
    }
}

/// What is left of a value's time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lifetime {
    Unlimited,
    Left(Duration),
}

impl Lifetime {
    /// What a reply's `ttl_ms` says; `None`: no copy may be kept.
    fn of(ttl_ms: u64) -> Option<Self> {
        match ttl_ms {
            NOT_KEPT => None,
            0 => Some(Self::Unlimited),
            ms => Some(Self::Left(Duration::from_millis(ms))),
        }
    }
}

/// Why a call to a peer brought no result.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The peer answered with this error.
    Answered(Error),
    /// The peer does not own the key; in its view `owner` does.
    NotOwner { owner: Option<String>, error: Error },
    /// The peer refused, reset or broke the call, or fell silent. `sent`: it
    /// may have been applied before that.
    Unreachable { error: Error, sent: bool },
    /// The caller's time was over. `sent`: it may have been applied before that.
    Deadline { sent: bool },
}

/// The code of a reply to a node that is not the owner.
pub(crate) const NOT_KEPT: u64 = u64::MAX - 1;

/// One of a link's replies in bulk.
pub(crate) fn hit(value: &[u8], ttl_ms: u64, arrived: Instant) -> Fetched {
    Fetched {
        value: Value::from(value),
        kept: Lifetime::of(ttl_ms),
        by_unary: false,
        held: 0,
        arrived,
    }
}

/// What a link's reply says.
pub(crate) fn read(peer: &str, reply: &Reply) -> Result<Fetched, CallError> {
    if reply.code == 0 {
        let fetched = hit(&reply.value, reply.ttl_ms, Instant::now());
        return Ok(Fetched {
            kept: fetched.kept.filter(|_| reply.owner.is_none()),
            by_unary: reply.by_unary,
            held: reply.held,
            ..fetched
        });
    }
    // A newer node may know kinds that this one does not.
    let kind = i32::try_from(reply.code)
        .ok()
        .and_then(ErrorKind::from_code)
        .unwrap_or(ErrorKind::Internal);
    let mut error = Error::new(kind, reply.message.clone()).with_peer(peer);
    if let Some(code) = reply.app_code {
        error = error.with_app_code(code);
    }
    Err(classify(peer, error, reply.owner.clone()))
}

/// What a unary call's status says.
pub(crate) fn explain(peer: &str, status: &Status) -> CallError {
    if let Some(error) = status::to_error(status) {
        return classify(peer, error.with_peer(peer), status::owner(status));
    }
    if status::is_timeout(status) {
        return CallError::Deadline { sent: true };
    }
    CallError::Unreachable {
        error: unreachable(peer, &status::reason(status)),
        sent: !status::never_connected(status),
    }
}

fn classify(peer: &str, error: Error, owner: Option<String>) -> CallError {
    match (error.kind(), owner) {
        (_, Some(owner)) => CallError::NotOwner {
            owner: (!owner.is_empty()).then_some(owner),
            error,
        },
        (ErrorKind::Closed, None) => CallError::Unreachable {
            error: unreachable(peer, "it is closing"),
            sent: false,
        },
        (ErrorKind::DeadlineExceeded, None) => CallError::Deadline { sent: true },
        (_, None) => CallError::Answered(error),
    }
}

/// A peer that did not answer.
pub(crate) fn unreachable(peer: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("peer {peer} cannot be reached: {why}"),
    )
    .with_peer(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s08_a_large_value_of_a_node_that_owns_it_no_more_is_not_kept() {
        let came = |kept| Fetched {
            kept,
            ..hit(b"large", NOT_KEPT, Instant::now())
        };
        let told = Some(Lifetime::Left(Duration::from_millis(5)));
        let kept = came(Some(Lifetime::Unlimited)).kept_as_told(told).kept;
        assert!(matches!(kept, Some(Lifetime::Left(left)) if left == Duration::from_millis(5)));
        assert!(came(None).kept_as_told(told).kept.is_none());
        assert!(
            came(Some(Lifetime::Unlimited))
                .kept_as_told(None)
                .kept
                .is_none()
        );
    }
}
