//! Replays a cache trace through the Store; the last line is the hit ratio in percent.

use clap::Parser;
use kamacache_benches::trace::{self, Setup};
use kamacache_core::{Policy, units::parse_bytes};
use std::{error::Error, path::PathBuf, process::ExitCode};

/// Replays a trace (one request a line, `key` or `key size`, plain or .xz) through the Store.
/// What is not given a size counts 1; nothing is charged for the Store's own memory.
#[derive(Parser)]
struct Arguments {
    /// The trace.
    #[arg(long)]
    trace: PathBuf,
    /// lru, s3fifo or default.
    #[arg(long)]
    policy: Policy,
    /// How much fits, in the unit of the trace's sizes; 128MiB and the like are understood.
    #[arg(long, value_parser = capacity)]
    capacity: u64,
    /// Shards of the Store, rounded up to a power of two.
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Exact order of use (policy lru).
    #[arg(long)]
    strict: bool,
}

fn capacity(text: &str) -> Result<u64, String> {
    parse_bytes(text).map_err(|error| error.to_string())
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let path = &arguments.trace;
    let requests =
        trace::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let setup = Setup {
        policy: arguments.policy,
        capacity: arguments.capacity,
        shards: arguments.shards,
        strict: arguments.strict,
    };
    let outcome = trace::replay(&requests, setup);
    say(format_args!(
        "{} of {} requests hit",
        outcome.hits, outcome.requests
    ));
    say(format_args!("{:.2}", outcome.percent()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command's answer")]
fn say(line: std::fmt::Arguments<'_>) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "a command's complaint")]
fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("replay: {error}");
            ExitCode::FAILURE
        }
    }
}
