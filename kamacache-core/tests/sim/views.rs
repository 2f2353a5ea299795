//! Random Gets, Sets, Deletes and clears while the members change: all are one
//! ring, then each side is a ring of its own, then all are one again, every
//! node hearing of it at a moment of its own (S19, S29, S31, S34); and nodes
//! that leave in order and come back (S32, S33).

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kamacache_core::{ErrorKind, Group, NodeOptions};
use parking_lot::Mutex;

use crate::common::history::{History, Random};
use crate::common::near::NearCopies;
use crate::common::player::{Mix, Op, Rules};
use crate::phases::{AWAY, CHANGES, Kind, NODES, Phase, Recorded, plan};
use crate::players::{self, pause, tasks};
use crate::seeds;
use crate::world::{Host, Net, faults, ms, name, now, simulate};

/// Many, and few writes: a write that was missed must not be hidden by the next.
const KEYS: usize = 24;
const TASKS: usize = 2;
const HEARTBEAT: Duration = ms(100);
/// Two heartbeats; also the longest life of a copy and of a fallback value.
const LEASE: Duration = ms(200);
const NET: Net = Net {
    latency: (ms(1), ms(10)),
    faults: false,
};
/// Where the network fails.
const SUSPECT: Duration = ms(150);
const PROBE: Duration = ms(100);
/// Until a link that was cut is given up, dialled again, and has been told what
/// was missed: suspicion is noticed at a heartbeat, a dial that was lost takes
/// its time, and so do two probes.
const RECOVERY: Duration = ms(150 + 100 + 150 + 200 + 100);
/// How far apart two nodes may hear of the same change.
const SPREAD: usize = 100;
/// Few writes, so that one that was missed shows. They may meet views that
/// differ, or a node that closes; nothing else may fail.
const RULES: Rules = Rules {
    mix: Mix {
        sets: 35,
        deletes: 24,
        clears: 1,
    },
    may_fail: |op, kind| match op {
        Op::Get => kind == ErrorKind::Closed,
        Op::Set | Op::Delete => matches!(kind, ErrorKind::Unavailable | ErrorKind::Closed),
        Op::Clear => true,
    },
    clear_wait: Some(ms(500)),
};

#[test]
fn s31_s34_hold_while_sides_part_and_join() {
    seeds::each("s31_s34_hold_while_sides_part_and_join", 2, |seed| {
        holds(seed, Kind::Parting)
    });
}

#[test]
fn s31_s34_hold_while_sides_part_and_join_and_links_are_cut() {
    seeds::each(
        "s31_s34_hold_while_sides_part_and_join_and_links_are_cut",
        1,
        |seed| holds(seed, Kind::PartingInTrouble),
    );
}

#[test]
fn s31_s34_hold_while_nodes_die_and_come_back() {
    seeds::each("s31_s34_hold_while_nodes_die_and_come_back", 1, |seed| {
        holds(seed, Kind::Dying)
    });
}

#[test]
fn s32_s34_hold_while_nodes_leave_and_come_back() {
    seeds::each("s32_s34_hold_while_nodes_leave_and_come_back", 2, |seed| {
        holds(seed, Kind::Leaving)
    });
}

fn holds(seed: u64, kind: Kind) -> Result<(), String> {
    let settle = if kind.is_healthy() {
        3 * NET.round_trip()
    } else {
        RECOVERY
    };
    run(seed, kind)?.check(LEASE + settle)
}

/// Nodes that leave give their entries in the order of their tables, whose seeds
/// are drawn once a process.
#[test]
fn a_seed_is_the_same_in_every_process() {
    let run = || {
        let mut other = Command::new(std::env::current_exe().expect("this program"));
        other.args(["--exact", "views::history_of_a_seed", "--ignored"]);
        let ran = other.arg("--nocapture").output().expect("it runs");
        let told = String::from_utf8(ran.stdout).expect("text");
        let start = told.find("History").expect("a history is told");
        told[start..].split("test result").next().map(str::to_owned)
    };
    assert!(run() == run(), "two processes differ");
}

#[test]
#[ignore = "a_seed_is_the_same_in_every_process runs it"]
#[expect(clippy::print_stdout, reason = "told to the process that runs it")]
fn history_of_a_seed() {
    let recorded = seeds::alone(|| run(1, Kind::Leaving));
    println!("{:#?}", recorded.expect("the seed holds").history);
}

/// A node's group, if the node is there.
type Open = Arc<Mutex<Option<Group>>>;

fn run(seed: u64, kind: Kind) -> Result<Recorded, String> {
    let history = Arc::new(History::default());
    let phases = Arc::new(Mutex::new(plan(seed, kind)));
    let (all, plan) = (history.clone(), phases.clone());
    simulate(seed, NODES, NET, &node_options(kind), move |host| {
        let (history, phases) = (all.clone(), plan.clone());
        async move {
            let group: Open = Arc::new(Mutex::new(Some(open(&host, &history)?)));
            host.together().await;
            let players: Vec<_> = tasks(&host, TASKS)
                .map(|host| {
                    tokio::spawn(play(host, group.clone(), history.clone(), phases.clone()))
                })
                .collect();
            match kind {
                Kind::Parting | Kind::PartingInTrouble => change_views(host, &phases, kind).await?,
                Kind::Dying => die_and_return(host, &phases, &group, &history).await?,
                Kind::Leaving => come_and_go(host, &phases, &group, &history).await?,
            }
            for player in players {
                player.await.map_err(|error| error.to_string())??;
            }
            Ok(())
        }
    })?;
    let phases = phases.lock().clone();
    Ok(Recorded { history, phases })
}

