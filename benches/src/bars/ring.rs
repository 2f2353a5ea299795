//! P14: the ring, of 1,000 nodes: lookups, evenness, what a change of one member moves and costs.
//!
//! Invariant: all rings have 512 points a member; lookups walk through keys made before the clock
//! starts.

use crate::{
    harness::{self, Comparison},
    report::{Bar, Row},
};
use kamacache_core::internals::Ring;
use std::{collections::BTreeMap, hint::black_box, time::Instant};
use xxhash_rust::xxh3::xxh3_64;

const MEMBERS: usize = 1_000;
const POINTS: u32 = 512;
const LOOKUPS: usize = 20_000;

fn members(count: usize) -> Vec<String> {
    (0..count)
        .map(|i| format!("10.{}.{}.7:7400", i / 250, i % 250))
        .collect()
}

fn point(member: &str, i: u32) -> u64 {
    xxh3_64(&[member.as_bytes(), &[0], &i.to_le_bytes()].concat())
}

/// A ring as one writes it first.
fn btree(members: &[String]) -> BTreeMap<u64, u32> {
    let points = members
        .iter()
        .zip(0..)
        .flat_map(|(name, member)| (0..POINTS).map(move |i| (point(name, i), member)));
    points.collect()
}

fn lookup(
    name: &str,
    ours: impl Fn(&str) -> usize,
    theirs: impl Fn(&str) -> usize,
    keys: &[Box<str>],
) -> Row {
    fn block(keys: &[Box<str>], turn: &mut usize, ask: &impl Fn(&str) -> usize) -> f64 {
        let start = *turn * LOOKUPS % keys.len();
        *turn += 1;
        let begin = Instant::now();
        let sum: usize = keys
            .iter()
            .cycle()
            .skip(start)
            .take(LOOKUPS)
            .map(|key| ask(key))
            .sum();
        black_box(sum);
        begin.elapsed().as_nanos() as f64 / LOOKUPS as f64
    }
    let (mut our_turn, mut peer_turn) = (0, 0);
    let measured = harness::compare(
        || block(keys, &mut our_turn, &ours),
        || block(keys, &mut peer_turn, &theirs),
    );
    Row::timed("P14", "lookup, ns", name, &measured)
}

fn lookups(ring: &Ring, names: &[String]) -> Vec<Row> {
    let keys = harness::keys(200_000);
    let ours = |key: &str| ring.owner_index(key).unwrap_or(0);
    let tree = btree(names);
    let in_tree = |key: &str| {
        let at = tree
            .range(xxh3_64(key.as_bytes())..)
            .next()
            .or_else(|| tree.iter().next());
        at.map_or(0, |(_, member)| *member as usize)
    };
    let mut crate_ring = hashring::HashRing::with_hasher(foldhash::fast::FixedState::default());
    crate_ring.batch_add(
        (0..names.len())
            .flat_map(|member| (0..POINTS).map(move |i| (member, i)))
            .collect(),
    );
    let in_crate = |key: &str| crate_ring.get(&key).map_or(0, |(member, _)| *member);
    vec![
        lookup("BTreeMap ring", ours, in_tree, &keys).with_bar(Bar::AtMost(0.5)),
        lookup("hashring crate", ours, in_crate, &keys).with_bar(Bar::AtMost(1.0)),
    ]
}

/// Standard deviation of the members' parts of the circle, over their mean.
fn arcs(names: &[String]) -> f64 {
    let points: Vec<(u64, u32)> = btree(names).into_iter().collect();
    let mut parts = vec![0.0; names.len()];
    for (i, (at, member)) in points.iter().enumerate() {
        let before = points[(i + points.len() - 1) % points.len()].0;
        parts[*member as usize] += at.wrapping_sub(before) as f64;
    }
    let mean = parts.iter().sum::<f64>() / parts.len() as f64;
    let variance = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / parts.len() as f64;
    variance.sqrt() / mean
}

/// Parts of 100,000 keys that move when a member leaves (as when it joins): mean and most of 100.
fn moved(ring: &Ring) -> (f64, f64) {
    let keys = harness::keys(100_000);
    let owners: Vec<_> = keys.iter().map(|key| ring.owner(key)).collect();
    let every_tenth = ring.members().iter().step_by(ring.members().len() / 100);
    let parts: Vec<f64> = every_tenth
        .map(|member| {
            let without = ring.without_member(member);
            let moved = keys
                .iter()
                .zip(&owners)
                .filter(|(key, owner)| without.owner(key) != **owner);
            moved.count() as f64 / keys.len() as f64
        })
        .collect();
    (
        parts.iter().sum::<f64>() / parts.len() as f64,
        parts.iter().copied().fold(0.0, f64::max),
    )
}

fn change(ring: &Ring, names: &[String]) -> Comparison {
    let member = &names[names.len() / 3];
    let without = ring.without_member(member);
    let timed = |work: &dyn Fn() -> Ring| {
        let begin = Instant::now();
        black_box(work());
        begin.elapsed().as_nanos() as f64 / 1e6
    };
    harness::compare(
        || timed(&|| without.with_member(member)),
        || timed(&|| Ring::new(names.iter().map(String::as_str))),
    )
}

/// Measures.
pub fn run() -> Vec<Row> {
    let names = members(MEMBERS);
    let ring = Ring::new(names.iter().map(String::as_str));
    let mut rows = lookups(&ring, &names);
    let spread = Row::counted(
        "P14",
        "stddev of arcs, over the mean",
        "1 (the mean)",
        arcs(&names),
        1.0,
    );
    rows.push(spread.with_bar(Bar::AtMost(0.05)));
    let hundred = Ring::new(members(100));
    let (mean, most) = moved(&hundred);
    rows.push(
        Row::counted("P14", "keys moved by one of 100, mean", "1/n", mean, 0.01)
            .with_bar(Bar::AtMost(1.02)),
    );
    rows.push(
        Row::counted("P14", "keys moved by one of 100, most", "1/n", most, 0.01)
            .with_bar(Bar::AtMost(1.2)),
    );
    let joined = change(&ring, &names);
    rows.push(
        Row::timed("P14", "one member more, ms", "building anew", &joined)
            .with_bar(Bar::AtMost(0.1)),
    );
    rows
}
