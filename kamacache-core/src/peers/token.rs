//! The token that all members of a cluster share (S40): carried by each request
//! as `authorization: Bearer TOKEN`, compared in constant time.
//!
//! Invariant: it is never printed, and never part of an error.

use std::sync::Arc;

use subtle::ConstantTimeEq;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::{Ascii, MetadataValue};

use crate::{Error, ErrorKind, Result};

const LEAST: usize = 16;
const MOST: usize = 1024;
const HEADER: &str = "authorization";

#[derive(Clone)]
pub(crate) struct Token(Arc<Inner>);

struct Inner {
    header: MetadataValue<Ascii>,
    expected: Vec<u8>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Token {
    pub(crate) fn check(text: &str) -> Result<Self> {
        let count = text.len();
        if !(LEAST..=MOST).contains(&count) {
            return Err(Error::invalid_argument(format!(
                "cluster_token has {count} bytes; it must have {LEAST} to {MOST}, as `openssl rand -hex 32` prints them"
            )));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid_argument(
                "cluster_token has blanks or characters beyond ASCII; use what `openssl rand -hex 32` prints",
            ));
        }
        let bearer = format!("Bearer {text}");
        let mut header = MetadataValue::try_from(&bearer)
            .map_err(|_| Error::internal("a token of visible ASCII makes a header"))?;
        header.set_sensitive(true);
        Ok(Self(Arc::new(Inner {
            header,
            expected: bearer.into_bytes(),
        })))
    }

    /// Puts it onto a request.
    pub(crate) fn sign<M>(&self, request: &mut tonic::Request<M>) {
        let metadata = request.metadata_mut();
        metadata.insert(HEADER, self.0.header.clone());
    }

    /// Whether a request with these headers carries it.
    ///
    /// # Errors
    /// Unauthenticated, with the way out.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<()> {
        let given = headers.get(HEADER).map(|header| header.as_bytes());
        let is_right = given.is_some_and(|given| given.ct_eq(&self.0.expected).into());
        let what = match (is_right, given) {
            (true, _) => return Ok(()),
            (false, None) => "carries none",
            (false, Some(_)) => "carries another",
        };
        Err(Error::new(
            ErrorKind::Unauthenticated,
            format!(
                "this node wants a cluster token and the request {what}: give all members the same cluster_token (other gRPC clients: the metadata \"authorization: Bearer TOKEN\")"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn headers(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, text.parse().unwrap());
        headers
    }

    #[test]
    fn s40_only_the_token_itself_is_admitted() {
        let token = Token::check(SECRET).unwrap();
        token.admit(&headers("Bearer 0123456789abcdef")).unwrap();
        let mut signed = tonic::Request::new(());
        token.sign(&mut signed);
        token
            .admit(&signed.metadata().clone().into_headers())
            .unwrap();
        for wrong in [
            "Bearer 0123456789abcdee",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "0123456789abcdef",
            "Bearer ",
            "",
        ] {
            let error = token.admit(&headers(wrong)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(error.message().contains("another"), "{error}");
            assert!(!error.message().contains(SECRET), "{error}");
        }
        let error = token.admit(&HeaderMap::new()).unwrap_err();
        assert!(error.message().contains("none"), "{error}");
        assert!(error.message().contains("cluster_token"), "{error}");
    }

    #[test]
    fn s40_a_token_is_long_enough_and_never_printed() {
        assert_eq!(format!("{:?}", Token::check(SECRET).unwrap()), "Token(***)");
        for wrong in [
            "",
            "short",
            "0123456789 abcdef",
            "0123456789abcdé0",
            &"x".repeat(1025),
        ] {
            let error = Token::check(wrong).unwrap_err();
            assert!(error.message().contains("openssl rand"), "{error}");
            assert!(
                wrong.is_empty() || !error.message().contains(wrong),
                "{error}"
            );
        }
    }
}
