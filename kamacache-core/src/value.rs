//! `Value`: immutable, reference-counted bytes.
//!
//! Invariant: the bytes never change once a `Value` exists, and cloning one never copies them.
//! Made by getters and writers, kept by the store, handed to every reader.

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
#[derive(Clone, Default)]
pub struct Value(Bytes);

impl Value {
    /// The bytes as a [`Bytes`], sharing the same memory.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// Wraps memory owned by something else (a mapped file, a foreign buffer); it is dropped with
    /// the last clone.
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Value(Bytes::from_owner(Shared(owner)))
    }
}

/// `Bytes::from_owner` asks for `Send` only; the extra bound keeps `Value: Sync` honest.
struct Shared<T>(T);

impl<T: AsRef<[u8]>> AsRef<[u8]> for Shared<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
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

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Value(bytes)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value(bytes.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value(Bytes::copy_from_slice(bytes))
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
