//! The links that peers opened to this node, as lenders see them: who borrowed
//! from which slot is in the generation table; here is how they are told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use super::hello;
use super::outbox::Outbox;
use crate::generations::{Generations, Slot, Slots};
use crate::wire::Replies;

/// What an invalidation takes in a message.
const INVALIDATION_BYTES: usize = 4;

/// An open link, as whoever lends over it sees it.
struct Lender {
    outbox: Arc<Outbox<Replies>>,
    /// The peer takes the names of cleared groups.
    takes_cleared: bool,
}

/// The open links to this node.
#[derive(Default)]
pub(crate) struct Lenders {
    links: RwLock<HashMap<u32, Lender>>,
    next: AtomicU32,
    open: AtomicUsize,
}

impl Lenders {
    /// A new link's index; its bit in a lent mask is the index modulo 64.
    pub(crate) fn add(&self, outbox: Arc<Outbox<Replies>>, capabilities: u64) -> u32 {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let lender = Lender {
            outbox,
            takes_cleared: capabilities & hello::CLEARED != 0,
        };
        self.links.write().insert(index, lender);
        self.open.fetch_add(1, Ordering::Relaxed);
        index
    }

    /// Links that are open.
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn remove(&self, index: u32) {
        if self.links.write().remove(&index).is_some() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Tells everyone who borrowed from the slot, before the write that voids
    /// it is acknowledged.
    pub(crate) fn recall(&self, generations: &Generations, slot: Slot) {
        let mask = generations.recall(slot);
        if mask != 0 {
            self.tell(mask, |_, message| message.invalid.push(slot.to_wire()));
        }
    }

    /// The same of many slots.
    pub(crate) fn recall_some(&self, generations: &Generations, slots: &Slots) {
        for slot in slots.iter() {
            self.recall(generations, slot);
        }
    }

    /// Tells everyone that what was borrowed of a group is void. What it says
    /// of the slots' lenders stays: others of them may be of other groups.
    pub(crate) fn recall_group(&self, group: &Bytes) {
        self.tell(u64::MAX, |takes_cleared, message| {
            if !takes_cleared {
                message.all_invalid = true;
            } else if !message.cleared.iter().any(|told| told == group) {
                message.cleared.push(group.to_vec());
            }
        });
    }

    fn tell(&self, mask: u64, add: impl Fn(bool, &mut Replies)) {
        let links = self.links.read();
        for (index, lender) in links.iter() {
            let (outbox, takes) = (&lender.outbox, lender.takes_cleared);
            let add = |message: &mut Replies| add(takes, message);
            if mask & bit(*index) != 0 && outbox.push_urgent(INVALIDATION_BYTES, add).is_err() {
                // A borrower that cannot be told loses its link, and with it
                // its lease.
                outbox.close();
            }
        }
    }
}

/// A link's bit in a lent mask.
pub(crate) fn bit(index: u32) -> u64 {
    1 << (index % 64)
}
