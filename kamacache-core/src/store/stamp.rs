//! `Stamp`: what `group.rs` needs to decide whether an entry still counts; and what the store
//! answers with.
//!
//! Invariant: the store compares stamps and reads `kind` and `expires_at`; views and generations
//! mean nothing to it.

use super::EvictReason;
use crate::value::Value;

/// Why an entry is here, which decides who may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// This node owns the key.
    Owned,
    /// Borrowed from the owner; counts against the hot share.
    Hot,
    /// Loaded here because the owner could not be reached.
    Fallback,
    /// Given by a member that is leaving, and owned here once it has left.
    Heir,
    /// No value: the getter said that there is none.
    Absent,
}

impl Kind {
    /// Not for readers of this node.
    pub(crate) fn is_hidden(self) -> bool {
        self == Kind::Heir
    }
}

/// The circumstances under which a value was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Why it is here.
    pub kind: Kind,
    /// The number of the view as of which it is known to stand.
    pub view: u32,
    /// Of a hot copy: the generation of the key's slot when it was asked for.
    pub generation: u32,
    /// Milliseconds of the store's clock; `None` = never.
    pub expires_at: Option<u64>,
}

impl Stamp {
    /// An owned entry of view 0 that never expires.
    pub const OWNED: Stamp = Stamp {
        kind: Kind::Owned,
        view: 0,
        generation: 0,
        expires_at: None,
    };
}

/// A value and the circumstances under which it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The value.
    pub value: Value,
    /// Its stamp.
    pub stamp: Stamp,
}

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is in the store.
    Stored,
    /// `admit` said no; nothing changed.
    Refused,
    /// It can never fit; the old entry is gone.
    TooLarge,
}

/// What a sweep does with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Leave it.
    Keep,
    /// Give it another stamp.
    Restamp(Stamp),
    /// Drop it, for this reason.
    Drop(EvictReason),
}

/// A snapshot of what the store holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Entries of every kind that can be read. A clear makes them 0 at once.
    pub entries: u64,
    /// Entries that are hot copies.
    pub hot_entries: u64,
    /// Bytes charged: entries, nodes, tables, queues. What a clear drops is charged until its
    /// memory has been freed, a slice at a time.
    pub bytes: u64,
    /// Bytes charged for hot copies.
    pub hot_bytes: u64,
    /// Entries that left because a budget was full.
    pub evictions: u64,
    /// Entries that left because their lifetime was over.
    pub expirations: u64,
}
