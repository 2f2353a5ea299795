//! Whether peers take this node's own certificate, until when, and when the
//! operator is warned.
//!
//! Invariant: the certificate is judged as a peer judges it, by the same
//! verifiers and against the node's own authority. Called by `tls.rs`.

use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};

use super::refusal;

const DAY: u64 = 24 * 3600;
/// From when on the operator is warned, in seconds before the end.
const SOON: u64 = 7 * DAY;

/// How a certificate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// When the first certificate of its chain expires, in seconds since 1970;
    /// `None`: no peer takes it at any time.
    pub(crate) until: Option<u64>,
    /// Why peers refuse it now.
    pub(crate) refused: Option<String>,
}

/// Judges a chain, the node's own certificate first.
pub(crate) fn judge(
    clients: &dyn ClientCertVerifier,
    roots: &RootCertStore,
    provider: &CryptoProvider,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Standing {
    let (own, between) = chain.split_first().expect("a chain is not empty");
    let algorithms = provider.signature_verification_algorithms.all;
    let verify = |at: UnixTime| {
        clients.verify_client_cert(own, between, at)?;
        let server = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&server, roots, between, at, algorithms)
    };
    // Each expiry found is earlier than the one before.
    let mut at = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let until = loop {
        use CertificateError::ExpiredContext;
        match verify(at) {
            Ok(()) => break Some(at.as_secs()),
            Err(Error::InvalidCertificate(ExpiredContext { not_after, .. })) if not_after < at => {
                at = not_after;
            }
            Err(_) => break None,
        }
    };
    Standing {
        until,
        refused: verify(now).err().map(|error| refusal::of_own(&error)),
    }
}

/// When the operator was warned last: once a day from [`SOON`] on.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Option<u64>);

impl Warnings {
    /// A warning, if one is due.
    pub(crate) fn due(&mut self, standing: &Standing, now: u64) -> Option<String> {
        let what = match (&standing.refused, standing.until) {
            (Some(why), _) => format!("peers refuse this node's certificate: {why}"),
            (None, Some(until)) if until < now.saturating_add(SOON) => {
                format!(
                    "this node's certificate expires in {}: renew it",
                    time_left(until - now)
                )
            }
            (None, _) => return None,
        };
        if self.0.is_some_and(|last| now < last.saturating_add(DAY)) {
            return None;
        }
        self.0 = Some(now);
        Some(what)
    }
}

fn time_left(seconds: u64) -> String {
    match seconds {
        0..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / DAY),
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000;

    fn until(seconds: u64) -> Standing {
        Standing {
            until: Some(seconds),
            refused: None,
        }
    }

    #[test]
    fn s40_a_certificate_that_expires_soon_is_warned_of_once_a_day() {
        let mut warnings = Warnings::default();
        assert_eq!(warnings.due(&until(START + SOON), START), None);
        let warned = warnings.due(&until(START + SOON - 1), START).unwrap();
        assert!(warned.contains("expires in 6 days"), "{warned}");
        assert_eq!(warnings.due(&until(START + SOON), START + DAY - 1), None);
        let last = until(START + DAY + 7200);
        let warned = warnings.due(&last, START + DAY).unwrap();
        assert!(warned.contains("expires in 2 h"), "{warned}");
        let over = Standing {
            refused: Some("it has expired".into()),
            ..last
        };
        assert_eq!(warnings.due(&over, START + 2 * DAY - 1), None);
        let warned = warnings.due(&over, START + 2 * DAY).unwrap();
        assert!(warned.contains("it has expired"), "{warned}");
    }
}
