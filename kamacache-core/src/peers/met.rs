//! Who has greeted this node, and as whom: tells apart the nodes that one
//! address has had, and refuses the younger of two that have it at once (S4).
//!
//! Invariant: an address has one incarnation here. Another one takes its place
//! only when nothing has been heard of it for a while, its links have ended, it
//! said goodbye, or the other is the older one. Pure: it is told the time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Error, ErrorKind, Result};

/// A node as its hello describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) incarnation: u64,
    /// Not before this; its start, if it says its age, and less the time that
    /// its hello was under way.
    pub(crate) born: Instant,
}

struct Entry {
    met: Met,
    /// When it was heard last; `None`: one of its links has ended since.
    heard: Option<Instant>,
    /// It has said goodbye: whatever is heard of it still, it is about to go.
    gone: bool,
}

/// The nodes that this one has met, by address.
pub(crate) struct Acquaintances {
    /// Who is silent for so long may be gone.
    patience: Duration,
    by_address: HashMap<Box<str>, Entry>,
}

/// More addresses than a cluster has members; anyone may greet.
const MOST: usize = 20_000;

impl Acquaintances {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            by_address: HashMap::new(),
        }
    }

    /// A node greets, which has run for `age`.
    ///
    /// # Errors
    /// Unavailable: another living node advertises the address, and has done so
    /// for longer.
    pub(crate) fn greets(
        &mut self,
        now: Instant,
        address: &str,
        incarnation: u64,
        age: Duration,
    ) -> Result<()> {
        let born = now.checked_sub(age).unwrap_or(now);
        let met = Met { incarnation, born };
        let fresh = Entry {
            met,
            heard: Some(now),
            gone: false,
        };
        let is_full = self.by_address.len() >= MOST;
        match self.by_address.get_mut(address) {
            Some(entry) if entry.met.incarnation == incarnation => entry.heard = Some(now),
            Some(entry) => {
                let patience = self.patience;
                let is_alive = entry.heard.is_some_and(|heard| now - heard < patience);
                if is_alive && !entry.gone && entry.met.born <= born {
                    return Err(refuse(address, incarnation, entry.met.incarnation));
                }
                *entry = fresh;
            }
            None if is_full => {}
            None => {
                self.by_address.insert(address.into(), fresh);
            }
        }
        Ok(())
    }

    /// A message came over a link of this node; whether the address is still
    /// its own.
    pub(crate) fn is_heard(&mut self, now: Instant, address: &str, incarnation: u64) -> bool {
        match self.by_address.get_mut(address) {
            Some(entry) if entry.met.incarnation != incarnation => false,
            Some(entry) => {
                entry.heard = Some(now);
                true
            }
            None => true,
        }
    }

    /// A link of this node has ended.
    pub(crate) fn hung_up(&mut self, address: &str, incarnation: u64) {
        if let Some(entry) = self.by_address.get_mut(address)
            && entry.met.incarnation == incarnation
        {
            entry.heard = None;
        }
    }

    /// It has said goodbye.
    pub(crate) fn said_goodbye(&mut self, address: &str, incarnation: u64) {
        if let Some(entry) = self.by_address.get_mut(address)
            && entry.met.incarnation == incarnation
        {
            entry.gone = true;
        }
    }

    /// Who had the address last.
    pub(crate) fn last(&self, address: &str) -> Option<Met> {
        self.by_address.get(address).map(|entry| entry.met)
    }
}

fn refuse(address: &str, incarnation: u64, older: u64) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "two living nodes advertise {address}: incarnation {older:016x}, and since then \
             incarnation {incarnation:016x}, which is refused; give each node an advertise address of its own"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn s04_the_younger_of_two_living_nodes_with_one_address_is_refused() {
        let start = Instant::now();
        let now = start + 100 * SECOND;
        let mut met = Acquaintances::new(SECOND);
        met.greets(now, "a:1", 1, 50 * SECOND).unwrap();
        let error = met.greets(now, "a:1", 2, 10 * SECOND).unwrap_err();
        let text = error.message();
        assert!(text.contains("0000000000000001"), "{text}");
        assert!(text.contains("0000000000000002"), "{text}");
        assert!(text.contains("a:1"), "{text}");
        assert!(met.is_heard(now, "a:1", 1));
        assert!(!met.is_heard(now, "a:1", 2));
        // An older one takes the place, whoever came first.
        met.greets(now, "a:1", 3, 60 * SECOND).unwrap();
        assert!(!met.is_heard(now, "a:1", 1));
        assert_eq!(met.last("a:1").unwrap().incarnation, 3);
    }

    #[test]
    fn s04_a_node_that_said_goodbye_is_not_in_the_way_of_the_next() {
        let now = Instant::now();
        let mut met = Acquaintances::new(SECOND);
        met.greets(now, "a:1", 1, SECOND).unwrap();
        met.said_goodbye("a:1", 1);
        // Its heartbeats go on until it has closed.
        assert!(met.is_heard(now, "a:1", 1));
        met.greets(now, "a:1", 2, Duration::ZERO).unwrap();
        assert_eq!(met.last("a:1").unwrap().incarnation, 2);
    }

    #[test]
    fn s04_a_node_that_starts_again_is_no_second_one() {
        let now = Instant::now();
        let mut met = Acquaintances::new(SECOND);
        met.greets(now, "a:1", 1, SECOND).unwrap();
        met.hung_up("a:1", 1);
        met.greets(now, "a:1", 2, Duration::ZERO).unwrap();
        // Silent for long enough, with a link that nobody has closed.
        met.greets(now + SECOND, "a:1", 3, Duration::ZERO).unwrap();
        met.hung_up("a:1", 2);
        assert!(met.greets(now + SECOND, "a:1", 4, Duration::ZERO).is_err());
    }
}
