//! Any bytes as a unary call and its timeout: it is answered (S42).

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kamacache_core::internals::hostile::unary(bytes));
