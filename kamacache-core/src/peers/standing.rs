//! How a link stands, and what fetches over it came to: for the admin HTTP.
//! Nothing is decided by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::link::Link;

/// The times that fetches are counted by, rising, in nanoseconds. Few of them:
/// each is a time series for each pair of members.
pub(crate) const BOUNDS_NS: [u64; 8] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

/// Fetches by the first bound that they did not exceed; the last: by none.
pub(crate) type Spread<N> = [N; BOUNDS_NS.len() + 1];

/// What fetches over this link came to.
#[derive(Default)]
pub(super) struct Counted {
    fetched: Spread<AtomicU64>,
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
    /// Those that brought a value, by how long they took.
    pub(crate) took: Spread<u64>,
    pub(crate) failed: u64,
    pub(crate) bytes: u64,
    /// All that brought a value, together.
    pub(crate) took_ns: u64,
}

#[cfg_attr(not(feature = "admin"), allow(dead_code))]
impl Traffic {
    /// Those that brought a value.
    pub(crate) fn fetched(&self) -> u64 {
        self.took.iter().sum()
    }
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
                let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
                add(&counted.bytes, bytes as u64);
                add(&counted.took_ns, ns);
                add(&counted.fetched[bucket], 1)
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
                took: counted.fetched.each_ref().map(read),
                failed: read(&counted.failed),
                bytes: read(&counted.bytes),
                took_ns: read(&counted.took_ns),
            },
        }
    }
}
