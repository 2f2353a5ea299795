//! How the command ends: exit codes that scripts can tell apart, each with a
//! message on standard error.
//!
//! The codes are a promise, and listed in `kamacache --help` and
//! docs/command.md.

use std::process::ExitCode;

use kamacache_core::{Error, ErrorKind};
use serde_json::json;

/// Everything went well.
pub(crate) const OK: u8 = 0;
/// Something that should not happen.
pub(crate) const INTERNAL: u8 = 1;
/// Wrong flags or arguments; clap exits with it too.
pub(crate) const USAGE: u8 = 2;
/// A configuration file, environment variable or option that breaks a rule.
pub(crate) const CONFIG: u8 = 3;
/// An address that cannot be listened on.
pub(crate) const LISTEN: u8 = 4;
/// A node that cannot be reached, or that is closing.
pub(crate) const UNAVAILABLE: u8 = 5;
/// No answer in time.
pub(crate) const TIMEOUT: u8 = 6;
/// The getter failed.
pub(crate) const GETTER: u8 = 7;
/// The node refused: an unknown group, a value too large, too much at once.
pub(crate) const REFUSED: u8 = 8;
/// There is no such key: the same code with which a getter command says so.
pub(crate) const NOT_FOUND: u8 = 44;

/// For `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
   0  done
   1  an internal error
   2  wrong flags or arguments
   3  a configuration file, variable or option that breaks a rule
   4  an address that cannot be listened on
   5  a node that cannot be reached
   6  no answer in time
   7  the getter failed
   8  the node refused: unknown group, value too large, overloaded
  44  no such key";

/// Why the command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) name: &'static str,
    pub(crate) message: String,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        let name = match code {
            USAGE => "USAGE",
            CONFIG => "CONFIG",
            LISTEN => "LISTEN",
            UNAVAILABLE => "UNAVAILABLE",
            TIMEOUT => "DEADLINE_EXCEEDED",
            NOT_FOUND => "NOT_FOUND",
            _ => "INTERNAL",
        };
        Self {
            code,
            name,
            message: message.into(),
        }
    }

    /// A rule about the configuration that was broken.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(CONFIG, message)
    }

    /// Tells it, and is the process's end.
    pub(crate) fn exit(&self, as_json: bool) -> ExitCode {
        use std::io::Write;
        let text = match as_json {
            false => format!("kamacache: {}", self.message),
            true => json!({ "ok": false, "code": self.name, "message": self.message }).to_string(),
        };
        // Nobody may read it; the code says it all the same.
        let _ = writeln!(std::io::stderr(), "{text}");
        ExitCode::from(self.code)
    }
}

/// An error of a running node, as a client sees it.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        use ErrorKind::*;
        let code = match error.kind() {
            NotFound => NOT_FOUND,
            InvalidArgument => USAGE,
            GetterFailed | Panicked => GETTER,
            DeadlineExceeded => TIMEOUT,
            Closed | Unavailable => UNAVAILABLE,
            UnknownGroup | TooLarge | Overloaded | Unauthenticated | AlreadyExists => REFUSED,
            Cancelled | ReentrantLoad | WouldDeadlock | Forked | Internal => INTERNAL,
        };
        let message = match error.app_code() {
            Some(app_code) => format!("{} (code {app_code})", error.message()),
            None => error.message().to_owned(),
        };
        Self {
            code,
            name: error.kind().name(),
            message,
        }
    }
}

/// Standard output that cannot be written: a closed pipe is how `| head` ends.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(OK, "standard output was closed"),
            _ => Self::new(INTERNAL, format!("standard output: {error}")),
        }
    }
}
