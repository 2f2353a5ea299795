//! Random Gets, Sets, Deletes and clears while the members change: all are one
//! ring, then each side is a ring of its own, then all are one again, every
//! node hearing of it at a moment of its own (S19, S29, S31, S34); and nodes
//! that leave in order and come back (S32, S33).

use std::sync::Arc;
use std::time::Duration;

use kamacache_core::{Error, ErrorKind, Group, GroupOptions, LoadContext, NodeOptions, getter_fn};
use parking_lot::Mutex;

use crate::common::history::{History, Random, Read, Span, Write};
use crate::common::text;
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
            let group: Open = Arc::new(Mutex::new(Some(open(&host, &history)?)));
            host.together().await;
            let players: Vec<_> = (0..TASKS)
                .map(|task| {
                    let mut host = host.clone();
                    host.random = Random(host.random.0.wrapping_add(1000 * task as u64));
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

fn open(host: &Host, history: &Arc<History>) -> Result<Group, String> {
    let mut options = GroupOptions::new(1 << 20);
    options.hot_ttl = Some(LEASE);
    options.fallback_ttl = Some(LEASE);
    let (source, mut random) = (history.clone(), host.random.clone());
    let delays: Mutex<Random> = Mutex::new(Random(random.below(1 << 20) as u64));
    let getter = getter_fn(move |_ctx: LoadContext| {
        let value = source.fresh_value();
        source.loaded(value, now());
        let takes = ms(delays.lock().below(30) as u64);
        async move {
            tokio::time::sleep(takes).await;
            Ok::<_, Error>(Some(value.to_string()))
        }
    });
    let group = host.node.group_with("g", options, getter);
    group.map_err(|error| error.to_string())
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
            *group.lock() = Some(self::open(&host, history)?);
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
        tokio::time::sleep(ms(host.random.below(8) as u64)).await;
        let key = &keys[host.random.below(KEYS)];
        let Some(group) = open.lock().clone() else {
            continue;
        };
        let start = now();
        let node = host.index;
        let wrote = |value, done: Result<(), Error>| Write {
            node,
            value,
            span: Span { start, end: now() },
            acknowledged: done.is_ok(),
        };
        match host.random.below(1000) {
            0..940 => match group.get(key).await {
                Ok(value) => history.read(
                    key,
                    Read {
                        node,
                        value: text(&value).parse().map_err(|_| "no number")?,
                        span: Span { start, end: now() },
                    },
                ),
                Err(error) if error.kind() == ErrorKind::Closed => {}
                Err(error) => return Err(format!("get of {key}: {error}")),
            },
            940..975 => {
                let value = history.fresh_value();
                let done = group.set(key, value.to_string()).await;
                history.wrote(key, wrote(Some(value), check(done)?));
            }
            975..999 => {
                let done = group.delete(key).await;
                history.wrote(key, wrote(None, check(done)?));
            }
            _ => {
                let done = group.clear(Some(ms(500))).await;
                for key in &keys {
                    history.wrote(key, wrote(None, done.clone()));
                }
            }
        }
    }
    Ok(())
}

/// A write may meet views that differ or a node that closes; nothing else may
/// fail it.
fn check(done: Result<(), Error>) -> Result<Result<(), Error>, String> {
    match &done {
        Err(error) if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Closed) => {
            Err(format!("write: {error}"))
        }
        _ => Ok(done),
    }
}
