//! The generated types of `proto/kama/v1/kama.proto`.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

tonic::include_proto!("kama.v1");
