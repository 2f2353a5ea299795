//! P10: a thousand callers on three nodes ask for one cold key at once.

use crate::{
    harness,
    report::{Bar, Row},
};
use kamacache_core::{Error, Group, GroupOptions, LoadContext, getter_fn, testing::Cluster};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const CALLERS: usize = 1000;
const GETTER: Duration = Duration::from_millis(100);

/// Measures.
pub fn run() -> Vec<Row> {
    let runtime = super::links::runtime(super::links::THREADS);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let getter = Arc::new(getter_fn(move |_ctx: LoadContext| {
        counted.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::time::sleep(GETTER).await;
            Ok::<_, Error>(Some("value"))
        }
    }));
    let cluster = runtime.block_on(Cluster::start(3)).expect("three nodes");
    let groups = cluster
        .groups("bench", &GroupOptions::new(64 << 20), &getter)
        .expect("groups");
    let next = AtomicUsize::new(0);
    let ask = |callers: usize| {
        let key = cluster.key_owned_by(1, next.fetch_add(1, Ordering::SeqCst));
        runtime.block_on(stampede(&groups, &key, callers))
    };
    let measured = harness::compare(|| ask(CALLERS), || ask(1));
    let loads = calls.load(Ordering::SeqCst) as f64;
    let keys = next.load(Ordering::SeqCst) as f64;
    vec![
        Row::timed(
            "P10",
            "1,000 callers, 3 nodes, one cold key, ms",
            "one caller",
            &measured,
        )
        .with_bar(Bar::AtMost(1.5)),
        Row::counted("P10", "getter calls", "cold keys", loads, keys).with_bar(Bar::AtMost(1.0)),
    ]
}

/// Milliseconds until all are done.
async fn stampede(groups: &[Group], key: &str, callers: usize) -> f64 {
    let begin = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (group, key) = (groups[caller % groups.len()].clone(), key.to_owned());
            tokio::spawn(async move { group.get(&key).await.expect("a value") })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task ends");
    }
    begin.elapsed().as_secs_f64() * 1e3
}
