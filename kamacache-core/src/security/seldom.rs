//! Not so often that strangers can fill the log.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Between two warnings of one kind.
const QUIET: Duration = Duration::from_secs(10);

/// When a warning of one kind was given last.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether it is time for one, which is then given.
    pub(crate) fn is_due(&self) -> bool {
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| last.elapsed() >= QUIET);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_given_and_then_one_in_a_while() {
        let warnings = Seldom::default();
        assert!(warnings.is_due());
        assert!(!warnings.is_due());
        tokio::time::advance(QUIET).await;
        assert!(warnings.is_due());
    }
}
