//! Since when and why discovery is out.
//!
//! Invariant: a reason that differs from the last one in the log is logged, but
//! at most one warning is written in ten seconds, and one line of it. Called by
//! `membership.rs`.

use std::time::Duration;

use tokio::time::Instant;

use crate::Error;
use crate::security::seldom::Seldom;

/// The longest reason that is kept, in characters.
const MAX_REASON: usize = 1024;

#[derive(Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
    reason: String,
    /// The reason that was logged last.
    logged: String,
    warnings: Seldom,
}

impl Outage {
    /// Discovery failed, or its list breaks a rule.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.reason = one_line(error.message());
        let begins = self.since.is_none();
        self.since.get_or_insert_with(Instant::now);
        // The first warning of an outage is never held back.
        let is_due = self
            .warnings
            .is_due_if(begins || self.reason != self.logged);
        if begins || is_due {
            self.logged.clone_from(&self.reason);
            tracing::warn!(
                error = self.reason,
                "discovery failed; the last members stay"
            );
        }
    }

    /// A list came that can be used; whether that ends an outage.
    pub(crate) fn ends(&mut self) -> bool {
        self.reason.clear();
        self.since.take().is_some()
    }

    pub(crate) fn stale(&self) -> Option<Duration> {
        self.since.map(|since| since.elapsed())
    }

    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn reason(&self) -> Option<String> {
        self.since.map(|_| self.reason.clone())
    }
}

/// A source's own text, on one line.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for letter in text.chars().take(MAX_REASON) {
        match letter.is_control() {
            true => line.extend(letter.escape_default()),
            false => line.push(letter),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn s27_the_present_reason_is_kept_and_the_first_moment_stays() {
        let mut outage = Outage::default();
        assert_eq!((outage.reason(), outage.stale()), (None, None));
        outage.failed(&Error::internal("refused"));
        tokio::time::advance(Duration::from_secs(3)).await;
        outage.failed(&Error::internal("hanging\nERROR forged"));
        assert_eq!(outage.reason().unwrap(), "hanging\\nERROR forged");
        assert_eq!(outage.stale(), Some(Duration::from_secs(3)));
        assert_eq!(outage.logged, "refused", "one warning in ten seconds");
        tokio::time::advance(Duration::from_secs(10)).await;
        outage.failed(&Error::internal("hanging"));
        assert_eq!(outage.logged, "hanging");
        assert!(outage.ends() && !outage.ends());
        assert_eq!(outage.reason(), None);
    }
}
