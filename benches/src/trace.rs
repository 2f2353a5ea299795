//! Cache traces: reading them and replaying them through the Store.
//!
//! Invariant: a replay charges exactly what the trace says, one a request or its size, and nothing
//! for the Store's own memory, so hit ratios compare with a simulator's. Called by the `replay`
//! command and by the tests of P12 and P13.

use kamacache_core::{
    Policy, Value,
    internals::{Clock, Put, Stamp, Store, StoreOptions, Weigher},
};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The key.
    pub key: String,
    /// What the entry counts for: 1 if the line gives no size.
    pub size: u64,
}

/// How to replay.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Who is evicted.
    pub policy: Policy,
    /// Capacity, in the unit of the trace's sizes.
    pub capacity: u64,
    /// Shards of the Store.
    pub shards: usize,
    /// Exact order of use.
    pub strict: bool,
}

/// What a replay counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Lines of the trace.
    pub requests: u64,
    /// Those answered from the Store.
    pub hits: u64,
}

impl Outcome {
    /// Hits in percent of requests.
    pub fn percent(&self) -> f64 {
        100.0 * self.hits as f64 / self.requests.max(1) as f64
    }
}

/// The folder with the traces: `KAMACACHE_TRACES`, else `../shared/traces` beside the repository.
pub fn folder() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces");
    std::env::var_os("KAMACACHE_TRACES").map_or_else(default, PathBuf::from)
}

/// Reads a trace, plain or xz-compressed (told by the name's end).
pub fn read(path: &Path) -> io::Result<Vec<Request>> {
    let file = File::open(path)?;
    let text: Box<dyn Read> = match path.extension() {
        Some(end) if end == "xz" => Box::new(lzma_rust2::XzReader::new(BufReader::new(file), true)),
        _ => Box::new(file),
    };
    let lines = BufReader::new(text).lines().zip(1..);
    let requests = lines.map(|(line, number)| parse(&line?, number));
    requests.filter_map(Result::transpose).collect()
}

/// A line is `key` or `key size`; empty lines are skipped.
fn parse(line: &str, number: usize) -> io::Result<Option<Request>> {
    let mut words = line.split_whitespace();
    let Some(key) = words.next() else {
        return Ok(None);
    };
    let size = words.next().map_or(Ok(1), str::parse);
    match (size, words.next()) {
        (Ok(size), None) => Ok(Some(Request {
            key: key.to_owned(),
            size,
        })),
        _ => {
            let rule = format!(
                "line {number} is {line:?}: a line is `key` or `key size`, size a whole number"
            );
            Err(io::Error::new(io::ErrorKind::InvalidData, rule))
        }
    }
}

/// Replays requests as a read-through cache would: get, and on a miss put.
pub fn replay(requests: &[Request], setup: Setup) -> Outcome {
    let store = Store::new(StoreOptions {
        policy: setup.policy,
        shards: Some(setup.shards),
        strict: setup.strict,
        weigher: Weigher::by(|_, value| value.try_into().map_or(1, u64::from_le_bytes)),
        clock: Clock::manual().0,
        ..StoreOptions::new(setup.capacity)
    });
    let mut outcome = Outcome {
        requests: requests.len() as u64,
        hits: 0,
    };
    for request in requests {
        if store.get(&request.key).is_some() {
            outcome.hits += 1;
        } else {
            let value = Value::from(request.size.to_le_bytes());
            let put = store.put_if(&request.key, &value, Stamp::OWNED, || true);
            debug_assert_ne!(put, Put::Refused);
        }
        debug_assert!(store.stats().bytes <= setup.capacity);
    }
    outcome
}
