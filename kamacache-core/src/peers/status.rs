//! Errors on the wire: an [`Error`] as a gRPC status with our code in its
//! trailers, and back. A status without our code was not answered by a
//! kamacache node: it is the transport speaking.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status, TimeoutExpired};

use crate::{Error, ErrorKind};

const CODE: &str = "kama-code";
const APP_CODE: &str = "kama-app-code";
const OWNER: &str = "kama-owner";

/// The status of an error.
pub(crate) fn from_error(error: &Error) -> Status {
    let mut status = Status::new(grpc_code(error.kind()), error.message());
    let metadata = status.metadata_mut();
    metadata.insert(CODE, error.kind().code().into());
    if let Some(code) = error.app_code() {
        metadata.insert(APP_CODE, code.into());
    }
    status
}

/// The answer to a write that came to the wrong node.
pub(crate) fn not_owner(me: &str, key: &str, owner: Option<&str>) -> Status {
    let owner = owner.unwrap_or_default();
    let error = views_differ(me, key, owner);
    let mut status = Status::failed_precondition(error.message());
    let metadata = status.metadata_mut();
    metadata.insert(CODE, error.kind().code().into());
    if let Ok(owner) = MetadataValue::try_from(owner) {
        metadata.insert(OWNER, owner);
    }
    status
}

/// What a writer is told whose view names another owner than the receiver's.
pub(crate) fn views_differ(me: &str, key: &str, owner: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "views differ: {me} does not own key {:?}; in its view {owner:?} does",
            crate::error::Short(key)
        ),
    )
}

/// The error that a kamacache node answered with, if it was one.
pub(crate) fn to_error(status: &Status) -> Option<Error> {
    let number = |name| {
        status
            .metadata()
            .get(name)?
            .to_str()
            .ok()?
            .parse::<i64>()
            .ok()
    };
    let code = i32::try_from(number(CODE)?).ok()?;
    // A newer node may know kinds that this one does not.
    let kind = ErrorKind::from_code(code).unwrap_or(ErrorKind::Internal);
    let error = Error::new(kind, status.message());
    Some(match number(APP_CODE) {
        Some(code) => error.with_app_code(code),
        None => error,
    })
}

/// Who owns the key in the answering node's view, when it says that it does not.
pub(crate) fn owner(status: &Status) -> Option<String> {
    Some(status.metadata().get(OWNER)?.to_str().ok()?.to_owned())
}

/// The time that travelled with the request was over.
pub(crate) fn is_timeout(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
        || chain(status).any(|cause| cause.is::<TimeoutExpired>())
        || (status.code() == Code::Cancelled
            && status.message().eq_ignore_ascii_case("timeout expired"))
}

/// No connection was made, so nothing was sent.
pub(crate) fn never_connected(status: &Status) -> bool {
    chain(status).any(|cause| cause.is::<tonic::ConnectError>())
}

/// The innermost cause, which says most.
pub(crate) fn reason(status: &Status) -> String {
    match chain(status).last() {
        Some(cause) => cause.to_string(),
        None => status.message().to_owned(),
    }
}

fn chain(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |cause| cause.source())
}

fn grpc_code(kind: ErrorKind) -> Code {
    use ErrorKind::*;
    match kind {
        InvalidArgument => Code::InvalidArgument,
        NotFound => Code::NotFound,
        GetterFailed | Panicked | Internal | WouldDeadlock | Forked => Code::Internal,
        DeadlineExceeded => Code::DeadlineExceeded,
        Cancelled => Code::Cancelled,
        Closed | Unavailable => Code::Unavailable,
        Overloaded | TooLarge => Code::ResourceExhausted,
        UnknownGroup | ReentrantLoad => Code::FailedPrecondition,
        AlreadyExists => Code::AlreadyExists,
        Unauthenticated => Code::Unauthenticated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s03_every_kind_survives_the_wire() {
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, "naïve message\n").with_app_code(-5);
            let back = to_error(&from_error(&error)).expect("carries our code");
            assert_eq!(back.kind(), kind);
            assert_eq!(back.message(), error.message());
            assert_eq!(back.app_code(), Some(-5));
        }
    }

    #[test]
    fn a_foreign_status_is_the_transport_speaking() {
        assert!(to_error(&Status::unavailable("gone")).is_none());
        assert!(to_error(&Status::internal("broken")).is_none());
    }

    #[test]
    fn s08_not_owner_names_the_owner() {
        let status = not_owner("a:1", "Tom", Some("b:2"));
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(owner(&status).as_deref(), Some("b:2"));
    }
}
