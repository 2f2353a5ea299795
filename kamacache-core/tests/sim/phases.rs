//! Histories over changes of the members: which nodes are a ring together and
//! when, and what a Get may return in between (S31, S34).

use std::sync::Arc;
use std::time::Duration;

use crate::common::history::{History, Random, Write};
use crate::world::{address, ms};

pub const NODES: usize = 4;
pub const CHANGES: usize = 6;
/// The side of a node that is closed.
pub const AWAY: usize = 9;

/// How the members change.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// By lists that the program gives.
    Parting,
    /// The same, while links are held, cut and mended.
    PartingInTrouble,
    /// One node at a time closes in order, and starts again.
    Leaving,
    /// One node at a time is gone without a word, and starts again.
    Dying,
}

impl Kind {
    /// Whether the network and all nodes are in order.
    pub fn is_healthy(self) -> bool {
        matches!(self, Self::Parting | Self::Leaving)
    }

    /// How long the network is in trouble when the members begin to change.
    pub fn trouble(self) -> Duration {
        match self {
            Self::PartingInTrouble => ms(600),
            _ => Duration::ZERO,
        }
    }

    /// How long a view lasts, at least: so long that Gets can be judged in it.
    fn lasts(self) -> Duration {
        match self {
            Self::Parting | Self::Leaving => ms(500),
            Self::PartingInTrouble => ms(1900),
            Self::Dying => ms(1500),
        }
    }
}

/// Which nodes are a ring together, from one change to the next.
#[derive(Clone, Debug)]
pub struct Phase {
    /// The side of each node.
    pub sides: [usize; NODES],
    pub planned: Duration,
    /// When each node adopted it, in their order.
    pub adopted: Vec<Duration>,
    /// From when on the network is in order.
    mended: Duration,
}

impl Phase {
    fn begun(&self) -> Duration {
        self.adopted.iter().min().copied().unwrap_or(Duration::MAX)
    }

    /// Since when all nodes have had this view.
    pub fn agreed(&self) -> Duration {
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

    /// The members of this node's ring, sorted.
    pub fn ring_of(&self, node: usize) -> Vec<String> {
        let ring = (0..NODES).filter(|other| self.together(*other, node));
        ring.map(address).collect()
    }

    fn together(&self, one: usize, other: usize) -> bool {
        self.sides[one] == self.sides[other]
    }
}

/// All, two sides, all, and so on; the same on every node.
pub fn plan(seed: u64, kind: Kind) -> Vec<Phase> {
    let mut random = Random(seed ^ 0x5eed);
    let mut at = Duration::ZERO;
    let mut phases = Vec::new();
    for change in 0..CHANGES {
        let mut sides = [0; NODES];
        if change % 2 == 1 {
            match kind {
                Kind::Leaving | Kind::Dying => sides[random.below(NODES)] = AWAY,
                _ => sides = std::array::from_fn(|_| random.below(2)),
            }
        }
        phases.push(Phase {
            sides,
            planned: at,
            adopted: Vec::new(),
            mended: at + kind.trouble(),
        });
        at += kind.lasts() + ms(random.below(500) as u64);
    }
    phases
}

pub struct Recorded {
    pub history: Arc<History>,
    pub phases: Vec<Phase>,
}

impl Recorded {
    /// No Get that began when views had agreed and the network had been in order
    /// for `settle` returns what was
    /// overtaken by a write that its node could have heard of.
    pub fn check(&self, settle: Duration) -> Result<(), String> {
        let mut judged = 0;
        self.history.judge(|key, read, made, writes| {
            let phase = self
                .phases
                .iter()
                .rposition(|phase| phase.begun() <= read.span.start);
            let Some(number) = phase else { return Ok(()) };
            let phase = &self.phases[number];
            let after = self.phases.get(number + 1).map_or(Duration::MAX, Phase::begun);
            let sound = phase.agreed().max(phase.mended).saturating_add(settle);
            if read.span.start < sound || read.span.end >= after {
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
