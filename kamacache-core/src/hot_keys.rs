//! Which keys of a group are hit most: a space-saving table of the keys of
//! sampled hits, halved now and then so that it speaks of lately.
//!
//! The newcomer takes the place, and the count, of the least counted (Metwally,
//! Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements in
//! data streams", 2005): a key's count is never too low by more than what was
//! forgotten, and a key that is hit often is in the table. A hit that is not
//! sampled does not come here.

use parking_lot::Mutex;

use crate::stats::SAMPLED;

/// Keys that are told apart.
const KEYS: usize = 64;
/// The most that is told.
const TOLD: usize = 32;
/// Samples after which all counts are halved.
const WINDOW: u32 = 4096;

#[derive(Default)]
pub(crate) struct HotKeys(Mutex<Table>);

#[derive(Default)]
struct Table {
    counts: Vec<(Box<str>, u64)>,
    samples: u32,
}

impl HotKeys {
    /// A sampled hit of this key.
    pub(crate) fn note(&self, key: &str) {
        let mut table = self.0.lock();
        table.samples += 1;
        if table.samples >= WINDOW {
            table.halve();
        }
        let counts = &mut table.counts;
        if let Some((_, count)) = counts.iter_mut().find(|(known, _)| **known == *key) {
            *count += 1;
        } else if counts.len() < KEYS {
            counts.push((key.into(), 1));
        } else if let Some(least) = counts.iter_mut().min_by_key(|(_, count)| *count) {
            *least = (key.into(), least.1 + 1);
        }
    }

    /// The most counted first, with about how many hits that were.
    pub(crate) fn top(&self, count: usize) -> Vec<(String, u64)> {
        let mut counts = self.0.lock().counts.clone();
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts.truncate(count.min(TOLD));
        let told = counts.into_iter();
        told.map(|(key, count)| (key.into(), count * SAMPLED))
            .collect()
    }
}

impl Table {
    fn halve(&mut self) {
        self.samples = 0;
        for (_, count) in &mut self.counts {
            *count /= 2;
        }
        self.counts.retain(|(_, count)| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequent_key_is_found_among_many_and_forgotten_when_it_cools() {
        let hot = HotKeys::default();
        for n in 0..2000 {
            hot.note(&format!("key-{n}"));
            if n % 4 == 0 {
                hot.note("often");
            }
        }
        let top = hot.top(3);
        assert_eq!(top[0].0, "often");
        assert!(top[0].1 >= 500 * SAMPLED, "{top:?}");
        for n in 0..20 * WINDOW {
            hot.note(["a", "b"][n as usize % 2]);
        }
        let mut names: Vec<_> = hot.top(9).into_iter().map(|(key, _)| key).collect();
        names.sort();
        assert_eq!(names, ["a", "b"]);
    }
}
