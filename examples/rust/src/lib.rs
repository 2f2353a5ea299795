//! A node of a cluster that caches the scores of a SQLite table. The whole use
//! of kamacache is in [`scores`]; the program is its console.

pub mod scores;

/// The quick start of the README, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;

/// The guide's Rust programs, likewise.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/from-groupcache.md")]
pub struct FromGroupcache;
