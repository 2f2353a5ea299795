//! How a link stands, and what fetches over it came to: for the admin HTTP.
//! Nothing is decided by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::link::Link;

/// What fetches over this link came to.
#[derive(Default)]
pub(super) struct Counted {
    fetched: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    took_ns: AtomicU64,
}

/// How a link stands, for people to look at.
#[cfg_attr(not(feature = "admin"), allow(dead_code))]
pub(crate) struct Standing {
    /// Why requests fail at once; `None`: they do not.
    pub(crate) suspicion: Option<Arc<str>>,
    pub(crate) connected: bool,
    pub(crate) lease_ms: u64,
    /// The digest of the peer's view.
    pub(crate) said: Option<u64>,
    pub(crate) traffic: Traffic,
}

/// Gets sent over a link, as they ended.
#[cfg_attr(not(feature = "admin"), allow(dead_code))]
pub(crate) struct Traffic {
    pub(crate) fetched: u64,
    pub(crate) failed: u64,
    pub(crate) bytes: u64,
    /// All that brought a value, together.
    pub(crate) took_ns: u64,
}

impl Link {
    /// A Get sent over this link has ended: with a value of this size, or
    /// without one.
    pub(crate) fn count_fetch(&self, value: Option<usize>, took: Duration) {
        let add = |counter: &AtomicU64, more: u64| counter.fetch_add(more, Ordering::Relaxed);
        let counted = &self.0.traffic;
        match value {
            None => add(&counted.failed, 1),
            Some(bytes) => {
                add(&counted.bytes, bytes as u64);
                add(
                    &counted.took_ns,
                    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
                );
                add(&counted.fetched, 1)
            }
        };
    }

    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn standing(&self, now_ms: u64) -> Standing {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let line = self.0.line.lock();
        let (suspicion, connected) = (line.breaker.reason().cloned(), line.connection.is_some());
        drop(line);
        let counted = &self.0.traffic;
        Standing {
            connected: connected && suspicion.is_none(),
            suspicion,
            lease_ms: read(&self.0.lease_until).saturating_sub(now_ms),
            said: self.said(),
            traffic: Traffic {
                fetched: read(&counted.fetched),
                failed: read(&counted.failed),
                bytes: read(&counted.bytes),
                took_ns: read(&counted.took_ns),
            },
        }
    }
}
