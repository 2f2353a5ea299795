//! The generated types of `proto/kama/v1/kama.proto`.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

tonic::include_proto!("kama.v1");

/// The contract itself, for gRPC reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kama.bin"));
