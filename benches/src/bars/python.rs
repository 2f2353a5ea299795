//! P5: a hit in Python beside Python's own caches, and remote gets beside grpc.aio.
//!
//! Invariant: a program in Python measures and says its rows as JSON, so that they stand in the same
//! table; see benches/python.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::report::Row;

/// The rows; none when the program fails, which says why itself.
pub fn run() -> Vec<Row> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/run.sh");
    let output = Command::new(program).stderr(Stdio::inherit()).output();
    output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| serde_json::from_slice(&output.stdout).ok())
        .unwrap_or_default()
}
