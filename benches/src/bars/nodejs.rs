//! P6: what a hit and a remote get cost from Node.js.
//!
//! Invariant: benches/nodejs measures as `harness` does; here its rows are only read.

use crate::report::Row;
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// The rows that benches/nodejs prints; none without Node.js.
pub fn run() -> Vec<Row> {
    let there = Command::new("node").arg("--version").output();
    if !there.is_ok_and(|version| version.status.success()) {
        return Vec::new();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("nodejs/run.sh");
    let run = Command::new(&script)
        .stderr(Stdio::inherit())
        .output()
        .expect("the script runs");
    assert!(run.status.success(), "{} failed", script.display());
    serde_json::from_slice(&run.stdout).expect("the script prints rows")
}
