//! History: what an entry may have missed since it was last known to stand.
//!
//! Changes of view and tellings (slots that a peer wrote as an owner in some view) share one growing
//! number. An entry carries the number as of which it stood. If that is the current one, a hit
//! compares two numbers and is done; otherwise its reader looks at what came in between, so that
//! neither a change of view nor a telling touches any entry. The sweep of `upkeep.rs` takes the
//! memory back afterwards.
//!
//! Invariant: an entry older than `floor` is void, because what it missed is no longer known. A
//! history is part of a view's snapshot and never edited.

use std::sync::Arc;

use super::Table;
use crate::generations::{Slot, Slots};

/// Views that are remembered; an entry that missed more is void.
const MOST_VIEWS: usize = 16;
/// Tellings that are remembered apart; beyond it they become one, of any writer.
const MOST_TELLINGS: usize = 64;

#[derive(Clone)]
pub(super) struct History {
    floor: u32,
    /// Keys lost in views up to this one are kept for nobody.
    taken_until: u32,
    /// Each with the number that it came with, oldest first; the last one is the current one.
    tables: Vec<(u32, Arc<Table>)>,
    tellings: Vec<Telling>,
}

/// A peer wrote these slots while it owned keys of them.
#[derive(Clone)]
struct Telling {
    number: u32,
    /// `None`: any member.
    writer: Option<Arc<str>>,
    digest: u64,
    /// The members of that view, if this node knows them.
    table: Option<Arc<Table>>,
    slots: Slots,
}

/// What became of a key that this node owned as of some number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Owned in every view since, and written by nobody else.
    Kept,
    /// Owned by another since the last change of view, which may take it.
    Lost,
    /// Overwritten, or owned by others for longer, or too old to tell.
    Void,
}

/// Numbers wrap.
pub(crate) fn is_newer(number: u32, than: u32) -> bool {
    number.wrapping_sub(than).cast_signed() > 0
}

impl Telling {
    fn names(&self, key: &str, slot: Slot) -> bool {
        let theirs = match (&self.writer, &self.table) {
            (Some(writer), Some(table)) => table.ring.owner(key) == Some(writer),
            _ => true,
        };
        self.slots.contains(slot) && theirs
    }
}

impl History {
    pub(super) fn begin(number: u32, table: Arc<Table>) -> Self {
        Self {
            floor: number,
            taken_until: number,
            tables: vec![(number, table)],
            tellings: Vec::new(),
        }
    }

    /// The view with this number has begun; what it lost may be taken if `keep_lost`.
    pub(super) fn change(&mut self, number: u32, table: Arc<Table>, keep_lost: bool) {
        self.tables.push((number, table));
        if self.tables.len() > MOST_VIEWS {
            self.tables.remove(0);
            self.floor = self.tables[0].0;
        }
        if !keep_lost {
            self.taken_until = number;
        }
    }

    /// Nobody takes what was lost in views up to this number.
    pub(super) fn forget_lost(&mut self, number: u32) {
        self.taken_until = number;
    }

    /// `writer` wrote these slots in the view of the digest, whose members are
    /// these, if they are known here. It joins what the same writer told of
    /// that view before: an entry stored in between is then dropped without need, which costs a
    /// load.
    pub(super) fn tell(
        &mut self,
        number: u32,
        writer: &str,
        (digest, table): (u64, Option<Arc<Table>>),
        slots: &Slots,
    ) {
        let same =
            |told: &&mut Telling| told.digest == digest && told.writer.as_deref() == Some(writer);
        if let Some(told) = self.tellings.iter_mut().find(same) {
            told.slots.add_all(slots);
            told.number = number;
            return;
        }
        let told = Telling {
            number,
            writer: Some(writer.into()),
            digest,
            table,
            slots: slots.clone(),
        };
        if self.tellings.len() < MOST_TELLINGS {
            return self.tellings.push(told);
        }
        let mut all = Telling {
            writer: None,
            table: None,
            ..told
        };
        for told in self.tellings.drain(..) {
            all.slots.add_all(&told.slots);
        }
        self.tellings.push(all);
    }

    /// Every entry older than `number` has been swept: forgets what only those could have missed.
    pub(super) fn settle(&mut self, number: u32) {
        self.tellings.retain(|told| is_newer(told.number, number));
        let past = self.at(number).saturating_sub(1);
        self.tables.drain(..past);
        self.floor = number;
    }

    /// Newest first.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.iter().rev().map(|(_, table)| table)
    }

    /// Where in `tables` those begin that an entry of this number has missed.
    fn at(&self, number: u32) -> usize {
        self.tables
            .partition_point(|(begun, _)| !is_newer(*begun, number))
    }

    /// The views that an entry of this number has missed, oldest first; `None`: too old to tell.
    fn missed(&self, number: u32) -> Option<&[(u32, Arc<Table>)]> {
        (!is_newer(self.floor, number)).then(|| &self.tables[self.at(number)..])
    }

    /// Written by an owner that told so after this number.
    fn is_told(&self, key: &str, slot: &impl Fn() -> Slot, number: u32) -> bool {
        if !self
            .tellings
            .iter()
            .any(|told| is_newer(told.number, number))
        {
            return false;
        }
        let slot = slot();
        let mut tellings = self.tellings.iter();
        tellings.any(|told| is_newer(told.number, number) && told.names(key, slot))
    }

    /// Of a key that this node owned as of `number`.
    pub(super) fn standing(&self, key: &str, slot: impl Fn() -> Slot, number: u32) -> Standing {
        let Some(missed) = self.missed(number) else {
            return Standing::Void;
        };
        if self.is_told(key, &slot, number) {
            return Standing::Void;
        }
        match missed.iter().position(|(_, table)| !table.owns(key)) {
            None => Standing::Kept,
            Some(at) if at + 1 == missed.len() && is_newer(missed[at].0, self.taken_until) => {
                Standing::Lost
            }
            Some(_) => Standing::Void,
        }
    }

    /// Of what a leaver gave as of `number`: `None` until a view has followed.
    pub(super) fn inherited(
        &self,
        key: &str,
        slot: impl Fn() -> Slot,
        number: u32,
    ) -> Option<Standing> {
        match self.standing(key, slot, number) {
            Standing::Kept if self.at(number) == self.tables.len() => None,
            Standing::Kept => Some(Standing::Kept),
            Standing::Lost | Standing::Void => Some(Standing::Void),
        }
    }

    /// Of what was borrowed from the key's owner as of `number`: whether that has been its owner
    /// ever since, over the same link.
    pub(super) fn is_still_lent(&self, key: &str, slot: impl Fn() -> Slot, number: u32) -> bool {
        let Some((_, then)) = self.at(number).checked_sub(1).map(|at| &self.tables[at]) else {
            return false;
        };
        let Some(missed) = self.missed(number) else {
            return false;
        };
        let lender = then.link(key);
        let stays = |table: &Table| match (lender, table.link(key)) {
            (Some(then), Some(now)) => Arc::ptr_eq(then, now),
            _ => false,
        };
        missed.iter().all(|(_, table)| stays(table)) && !self.is_told(key, &slot, number)
    }
}
