//! `Value`: immutable, reference-counted bytes.
//!
//! Invariant: the bytes never change once a `Value` exists, and cloning one never copies them.
//! Made by getters and writers, kept by the store, handed to every reader.

use crate::store::Entry;
use bytes::Bytes;
use std::{fmt, ops::Deref};

/// Immutable bytes that are cheap to clone: a clone is one reference count, never a copy.
///
/// A `Value` is `Send + Sync` and reads as a `&[u8]`.
///
/// ```
/// use kamacache_core::Value;
/// let value = Value::from("hello");
/// assert_eq!(value.len(), 5);
/// assert_eq!(&value[..], b"hello");
/// ```
#[derive(Clone)]
pub struct Value(Source);

#[derive(Clone)]
enum Source {
    /// Made outside: by a getter, a writer, the wire.
    Bytes(Bytes),
    /// Kept by a store: key and value share one allocation, so a hit is one count and no more.
    Entry(Entry),
}

impl Value {
    /// The bytes as a [`Bytes`], sharing the same memory.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Source::Bytes(bytes) => bytes.clone(),
            Source::Entry(_) => Bytes::from_owner(self.clone()),
        }
    }

    /// The store's entry behind this value, if a store handed it out.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        match &self.0 {
            Source::Bytes(_) => None,
            Source::Entry(entry) => Some(entry),
        }
    }

    /// Wraps memory owned by something else (a mapped file, a foreign buffer); it is dropped with
    /// the last clone.
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Bytes::from_owner(owner).into()
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Bytes(bytes) => bytes,
            Source::Entry(entry) => entry.value(),
        }
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Value {}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        self[..] == *other
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.len())
    }
}

impl Default for Value {
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl From<Entry> for Value {
    fn from(entry: Entry) -> Self {
        Value(Source::Entry(entry))
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Value(Source::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Bytes::copy_from_slice(bytes).into()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}
