//! Any bytes as steps on a store: it must do and hold what the naive oracle says (S35, S36).

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kamacache_core::internals::run_bytes(bytes));
