//! P3: what a Group's hit costs over the Store's own.

use crate::{
    harness::{self, VALUE_BYTES},
    peers::{Cache, Ours, Sample},
    report::{Bar, Row},
};
use kamacache_core::{Begin, GroupOptions, Node, NodeOptions, Policy};
use std::hint::black_box;

const KEYS: usize = 100_000;
const BLOCK: usize = 200_000;

/// Measures.
pub fn run() -> Vec<Row> {
    let runtime = super::links::runtime(super::links::THREADS);
    let keys = harness::keys(KEYS);
    let requests = harness::zipf(KEYS, 0.99, BLOCK, 1);
    let sample = Sample::new(VALUE_BYTES);
    let store = Ours::bytes(Policy::Default, 1 << 30);
    let node = runtime
        .block_on(Node::start(NodeOptions::default()))
        .expect("a node");
    let group = node
        .group("bench", GroupOptions::new(1 << 30), None)
        .expect("a group");
    runtime.block_on(async {
        for key in &keys {
            group.set(key, vec![7; VALUE_BYTES]).await.expect("stored");
        }
    });
    keys.iter().for_each(|key| store.put(key, &sample));
    let hits = |get: &(dyn Fn(&str) -> usize + Sync)| {
        harness::on_threads(1, BLOCK, |_| {
            black_box(
                requests
                    .iter()
                    .map(|request| get(&keys[*request as usize]))
                    .sum::<usize>(),
            );
        })
    };
    let measured = harness::compare(
        || {
            hits(&|key| match group.begin(key, None) {
                Ok(Begin::Hit(value)) => value.len(),
                other => panic!("not a hit: {other:?}"),
            })
        },
        || hits(&|key| store.get(key).expect("a hit")),
    );
    vec![
        Row::timed(
            "P3",
            "Group::get, hit, ns",
            "the Store's own hit",
            &measured,
        )
        .with_bar(Bar::AtMost(1.25)),
    ]
}
