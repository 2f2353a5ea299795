//! Not so often that strangers can fill the log.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Between two warnings of one kind.
const QUIET: Duration = Duration::from_secs(10);

/// When a warning of one kind was given last.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// The same where there is something to warn of; else no time is taken.
    pub(crate) fn is_due_if(&self, wanted: bool) -> bool {
        wanted && self.is_due()
    }

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

/// The same for many kinds of warnings, which are told apart by a text.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<Vec<(&'static str, Arc<Seldom>)>>);

impl Warnings {
    /// Whether it is time for one of this kind, which is then given.
    pub(crate) fn is_due(&self, kind: &'static str) -> bool {
        let mut kinds = self.0.lock();
        let known = kinds.iter().find(|(known, _)| *known == kind);
        let seldom = match known {
            Some((_, seldom)) => seldom.clone(),
            None => {
                let seldom = Arc::<Seldom>::default();
                kinds.push((kind, seldom.clone()));
                seldom
            }
        };
        drop(kinds);
        seldom.is_due()
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

    #[tokio::test(start_paused = true)]
    async fn s42_one_kind_of_warning_does_not_silence_another() {
        let warnings = Warnings::default();
        assert!(warnings.is_due("a token"));
        assert!(warnings.is_due("a cluster"));
        assert!(!warnings.is_due("a token") && !warnings.is_due("a cluster"));
        tokio::time::advance(QUIET).await;
        assert!(warnings.is_due("a token"));
    }
}
