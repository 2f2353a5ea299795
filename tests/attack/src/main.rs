//! Strangers at the port of a node among healthy peers, all of them processes,
//! and a table of what it cost beside the bounds of S42.
//!
//!     attack [ROW,ROW]           SIZE=small|full
//!     attack node LISTEN [TOKEN] a node, as the suite starts it
//!
//! Exits with 0 only if every row stayed within its bounds.
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

mod node;
mod raw;
mod ring;
mod rows;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::ring::{Outcome, Ring};
use crate::rows::{FORGED, ROWS, Row, Target, Then};

const MB: f64 = 1e6;
/// What a node may grow by, and what may be left of it afterwards, in MB.
const GROWTH: f64 = 200.0;
const LEFT: f64 = 60.0;
/// After the attack, until memory is as it was.
const AFTER: Duration = Duration::from_secs(10);
/// Of healthy peers.
const P99_MS: f64 = 20.0;
/// What a node may log of it, in MB.
const LOG: f64 = 1.0;
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// How much is done, and for how long.
struct Size {
    part: f64,
    seconds: f64,
    /// Whether times are judged: not where others use the machine.
    times: bool,
}

/// What one row cost.
#[derive(Default)]
struct Seen {
    growth: f64,
    left: f64,
    p99_ms: f64,
    failed: u64,
    log: f64,
    busy: f64,
    wrong: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "node") {
        let given = node::Given {
            listen: words.get(1).cloned().unwrap_or_default(),
            token: words.get(2).cloned(),
        };
        return match node::run(given).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let is_small = std::env::var("SIZE").is_ok_and(|size| size == "small");
    let size = match is_small {
        true => Size {
            part: 0.05,
            seconds: 2.0,
            times: false,
        },
        false => Size {
            part: 1.0,
            seconds: 12.0,
            times: true,
        },
    };
    let only: Vec<&str> = words.iter().flat_map(|word| word.split(',')).collect();
    if let Some(unknown) = only
        .iter()
        .find(|name| !ROWS.iter().any(|row| row.name == **name))
    {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        println!("there is no row {unknown:?}; rows are: {}", names.join(","));
        return ExitCode::FAILURE;
    }
    let folder = tempfile::tempdir().expect("a folder for logs");
    let mut failed = 0;
    println!(
        "{:<58} {:>9} {:>9} {:>9} {:>7} {:>9} {:>7}",
        "attack", "RSS +MB", "left +MB", "p99 ms", "failed", "log MB", "cpu s"
    );
    println!(
        "{:<58} {GROWTH:>9} {LEFT:>9} {P99_MS:>9} {:>7} {LOG:>9}",
        "  (bounds)", 0
    );
    for row in ROWS
        .iter()
        .filter(|row| only.is_empty() || only.contains(&row.name))
    {
        let seen = match run(row, &size, &folder.path().join(row.name)).await {
            Ok(seen) => seen,
            Err(error) => Seen {
                wrong: vec![error.to_string()],
                ..Seen::default()
            },
        };
        println!(
            "{:<58} {:>9.1} {:>9.1} {:>9.1} {:>7} {:>9.3} {:>7.1}  {}",
            row.title,
            seen.growth,
            seen.left,
            seen.p99_ms,
            seen.failed,
            seen.log,
            seen.busy,
            if seen.wrong.is_empty() {
                "ok"
            } else {
                "FAILED"
            }
        );
        for wrong in &seen.wrong {
            println!("    {}: {wrong}", row.name);
        }
        failed += usize::from(!seen.wrong.is_empty());
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn run(row: &Row, size: &Size, folder: &Path) -> Outcome<Seen> {
    let token = row.token.then_some(TOKEN);
    let mut ring = Ring::start(folder, token).await?;
    // Warm: every key was fetched once, and memory is what the node needs.
    ring.load(if size.times { 11.0 } else { 2.0 }).await?;
    let (rest, log, busy) = (
        ring.victim().rss(),
        ring.victim().log()?.len(),
        ring.victim().busy(),
    );
    let target = Target {
        address: ring.address().to_owned(),
        member: ring.nodes[1].address.clone(),
        token: token.map(str::to_owned),
        part: size.part,
    };
    // A runtime of its own: what it opened ends with it.
    let attackers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let attack = attackers.spawn(rows::attack(row.name, target));
    let pid = ring.victim().pid();
    let watch = tokio::spawn(async move {
        let mut most = 0;
        loop {
            most = ring::rss(pid).max(most);
            MOST.fetch_max(most, std::sync::atomic::Ordering::Relaxed);
            sleep(Duration::from_millis(20)).await;
        }
    });
    MOST.store(0, std::sync::atomic::Ordering::Relaxed);
    let mut seen = Seen::default();
    let loads = match row.then {
        Then::Nothing => ring.load(size.seconds).await?,
        Then::Restart => {
            // The crowd is there first.
            sleep(Duration::from_secs_f64(size.seconds / 3.0)).await;
            if let Err(error) = ring.restart_last().await {
                seen.wrong.push(error.to_string());
            }
            ring.load(size.seconds).await?
        }
    };
    watch.abort();
    seen.busy = ring.victim().busy() - busy;
    if attack.is_finished()
        && let Err(error) = attack.await?
    {
        seen.wrong
            .push(format!("the attack itself failed: {error}"));
    }
    attackers.shutdown_background();
    let members = ring.nodes[0].members().await?;
    if members != 3 {
        seen.wrong
            .push(format!("the node lists {members} members of 3"));
    }
    let most = MOST.load(std::sync::atomic::Ordering::Relaxed);
    seen.growth = (most as f64 - rest as f64) / MB;
    let over = Instant::now() + AFTER;
    loop {
        seen.left = (ring.victim().rss() as f64 - rest as f64) / MB;
        if seen.left <= LEFT || Instant::now() >= over {
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    let text = ring.victim().log()?;
    seen.log = (text.len() - log) as f64 / MB;
    if text.lines().any(|line| line.starts_with(FORGED)) || text.contains('\u{1b}') {
        seen.wrong
            .push("a stranger wrote a line of the log, or ESC into one".into());
    }
    for load in &loads {
        seen.failed += load["failed"].as_u64().unwrap_or(u64::MAX);
        seen.p99_ms = load["p99_ms"].as_f64().unwrap_or(f64::MAX).max(seen.p99_ms);
        if let Some(first) = load["first"].as_str() {
            seen.wrong.push(first.to_owned());
        }
    }
    judge(&mut seen, size);
    Ok(seen)
}

static MOST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

fn judge(seen: &mut Seen, size: &Size) {
    let bounds = [
        ("memory grew by", seen.growth, GROWTH),
        ("memory left after it", seen.left, LEFT),
        ("log", seen.log, LOG),
        ("failed gets", seen.failed as f64, 0.0),
        (
            "p99 of healthy peers",
            if size.times { seen.p99_ms } else { 0.0 },
            P99_MS,
        ),
    ];
    for (what, is, bound) in bounds {
        if is > bound {
            seen.wrong
                .push(format!("{what}: {is:.3}, and {bound} is the bound"));
        }
    }
}
