//! `Entry`: a key and its value in one reference-counted allocation; `Hash48`, the key's hash.
//!
//! Invariant: key and value of an entry never change, and two entries are equal only if their whole keys are (S36);
//! the hash only rejects early. The list keys its map by entries and is asked with a `Query`, which
//! borrows the key.

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};
use triomphe::{Arc, ThinArc};

/// 48 bits of the key's hash: what an entry has room for beside its key length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash48(u64);

impl Hash48 {
    #[inline]
    pub(crate) fn new(hash: u64) -> Hash48 {
        Hash48(hash >> 16)
    }

    /// Bits that no table uses: tables take the lowest bits and the highest seven.
    #[inline]
    pub(crate) fn shard(self, shards: usize) -> usize {
        (self.0 >> 30) as usize & (shards - 1)
    }

    /// For memories that keep a short mark instead of a key.
    pub(crate) fn mark(self) -> u32 {
        (self.0 >> 8) as u32
    }

    /// The hash table wants entropy in the lowest bits and the highest seven.
    #[inline]
    fn for_table(self) -> u64 {
        self.0 | (self.0 >> 41) << 57
    }
}

/// A key and its value; a clone is one reference count.
#[derive(Clone)]
pub(crate) struct Entry(ThinArc<Header, u8>);

/// Hash in the upper 48 bits, then a count of uses in two, then the key's length in 14. The uses
/// stand here and not in the list's node because a hit writes to this cache line anyway, to the
/// reference count; so hits leave the nodes clean. They are a hint: readers bump them under the read
/// lock and may lose one.
struct Header(AtomicU64);

const USES_SHIFT: u32 = 14;
const USES: u64 = 0b11 << USES_SHIFT;

/// Reference count, header, length: what stands before the key.
const PREFIX: usize = 24;

/// From this length on a value begins at a multiple of 16, as allocators align
/// their memory, so that programs may read numbers and vectors in place. Below,
/// who needs that copies the value for less than the gap would cost all others.
const LARGE: usize = 256;

/// How far a large value stands behind a key of this length.
const fn gap(key_len: usize) -> usize {
    (PREFIX + key_len).next_multiple_of(16) - PREFIX - key_len
}

impl Entry {
    pub(crate) fn new(hash: Hash48, key: &[u8], value: &[u8]) -> Entry {
        let header = Header(AtomicU64::new(hash.0 << 16 | key.len() as u64));
        let gap = if value.len() >= LARGE {
            gap(key.len())
        } else {
            0
        };
        // Small ones are joined on the stack: one copy, and no zeroes to write first but few.
        match key.len() + gap + value.len() {
            0..=256 => Entry::joined::<256>(header, key, gap, value),
            257..=1024 => Entry::joined::<1024>(header, key, gap, value),
            len => Entry::zeroed(header, len, key, value),
        }
    }

    fn joined<const N: usize>(header: Header, key: &[u8], gap: usize, value: &[u8]) -> Entry {
        let mut joined = [0; N];
        let joined = &mut joined[..key.len() + gap + value.len()];
        join(joined, key, value);
        Entry(ThinArc::from_header_and_slice(header, joined))
    }

    fn zeroed(header: Header, len: usize, key: &[u8], value: &[u8]) -> Entry {
        let mut entry = ThinArc::from_header_and_iter(header, std::iter::repeat_n(0, len));
        entry.with_arc_mut(|arc| match Arc::get_mut(arc) {
            Some(unique) => join(unique.slice_mut(), key, value),
            None => unreachable!("an arc made two lines above has one owner"),
        });
        Entry(entry)
    }

    #[inline(always)]
    pub(crate) fn hash(&self) -> Hash48 {
        Hash48(self.header() >> 16)
    }

