//! A node as a process of its own, which the suite commands by lines on its
//! standard input: `peers A,B`, `load OWNER SECONDS`, `members`, `heard`.
//! Each is answered by one line of JSON.
//!
//! The load is open loop: gets begin when they are due, however long those
//! before them take, and a late answer counts from when its get was due.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use kamacache_core::{Group, GroupOptions, LoadContext, Node, NodeOptions, getter_fn};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The group that everybody reads.
pub(crate) const GROUP: &str = "g";
/// Its getter never answers for this key.
pub(crate) const HUNG: &str = "hung";
/// The value of this key has [`BIG_BYTES`].
pub(crate) const BIG: &str = "big";
const BIG_BYTES: usize = 7 << 20;
/// An eighth of it is the largest value that is kept.
const MAX_BYTES: u64 = 128 << 20;
/// Between two gets of a load.
const PAUSE: Duration = Duration::from_millis(2);
/// Keys of a load.
const KEYS: usize = 5000;

/// What the suite starts a node with.
pub(crate) struct Given {
    pub(crate) listen: String,
    pub(crate) token: Option<String>,
}

pub(crate) async fn run(given: Given) -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let mut options = NodeOptions::default();
    options.listen = Some(given.listen);
    options.cluster_token = given.token;
    let node = Node::start(options).await?;
    let getter = getter_fn(|ctx: LoadContext| async move {
        match ctx.key() {
            HUNG => std::future::pending::<Result<_, std::io::Error>>().await,
            BIG => Ok(Some(vec![b'v'; BIG_BYTES])),
            key => Ok(Some(format!("value of {key}").into_bytes())),
        }
    });
    let group = node.group_with(GROUP, GroupOptions::new(MAX_BYTES), getter)?;
    say(&json!({"address": node.address()})).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["peers", list] => {
                node.set_peers(&list.split(',').collect::<Vec<_>>())?;
                json!({})
            }
            ["members"] => json!(node.members()),
            ["load", owner, seconds] => load(&node, &group, owner, seconds.parse()?).await?,
            _ => return Err(format!("no command: {line}").into()),
        };
        say(&answer).await?;
    }
    Ok(())
}

async fn say(answer: &Value) -> std::io::Result<()> {
    let mut out = tokio::io::stdout();
    out.write_all(format!("{answer}\n").as_bytes()).await?;
    out.flush().await
}

/// Gets of keys that `owner` owns, for so long.
async fn load(
    node: &Node,
    group: &Group,
    owner: &str,
    seconds: f64,
) -> Result<Value, Box<dyn Error>> {
    let keys: Vec<Arc<str>> = (0..)
        .map(|number| Arc::from(format!("key {number}")))
        .filter(|key| node.owner(key).is_ok_and(|is| is == owner))
        .take(KEYS)
        .collect();
    let mut took = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    let (mut failed, mut first) = (0_u64, None);
    let mut gets = JoinSet::new();
    let before = group.stats();
    let begun = Instant::now();
    let mut due = begun;
    let mut take = |done: (Duration, Result<(), String>)| {
        let micros = u64::try_from(done.0.as_micros()).unwrap_or(u64::MAX);
        took.saturating_record(micros.max(1));
        if let Err(error) = done.1 {
            failed += 1;
            first.get_or_insert(error);
        }
    };
    for key in keys.iter().cycle() {
        if (due - begun).as_secs_f64() >= seconds {
            break;
        }
        tokio::time::sleep_until(due).await;
        let (group, key) = (group.clone(), key.clone());
        gets.spawn(async move {
            let got = group.get(&key).await;
            let got = got.map(drop).map_err(|error| error.to_string());
            (due.elapsed(), got)
        });
        due += PAUSE;
        while let Some(done) = gets.try_join_next() {
            take(done?);
        }
    }
    while let Some(done) = gets.join_next().await {
        take(done?);
    }
    Ok(json!({
        "gets": took.len(),
        "failed": failed,
        "fetched": group.stats().fetched - before.fetched,
        "fallbacks": group.stats().fallbacks - before.fallbacks,
        "first": first,
        "p99_ms": took.value_at_quantile(0.99) as f64 / 1000.0,
        "max_ms": took.max() as f64 / 1000.0,
    }))
}
