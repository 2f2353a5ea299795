//! Runs the bars and writes `target/bench/`: `results.json`, `results.txt`, a plot a bar.
//!
//! `suite` runs all, `suite --only P1,P2` some. The environment variable ONLY does the same.

use clap::Parser;
use kamacache_benches::{
    bars::{self, Measurement, memory},
    remote::servers,
    report,
};
use std::{error::Error, path::Path, process::ExitCode, time::Instant};

/// Measures the Store and the Ring beside their peers.
#[derive(Parser)]
struct Arguments {
    /// The bars to run, by id, separated by commas.
    #[arg(long, env = "ONLY", value_delimiter = ',')]
    only: Vec<String>,
    /// Fill one cache and answer with its bytes an entry (used by P11).
    #[arg(long, hide = true)]
    memory_of: Option<String>,
    /// Be one of the servers that the bars of the links ask.
    #[arg(long, hide = true)]
    serve: Option<String>,
    /// The threads of that server.
    #[arg(long, hide = true, default_value_t = bars::links::THREADS)]
    threads: usize,
}

fn chosen(only: &[String]) -> Result<Vec<&'static Measurement>, String> {
    let ids: Vec<&str> = only
        .iter()
        .map(|id| id.trim())
        .filter(|id| !id.is_empty())
        .collect();
    let known = bars::ALL.iter().map(|bar| bar.id).collect::<Vec<_>>();
    if let Some(unknown) = ids.iter().find(|id| !known.contains(id)) {
        return Err(format!(
            "no bar is called {unknown:?}: this suite has {}",
            known.join(", ")
        ));
    }
    Ok(bars::ALL
        .iter()
        .filter(|bar| ids.is_empty() || ids.contains(&bar.id))
        .collect())
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's answer and its progress"
)]
fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if let Some(name) = arguments.memory_of {
        println!("{}", memory::child(&name)?);
        return Ok(());
    }
    if let Some(name) = arguments.serve {
        return servers::serve(&name, arguments.threads);
    }
    let mut rows = Vec::new();
    for bar in chosen(&arguments.only)? {
        let begin = Instant::now();
        eprintln!("{}: {} ...", bar.id, bar.about);
        let found = (bar.run)();
        if found.is_empty() {
            eprintln!(
                "{}: skipped, what it needs is absent (the traces: see KAMACACHE_TRACES; redis-server), or failed, and said so above",
                bar.id
            );
        }
        println!("{}", report::table(&found));
        eprintln!("{}: {:.0} s", bar.id, begin.elapsed().as_secs_f64());
        rows.extend(found);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    report::write(&folder, &rows)?;
    println!("written to target/bench: results.json, results.txt, one .svg a bar");
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a command's complaint")]
fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("suite: {error}");
            ExitCode::FAILURE
        }
    }
}
