//! `Slot`: what the list keeps beside an entry. 32 bytes, so that a node fills one 64-byte block.
//!
//! Invariant: a slot changes only under the shard's write lock; what readers write is in the entry.

use super::{
    entry::Entry,
    stamp::{Kind, Stamp},
};

/// Where an entry waits for its eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    /// In the list alone.
    Main,
    /// In the list and in the policy's queue of newcomers.
    Small,
    /// In the list and in the queue of hot copies.
    Hot,
}

/// What a hit reads stands first, next to the node's key: so it is in one cache line with that for
/// three of the four ways an allocator may place a node.
#[repr(C)]
pub(crate) struct Slot {
    pub(crate) entry: Entry,
    /// 40 bits of milliseconds: 34 years.
    expires_low: u32,
    expires_high: u8,
    pub(crate) kind: Kind,
    pub(crate) class: Class,
    view: u32,
    generation: u32,
    /// Place in the queue of its class.
    pub(crate) place: u32,
    /// Place in the wheel, when it expires.
    pub(crate) wheel_place: u32,
}

const _: () = assert!(size_of::<Slot>() == 32);

const NEVER: u64 = (1 << 40) - 1;

impl Slot {
    pub(crate) fn new(entry: Entry, stamp: Stamp, class: Class) -> Slot {
        let mut slot = Slot {
            entry,
            view: 0,
            generation: 0,
            place: 0,
            wheel_place: 0,
            expires_low: 0,
            expires_high: 0,
            kind: stamp.kind,
            class,
        };
        slot.set_stamp(stamp);
        slot
    }

    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            kind: self.kind,
            view: self.view,
            generation: self.generation,
            expires_at: self.expires_at(),
        }
    }

    pub(crate) fn set_stamp(&mut self, stamp: Stamp) {
        let expires = stamp.expires_at.unwrap_or(NEVER).min(NEVER);
        self.kind = stamp.kind;
        self.view = stamp.view;
        self.generation = stamp.generation;
        self.expires_low = expires as u32;
        self.expires_high = (expires >> 32) as u8;
    }

    #[inline]
    pub(crate) fn expires_at(&self) -> Option<u64> {
        let expires = u64::from(self.expires_high) << 32 | u64::from(self.expires_low);
        (expires != NEVER).then_some(expires)
    }

    #[inline]
    pub(crate) fn uses(&self) -> u8 {
        self.entry.uses()
    }

    #[inline]
    pub(crate) fn set_uses(&self, uses: u8) {
        self.entry.set_uses(uses);
    }

    /// Counts a use, up to `cap`. Looks before it writes, so that the line of an entry that is hit
    /// all the time stays shared between cores.
    #[inline]
    pub(crate) fn count_use(&self, cap: u8) {
        let uses = self.uses();
        if uses < cap {
            self.set_uses(uses + 1);
        }
    }
}
