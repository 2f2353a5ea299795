//! The benchmark suite of kamacache and its peers.
