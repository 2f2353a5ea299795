//! The links that peers opened to this node, as lenders see them: who borrowed
//! from which slot is in the generation table; here is how they are told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::outbox::Outbox;
use crate::generations::{Generations, Slot};
use crate::wire::Replies;

/// What an invalidation takes in a message.
const INVALIDATION_BYTES: usize = 4;

/// The open links to this node.
#[derive(Default)]
pub(crate) struct Lenders {
    links: RwLock<HashMap<u32, Arc<Outbox<Replies>>>>,
    next: AtomicU32,
    open: AtomicUsize,
}

impl Lenders {
    /// A new link's index; its bit in a lent mask is the index modulo 64.
    pub(crate) fn add(&self, outbox: Arc<Outbox<Replies>>) -> u32 {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.links.write().insert(index, outbox);
        self.open.fetch_add(1, Ordering::Relaxed);
        index
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
            self.tell(mask, |message| message.invalid.push(slot.to_wire()));
        }
    }

    /// Tells everyone that everything borrowed is void.
    pub(crate) fn recall_all(&self, generations: &Generations) {
        generations.recall_all();
        self.tell(u64::MAX, |message| message.all_invalid = true);
    }

    fn tell(&self, mask: u64, add: impl Fn(&mut Replies)) {
        let links = self.links.read();
        for (index, outbox) in links.iter() {
            if mask & bit(*index) != 0 && outbox.push_urgent(INVALIDATION_BYTES, &add).is_err() {
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
