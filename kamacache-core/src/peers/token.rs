//! The tokens that all members of a cluster share (S40): each request carries
//! one as `authorization: Bearer TOKEN`, which is compared in constant time.
//!
//! Several may be given, so that a token can be changed while the cluster runs:
//! all are admitted, the first is sent. A file of tokens is read again when it
//! changes; what cannot be used leaves the old ones in use.
//!
//! Invariant: a token is never printed, and never part of an error.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use subtle::{Choice, ConstantTimeEq};
use tokio_util::sync::CancellationToken;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::{Ascii, MetadataValue};

use crate::security::files::{Version, look_often, version};
use crate::{Error, ErrorKind, Result};

const LEAST: usize = 16;
const MOST: usize = 1024;
/// The most tokens at the same time.
const MOST_TOKENS: usize = 8;
/// More than a file of so many tokens needs.
const MOST_FILE: u64 = 64 << 10;
const HEADER: &str = "authorization";

/// The tokens of a node or client; clones share them.
#[derive(Clone)]
pub(crate) struct Token(Arc<Shared>);

struct Shared {
    /// Where they come from, if from a file, and its last version.
    file: Option<(PathBuf, Mutex<Version>)>,
    current: ArcSwap<Vec<One>>,
}

struct One {
    header: MetadataValue<Ascii>,
    expected: Vec<u8>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Token {
    /// One token, or several separated by blanks.
    ///
    /// # Errors
    /// InvalidArgument, with the rule.
    pub(crate) fn check(text: &str) -> Result<Self> {
        Ok(Self(Arc::new(Shared {
            file: None,
            current: ArcSwap::from_pointee(parse("cluster_token", text)?),
        })))
    }

    /// The tokens of a file, one on each line.
    ///
    /// # Errors
    /// InvalidArgument, naming the file and what is wrong with it.
    pub(crate) fn read(path: &str) -> Result<Self> {
        let path = PathBuf::from(path);
        let seen = version(&path);
        let current = ArcSwap::from_pointee(read(&path)?);
        Ok(Self(Arc::new(Shared {
            file: Some((path, Mutex::new(seen))),
            current,
        })))
    }

    /// Of the two options that give tokens, the one that is set.
    ///
    /// # Errors
    /// InvalidArgument: both are set, or what one gives cannot be used.
    pub(crate) fn of(text: Option<&str>, file: Option<&str>) -> Result<Option<Self>> {
        match (text, file) {
            (None, None) => Ok(None),
            (Some(text), None) => Self::check(text).map(Some),
            (None, Some(path)) => Self::read(path).map(Some),
            (Some(_), Some(path)) => Err(Error::invalid_argument(format!(
                "cluster_token and cluster_token_file {path:?} are both given; leave one unset"
            ))),
        }
    }

    /// Looks at the file, if there is one, until `closed`.
    pub(crate) async fn keep_fresh(self, closed: CancellationToken) {
        if let Some((path, seen)) = &self.0.file {
            look_often(closed, || self.look(path, seen)).await;
        }
    }

    fn look(&self, path: &Path, seen: &Mutex<Version>) {
        let now = version(path);
        if std::mem::replace(&mut *seen.lock(), now) == now {
            return;
        }
        let file = path.display();
        match read(path) {
            Ok(tokens) => {
                let count = tokens.len();
                self.0.current.store(Arc::new(tokens));
                tracing::info!(%file, count, "new cluster tokens are in use");
            }
            Err(error) => {
                tracing::warn!(%error, "the file of cluster tokens has changed and cannot be used; the old tokens stay");
            }
        }
    }

    /// Puts the first onto a request.
    pub(crate) fn sign<M>(&self, request: &mut tonic::Request<M>) {
        let metadata = request.metadata_mut();
        metadata.insert(HEADER, self.0.current.load()[0].header.clone());
    }

    /// Whether a request with these headers carries one of them.
    ///
    /// # Errors
    /// Unauthenticated, with the way out.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<()> {
        let given = headers.get(HEADER).map(|header| header.as_bytes());
        let is_right = given.is_some_and(|given| {
            let tokens = self.0.current.load();
            // All are compared, whichever it is.
            let equal = tokens.iter().map(|one| given.ct_eq(&one.expected));
            equal.fold(Choice::from(0), |any, one| any | one).into()
        });
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

/// Tokens separated by blanks or line ends, which `option` gives.
fn parse(option: &str, text: &str) -> Result<Vec<One>> {
    let tokens: Vec<&str> = text.split_ascii_whitespace().collect();
    match tokens.len() {
        0 => Err(Error::invalid_argument(format!(
            "{option} has 0 bytes; a token has {LEAST} to {MOST}, as `openssl rand -hex 32` prints them"
        ))),
        1..=MOST_TOKENS => tokens.into_iter().map(|token| one(option, token)).collect(),
        count => Err(Error::invalid_argument(format!(
            "{option} holds {count} tokens; the limit is {MOST_TOKENS}: leave out those that no member sends any more"
        ))),
    }
}

fn one(option: &str, token: &str) -> Result<One> {
    let count = token.len();
    if !(LEAST..=MOST).contains(&count) {
        return Err(Error::invalid_argument(format!(
            "{option}: a token has {count} bytes; it must have {LEAST} to {MOST}, as `openssl rand -hex 32` prints them"
        )));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::invalid_argument(format!(
            "{option}: a token has characters that are not visible ASCII; use what `openssl rand -hex 32` prints"
        )));
    }
    let bearer = format!("Bearer {token}");
    let mut header = MetadataValue::try_from(&bearer)
        .map_err(|_| Error::internal("a token of visible ASCII makes a header"))?;
    header.set_sensitive(true);
    Ok(One {
        header,
        expected: bearer.into_bytes(),
    })
}

fn read(path: &Path) -> Result<Vec<One>> {
    let option = format!("cluster_token_file {:?}", path.display().to_string());
    let failed = |error: std::io::Error| {
        Error::invalid_argument(format!("{option} cannot be read: {error}"))
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > MOST_FILE {
        return Err(Error::invalid_argument(format!(
            "{option} has {bytes} bytes; the limit is {MOST_FILE}"
        )));
    }
    parse(&option, &std::fs::read_to_string(path).map_err(failed)?)
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
    fn s40_of_several_tokens_the_first_is_sent_and_all_are_admitted() {
        let (new, old) = ("new-token-0123456", "old-token-0123456");
        let both = Token::check(&format!("{new} {old}")).unwrap();
        let sent = |token: &Token| {
            let mut signed = tonic::Request::new(());
            token.sign(&mut signed);
            signed.metadata().clone().into_headers()
        };
        assert_eq!(sent(&both)[HEADER], format!("Bearer {new}"));
        for token in [new, old] {
            both.admit(&headers(&format!("Bearer {token}"))).unwrap();
        }
        Token::check(old).unwrap().admit(&sent(&both)).unwrap_err();
        both.admit(&headers(&format!("Bearer {new} {old}")))
            .unwrap_err();
        let many = [new; MOST_TOKENS + 1].join(" ");
        let error = Token::check(&many).unwrap_err();
        assert!(error.message().contains("holds 9 tokens"), "{error}");
        let error = Token::of(Some(new), Some("/file")).unwrap_err();
        assert!(error.message().contains("both given"), "{error}");
    }

    #[test]
    fn s40_a_file_of_tokens_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let write = |text: &str| {
            let new = folder.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, &path).unwrap();
        };
        write(&format!("{SECRET}\n"));
        let token = Token::read(path.to_str().unwrap()).unwrap();
        let bearer = |text: &str| token.admit(&headers(&format!("Bearer {text}")));
        let (file, seen) = token.0.file.as_ref().unwrap();
        bearer(SECRET).unwrap();
        let next = "the-next-token-of-all";
        write(&format!("{next}\n{SECRET}\n"));
        token.look(file, seen);
        bearer(next).unwrap();
        bearer(SECRET).unwrap();
        for wrong in ["", "short", &"x".repeat(70_000)] {
            write(wrong);
            token.look(file, seen);
            bearer(next).unwrap();
        }
        std::fs::remove_file(&path).unwrap();
        token.look(file, seen);
        bearer(next).unwrap();
        write(next);
        token.look(file, seen);
        bearer(SECRET).unwrap_err();
        for (file, says) in [
            ("/nonexistent/tokens", "cannot be read"),
            ("/", "cannot be read"),
        ] {
            let error = Token::read(file).unwrap_err();
            assert!(error.message().contains(says), "{error}");
            assert!(error.message().contains("cluster_token_file"), "{error}");
        }
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
