//! Random Gets, Sets, Deletes and clears on three nodes, written down and
//! checked: read-your-writes (S18), no stale fill (S20), and copies that end
//! with their invalidation or their lease (S21), with a network that only
//! delays, and with one that also holds, cuts and loses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kamacache_core::{ErrorKind, Group, NodeOptions};
use parking_lot::Mutex;

use crate::common::history::History;
use crate::common::near::NearCopies;
use crate::common::player::{Mix, Op, Rules};
use crate::players::{open, pause, tasks};
use crate::seeds;
use crate::world::{Host, Net, address, ms, now, simulate};

const NODES: usize = 3;
const KEYS: usize = 4;
const TASKS: usize = 3;
const STEPS: usize = 60;
const HEARTBEAT: Duration = ms(100);
const SUSPECT: Duration = ms(150);
/// Also how long a value may be kept that was loaded in place of its owner.
const LEASE: Duration = ms(200);
/// A write may fail in any way while the network does.
const RULES: Rules = Rules {
    mix: Mix {
        sets: 120,
        deletes: 70,
        clears: 10,
    },
    may_fail: |op, kind| op != Op::Get || kind == ErrorKind::DeadlineExceeded,
    clear_wait: Some(ms(500)),
};

#[test]
fn s18_s20_s21_hold_on_a_healthy_network_within_two_round_trips() {
    seeds::each(
        "s18_s20_s21_hold_on_a_healthy_network_within_two_round_trips",
        4,
        |seed| {
            let net = Net::healthy();
            let recorded = run(seed, net)?;
            if recorded.copies == 0 {
                return Err("no copy was read, so this proves little".into());
            }
            recorded.check(2 * net.round_trip())
        },
    );
}

#[test]
fn s18_s20_s21_hold_while_links_are_held_cut_and_lost() {
    seeds::each(
        "s18_s20_s21_hold_while_links_are_held_cut_and_lost",
        4,
        |seed| {
            let net = Net {
                faults: true,
                ..Net::healthy()
            };
            let recorded = run(seed, net)?;
            // A reader may join a fetch whose answer is late, until its link is
            // suspect; that is noticed at a heartbeat.
            recorded.check(LEASE.max(SUSPECT + HEARTBEAT) + net.round_trip())
        },
    );
}

#[test]
fn a_seed_is_the_same_every_time() {
    seeds::each("a_seed_is_the_same_every_time", 2, |seed| {
        let net = Net {
            faults: seed % 2 == 1,
            ..Net::healthy()
        };
        let one = seeds::alone(move || run(seed, net))?;
        let two = seeds::alone(move || run(seed, net))?;
        let (one, two) = (format!("{one:#?}"), format!("{two:#?}"));
        let differs = one
            .lines()
            .zip(two.lines())
            .position(|(one, two)| one != two);
        match differs {
            None if one.len() == two.len() => Ok(()),
            at => Err(format!(
                "two runs differ in line {at:?} of {}",
                one.lines().count()
            )),
        }
    });
}

/// What a run leaves behind.
#[derive(Debug)]
struct Recorded {
    history: Arc<History>,
    owners: BTreeMap<String, usize>,
    copies: u64,
}

impl Recorded {
    fn check(&self, third: Duration) -> Result<(), String> {
        let owners = self
            .owners
            .iter()
            .map(|(key, owner)| (key.clone(), *owner))
            .collect();
        self.history.check(&owners, third)
    }
}

fn run(seed: u64, net: Net) -> Result<Recorded, String> {
    let history = Arc::new(History::default());
    let owners: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let copies = Arc::new(AtomicU64::new(0));
    let (all, known, copied) = (history.clone(), owners.clone(), copies.clone());
    simulate(seed, NODES, net, &node_options(net), move |host| {
        let (history, owners, copied) = (all.clone(), known.clone(), copied.clone());
        async move {
            let keys: Vec<String> = (0..KEYS).map(|n| key_of(&host, n)).collect();
            owners
                .lock()
                .extend(keys.iter().cloned().zip((0..NODES).cycle()));
            let group = open(&host, &history, LEASE, None)?;
            host.together().await;
            let players: Vec<_> = tasks(&host, TASKS)
                .map(|host| tokio::spawn(play(host, group.clone(), keys.clone(), history.clone())))
                .collect();
            for player in players {
                player.await.map_err(|error| error.to_string())??;
            }
            copied.fetch_add(group.stats().hot_hits, Ordering::Relaxed);
            Ok(())
        }
    })?;
    let owners = owners.lock().clone();
    Ok(Recorded {
        history,
        owners,
        copies: copies.load(Ordering::Relaxed),
    })
}

fn node_options(net: Net) -> NodeOptions {
    let mut options = NodeOptions::default();
    options.heartbeat = Some(HEARTBEAT);
    // A healthy owner is never stood in for.
    options.suspect_after = Some(if net.faults { SUSPECT } else { ms(30_000) });
    options.connect_timeout = Some(SUSPECT);
    options.default_timeout = Some(ms(2_000));
    options
}

/// The `n`-th key: the nodes own them in turn.
fn key_of(host: &Host, n: usize) -> String {
    let owner = address(n % NODES);
    (0..)
        .map(|salt| format!("key-{n}-{salt}"))
        .find(|key| host.node.owner(key).is_ok_and(|found| found == owner))
        .expect("a member owns some key")
}

async fn play(
    mut host: Host,
    group: Group,
    keys: Vec<String>,
    history: Arc<History>,
) -> Result<(), String> {
    let mut near = NearCopies::of(&group);
    for _ in 0..STEPS {
        pause(&mut host.random).await;
        let player = (host.index, &group, &mut near);
        let step = RULES.step(player, &keys, &history, now, &mut host.random);
        step.await?;
    }
    Ok(())
}
