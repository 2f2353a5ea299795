//! Random Gets, Sets, Deletes and clears while the members change: all are one
//! ring, then each side is a ring of its own, then all are one again, every
//! node hearing of it at a moment of its own (S19, S29, S31, S34); and nodes
//! that leave in order and come back (S32, S33).

use std::sync::Arc;
use std::time::Duration;

use kamacache_core::{ErrorKind, Group, NodeOptions};
use parking_lot::Mutex;

use crate::common::history::{History, Random, Write};
use crate::common::player::{Mix, Op, Rules};
use crate::players::{self, open, pause, tasks};
use crate::seeds;
use crate::world::{Host, Net, address, ms, now, simulate};

const NODES: usize = 4;
/// Many, and few writes: a write that was missed must not be hidden by the next.
const KEYS: usize = 24;
const TASKS: usize = 2;
const CHANGES: usize = 6;
const HEARTBEAT: Duration = ms(100);
/// Two heartbeats; also the longest life of a copy and of a fallback value.
const LEASE: Duration = ms(200);
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
/// The side of a node that is closed.
const AWAY: usize = 9;

#[test]
fn s31_s34_hold_while_sides_part_and_join() {
    seeds::each("s31_s34_hold_while_sides_part_and_join", 4, |seed| {
        let net = Net::healthy();
        let run = run(seed, net, Kind::Parting)?;
        run.check(LEASE + 3 * net.round_trip())
    });
}

#[test]
fn s32_s34_hold_while_nodes_leave_and_come_back() {
    seeds::each("s32_s34_hold_while_nodes_leave_and_come_back", 4, |seed| {
        let net = Net::healthy();
        let run = run(seed, net, Kind::Leaving)?;
        run.check(LEASE + 3 * net.round_trip())
    });
}

/// How the members change.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// By lists that the program gives.
    Parting,
    /// One node at a time closes in order, and starts again.
    Leaving,
}

/// Which nodes are a ring together, from one change to the next.
#[derive(Clone, Debug)]
struct Phase {
    /// The side of each node.
    sides: [usize; NODES],
    planned: Duration,
    /// When the first and the last node adopted it.
    adopted: Vec<Duration>,
}

impl Phase {
    fn begun(&self) -> Duration {
        self.adopted.iter().min().copied().unwrap_or(Duration::MAX)
    }

    /// Since when all nodes have had this view.
    fn agreed(&self) -> Duration {
        let all = self.adopted.len() == NODES;
        let last = self.adopted.iter().max().copied();
        last.filter(|_| all).unwrap_or(Duration::MAX)
    }

    /// Whether this node could have heard of the write by now. While sides are
    /// apart, a write that was made as they parted may be known to either one.
    fn hears(&self, write: &Write, node: usize) -> bool {
        let all = self.sides.iter().all(|side| [0, AWAY].contains(side));
        let mine = self.together(write.node, node) && write.span.start >= self.agreed();
        all || mine || write.span.end < self.begun()
    }

    fn together(&self, one: usize, other: usize) -> bool {
        self.sides[one] == self.sides[other]
    }
}

/// All, two sides, all, and so on; the same on every node.
fn plan(seed: u64, kind: Kind) -> Vec<Phase> {
    let mut random = Random(seed ^ 0x5eed);
    let mut at = Duration::ZERO;
    let mut phases = Vec::new();
    for change in 0..CHANGES {
        let mut sides = [0; NODES];
        if change % 2 == 1 {
            match kind {
                Kind::Parting => sides = std::array::from_fn(|_| random.below(2)),
                Kind::Leaving => sides[random.below(NODES)] = AWAY,
            }
        }
        phases.push(Phase {
            sides,
            planned: at,
            adopted: Vec::new(),
        });
        at += ms(500 + random.below(500) as u64);
    }
    phases
}

struct Recorded {
    history: Arc<History>,
    phases: Vec<Phase>,
}

