//! P11: what memory an entry takes beyond its key and value.
//!
//! Invariant: each cache is filled in a process of its own, which measures its own resident memory
//! before and after; every value has been read once.

use crate::{
    harness::{self, KEY_BYTES, VALUE_BYTES},
    peers::*,
    report::{Bar, Row},
};
use kamacache_core::Policy;
use std::{fs, process::Command};

const ENTRIES: usize = 1_000_000;

/// The argument that makes the suite fill a cache and answer with bytes an entry.
pub const CHILD: &str = "--memory-of";

/// The child's part: bytes an entry beyond key and value.
pub fn child(name: &str) -> Result<f64, String> {
    let before = resident()?;
    let cache: Box<dyn Cache> = match name {
        "ours" => Box::new(Ours::bytes(Policy::Default, 1 << 30)),
        "ours, policy lru" => Box::new(Ours::bytes(Policy::Lru, 1 << 30)),
        "quick_cache" => Box::new(QuickCache::new(ENTRIES)),
        "moka" => Box::new(Moka::new(ENTRIES)),
        _ => return Err(format!("no cache is called {name:?}")),
    };
    let value = Sample::new(VALUE_BYTES);
    let mut held = 0;
    let keys = || (0..ENTRIES).map(harness::key);
    keys().for_each(|key| cache.put(&key, &value));
    keys().for_each(|key| held += usize::from(cache.get(&key).is_some()));
    let taken = resident()?.saturating_sub(before) as f64;
    Ok(taken / held.max(1) as f64 - (KEY_BYTES + VALUE_BYTES) as f64)
}

/// Resident bytes of this process.
fn resident() -> Result<u64, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10)
        .ok_or_else(|| "no VmRSS in /proc/self/status".into())
}

fn measure(name: &str) -> Option<f64> {
    let suite = std::env::current_exe().ok()?;
    let output = Command::new(suite).args([CHILD, name]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Measures.
pub fn run() -> Vec<Row> {
    let metric = "overhead, bytes an entry (1M of 20 + 128)";
    let Some(ours) = measure("ours") else {
        return Vec::new();
    };
    let peers = [
        ("quick_cache", Some(Bar::AtMost(1.1))),
        ("moka", None),
        ("ours, policy lru", None),
    ];
    let rows = peers.into_iter().filter_map(|(name, bar)| {
        let row = Row::counted("P11", metric, name, ours, measure(name)?);
        Some(Row { bar, ..row })
    });
    rows.collect()
}
