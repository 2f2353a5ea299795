//! Random Gets, Sets, Deletes and clears on three nodes at once; every
//! operation is recorded, and the history is checked against S18-S21: no Get
//! returns a value that had been overtaken when it began.
//!
//! A write is a point between its start and its end. Write A is older than
//! write B if A ended before B started. A getter's answer is a write whose
//! point is the getter call. A Get is wrong if it returns a value older than a
//! write that was acknowledged before the Get began: at once on the writer's
//! node and on the owner's, within the lease on a third.

#![expect(clippy::print_stdout, reason = "a failing seed is found by its number")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{options, text};
use kamacache_core::testing::Cluster;
use kamacache_core::{Error, Group, LoadContext, NodeOptions, getter_fn};
use parking_lot::Mutex;

const NODES: usize = 3;
const KEYS: usize = 6;
const TASKS: usize = 12;
const STEPS: usize = 400;
/// Two heartbeats, and room for a machine that is busy with other things.
const LEASE: Duration = Duration::from_millis(1500);
/// Less than the `hot_ttl` of 10 s, after which a lost invalidation would not show.
const SETTLED: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
struct Span {
    start: Instant,
    end: Instant,
}

#[derive(Debug)]
struct Write {
    node: usize,
    /// `None`: a delete or clear.
    value: Option<u64>,
    span: Span,
}

#[derive(Debug)]
struct Read {
    node: usize,
    value: u64,
    span: Span,
}

#[derive(Default)]
struct History {
    writes: Mutex<HashMap<String, Vec<Write>>>,
    reads: Mutex<HashMap<String, Vec<Read>>>,
    /// When the getter made up each value.
    loads: Mutex<HashMap<u64, Instant>>,
    values: AtomicU64,
}

impl History {
    fn fresh_value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::SeqCst)
    }

    fn wrote(&self, key: &str, write: Write) {
        self.writes
            .lock()
            .entry(key.into())
            .or_default()
            .push(write);
    }

    fn check(&self, owners: &HashMap<String, usize>) {
        let (writes, loads) = (self.writes.lock(), self.loads.lock());
        for (key, reads) in self.reads.lock().iter() {
            let writes = writes.get(key).map(Vec::as_slice).unwrap_or_default();
            let of_value: HashMap<u64, Instant> = writes
                .iter()
                .filter_map(|write| Some((write.value?, write.span.end)))
                .collect();
            for read in reads {
                let made = loads
                    .get(&read.value)
                    .or_else(|| of_value.get(&read.value))
                    .copied();
                let made = made.expect("every value was written or loaded");
                for write in writes {
                    let at_once = write.node == read.node || owners[key] == read.node;
                    let known = write.span.end + if at_once { Duration::ZERO } else { LEASE };
                    assert!(
                        !(made < write.span.start && known < read.span.start),
                        "{key}: {read:?} returned a value of {made:?}, overtaken by {write:?}"
                    );
                }
            }
        }
    }
}

/// A small generator, so that a seed says it all.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

async fn play(
    groups: Vec<Group>,
    keys: Arc<Vec<String>>,
    history: Arc<History>,
    mut random: Random,
) {
    for _ in 0..STEPS {
        let node = random.below(NODES);
        let (group, key) = (&groups[node], &keys[random.below(KEYS)]);
        let start = Instant::now();
        let span = || Span {
            start,
            end: Instant::now(),
        };
        match random.below(100) {
            0..80 => {
                let value = group.get(key).await.expect("nothing fails here");
                let value = text(&value).parse().expect("a number");
                history
                    .reads
                    .lock()
                    .entry(key.clone())
                    .or_default()
                    .push(Read {
                        node,
                        value,
                        span: span(),
                    });
            }
            80..92 => {
                let value = history.fresh_value();
                group
                    .set(key, value.to_string())
                    .await
                    .expect("nothing fails here");
                history.wrote(
                    key,
                    Write {
                        node,
                        value: Some(value),
                        span: span(),
                    },
                );
            }
            92..99 => {
                group.delete(key).await.expect("nothing fails here");
                history.wrote(
                    key,
                    Write {
                        node,
                        value: None,
                        span: span(),
                    },
                );
            }
            _ => {
                group.clear(None).await.expect("nothing fails here");
                for key in keys.iter() {
                    history.wrote(
                        key,
                        Write {
                            node,
                            value: None,
                            span: span(),
                        },
                    );
                }
            }
        }
    }
}

async fn run(seed: u64) {
    println!("seed {seed}");
    // A stalled machine is no dead peer: a fallback would make up values of its own.
    let mut node = NodeOptions::default();
    node.suspect_after = Some(common::LONG);
    let cluster = Cluster::start_with(NODES, &node).await.unwrap();
    let history = Arc::new(History::default());
    let source = history.clone();
    let getter = Arc::new(getter_fn(move |_ctx: LoadContext| {
        let value = source.fresh_value();
        source.loads.lock().insert(value, Instant::now());
        async move {
            tokio::task::yield_now().await;
            Ok::<_, Error>(Some(value.to_string()))
        }
    }));
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    let keys: Arc<Vec<String>> = Arc::new(
        (0..KEYS)
            .map(|n| cluster.key_owned_by(n % NODES, n))
            .collect(),
    );
    let tasks: Vec<_> = (0..TASKS as u64)
        .map(|task| {
            tokio::spawn(play(
                groups.clone(),
                keys.clone(),
                history.clone(),
                Random(seed * 1000 + task),
            ))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let owners = keys
        .iter()
        .enumerate()
        .map(|(n, key)| (key.clone(), n % NODES))
        .collect();
    history.check(&owners);
    let copies: u64 = groups.iter().map(|group| group.stats().hot_hits).sum();
    assert!(
        copies > 0,
        "the history has no hot copies in it, so it proves little"
    );
    // S19: once writes have ended, all nodes agree.
    for key in keys.iter() {
        let settled = async {
            loop {
                let mut seen = Vec::new();
                for group in &groups {
                    seen.push(group.get(key).await.unwrap());
                }
                if seen.iter().all(|value| *value == seen[0]) {
                    return;
                }
            }
        };
        let settled = tokio::time::timeout(SETTLED, settled).await;
        assert!(
            settled.is_ok(),
            "{key}: the nodes do not converge: {:#?}",
            groups.iter().map(Group::stats).collect::<Vec<_>>()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]

async fn s18_to_s21_hold_over_random_histories() {
    for seed in 0..8 {
        run(seed).await;
    }
}