impl Recorded {
    /// No Get that began when views had agreed for `settle` returns what was
    /// overtaken by a write that its node could have heard of.
    fn check(&self, settle: Duration) -> Result<(), String> {
        let mut judged = 0;
        self.history.judge(|key, read, made, writes| {
            let phase = self
                .phases
                .iter()
                .rposition(|phase| phase.begun() <= read.span.start);
            let Some(number) = phase else { return Ok(()) };
            let phase = &self.phases[number];
            let after = self.phases.get(number + 1).map_or(Duration::MAX, Phase::begun);
            if read.span.start < phase.agreed().saturating_add(settle) || read.span.end >= after {
                return Ok(());
            }
            judged += 1;
            let overtaken = writes.iter().find(|write| {
                write.acknowledged
                    && phase.hears(write, read.node)
                    && made < write.span.start
                    && write.span.end + settle < read.span.start
            });
            match overtaken {
                None => Ok(()),
                Some(write) => Err(format!(
                    "{key}: {read:?} returned a value of {made:?}, overtaken by {write:?}, in phase {number} of {:#?}",
                    self.phases
                )),
            }
        })?;
        if judged < 100 {
            return Err(format!(
                "only {judged} reads were judged, so this proves little"
            ));
        }
        Ok(())
    }
}

/// A node's group, if the node is there.
type Open = Arc<Mutex<Option<Group>>>;

fn run(seed: u64, net: Net, kind: Kind) -> Result<Recorded, String> {
    let history = Arc::new(History::default());
    let phases = Arc::new(Mutex::new(plan(seed, kind)));
    let (all, plan) = (history.clone(), phases.clone());
    simulate(seed, NODES, net, &node_options(), move |host| {
        let (history, phases) = (all.clone(), plan.clone());
        async move {
            let group: Open =
                Arc::new(Mutex::new(Some(open(&host, &history, LEASE, Some(LEASE))?)));
            host.together().await;
            let players: Vec<_> = tasks(&host, TASKS)
                .map(|host| {
                    tokio::spawn(play(host, group.clone(), history.clone(), phases.clone()))
                })
                .collect();
            match kind {
                Kind::Parting => change_views(host, &phases).await?,
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

fn node_options() -> NodeOptions {
    let mut options = NodeOptions::default();
    options.heartbeat = Some(HEARTBEAT);
    // Nobody is stood in for: the network is healthy.
    options.suspect_after = Some(ms(30_000));
    options.default_timeout = Some(ms(2_000));
    options
}

/// Gives this node each list a little later than planned.
async fn change_views(mut host: Host, phases: &Mutex<Vec<Phase>>) -> Result<(), String> {
    let begun = now();
    for number in 0..CHANGES {
        let phase = phases.lock()[number].clone();
        let late = ms(host.random.below(SPREAD) as u64);
        tokio::time::sleep((begun + phase.planned + late).saturating_sub(now())).await;
        let side: Vec<String> = (0..NODES)
            .filter(|node| phase.together(*node, host.index))
            .map(address)
            .collect();
        let adopted = host.node.set_peers(&side);
        adopted.map_err(|error| error.to_string())?;
        phases.lock()[number].adopted.push(now());
    }
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
        let open = group.lock().is_some();
        if away {
            *group.lock() = None;
            let closed = host.node.close(Some(ms(500))).await;
            closed.map_err(|error| format!("close: {error}"))?;
        } else if !open {
            host.restart().await?;
            *group.lock() = Some(players::open(&host, history, LEASE, Some(LEASE))?);
        }
        let there = (0..NODES).filter(|node| phase.sides[*node] != AWAY);
        let members: Vec<String> = there.map(address).collect();
        while !away && host.node.members() != members {
            tokio::time::sleep(ms(1)).await;
        }
        phases.lock()[number].adopted.push(now());
    }
    while !is_over(phases) {
        tokio::time::sleep(ms(10)).await;
    }
    // A getter may still run.
    let _ = host.node.close(Some(Duration::ZERO)).await;
    Ok(())
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
    while !is_over(&phases) {
        pause(&mut host.random).await;
        let Some(group) = open.lock().clone() else {
            continue;
        };
        let player = (host.index, &group);
        let step = RULES.step(player, &keys, &history, now, &mut host.random);
        step.await?;
    }
    Ok(())
}
