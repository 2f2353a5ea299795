//! `Ghost`: remembers the keys that left the newcomers' queue lately, by marks of four bytes.
//!
//! Invariant: `live` is the cost of the keys it still remembers. It may forget early and, once in
//! millions, mistake one key for another; both only cost a worse guess. It never holds a key or a
//! value. Asked by S3-FIFO when a key comes back.

use super::entry::{Hash48, allocated};
use std::{collections::VecDeque, ops::Range};

/// Places that one mark may have in the table.
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

impl Trace {
    /// Whether its number is still in the order; a key that came back has none.
    fn is_of(self, order: &VecDeque<Left>, first: u32) -> bool {
        (self.number.wrapping_sub(first) as usize) < order.len()
    }
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
        self.make_place();
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
        let set = set_of(mark, self.table.len());
        let found = self.table[set]
            .iter_mut()
            .find(|trace| trace.mark == mark && trace.is_of(&self.order, self.first));
        let Some(trace) = found else { return false };
        let number = std::mem::replace(&mut trace.number, self.first.wrapping_sub(1));
        self.strike(number);
        true
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

    /// Takes an empty place of the mark's set, or the oldest one's.
    fn note(&mut self, trace: Trace) {
        let (first, len) = (self.first, self.order.len());
        // Numbers that the order has passed wrap around to the largest ages.
        let age = |old: &Trace| match old.number.wrapping_sub(first) as usize {
            place if place < len && old.number != trace.number => {
                trace.number.wrapping_sub(old.number)
            }
            _ => u32::MAX,
        };
        let set = set_of(trace.mark, self.table.len());
        let Some(place) = self.table[set].iter_mut().max_by_key(|old| age(old)) else {
            return;
        };
        let old = std::mem::replace(place, trace);
        if age(&old) < u32::MAX {
            self.strike(old.number);
        }
    }

    /// Grows the table so that sets seldom overflow; closes the gaps in the order once they are
    /// most of it.
    fn make_place(&mut self) {
        let gaps = self.order.len() - self.live_count;
        let full = self.live_count * 4 >= self.table.len() * 3;
        if gaps <= self.live_count + 64 && !full {
            return;
        }
        self.order.retain(|left| left.cost > 0);
        if full {
            self.table = vec![Trace::default(); (2 * self.table.len()).max(4 * WAYS)];
        }
        self.table.fill(Trace {
            mark: 0,
            number: self.first.wrapping_sub(1),
        });
        for (place, mark) in self
            .order
            .iter()
            .map(|left| left.mark)
            .collect::<Vec<_>>()
            .into_iter()
            .enumerate()
        {
            self.note(Trace {
                mark,
                number: self.first.wrapping_add(place as u32),
            });
        }
    }
}

/// The places a mark may have in a table of so many.
fn set_of(mark: u32, places: usize) -> Range<usize> {
    let sets = (places / WAYS) as u64;
    let set = ((u64::from(mark.wrapping_mul(0x9E37_79B1)) * sets) >> 32) as usize;
    set * WAYS..((set + 1) * WAYS).min(places)
}
