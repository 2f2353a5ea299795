//! The attacks in a small size, in the build of the tests.

use std::process::Command;

#[test]
fn s42_attacks_in_a_small_size() {
    let suite = Command::new(env!("CARGO_BIN_EXE_attack"))
        .env("SIZE", "small")
        .output()
        .expect("the suite runs");
    let table = String::from_utf8_lossy(&suite.stdout);
    assert!(suite.status.success(), "{table}");
    assert_eq!(table.matches("  ok\n").count(), 11, "{table}");
}
