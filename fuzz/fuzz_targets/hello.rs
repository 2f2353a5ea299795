//! Any bytes as a hello: only a member of this cluster is let in (S8a, S42).

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kamacache_core::internals::hostile::hello(bytes));
