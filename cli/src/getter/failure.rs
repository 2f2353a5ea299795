//! A load that failed, told twice: to those who asked, perhaps at another node,
//! without what may be secret; and to this node's own log, in full and seldom.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kamacache_core::{Error, LoadContext};
use tokio::time::Instant;

/// Between two lines about one group.
const QUIET: Duration = Duration::from_secs(10);
/// Shorter words are in every text.
const SHORTEST_SECRET: usize = 8;
const SHOWN: usize = 300;

/// Why a load failed.
pub(super) struct Failure {
    /// What crosses the wire.
    pub(super) error: Error,
    /// What stays here: where the value was to come from, with all it was asked.
    pub(super) detail: String,
}

/// Says of a group's failed loads that they fail, at most once in [`QUIET`].
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    /// Failures since then.
    since: u64,
}

impl Log {
    pub(super) fn failed(&self, ctx: &LoadContext, failure: &Failure) {
        let Some(unsaid) = self.due() else { return };
        let (group, key) = (ctx.group(), ctx.key());
        tracing::warn!(group, key, error = %failure.error, detail = failure.detail, unsaid, "a load failed; further ones of this group are counted for 10 s");
    }

    /// Whether a line is due, and how many failures had none since the last.
    fn due(&self) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.last.is_some_and(|last| last.elapsed() < QUIET) {
            said.since += 1;
            return None;
        }
        said.last = Some(Instant::now());
        Some(std::mem::take(&mut said.since))
    }
}

/// Texts that must not cross the wire, also when a data source repeats them.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Each of these lines, and each long word of theirs.
    pub(super) fn of<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let borders = |c: char| c.is_whitespace() || "\"'`;|&()<>{}$=,".contains(c);
        let mut found: Vec<String> = Vec::new();
        for line in lines {
            let words = line.split(borders);
            let texts = std::iter::once(line.trim()).chain(words);
            found.extend(
                texts
                    .filter(|text| text.len() >= SHORTEST_SECRET)
                    .map(str::to_owned),
            );
        }
        // The longest first, so that no part of one is left.
        found.sort_by_key(|text| std::cmp::Reverse(text.len()));
        found.dedup();
        Self(found)
    }

    /// The beginning of what a failing source said, on one line and without them.
    pub(super) fn excerpt(&self, said: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(said).into_owned();
        for secret in &self.0 {
            if text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = words.join(" ");
        // Nothing that a terminal obeys.
        let line = line.chars().filter(|letter| !letter.is_control());
        let line: String = line.take(SHOWN).collect();
        match line.is_empty() {
            true => String::new(),
            false => format!(": {line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_of_a_group_are_logged_once_in_a_while() {
        let log = Log::default();
        assert_eq!(log.due(), Some(0));
        assert_eq!((log.due(), log.due()), (None, None));
        tokio::time::advance(QUIET).await;
        assert_eq!(log.due(), Some(2));
    }

    #[test]
    fn what_a_source_says_crosses_without_secrets() {
        let secrets = Secrets::of(["curl -u root:hush-hush http://db/$KEY", "x"]);
        for (said, crosses) in [
            ("disk on\n fire", ": disk on fire"),
            (
                "sh: line 1: `curl -u root:hush-hush http://db/$KEY'",
                ": sh: line 1: `***'",
            ),
            ("+ curl -u root:hush-hush", ": + curl -u ***"),
            (" \n", ""),
            ("\u{1b}[31mred\u{7}", ": [31mred"),
        ] {
            assert_eq!(secrets.excerpt(said.as_bytes()), crosses);
        }
    }
}
