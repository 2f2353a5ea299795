//! The bars, one file for each thing measured.
//!
//! Invariant: a bar returns rows and prints nothing. Called by the suite, which picks by id.

pub mod c;
pub mod cliff;
pub mod group;
pub mod hits;
pub mod large;
pub mod links;
pub mod memory;
pub mod mixed;
pub mod nodejs;
pub mod python;
pub mod ratios;
pub mod ring;
pub mod stampede;

use crate::report::Row;

/// A bar: its id, what it is about, and how it is measured.
pub struct Measurement {
    /// P1, P2, ...
    pub id: &'static str,
    /// For the one who waits.
    pub about: &'static str,
    /// Measures.
    pub run: fn() -> Vec<Row>,
}

/// Every bar of this suite.
pub const ALL: &[Measurement] = &[
    Measurement {
        id: "P1",
        about: "Store hit",
        run: hits::hit,
    },
    Measurement {
        id: "P2",
        about: "copy under the read lock",
        run: hits::copy,
    },
    Measurement {
        id: "P3",
        about: "a Group's hit over the Store's",
        run: group::run,
    },
    Measurement {
        id: "P4",
        about: "a hit from C over the Store's",
        run: c::run,
    },
    Measurement {
        id: "P5",
        about: "Python, in a wheel built for release",
        run: python::run,
    },
    Measurement {
        id: "P6",
        about: "Node.js: hits beside npm caches, remote gets",
        run: nodejs::run,
    },
    Measurement {
        id: "P7",
        about: "many remote gets at once",
        run: links::many,
    },
    Measurement {
        id: "P8",
        about: "one remote get at a time",
        run: links::one,
    },
    Measurement {
        id: "P9",
        about: "remote batches",
        run: links::batches,
    },
    Measurement {
        id: "P10",
        about: "stampede on one cold key",
        run: stampede::run,
    },
    Measurement {
        id: "P16",
        about: "large remote values",
        run: large::run,
    },
    Measurement {
        id: "P11",
        about: "memory an entry",
        run: memory::run,
    },
    Measurement {
        id: "P12",
        about: "hit ratio, policy lru",
        run: ratios::lru,
    },
    Measurement {
        id: "P13",
        about: "hit ratio, policy s3fifo",
        run: ratios::s3fifo,
    },
    Measurement {
        id: "P14",
        about: "ring of 1,000 nodes",
        run: ring::run,
    },
    Measurement {
        id: "P15",
        about: "eviction-heavy mixed load",
        run: mixed::run,
    },
    Measurement {
        id: "P20",
        about: "the latency cliff of evictions",
        run: cliff::run,
    },
];
