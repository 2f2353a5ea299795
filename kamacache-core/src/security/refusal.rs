//! Why a TLS connection was refused, in words that say what to do. What rustls
//! says is true, but not where to look.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// An error of TLS, explained.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What is wrong, without what is different each time.
    kind: &'static str,
    text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Refusal {}

/// An error of a TLS connection with its explanation; another as it is.
pub(crate) fn explained(error: io::Error) -> io::Error {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        None if error.kind() == io::ErrorKind::UnexpectedEof => io::Error::new(
            error.kind(),
            Refusal {
                kind: "closed",
                text: format!(
                    "it closed the connection; where that is at once, it does not speak TLS: set tls on all members, or on none ({error})"
                ),
            },
        ),
        None => error,
        Some(inner) => io::Error::new(error.kind(), explain(inner)),
    }
}

/// What is wrong with a connection, for warnings that are told apart by it.
pub(crate) fn kind(error: &io::Error) -> &'static str {
    find(error).map_or("a connection that failed", |refusal| refusal.kind)
}

/// The explanation within an error, if it is about TLS.
pub(crate) fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Refusal> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let of_io = error.downcast_ref::<io::Error>();
        let inner = of_io.and_then(io::Error::get_ref);
        if let Some(refusal) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(refusal);
        }
        cause = error.source();
    }
    None
}

fn explain(error: &Error) -> Refusal {
    use AlertDescription as Alert;
    let kind = match error {
        Error::InvalidCertificate(about) => its_certificate(about),
        Error::NoCertificatesPresented => "it shows no certificate: set tls on all members",
        Error::AlertReceived(alert) => match alert {
            Alert::UnknownCA | Alert::DecryptError => {
                "it does not know the authority of this node's certificate: give all members the same tls ca"
            }
            Alert::CertificateExpired => {
                "this node's certificate has expired, or is not valid yet: renew it"
            }
            Alert::CertificateRequired => {
                "it wants a certificate of this node: set tls cert and key"
            }
            Alert::BadCertificate => {
                "it refuses this node's certificate, which lacks the name that it wants, or cannot be read: see the peer's log"
            }
            _ => "it refuses the connection: see the peer's log",
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS: set tls on all members, or on none"
        }
        _ => "TLS failed",
    };
    Refusal {
        kind,
        text: format!("{kind} ({error})"),
    }
}

/// Why peers refuse this node's own certificate.
pub(super) fn of_own(error: &Error) -> String {
    use CertificateError::*;
    let hint = match error {
        Error::InvalidCertificate(about) => match about {
            Expired | ExpiredContext { .. } => "it has expired: renew it",
            NotValidYet | NotValidYetContext { .. } => "it is not valid yet: look at the clock",
            NotValidForName | NotValidForNameContext { .. } => {
                "it does not carry tls name: issue it for that name"
            }
            UnknownIssuer | BadSignature => {
                "tls ca has not signed it: give all members the same tls ca"
            }
            InvalidPurpose | InvalidPurposeContext { .. } => {
                "it is not for both servers and clients: issue it for both uses"
            }
            _ => "it cannot be used",
        },
        _ => "it cannot be used",
    };
    format!("{hint} ({error})")
}

fn its_certificate(about: &CertificateError) -> &'static str {
    use CertificateError::*;
    match about {
        Expired | ExpiredContext { .. } => "its certificate has expired: renew it",
        NotValidYet | NotValidYetContext { .. } => {
            "its certificate is not valid yet: look at the clocks"
        }
        NotValidForName | NotValidForNameContext { .. } => {
            "its certificate is for another name: issue it for the address that the peer advertises, or set tls name to a name that all certificates carry"
        }
        UnknownIssuer | BadSignature => {
            "its certificate is of another authority: give all members the same tls ca"
        }
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "its certificate is not for both servers and clients: issue it for both uses"
        }
        _ => "its certificate is refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s40_each_refusal_says_what_to_do() {
        for (error, hint) in [
            (
                Error::InvalidCertificate(CertificateError::Expired),
                "renew",
            ),
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "same tls ca",
            ),
            (
                Error::InvalidCertificate(CertificateError::NotValidForName),
                "tls name",
            ),
            (Error::NoCertificatesPresented, "set tls"),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "cert and key",
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "does not speak TLS",
            ),
        ] {
            let wrapped = explained(io::Error::new(io::ErrorKind::InvalidData, error));
            let found = find(&wrapped).expect("it is explained").to_string();
            assert!(found.contains(hint), "{found}");
        }
        let other = explained(io::Error::other("disk on fire"));
        assert!(find(&other).is_none());
        assert_eq!(other.to_string(), "disk on fire");
    }
}
