//! P16: large remote values, and small gets beside them.

use super::links::{self, THREADS};
use crate::{
    harness::{self, VALUE_BYTES},
    remote::clients::{Client, Ours, Unary},
    report::{Bar, Row},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// Values under way at once, and bytes a block.
const TASKS: usize = 4;
const BLOCK_BYTES: usize = 32 << 20;
/// Small gets: so many in all, this far apart.
const SMALL: usize = 5_000;
const APART: Duration = Duration::from_micros(200);
/// 20 values of 1 MiB a second.
const LARGE_APART: Duration = Duration::from_millis(50);

/// Measures.
pub fn run() -> Vec<Row> {
    let runtime = links::runtime(THREADS);
    let ours = runtime.block_on(Ours::start(THREADS)).expect("two nodes");
    let unary = runtime.block_on(Unary::start(THREADS)).expect("a service");
    let mut rows = Vec::new();
    for (size, name) in [(64 << 10, "64 KiB"), (1 << 20, "1 MiB")] {
        let keys = runtime.block_on(ours.keys(size, 16)).expect("values");
        let measured = harness::compare(
            || bytes_a_second(&runtime, &ours, &keys, size),
            || bytes_a_second(&runtime, &unary, &keys, size),
        );
        let metric = format!("remote values of {name}, MiB/s");
        rows.push(Row::timed("P16", metric, "tonic unary", &measured).with_bar(Bar::AtLeast(1.0)));
    }
    rows.push(beside(&runtime, &ours));
    rows
}

fn bytes_a_second(
    runtime: &Runtime,
    client: &impl Client,
    keys: &Arc<Vec<String>>,
    size: usize,
) -> f64 {
    let turns = BLOCK_BYTES / size / TASKS;
    let begin = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (client, keys) = (client.clone(), keys.clone());
                tokio::spawn(async move {
                    for turn in 0..turns {
                        let key = &keys[(task + turn) % keys.len()];
                        assert_eq!(client.get(task, key).await.expect("a value"), size);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task ends");
        }
    });
    (turns * TASKS * size) as f64 / begin.elapsed().as_secs_f64() / f64::from(1 << 20)
}

/// p99 of small gets at 5,000 a second, alone and beside large ones.
fn beside(runtime: &Runtime, ours: &Ours) -> Row {
    let small = runtime
        .block_on(ours.keys(VALUE_BYTES, 1000))
        .expect("values");
    let large = runtime.block_on(ours.keys(1 << 20, 16)).expect("values");
    let p99 = || runtime.block_on(open_loop(ours, &small));
    let measured = harness::compare_few(
        5,
        || {
            let stop = Arc::new(AtomicBool::new(false));
            let load = runtime.spawn(large_load(ours.clone(), large.clone(), stop.clone()));
            let p99 = p99();
            stop.store(true, Ordering::Release);
            runtime.block_on(load).expect("a task ends");
            p99
        },
        p99,
    );
    let metric = "p99 of 5,000 small gets/s beside 20 x 1 MiB/s, us";
    Row::timed("P16", metric, "the same alone", &measured).with_bar(Bar::AtMost(3.0))
}

async fn large_load(ours: Ours, keys: Arc<Vec<String>>, stop: Arc<AtomicBool>) {
    let mut tick = tokio::time::interval(LARGE_APART);
    for key in keys.iter().cycle() {
        tick.tick().await;
        if stop.load(Ordering::Acquire) {
            return;
        }
        ours.get(0, key).await.expect("a value");
    }
}

/// p99 in microseconds, from the moment each get should have begun.
async fn open_loop(ours: &Ours, keys: &Arc<Vec<String>>) -> f64 {
    let begin = tokio::time::Instant::now();
    let tasks: Vec<_> = (0..SMALL)
        .map(|turn| {
            let (ours, keys) = (ours.clone(), keys.clone());
            let due = begin + APART * u32::try_from(turn).unwrap_or(u32::MAX);
            tokio::spawn(async move {
                tokio::time::sleep_until(due).await;
                ours.get(0, &keys[turn % keys.len()])
                    .await
                    .expect("a value");
                due.elapsed().as_nanos() as f64 / 1e3
            })
        })
        .collect();
    let mut times = Vec::with_capacity(SMALL);
    for task in tasks {
        times.push(task.await.expect("a task ends"));
    }
    times.sort_by(f64::total_cmp);
    times[SMALL * 99 / 100]
}
