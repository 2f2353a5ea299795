//! P7, P8, P9: gets of values that another process owns.
//!
//! Invariant: client and server are separate processes; every peer is asked for the same keys by
//! the same number of tasks on the same runtime.

use crate::{
    harness::{self, VALUE_BYTES},
    remote::clients::{Client, Echo, Ours, Text, Unary},
    report::{Bar, Row},
};
use std::{sync::Arc, time::Instant};
use tokio::runtime::Runtime;

const KEYS: usize = 10_000;
const BLOCK: usize = 20_000;
/// Gets of one block in P8.
const TURNS: usize = 300;
/// P9: callers, keys a call, calls a block of each caller.
const CALLERS: usize = 16;
const BATCH: usize = 128;
const CALLS: usize = 12;
const DEPTH: usize = 16;

type Keys = Arc<Vec<String>>;

/// Threads of a client, and of a server of ours.
pub const THREADS: usize = 2;

/// The runtime of every client here.
pub fn runtime(threads: usize) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(threads)
        .enable_all()
        .build()
        .expect("threads")
}

/// Gets a second with so many tasks, each with one get under way.
fn throughput(runtime: &Runtime, client: &impl Client, keys: &Keys, tasks: usize) -> f64 {
    let begin = Instant::now();
    runtime.block_on(async {
        let asking: Vec<_> = (0..tasks)
            .map(|task| {
                let (client, keys) = (client.clone(), keys.clone());
                tokio::spawn(async move {
                    for turn in 0..BLOCK / tasks {
                        let key = &keys[(task * 131 + turn * 97) % keys.len()];
                        assert_eq!(client.get(task, key).await.expect("a value"), VALUE_BYTES);
                    }
                })
            })
            .collect();
        for task in asking {
            task.await.expect("a task ends");
        }
    });
    BLOCK as f64 / begin.elapsed().as_secs_f64()
}

/// Median microseconds of one get after the other.
fn latency(runtime: &Runtime, client: &impl Client, keys: &Keys) -> f64 {
    runtime.block_on(async {
        let mut times = Vec::with_capacity(TURNS);
        for key in keys.iter().take(TURNS) {
            let begin = Instant::now();
            client.get(0, key).await.expect("a value");
            times.push(begin.elapsed().as_nanos() as f64 / 1e3);
        }
        harness::median(times)
    })
}

/// P7: many gets at once; client and server on a thread each, and on two each, which are more
/// than a machine of two cores has.
pub fn many() -> Vec<Row> {
    [(1, "a thread"), (2, "2 threads")]
        .into_iter()
        .flat_map(|(threads, each)| many_on(threads, each))
        .collect()
}

fn many_on(threads: usize, each: &str) -> Vec<Row> {
    let runtime = runtime(threads);
    let (ours, unary, keys) = runtime.block_on(pair(threads));
    let mut rows = Vec::new();
    let mut against = |tasks: usize, name: &str, bar: Bar, peer: &mut dyn FnMut() -> f64| {
        let measured = harness::compare(|| throughput(&runtime, &ours, &keys, tasks), peer);
        let metric = format!("remote gets/s, {tasks} in flight, {each} each");
        rows.push(Row::timed("P7", metric, name, &measured).with_bar(bar));
    };
    for (tasks, bar) in [(64, 2.5), (256, 5.0)] {
        against(tasks, "tonic unary", Bar::AtLeast(bar), &mut || {
            throughput(&runtime, &unary, &keys, tasks)
        });
    }
    if let Some(redis) = runtime
        .block_on(Text::redis(64, &keys))
        .expect("redis answers")
    {
        against(
            64,
            "Redis GET, 64 connections",
            Bar::AtLeast(2.5),
            &mut || throughput(&runtime, &redis, &keys, 64),
        );
    }
    if let Some(memcached) = runtime
        .block_on(Text::memcached(64, &keys, threads))
        .expect("memcached answers")
    {
        against(
            64,
            "memcached get, 64 connections",
            Bar::AtLeast(1.0),
            &mut || throughput(&runtime, &memcached, &keys, 64),
        );
    }
    rows
}

