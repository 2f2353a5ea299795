//! Values that were loaded for a Get, are too large for its link, and are not
//! kept here: they are held for the unary call that follows, so that one Get is
//! one load.
//!
//! Invariant: a value is handed out once, to who has its number and names its
//! group and key; what is held is bounded in bytes and in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Value;
use crate::hashing::random;

/// Beyond this the oldest make room: they are loaded once more.
const MOST_BYTES: usize = 64 << 20;
/// The call follows at once, or never.
const LONGEST: Duration = Duration::from_secs(10);

pub(crate) struct Held(Mutex<Table>);

struct Table {
    next: u64,
    bytes: usize,
    values: BTreeMap<u64, One>,
}

struct One {
    group: Arc<str>,
    key: Arc<str>,
    value: Value,
    since: Instant,
}

impl Default for Held {
    fn default() -> Self {
        Self(Mutex::new(Table {
            // Numbers of an earlier start of this node are strange. Half of all
            // are enough, and never wrap.
            next: random() / 2 + 1,
            bytes: 0,
            values: BTreeMap::new(),
        }))
    }
}

impl Held {
    /// The number under which the value may be taken; never 0.
    pub(crate) fn hold(&self, group: &Arc<str>, key: &Arc<str>, value: &Value) -> u64 {
        let mut gone = Vec::new();
        let mut table = self.0.lock();
        table.expire(&mut gone);
        while table.bytes + value.len() > MOST_BYTES && table.pop(&mut gone) {}
        let number = table.next;
        table.next += 1;
        table.bytes += value.len();
        let one = One {
            group: group.clone(),
            key: key.clone(),
            value: value.clone(),
            since: Instant::now(),
        };
        table.values.insert(number, one);
        drop(table);
        drop(gone);
        number
    }

    pub(crate) fn take(&self, number: u64, group: &str, key: &str) -> Option<Value> {
        let mut table = self.0.lock();
        let one = table.values.get(&number)?;
        if *one.group != *group || *one.key != *key {
            return None;
        }
        let one = table.values.remove(&number)?;
        table.bytes -= one.value.len();
        Some(one.value)
    }

    /// Lets go of what nobody came for.
    pub(crate) fn tend(&self) {
        let mut gone = Vec::new();
        self.0.lock().expire(&mut gone);
    }
}

impl Table {
    fn expire(&mut self, gone: &mut Vec<One>) {
        let old = |(_, one): (&u64, &One)| one.since.elapsed() >= LONGEST;
        while self.values.first_key_value().is_some_and(old) {
            self.pop(gone);
        }
    }

    /// Whether there was one.
    fn pop(&mut self, gone: &mut Vec<One>) -> bool {
        let Some((_, oldest)) = self.values.pop_first() else {
            return false;
        };
        self.bytes -= oldest.value.len();
        gone.push(oldest);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(held: &Held, key: &str, len: usize) -> u64 {
        held.hold(&"g".into(), &key.into(), &Value::from(vec![7; len]))
    }

    #[tokio::test(start_paused = true)]
    async fn s42_a_held_value_is_taken_once_and_by_its_own_get() {
        let held = Held::default();
        let number = hold(&held, "a", 10);
        assert_eq!(held.take(number, "g", "b"), None, "s36");
        assert_eq!(held.take(number, "f", "a"), None, "s36");
        assert_eq!(held.take(number, "g", "a").unwrap().len(), 10);
        assert_eq!(held.take(number, "g", "a"), None);
        let number = hold(&held, "a", 10);
        tokio::time::advance(LONGEST).await;
        held.tend();
        assert_eq!(held.take(number, "g", "a"), None);
        let old = hold(&held, "a", MOST_BYTES);
        let new = hold(&held, "b", 1);
        assert_eq!(held.take(old, "g", "a"), None);
        assert_eq!(held.take(new, "g", "b").unwrap().len(), 1);
        assert_eq!(held.0.lock().bytes, 0);
    }
}
