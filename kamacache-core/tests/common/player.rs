//! One who gets, sets, deletes and clears at random and writes into a
//! [`History`] what came of it. Over real sockets and in the simulation.

use std::time::Duration;

use kamacache_core::{Error, ErrorKind, Group};

use super::history::{History, Random, Read, Span, Write};
use super::near::NearCopies;
use super::text;

/// How many in a thousand steps write; the others are Gets.
#[derive(Clone, Copy)]
pub struct Mix {
    pub sets: usize,
    pub deletes: usize,
    pub clears: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Get,
    Set,
    Delete,
    Clear,
}

/// What players have in common.
#[derive(Clone, Copy)]
pub struct Rules {
    pub mix: Mix,
    /// Which errors an operation may meet; any other ends the run. A write that
    /// failed is written down as one that proves nothing.
    pub may_fail: fn(Op, ErrorKind) -> bool,
    /// How long a clear waits for all to have heard.
    pub clear_wait: Option<Duration>,
}

impl Mix {
    fn choose(self, random: &mut Random) -> Op {
        let drawn = random.below(1000);
        if drawn < self.sets {
            Op::Set
        } else if drawn < self.sets + self.deletes {
            Op::Delete
        } else if drawn < self.sets + self.deletes + self.clears {
            Op::Clear
        } else {
            Op::Get
        }
    }
}

impl Rules {
    /// One operation of the node with this number on one of the keys. Half of
    /// the Gets end at a near copy, if there is one; a third of the others ask
    /// for up to three keys at once.
    pub async fn step(
        &self,
        (node, group, near): (usize, &Group, &mut NearCopies),
        keys: &[String],
        history: &History,
        now: impl Fn() -> Duration,
        random: &mut Random,
    ) -> Result<(), String> {
        let at = random.below(keys.len());
        let key = &keys[at];
        let op = self.mix.choose(random);
        let start = now();
        let (value, done) = match op {
            Op::Get => {
                near.follow(group);
                let asked = &keys[at..keys.len().min(at + 1 + random.below(3))];
                let got = match near.get(key).filter(|_| random.below(2) == 0) {
                    Some(value) => vec![Ok(value)],
                    None if random.below(3) == 0 => group.get_many(asked, None).await,
                    None => vec![group.get(key).await],
                };
                let span = Span { start, end: now() };
                for (key, got) in asked.iter().zip(got) {
                    if let Some(value) = self.tell(op, key, got)? {
                        let value = text(&value).parse().map_err(|_| "no number")?;
                        history.read(key, Read { node, value, span });
                    }
                    near.take(group, key);
                }
                return Ok(());
            }
            Op::Set => {
                let value = history.fresh_value();
                (Some(value), group.set(key, value.to_string()).await)
            }
            Op::Delete => (None, group.delete(key).await),
            Op::Clear => (None, group.clear(self.clear_wait).await),
        };
        let span = Span { start, end: now() };
        let acknowledged = self.tell(op, key, done)?.is_some();
        let all = if op == Op::Clear {
            keys
        } else {
            std::slice::from_ref(key)
        };
        for key in all {
            let write = Write {
                node,
                value,
                span,
                acknowledged,
            };
            history.wrote(key, write);
        }
        Ok(())
    }

    fn tell<T>(&self, op: Op, key: &str, done: Result<T, Error>) -> Result<Option<T>, String> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if (self.may_fail)(op, error.kind()) => Ok(None),
            Err(error) => Err(format!("{op:?} of {key}: {error}")),
        }
    }
}
