//! `Queue`: entries in order of arrival, with removal from the middle.
//!
//! Invariant: a place number, once given out, means the same entry until it is removed; holes are
//! fewer than half of the queue (a small one aside). Keeps newcomers (S3-FIFO) and hot copies.

use super::{
    entry::{Entry, allocated},
    evictor::Weigher,
    list::List,
    slot::{Class, Slot},
};
use std::collections::VecDeque;

pub(crate) struct Queue {
    class: Class,
    places: VecDeque<Option<Entry>>,
    /// The place number of the front.
    first: u32,
    len: usize,
    /// Sum of the costs of the entries in it.
    pub(crate) cost: u64,
}

impl Queue {
    pub(crate) fn new(class: Class) -> Queue {
        Queue {
            class,
            places: VecDeque::new(),
            first: 0,
            len: 0,
            cost: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Memory of the queue itself.
    pub(crate) fn own_bytes(&self) -> u64 {
        match self.places.capacity() {
            0 => 0,
            places => allocated(places * size_of::<Option<Entry>>()),
        }
    }

    /// Appends the slot's entry and tells the slot where.
    pub(crate) fn push(&mut self, slot: &mut Slot, cost: u64) {
        slot.class = self.class;
        slot.place = self.append(slot.entry.clone());
        self.cost += cost;
    }

    pub(crate) fn remove(&mut self, slot: &Slot, cost: u64) {
        let index = slot.place.wrapping_sub(self.first) as usize;
        let removed = self.places.get_mut(index).and_then(Option::take);
        debug_assert!(removed.is_some(), "a slot knows its place");
        self.len -= 1;
        self.cost -= cost;
        self.drop_holes_in_front();
    }

    /// Puts another entry of the same key into a slot's place.
    pub(crate) fn replace(&mut self, old: &Slot, new: &mut Slot, old_cost: u64, new_cost: u64) {
        new.class = self.class;
        new.place = old.place;
        let index = old.place.wrapping_sub(self.first) as usize;
        self.places[index] = Some(new.entry.clone());
        self.cost = self.cost - old_cost + new_cost;
    }

    pub(crate) fn front(&self) -> Option<&Entry> {
        self.places.front()?.as_ref()
    }

    pub(crate) fn pop_front(&mut self, weigher: Weigher) -> Option<Entry> {
        let entry = self.places.pop_front().flatten()?;
        self.first = self.first.wrapping_add(1);
        self.len -= 1;
        self.cost -= weigher.cost(&entry);
        self.drop_holes_in_front();
        Some(entry)
    }

    /// Takes the front to the back; the list is told its new place.
    pub(crate) fn rotate(&mut self, list: &mut List) {
        let Some(entry) = self.places.pop_front().flatten() else {
            return;
        };
        self.first = self.first.wrapping_add(1);
        self.len -= 1;
        self.drop_holes_in_front();
        let place = self.append(entry.clone());
        if let Some(slot) = list.get_mut(&entry) {
            slot.place = place;
        }
    }

    /// Closes the holes once they are more than half; every entry is told its new place. Called
    /// after an insertion, so the work is paid by the insertions that made it.
    pub(crate) fn tidy(&mut self, list: &mut List) {
        if self.places.len() < 64 || self.places.len() < 2 * self.len {
            return;
        }
        self.places.retain(Option::is_some);
        self.places.shrink_to(2 * self.len);
        for (index, entry) in self.places.iter().flatten().enumerate() {
            if let Some(slot) = list.get_mut(entry) {
                slot.place = self.first.wrapping_add(index as u32);
            }
        }
    }

    fn append(&mut self, entry: Entry) -> u32 {
        let place = self.first.wrapping_add(self.places.len() as u32);
        self.places.push_back(Some(entry));
        self.len += 1;
        place
    }

    fn drop_holes_in_front(&mut self) {
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}
