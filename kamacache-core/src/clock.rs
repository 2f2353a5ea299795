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
    Real(Instant),
    #[cfg(any(test, feature = "test-util"))]
    Tokio(tokio::time::Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's monotonic clock.
    pub fn real() -> Clock {
        Clock(Source::Real(Instant::now()))
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
            Source::Real(start) => start.elapsed().as_millis() as u64,
            #[cfg(any(test, feature = "test-util"))]
            Source::Tokio(start) => start.elapsed().as_millis() as u64,
            Source::Manual(now) => now.load(Ordering::Acquire),
        }
    }

    /// Whether the moment `at_ms` has come.
    pub fn reached(&self, at_ms: u64) -> bool {
        self.now_ms() >= at_ms
    }
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
