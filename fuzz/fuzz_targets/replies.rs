//! Any bytes as a message of a peer that this node dialled: no wait ends twice, no lease is granted (S42).

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kamacache_core::internals::hostile::replies(bytes));
