//! What the bars of the links measure against: servers in processes of their own, and clients that
//! ask them for a value by key.
//!
//! Invariant: a server ends with the bench that started it, whatever happens to that.

pub mod clients;
pub mod servers;
pub mod wire;
