//! The `kamacache` command: a stand-alone node of a cluster, and a client for
//! running nodes of any language.
//!
//! ```text
//! serve                     config/ -> getter/ -> a node, until a signal
//! get set delete bench      the gRPC service of any node (`--node`)
//! stats members owner       the admin HTTP of one node (`--admin`)
//! explain top
//! ```
//!
//! Values and answers go to standard output, everything else to standard error;
//! the exit codes are in `exit.rs`.

mod args;
mod ask;
mod bench;
mod client;
mod config;
mod descriptors;
mod exit;
mod getter;
mod http;
mod log;
mod manual;
mod print;
mod serve;
mod show;
mod top;
mod zipf;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use exit::{Failure, INTERNAL, Outcome};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let as_json = cli.json;
    match run(cli) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) if failure.code == exit::OK => ExitCode::from(exit::OK),
        Err(failure) => failure.exit(as_json),
    }
}

fn run(cli: Cli) -> Outcome {
    let json = cli.json;
    match cli.command {
        Command::Serve(args) => serve::run(&args, json),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { folder } => manual::pages(&folder),
        Command::Get(args) => wait(client::get(args, json)),
        Command::Set(args) => wait(client::set(args, json)),
        Command::Delete(args) => wait(client::delete(args, json)),
        Command::Stats(args) => wait(show::stats(args, json)),
        Command::Members(args) => wait(show::members(args, json)),
        Command::Owner(args) => wait(show::owner(args, json)),
        Command::Explain(args) => wait(show::explain(args, json)),
        Command::Top(args) => wait(top::run(args, json)),
        Command::Bench(args) => wait(bench::run(args, json)),
    }
}

/// Runs what a client does, on this thread and one more.
fn wait(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(INTERNAL, format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(work);
    // Nothing that is still under way may hold the process.
    runtime.shutdown_background();
    outcome
}