/// P8: one get at a time.
pub fn one() -> Vec<Row> {
    let runtime = runtime(THREADS);
    let (ours, unary, keys) = runtime.block_on(pair(THREADS));
    let echo = runtime.block_on(Echo::start(THREADS));
    let echo = echo.expect("the echo starts");
    let metric = "one remote get at a time, p50, us";
    let mine = || latency(&runtime, &ours, &keys);
    let control = harness::compare(mine, mine);
    let unary = harness::compare(mine, || latency(&runtime, &unary, &keys));
    let echo = harness::compare(mine, || latency(&runtime, &echo, &keys));
    vec![
        Row::timed("P8", metric, "ourselves (A/A, the noise)", &control),
        Row::timed("P8", metric, "tonic unary", &unary).with_bar(Bar::AtMost(1.1)),
        Row::timed("P8", metric, "raw TCP ping-pong", &echo).with_bar(Bar::AtMost(1.7)),
    ]
}

/// P9: batches.
pub fn batches() -> Vec<Row> {
    let runtime = runtime(THREADS);
    let ours = runtime.block_on(Ours::start(THREADS)).expect("two nodes");
    let keys = runtime
        .block_on(ours.keys(VALUE_BYTES, KEYS))
        .expect("values");
    let Some(redis) = runtime
        .block_on(Text::redis(CALLERS, &keys))
        .expect("redis answers")
    else {
        return Vec::new();
    };
    let mine = || {
        let ours = ours.clone();
        keys_a_second(&runtime, &keys, move |_task, keys| {
            let ours = ours.clone();
            async move {
                let values = ours.group.get_many(&keys, None).await;
                assert!(values.iter().all(Result::is_ok));
            }
        })
    };
    let theirs = || {
        let redis = redis.clone();
        keys_a_second(&runtime, &keys, move |task, keys| {
            let redis = redis.clone();
            async move {
                for keys in keys.chunks(DEPTH) {
                    redis.pipelined(task, keys).await.expect("values");
                }
            }
        })
    };
    let measured = harness::compare(mine, theirs);
    let metric = "get_many of 128 keys, 16 callers, keys/s";
    vec![
        Row::timed("P9", metric, "Redis, 16 connections x 16 deep", &measured)
            .with_bar(Bar::AtLeast(1.0)),
    ]
}

fn keys_a_second<F>(
    runtime: &Runtime,
    keys: &Keys,
    call: impl Fn(usize, Vec<String>) -> F + Clone + Send + 'static,
) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let batch = |caller: usize, turn: usize| {
        let at = (caller * CALLS + turn) * BATCH % (keys.len() - BATCH);
        keys[at..at + BATCH].to_vec()
    };
    let work: Vec<Vec<_>> = (0..CALLERS)
        .map(|caller| (0..CALLS).map(|turn| batch(caller, turn)).collect())
        .collect();
    let begin = Instant::now();
    runtime.block_on(async {
        let callers: Vec<_> = work
            .into_iter()
            .enumerate()
            .map(|(caller, batches)| {
                let call = call.clone();
                tokio::spawn(run_batches(caller, batches, call))
            })
            .collect();
        for caller in callers {
            caller.await.expect("a task ends");
        }
    });
    (CALLERS * CALLS * BATCH) as f64 / begin.elapsed().as_secs_f64()
}

async fn run_batches<F: Future<Output = ()> + Send>(
    caller: usize,
    batches: Vec<Vec<String>>,
    call: impl Fn(usize, Vec<String>) -> F + Send,
) {
    for batch in batches {
        call(caller, batch).await;
    }
}

async fn pair(threads: usize) -> (Ours, Unary, Keys) {
    let ours = Ours::start(threads).await.expect("two nodes");
    let keys = ours.keys(VALUE_BYTES, KEYS).await.expect("values");
    let unary = Unary::start(threads).await.expect("a service");
    (ours, unary, keys)
}
