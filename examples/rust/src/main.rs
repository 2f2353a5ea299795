//! The scores node's console: one command a line on stdin, one JSON line as
//! reply; the cache itself is in `scores.rs`.
//!
//! ```text
//! scores [--listen ADDR --peers A,B,C] [--admin ADDR] --db FILE [--log FILE]
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a console")]

use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;

use kamacache_core::{Error, ErrorKind, Group, Node, NodeOptions, Result, Value};
use kamacache_example::scores;
use serde_json::{Value as Json, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

const USAGE: &str =
    "usage: scores [--listen ADDR --peers A,B,C] [--admin ADDR] --db FILE [--log FILE]";

#[derive(Default)]
struct Flags {
    node: NodeOptions,
    db: PathBuf,
    log: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(flags) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (Ok(mut terminated), Ok(mut interrupted)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        eprintln!("scores: cannot listen for signals");
        return ExitCode::FAILURE;
    };
    let opened = scores::open(flags.node, &flags.db, flags.log.as_deref()).await;
    let (node, group) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("scores: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", json!({"ready": true, "address": node.address()}));

    // A task of its own: the node heeds a signal while a command waits.
    let console = tokio::spawn(console(node.clone(), group));
    tokio::select! {
        _ = console => {}
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    match node.close(None).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scores: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<Flags> {
    let mut flags = Flags::default();
    while let Some(flag) = args.next() {
        let value = args.next()?;
        match flag.as_str() {
            "--listen" => flags.node.listen = Some(value),
            "--peers" => flags.node.peers = value.split(',').map(str::to_owned).collect(),
            "--admin" => flags.node.admin_listen = Some(value),
            "--db" => flags.db = value.into(),
            "--log" => flags.log = Some(value.into()),
            _ => return None,
        }
    }
    (!flags.db.as_os_str().is_empty()).then_some(flags)
}

/// Obeys until `quit`; at the end of stdin the node goes on serving its peers.
async fn console(node: Node, group: Group) {
    let mut lines = stdin_lines();
    while let Some(line) = lines.recv().await {
        if line == "quit" {
            println!("{}", json!({"ok": true}));
            return;
        }
        let reply = obey(&node, &group, &line).await.unwrap_or_else(
            |error| json!({"ok": false, "code": error.kind().name(), "message": error.message()}),
        );
        println!("{reply}");
    }
    std::future::pending().await
}

/// Reading stdin blocks, so a thread does it; the process does not wait for it.
fn stdin_lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin()
            .lock()
            .lines()
            .map_while(std::io::Result::ok)
        {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

async fn obey(node: &Node, group: &Group, line: &str) -> Result<Json> {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    Ok(match command {
        "get" => json!({"ok": true, "value": text(&group.get(rest).await?)}),
        "peek" => json!({"ok": true, "value": group.peek(rest).as_ref().map(text)}),
        "set" => {
            let (key, value) = rest
                .split_once(' ')
                .ok_or_else(|| bad("set needs a key and a value"))?;
            group.set(key, value).await?;
            json!({"ok": true})
        }
        "delete" => {
            group.delete(rest).await?;
            json!({"ok": true})
        }
        "burst" => burst(group, rest).await?,
        "owner" => json!({"ok": true, "owner": node.owner(rest)?}),
        "members" => json!({"ok": true, "members": node.members()}),
        "peers" => {
            let peers: Vec<&str> = rest.split(',').collect();
            node.set_peers(&peers)?;
            json!({"ok": true})
        }
        "stats" => {
            let stats = group.stats();
            json!({"ok": true, "stats": {"gets": stats.gets, "hits": stats.hits, "loads": stats.loads,
                "fetches": stats.fetches, "fallbacks": stats.fallbacks, "entries": stats.entries, "bytes": stats.bytes}})
        }
        _ => {
            return Err(bad(
                "unknown command: get set delete peek burst owner members peers stats quit",
            ));
        }
    })
}

/// Many gets at the same time, each in a task of its own.
async fn burst(group: &Group, rest: &str) -> Result<Json> {
    let parsed = rest
        .split_once(' ')
        .and_then(|(n, key)| Some((n.parse::<usize>().ok()?, key)));
    let (n, key) = parsed.ok_or_else(|| bad("burst needs a number and a key"))?;
    let gets: Vec<_> = (0..n)
        .map(|_| {
            let (group, key) = (group.clone(), key.to_owned());
            tokio::spawn(async move { group.get(&key).await })
        })
        .collect();
    let mut values = Vec::new();
    for get in gets {
        let value = get
            .await
            .map_err(|error| Error::internal(error.to_string()))??;
        values.push(text(&value));
    }
    values.sort_unstable();
    values.dedup();
    Ok(json!({"ok": true, "n": n, "values": values}))
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value).into_owned()
}

fn bad(message: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
