//! Whether a peer is suspect, why, and when it is tried again. Pure: its link
//! says what happened and asks what to do.
//!
//! Closed, requests go to the peer. A refused, reset, closed or silent
//! connection opens it: requests fail at once, without a timer, and the link
//! probes the peer until it greets again (S25, S26).

use std::sync::Arc;
use std::time::Duration;

/// The first probe comes after this part of the interval, each next one after
/// twice as much: a connection that was merely reset is back in milliseconds.
const FIRST: u32 = 32;

pub(crate) struct Breaker {
    probe_interval: Duration,
    /// Why it is open.
    reason: Option<Arc<str>>,
    probes: u32,
}

impl Breaker {
    pub(crate) fn new(probe_interval: Duration) -> Self {
        Self {
            probe_interval,
            reason: None,
            probes: 0,
        }
    }

    /// The peer is suspect from now on; whether it was not before.
    pub(crate) fn open(&mut self, reason: &str) -> bool {
        self.reason.replace(reason.into()).is_none()
    }

    /// The peer has greeted.
    pub(crate) fn close(&mut self) {
        self.reason = None;
        self.probes = 0;
    }

    /// Why requests fail at once; `None` while it is closed.
    pub(crate) fn reason(&self) -> Option<&Arc<str>> {
        self.reason.as_ref()
    }

    /// How long to wait before the next probe. `random` shortens it by up to a
    /// fifth, so that the peers of a node that returns do not come together.
    pub(crate) fn next_probe(&mut self, random: u64) -> Duration {
        let part = FIRST.checked_shr(self.probes).unwrap_or(0).max(1);
        self.probes = self.probes.saturating_add(1);
        let full = self.probe_interval / part;
        full - full * u32::try_from(random % 201).unwrap_or(0) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn s26_it_opens_once_and_says_why_until_the_peer_greets() {
        let mut breaker = Breaker::new(SECOND);
        assert_eq!(breaker.reason(), None);
        assert!(breaker.open("reset"));
        assert!(!breaker.open("refused"));
        assert_eq!(breaker.reason().map(|reason| &**reason), Some("refused"));
        breaker.close();
        assert_eq!(breaker.reason(), None);
        assert!(breaker.open("silent"));
    }

    #[test]
    fn s26_probes_are_quick_at_first_and_then_an_interval_apart() {
        let mut breaker = Breaker::new(SECOND);
        breaker.open("reset");
        let pauses: Vec<_> = (0..8).map(|_| breaker.next_probe(0)).collect();
        assert_eq!(pauses[0], SECOND / 32);
        assert!(pauses.is_sorted());
        assert_eq!(pauses[5..], [SECOND; 3]);
        assert_eq!(breaker.next_probe(200), SECOND * 4 / 5);
        breaker.close();
        assert_eq!(breaker.next_probe(0), SECOND / 32);
    }
}
