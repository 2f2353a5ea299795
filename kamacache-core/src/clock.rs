//! `Clock`: monotonic milliseconds since the clock's start.
//!
//! Invariant: time never goes back. Every time in the store is a number of this clock, so a test
//! that holds a `ManualClock` decides when things expire.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A source of monotonic milliseconds. Clones share their start.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The exact start, and the same moment on the coarse clock.
    Real(Instant, coarsetime::Instant),
    #[cfg(any(test, feature = "test-util"))]
    Tokio(tokio::time::Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's monotonic clock.
    pub fn real() -> Clock {
        Clock(Source::Real(Instant::now(), coarse_now()))
    }

    /// tokio's clock, which a test can pause and advance, and which simulators drive.
    #[cfg(any(test, feature = "test-util"))]
    pub fn tokio() -> Clock {
        Clock(Source::Tokio(tokio::time::Instant::now()))
    }

    /// A clock that stands at 0 until its `ManualClock` moves it.
    pub fn manual() -> (Clock, ManualClock) {
        let now = Arc::new(AtomicU64::new(0));
        (Clock(Source::Manual(now.clone())), ManualClock(now))
    }

    /// Milliseconds since the clock's start.
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::Real(start, _) => start.elapsed().as_millis() as u64,
            #[cfg(any(test, feature = "test-util"))]
            Source::Tokio(start) => start.elapsed().as_millis() as u64,
            Source::Manual(now) => now.load(Ordering::Acquire),
        }
    }

    /// Whether the moment `at_ms` has come. Asks the system's coarse clock first, which is several
    /// times cheaper, and the exact one only when the coarse one is too close to tell.
    #[inline]
    pub fn reached(&self, at_ms: u64) -> bool {
        if let Source::Real(_, start) = &self.0 {
            let about = (coarse_now() - *start).as_millis();
            if about + COARSE_BY_MS < at_ms {
                return false;
            }
        }
        self.now_ms() >= at_ms
    }
}

/// No coarse clock in use is further from the exact one: a tick is 1 to 10 ms on Linux, up to 16 on
/// Windows, and the two starts are read one after the other.
const COARSE_BY_MS: u64 = 50;

fn coarse_now() -> coarsetime::Instant {
    coarsetime::Instant::now_without_cache_update()
}

/// The hand of a manual `Clock`.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_reached_when_it_comes_and_not_before() {
        let (clock, hand) = Clock::manual();
        assert!(clock.reached(0) && !clock.reached(1));
        hand.advance(Duration::from_millis(1));
        assert!(clock.reached(1) && !clock.reached(2));
    }

    #[test]
    fn the_coarse_clock_decides_only_what_it_can() {
        let clock = Clock::real();
        let until = clock.now_ms() + 3 * COARSE_BY_MS;
        while clock.now_ms() < until {
            let (before, near) = (clock.now_ms(), clock.now_ms() + 1);
            for at in [before, near, near + COARSE_BY_MS, near + 2 * COARSE_BY_MS] {
                let reached = clock.reached(at);
                let after = clock.now_ms();
                assert!(
                    !reached || at <= after,
                    "{at} was said to be reached at {after}"
                );
                assert!(
                    reached || at > before,
                    "{at} was not said to be reached at {before}"
                );
            }
        }
    }
}