fn node_options(kind: Kind) -> NodeOptions {
    let mut options = NodeOptions::default();
    options.heartbeat = Some(HEARTBEAT);
    options.default_timeout = Some(ms(2_000));
    if kind.is_healthy() {
        // Nobody is stood in for: the network is healthy.
        options.suspect_after = Some(ms(30_000));
    } else {
        options.suspect_after = Some(SUSPECT);
        options.connect_timeout = Some(SUSPECT);
        options.probe_interval = Some(PROBE);
    }
    options
}

/// Gives this node each list a little later than planned.
async fn change_views(
    mut host: Host,
    phases: &Mutex<Vec<Phase>>,
    kind: Kind,
) -> Result<(), String> {
    let begun = now();
    for number in 0..CHANGES {
        let phase = phases.lock()[number].clone();
        if host.index == 0 {
            let random = Random(host.random.below(1 << 30) as u64);
            let until = begun + phase.planned + kind.trouble();
            tokio::spawn(faults(NODES, random, begun + phase.planned, until));
        }
        let late = ms(host.random.below(SPREAD) as u64);
        tokio::time::sleep((begun + phase.planned + late).saturating_sub(now())).await;
        let adopted = host.node.set_peers(&phase.ring_of(host.index));
        adopted.map_err(|error| error.to_string())?;
        phases.lock()[number].adopted.push(now());
    }
    Ok(())
}

/// Is gone when it is this node's turn: nobody hears from it any more. It comes
/// back with nothing; the others have given it up meanwhile.
async fn die_and_return(
    mut host: Host,
    phases: &Mutex<Vec<Phase>>,
    group: &Open,
    history: &Arc<History>,
) -> Result<(), String> {
    let begun = now();
    for number in 0..CHANGES {
        let phase = phases.lock()[number].clone();
        tokio::time::sleep((begun + phase.planned).saturating_sub(now())).await;
        let others = (0..NODES).filter(|node| *node != host.index);
        if phase.sides[host.index] == AWAY {
            others.for_each(|other| turmoil::partition(name(host.index), name(other)));
            *group.lock() = None;
            // A getter may still run.
            let _ = host.node.close(Some(Duration::ZERO)).await;
        } else {
            if group.lock().is_none() {
                others.for_each(|other| turmoil::repair(name(host.index), name(other)));
                host.restart().await?;
                *group.lock() = Some(open(&host, history)?);
            }
            // Some give it up before they suspect it, and some after.
            tokio::time::sleep(ms(host.random.below(2 * SPREAD) as u64)).await;
            let adopted = host.node.set_peers(&phase.ring_of(host.index));
            adopted.map_err(|error| error.to_string())?;
        }
        phases.lock()[number].adopted.push(now());
    }
    end(&host, phases).await;
    Ok(())
}

/// Leaves when it is this node's turn, and comes back; otherwise notes when it
/// has heard.
async fn come_and_go(
    mut host: Host,
    phases: &Mutex<Vec<Phase>>,
    group: &Open,
    history: &Arc<History>,
) -> Result<(), String> {
    let begun = now();
    for number in 0..CHANGES {
        let phase = phases.lock()[number].clone();
        tokio::time::sleep((begun + phase.planned).saturating_sub(now())).await;
        let away = phase.sides[host.index] == AWAY;
        let is_open = group.lock().is_some();
        if away {
            *group.lock() = None;
            let closed = host.node.close(Some(ms(500))).await;
            closed.map_err(|error| format!("close: {error}"))?;
        } else if !is_open {
            host.restart().await?;
            *group.lock() = Some(open(&host, history)?);
        }
        let members = phase.ring_of(host.index);
        while !away && host.node.members() != members {
            tokio::time::sleep(ms(1)).await;
        }
        phases.lock()[number].adopted.push(now());
    }
    end(&host, phases).await;
    Ok(())
}

/// Closes the node that runs now, when all is over.
async fn end(host: &Host, phases: &Mutex<Vec<Phase>>) {
    while !is_over(phases) {
        tokio::time::sleep(ms(10)).await;
    }
    // A getter may still run.
    let _ = host.node.close(Some(Duration::ZERO)).await;
}

fn open(host: &Host, history: &Arc<History>) -> Result<Group, String> {
    players::open(host, history, LEASE, Some(LEASE))
}

/// Ends a while after the last change.
fn is_over(phases: &Mutex<Vec<Phase>>) -> bool {
    let agreed = phases.lock()[CHANGES - 1].agreed();
    agreed != Duration::MAX && now() > agreed + ms(700)
}

async fn play(
    mut host: Host,
    open: Open,
    history: Arc<History>,
    phases: Arc<Mutex<Vec<Phase>>>,
) -> Result<(), String> {
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key-{n}")).collect();
    let mut near: Option<NearCopies> = None;
    while !is_over(&phases) {
        pause(&mut host.random).await;
        let Some(group) = open.lock().clone() else {
            continue;
        };
        let near = near.get_or_insert_with(|| NearCopies::of(&group));
        let player = (host.index, &group, near);
        let step = RULES.step(player, &keys, &history, now, &mut host.random);
        step.await?;
    }
    Ok(())
}