    #[inline(always)]
    pub(crate) fn key(&self) -> &[u8] {
        &self.0.slice[..self.key_len()]
    }

    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        let (key, gap) = (self.key_len(), gap(self.key_len()));
        let rest = &self.0.slice[key..];
        // Without a gap a value is below LARGE, so no gap can be taken from it.
        if rest.len() >= gap + LARGE {
            &rest[gap..]
        } else {
            rest
        }
    }

    /// The key as text, which it was when it came in.
    pub(crate) fn key_str(&self) -> &str {
        std::str::from_utf8(self.key()).unwrap_or_default()
    }

    /// What the allocator takes for this entry.
    pub(crate) fn bytes(&self) -> u64 {
        allocated(PREFIX + self.0.slice.len())
    }

    /// How often it was hit since this was reset, up to a cap.
    #[inline]
    pub(crate) fn uses(&self) -> u8 {
        ((self.header() & USES) >> USES_SHIFT) as u8
    }

    #[inline]
    pub(crate) fn set_uses(&self, uses: u8) {
        let header = self.header() & !USES | u64::from(uses) << USES_SHIFT;
        self.0.header.header.0.store(header, Ordering::Relaxed);
    }

    #[inline(always)]
    fn key_len(&self) -> usize {
        (self.header() & ((1 << USES_SHIFT) - 1)) as usize
    }

    #[inline(always)]
    fn header(&self) -> u64 {
        self.0.header.header.0.load(Ordering::Relaxed)
    }
}

fn join(to: &mut [u8], key: &[u8], value: &[u8]) {
    let at = to.len() - value.len();
    to[..key.len()].copy_from_slice(key);
    to[at..].copy_from_slice(value);
}

/// The size of an allocation as common allocators round it: a word of header, multiples of 16.
pub(crate) fn allocated(size: usize) -> u64 {
    (size as u64 + 8).next_multiple_of(16)
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Entry({:?}, {} bytes)",
            self.key_str(),
            self.value().len()
        )
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash() && self.key() == other.key()
    }
}

impl Eq for Entry {}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(Entry::hash(self).for_table());
    }
}

/// A key that is looked for, with its hash.
pub(crate) struct Query<'a> {
    pub(crate) hash: Hash48,
    pub(crate) key: &'a [u8],
}

/// What an `Entry` and a `Query` have in common. The `lru` crate borrows its keys as the type that
/// is looked up, and a trait object is the one type that both can be borrowed as.
///
/// A lookup calls a query's methods through the object, so there are two and no more; those of an
/// entry, whose type is known there, are inlined.
pub(crate) trait Keyed {
    fn hash48(&self) -> Hash48;

    /// Whether this is the key with that hash.
    fn is(&self, hash: Hash48, key: &[u8]) -> bool;

    /// The key itself.
    fn key_bytes(&self) -> &[u8];
}

impl Keyed for Entry {
    #[inline(always)]
    fn hash48(&self) -> Hash48 {
        self.hash()
    }

    #[inline]
    fn is(&self, hash: Hash48, key: &[u8]) -> bool {
        self.hash() == hash && self.key() == key
    }

    #[inline(always)]
    fn key_bytes(&self) -> &[u8] {
        self.key()
    }
}

impl Keyed for Query<'_> {
    #[inline]
    fn hash48(&self) -> Hash48 {
        self.hash
    }

    #[inline]
    fn is(&self, hash: Hash48, key: &[u8]) -> bool {
        self.hash == hash && self.key == key
    }

    #[inline]
    fn key_bytes(&self) -> &[u8] {
        self.key
    }
}

impl<'a> Borrow<dyn Keyed + 'a> for Entry {
    #[inline(always)]
    fn borrow(&self) -> &(dyn Keyed + 'a) {
        self
    }
}

impl PartialEq for dyn Keyed + '_ {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.is(other.hash48(), other.key_bytes())
    }
}

impl Eq for dyn Keyed + '_ {}

impl Hash for dyn Keyed + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash48().for_table());
    }
}

/// Passes on a hash that was computed before.
#[derive(Default)]
pub(crate) struct Passed(u64);

pub(crate) type BuildPassed = BuildHasherDefault<Passed>;

impl Hasher for Passed {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("entries and queries hash themselves with one write_u64");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
