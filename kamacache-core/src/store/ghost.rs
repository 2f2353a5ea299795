//! `Ghost`: remembers the keys that left the newcomers' queue lately, by marks of four bytes.
//!
//! Invariant: `live` is the cost of the keys it still remembers. It may forget early and, once in
//! millions, mistake one key for another; both only cost a worse guess. It never holds a key or a
//! value. Asked by S3-FIFO when a key comes back.
//!
//! A mark may be in either of two sets and is put into the emptier one (Azar et al., "Balanced
//! allocations", 1994): with one set for each, some overflow long before the table is full, and
//! the keys that one forgets every time cost a loop most of its hits.

use super::entry::{Hash48, allocated};
use std::{collections::VecDeque, ops::Range};

/// Places of one set: a cache line of them.
const WAYS: usize = 8;

/// A key in the order of leaving. A cost of 0 marks one that came back.
#[derive(Clone, Copy)]
struct Left {
    mark: u32,
    cost: u32,
}

/// Where in the order a mark is: its number, counted from the first key that ever left.
#[derive(Clone, Copy, Default)]
struct Trace {
    mark: u32,
    number: u32,
}

#[derive(Default)]
pub(crate) struct Ghost {
    order: VecDeque<Left>,
    /// The number of the order's front.
    first: u32,
    table: Vec<Trace>,
    live: u64,
    live_count: usize,
}

impl Ghost {
    pub(crate) fn own_bytes(&self) -> u64 {
        match self.table.len() {
            0 => 0,
            traces => {
                allocated(traces * size_of::<Trace>())
                    + allocated(self.order.capacity() * size_of::<Left>())
            }
        }
    }

    /// Remembers a key, and forgets the oldest beyond `window` in all.
    pub(crate) fn remember(&mut self, hash: Hash48, cost: u64, window: u64) {
        self.forget(hash.mark());
        self.make_place(hash.mark());
        let left = Left {
            mark: hash.mark(),
            cost: u32::try_from(cost).unwrap_or(u32::MAX).max(1),
        };
        let number = self.first.wrapping_add(self.order.len() as u32);
        self.order.push_back(left);
        self.live += u64::from(left.cost);
        self.live_count += 1;
        self.note(Trace {
            mark: left.mark,
            number,
        });
        while self.live > window || self.order.front().is_some_and(|left| left.cost == 0) {
            self.drop_front();
        }
    }

    /// Whether the key is remembered; it no longer is after this.
    pub(crate) fn recall(&mut self, hash: Hash48) -> bool {
        self.forget(hash.mark())
    }

    fn forget(&mut self, mark: u32) -> bool {
        let sets = sets_of(mark, self.table.len());
        let mut places = sets.into_iter().flatten();
        let Some(place) =
            places.find(|place| self.table[*place].mark == mark && !self.is_free(*place))
        else {
            return false;
        };
        let gone = self.gone();
        let trace = std::mem::replace(&mut self.table[place], gone);
        self.strike(trace.number);
        true
    }

    /// What stands in a place whose key came back, or that never had one.
    fn gone(&self) -> Trace {
        Trace {
            mark: 0,
            number: self.first.wrapping_sub(1),
        }
    }

    /// Where in the order the key of a place is. A number that is no longer there is far behind it.
    fn index(&self, place: usize) -> usize {
        self.table[place].number.wrapping_sub(self.first) as usize
    }

    fn is_free(&self, place: usize) -> bool {
        self.index(place) >= self.order.len()
    }

    fn count_free(&self, set: &Range<usize>) -> usize {
        set.clone().filter(|place| self.is_free(*place)).count()
    }

    /// Marks a place in the order as come back.
    fn strike(&mut self, number: u32) {
        let left = &mut self.order[number.wrapping_sub(self.first) as usize];
        self.live -= u64::from(left.cost);
        self.live_count -= 1;
        left.cost = 0;
    }

    fn drop_front(&mut self) {
        if let Some(left) = self.order.pop_front() {
            self.first = self.first.wrapping_add(1);
            if left.cost > 0 {
                self.live -= u64::from(left.cost);
                self.live_count -= 1;
            }
        }
    }

    /// Takes a place in the emptier of the mark's sets; its oldest if it has none that is free.
    fn note(&mut self, trace: Trace) {
        let sets = sets_of(trace.mark, self.table.len());
        let emptier = sets.into_iter().max_by_key(|set| self.count_free(set));
        let age = |place: &usize| (!self.is_free(*place)).then(|| self.index(*place));
        let Some(place) = emptier.and_then(|set| set.min_by_key(age)) else {
            return;
        };
        if !self.is_free(place) {
            self.strike(self.table[place].number);
        }
        self.table[place] = trace;
    }

    /// Grows the table before sets overflow, which begins at about three quarters, or when this
    /// mark's do; closes the gaps in the order once they are most of it.
    fn make_place(&mut self, mark: u32) {
        let gaps = self.order.len() - self.live_count;
        let (live, places) = (self.live_count, self.table.len());
        let sets = || sets_of(mark, places).into_iter();
        let crowded = 2 * live > places && sets().all(|set| self.count_free(&set) == 0);
        if crowded || 10 * live >= 7 * places {
            self.rebuild((2 * places).max(4 * WAYS));
        } else if gaps > live + 64 {
            self.rebuild(places);
        }
    }

    /// Makes the table anew from the order.
    fn rebuild(&mut self, places: usize) {
        self.order.retain(|left| left.cost > 0);
        self.table.clear();
        self.table.resize(places, self.gone());
        let mut number = self.first;
        for index in 0..self.order.len() {
            let mark = self.order[index].mark;
            self.note(Trace { mark, number });
            number = number.wrapping_add(1);
        }
    }
}

/// The two sets that a mark may be in, in a table of so many places.
fn sets_of(mark: u32, places: usize) -> [Range<usize>; 2] {
    let sets = (places / WAYS) as u64;
    let set = |mixed: u32| {
        let set = ((u64::from(mixed) * sets) >> 32) as usize;
        set * WAYS..((set + 1) * WAYS).min(places)
    };
    [
        set(mark.wrapping_mul(0x9E37_79B1)),
        set(mark.rotate_left(16).wrapping_mul(0x85EB_CA6B)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// As many as the window holds are all remembered, whatever the seed that their hashes come
    /// from: right before the table grows, when it is at its fullest, too.
    #[test]
    fn nothing_within_the_window_is_forgotten() {
        for count in [300, 716, 900, 1_433, 5_734] {
            for _ in 0..20 {
                let hashes = hashes(count);
                let mut ghost = Ghost::default();
                for hash in &hashes {
                    ghost.remember(*hash, 1, count);
                }
                let lost = hashes.iter().filter(|hash| !ghost.recall(**hash)).count();
                assert_eq!(lost, 0, "of {count}");
                assert_eq!(ghost.live, 0);
            }
        }
    }

    #[test]
    fn what_left_before_the_window_is_forgotten_oldest_first() {
        let hashes = hashes(2_000);
        let mut ghost = Ghost::default();
        for hash in &hashes {
            ghost.remember(*hash, 1, 500);
        }
        let known = hashes.iter().map(|hash| ghost.recall(*hash));
        assert_eq!(
            known.collect::<Vec<_>>(),
            [[false; 1_500].as_slice(), &[true; 500]].concat()
        );
    }

    /// So many hashes of different marks.
    fn hashes(count: u64) -> Vec<Hash48> {
        let mut marks = HashSet::new();
        std::iter::repeat_with(|| Hash48::new(crate::hashing::random()))
            .filter(|hash| marks.insert(hash.mark()))
            .take(count as usize)
            .collect()
    }
}
