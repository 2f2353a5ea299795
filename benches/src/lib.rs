//! The benchmark suite of kamacache and its peers.
//!
//! `cargo run --release -p kamacache-benches --bin suite` measures; `--bin replay` replays a cache
//! trace through the Store. What every measurement means stands in `docs/performance.md`.

pub mod bars;
pub mod harness;
pub mod peers;
pub mod remote;
pub mod report;
pub mod trace;
