//! The C ABI of kamacache.
