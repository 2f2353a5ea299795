//! The whole use of kamacache: a getter that reads one row of SQLite, a node,
//! and a group of scores.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kamacache_core::{BoxError, Group, GroupOptions, Node, NodeOptions, blocking_getter};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

/// Starts a node and its group `scores`, 64 MiB of cache in front of `db`, and
/// notes each getter call in `log`.
///
/// # Errors
/// When `db` or `log` cannot be opened, or the node cannot be started.
pub async fn open(
    options: NodeOptions,
    db: &Path,
    log: Option<&Path>,
) -> Result<(Node, Group), BoxError> {
    let database = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|error| format!("cannot open {}: {error}", db.display()))?;
    // One connection behind a lock: SQLite answers a key in microseconds.
    let database = Mutex::new(database);
    let log = log.map(append_to).transpose()?;

    let node = Node::start(options).await?;
    let address = node.address().to_owned();
    // SQLite blocks, so the getter runs on the pool for blocking work. It is
    // called only on the node that owns the key, and once for all who ask.
    let scores = node.group_with(
        "scores",
        GroupOptions::new(64 << 20),
        blocking_getter(move |ctx| {
            if let Some(log) = &log {
                log_load(log, &address, ctx.key())?;
            }
            let database = database.lock().unwrap_or_else(PoisonError::into_inner);
            let score: Option<i64> = database
                .query_row(
                    "SELECT score FROM scores WHERE name = ?",
                    [ctx.key()],
                    |row| row.get(0),
                )
                .optional()?;
            // None is "not found", which is neither an error nor cached.
            Ok::<_, BoxError>(score.map(|score| score.to_string()))
        }),
    )?;
    Ok((node, scores))
}

fn append_to(path: &Path) -> Result<File, BoxError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| format!("cannot open {}: {error}", path.display()).into())
}

/// One line for each getter call, in one write, so that lines of several nodes
/// do not mix.
fn log_load(mut log: &File, address: &str, key: &str) -> Result<(), BoxError> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let line = serde_json::json!({
        "node": "rust", "address": address, "key": key, "time_ms": u64::try_from(time)?,
    });
    log.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}
