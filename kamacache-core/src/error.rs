//! One error type for every language and the wire: a flat [`ErrorKind`] with
//! stable codes, a message that names the value, the rule and the way out, and
//! what is known about where it happened.
//!
//! Invariant: a kind's code and name never change; new kinds are appended.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of a kamacache call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error that may come out of a user's getter.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The longest getter message that is kept and sent to other nodes, in bytes.
const MAX_GETTER_MESSAGE: usize = 4096;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// What went wrong. Codes and names are the same in every language and
        /// on the wire.
        #[repr(i32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $($(#[$doc])* $variant = $code,)* }

        impl ErrorKind {
            /// Every kind, in the order of its code.
            pub const ALL: [ErrorKind; 17] = [$(ErrorKind::$variant,)*];

            /// The stable name, as `"NOT_FOUND"`.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorKind::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// A key, name, address, option or argument breaks a rule; nothing was stored.
    InvalidArgument = 1, "INVALID_ARGUMENT";
    /// The getter said that the key does not exist.
    NotFound = 2, "NOT_FOUND";
    /// The getter failed; the message and code are its own.
    GetterFailed = 3, "GETTER_FAILED";
    /// The caller's own deadline passed.
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED";
    /// The caller left, or a token was answered too late.
    Cancelled = 5, "CANCELLED";
    /// The node was closed.
    Closed = 6, "CLOSED";
    /// The owner could not be reached, or the views of the members differ.
    Unavailable = 7, "UNAVAILABLE";
    /// A limit on concurrent work was reached.
    Overloaded = 8, "OVERLOADED";
    /// A getter asked for the very key it is loading.
    ReentrantLoad = 9, "REENTRANT_LOAD";
    /// A group of that name is open already.
    AlreadyExists = 10, "ALREADY_EXISTS";
    /// A value is above the limit of its group.
    TooLarge = 11, "TOO_LARGE";
    /// The node has no group of that name.
    UnknownGroup = 12, "UNKNOWN_GROUP";
    /// A blocking call was made on a thread that must not block.
    WouldDeadlock = 13, "WOULD_DEADLOCK";
    /// The process was forked after the node started.
    Forked = 14, "FORKED";
    /// A getter panicked.
    Panicked = 15, "PANICKED";
    /// The peer does not belong to this cluster.
    Unauthenticated = 16, "UNAUTHENTICATED";
    /// A bug of kamacache, or a resource of the system that failed.
    Internal = 17, "INTERNAL";
}

impl ErrorKind {
    /// The stable code, 1..=17; 0 is success in the C ABI.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The kind with this code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a call failed. Cheap to clone: every waiter of a failed load gets one.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    app_code: Option<i64>,
    peer: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind. The message should name the value, the rule and
    /// the way out.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            app_code: None,
            peer: None,
            source: None,
        }))
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message, for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The getter's own integer code, also when it ran on another node.
    pub fn app_code(&self) -> Option<i64> {
        self.0.app_code
    }

    /// The address of the node where it happened, when that is not this one.
    pub fn peer(&self) -> Option<&str> {
        self.0.peer.as_deref()
    }

    /// The error behind this one, shared: an adapter finds its own exception
    /// object here.
    pub fn source_arc(&self) -> Option<&Arc<dyn StdError + Send + Sync>> {
        self.0.source.as_ref()
    }

    /// The same error with the getter's own integer code.
    #[must_use]
    pub fn with_app_code(self, code: i64) -> Self {
        self.with(|inner| inner.app_code = Some(code))
    }

    /// The same error, said to have happened at `peer`.
    #[must_use]
    pub fn with_peer(self, peer: impl Into<String>) -> Self {
        let peer = peer.into();
        self.with(|inner| inner.peer = Some(peer))
    }

    /// The same error with the one behind it.
    #[must_use]
    pub fn with_source(self, source: impl Into<Arc<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        self.with(|inner| inner.source = Some(source))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// A broken rule about an argument.
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// A getter's failure, its message cut at 4 KiB.
    pub fn getter(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::GetterFailed, cut(message.into()))
    }

    /// A getter's panic, its message cut at 4 KiB.
    pub fn panicked(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Panicked, cut(message.into()))
    }

    /// A key that the data source does not have.
    pub fn not_found(key: &str) -> Self {
        Self::new(
            ErrorKind::NotFound,
            format!("key {:?} not found", Short(key)),
        )
    }

    /// The node was closed.
    pub fn closed() -> Self {
        Self::new(
            ErrorKind::Closed,
            "the node is closed; start a new one to go on",
        )
    }

    /// The caller's time is over.
    pub fn deadline(key: &str) -> Self {
        Self::new(
            ErrorKind::DeadlineExceeded,
            format!("no answer for key {:?} within its timeout", Short(key)),
        )
    }

    /// A bug of kamacache, or a failed resource of the system.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind);
        out.field("message", &self.0.message);
        if let Some(code) = self.0.app_code {
            out.field("app_code", &code);
        }
        if let Some(peer) = &self.0.peer {
            out.field("peer", peer);
        }
        out.finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

/// A key in a message, cut so that a 4 KiB key does not fill the log.
pub(crate) struct Short<'a>(pub(crate) &'a str);

impl fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        if self.0.len() <= SHOWN {
            return write!(f, "{:?}", self.0);
        }
        let head = &self.0[..self.0.floor_char_boundary(SHOWN)];
        write!(f, "{head:?}... ({} bytes)", self.0.len())
    }
}

/// Text of others within messages and log lines: cut, and on one line whatever
/// it holds.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        const SHOWN: usize = 512;
        let head = &self.0[..self.0.floor_char_boundary(SHOWN)];
        for char in head.chars() {
            if char.is_ascii_graphic() || char == ' ' {
                f.write_char(char)?;
            } else {
                write!(f, "{}", char.escape_default())?;
            }
        }
        match self.0.len() {
            0..=SHOWN => Ok(()),
            all => write!(f, "... ({all} bytes)"),
        }
    }
}

fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_GETTER_MESSAGE));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s03_codes_and_names_are_stable() {
        let codes: Vec<i32> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes, (1..=17).collect::<Vec<_>>());
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_code(kind.code()), Some(kind));
        }
        assert_eq!(ErrorKind::from_code(0), None);
        assert_eq!(ErrorKind::from_code(18), None);
        assert_eq!(ErrorKind::TooLarge.name(), "TOO_LARGE");
    }

    #[test]
    fn s03_getter_messages_are_cut_at_a_character() {
        let error = Error::getter("é".repeat(5000)).with_app_code(-7);
        assert_eq!(error.message().len(), 4096);
        assert_eq!(error.app_code(), Some(-7));
    }

    #[test]
    fn long_keys_do_not_fill_messages() {
        let error = Error::not_found(&"k".repeat(4096));
        assert!(error.message().len() < 200, "{error}");
        assert!(error.message().contains("4096 bytes"), "{error}");
    }
}
