//! Random Gets, Sets, Deletes and clears on three nodes at once; every
//! operation is recorded, and the history is checked against S18-S21: no Get
//! returns a value that had been overtaken when it began.

#![expect(clippy::print_stdout, reason = "a failing seed is found by its number")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::history::{History, Random};
use crate::common::near::NearCopies;
use crate::common::options;
use crate::common::player::{Mix, Rules};
use kamacache_core::testing::Cluster;
use kamacache_core::{Error, Group, LoadContext, NodeOptions, getter_fn};

const NODES: usize = 3;
const KEYS: usize = 6;
const TASKS: usize = 12;
const STEPS: usize = 400;
/// Two heartbeats, and room for a machine that is busy with other things.
const LEASE: Duration = Duration::from_millis(1500);
/// Less than the `hot_ttl` of 10 s, after which a lost invalidation would not show.
const SETTLED: Duration = Duration::from_secs(5);

const RULES: Rules = Rules {
    mix: Mix {
        sets: 120,
        deletes: 70,
        clears: 10,
    },
    may_fail: |_, _| false,
    clear_wait: None,
};

async fn play(
    groups: Vec<Group>,
    keys: Arc<Vec<String>>,
    history: Arc<History>,
    begun: Instant,
    mut random: Random,
) {
    let mut near: Vec<_> = groups.iter().map(NearCopies::of).collect();
    for _ in 0..STEPS {
        let node = random.below(NODES);
        let player = (node, &groups[node], &mut near[node]);
        let step = RULES.step(player, &keys, &history, || begun.elapsed(), &mut random);
        step.await.unwrap_or_else(|wrong| panic!("{wrong}"));
    }
}

async fn run(seed: u64) {
    println!("seed {seed}");
    // A stalled machine is no dead peer: a fallback would make up values of its own.
    let mut node = NodeOptions::default();
    node.suspect_after = Some(crate::common::LONG);
    let cluster = Cluster::start_with(NODES, &node).await.unwrap();
    let history = Arc::new(History::default());
    let begun = Instant::now();
    let source = history.clone();
    let getter = Arc::new(getter_fn(move |_ctx: LoadContext| {
        let value = source.fresh_value();
        source.loaded(value, begun.elapsed());
        async move {
            tokio::task::yield_now().await;
            Ok::<_, Error>(Some(value.to_string()))
        }
    }));
    let mut options = options();
    if seed % 2 == 1 {
        // Most loads wait for a permit, during which their keys are written.
        options.max_concurrent_loads = Some(1);
    }
    let groups = cluster.groups("g", &options, &getter).unwrap();
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
                begun,
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
    history
        .check(&owners, LEASE)
        .unwrap_or_else(|wrong| panic!("{wrong}"));
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
