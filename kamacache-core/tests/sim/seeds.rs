//! Which seeds are run, and what is said of one that fails.

use std::ffi::OsStr;
use std::panic::Location;
use std::path::Path;
use std::process::Command;

/// Runs `one` for every seed: `SEEDS` of them, or `few` by default; only
/// `SEED` where that is set. Each seed has a process of its own, in which
/// nothing is left of an earlier one: tokio, for one, counts its runtimes, and
/// chooses by that count. `test` is the name of the function that calls this.
#[track_caller]
pub fn each(test: &'static str, few: u64, one: fn(u64) -> Result<(), String>) {
    if let Some(seed) = number("SEED") {
        let ran = alone(move || one(seed));
        return ran.unwrap_or_else(|wrong| panic!("{test}: seed {seed} fails: {wrong}"));
    }
    let file = Path::new(Location::caller().file());
    let module = file.file_stem().and_then(OsStr::to_str).expect("a module");
    let path = format!("{module}::{test}");
    for seed in 0..number("SEEDS").unwrap_or(few) {
        let ran = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", &path, "--nocapture"])
            .env("SEED", seed.to_string())
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&ran.stdout);
        let passed = ran.status.success() && told.contains("1 passed");
        assert!(
            passed,
            "{test}: seed {seed} fails: {told}{}\nrun it alone: SEED={seed} cargo test -p kamacache-core --test sim {path}",
            String::from_utf8_lossy(&ran.stderr)
        );
        tell(test, seed + 1);
    }
}

/// How far a long run is, for `--nocapture`.
#[expect(clippy::print_stdout, reason = "who waits for thousands wants to know")]
fn tell(test: &str, done: u64) {
    if done.is_multiple_of(100) {
        println!("{test}: {done} seeds held");
    }
}

/// On a thread of its own; a panic is a failure with its text.
pub fn alone<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let ran = std::thread::spawn(run).join();
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(text.unwrap_or_else(|| "a panic without text".into()))
    })
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} is not a number of seeds")),
    )
}
