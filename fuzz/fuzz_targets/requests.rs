//! Any bytes as a message of a peer that dialled this node: what it asks is answered once (S42).

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kamacache_core::internals::hostile::requests(bytes));
