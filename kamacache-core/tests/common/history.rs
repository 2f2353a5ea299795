//! What happened to every key, written down by those who did it, and the check
//! of S18 to S21 over it: no Get returns a value that had been overtaken when
//! it began. Used over real sockets by `history.rs` and by the simulation.
//!
//! A write is a point between its start and its end. Write A is older than
//! write B if A ended before B started. A getter's answer is a write whose
//! point is the getter call. A Get is wrong if it returns a value older than a
//! write that was acknowledged before the Get began: at once on the writer's
//! node and on the owner's, within a given time on a third. A write that was
//! not acknowledged may be applied at any time, so it proves nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Times are since the start of the run.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub start: Duration,
    pub end: Duration,
}

#[derive(Debug)]
pub struct Write {
    pub node: usize,
    /// `None`: a delete or clear.
    pub value: Option<u64>,
    pub span: Span,
    pub acknowledged: bool,
}

#[derive(Debug)]
pub struct Read {
    pub node: usize,
    pub value: u64,
    pub span: Span,
}

#[derive(Debug, Default)]
pub struct History {
    writes: Mutex<BTreeMap<String, Vec<Write>>>,
    reads: Mutex<BTreeMap<String, Vec<Read>>>,
    /// When the getter made up each value.
    loads: Mutex<BTreeMap<u64, Duration>>,
    values: AtomicU64,
}

impl History {
    pub fn fresh_value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::SeqCst)
    }

    pub fn loaded(&self, value: u64, at: Duration) {
        self.loads.lock().insert(value, at);
    }

    pub fn wrote(&self, key: &str, write: Write) {
        self.writes
            .lock()
            .entry(key.into())
            .or_default()
            .push(write);
    }

    pub fn read(&self, key: &str, read: Read) {
        self.reads.lock().entry(key.into()).or_default().push(read);
    }

    /// `third`: how long a node that neither wrote nor owns a key may serve
    /// what was overtaken.
    pub fn check(&self, owners: &HashMap<String, usize>, third: Duration) -> Result<(), String> {
        self.judge(|key, read, made, writes| {
            let overtaken = writes
                .iter()
                .filter(|write| write.acknowledged)
                .find(|write| {
                    let at_once = write.node == read.node || owners[key] == read.node;
                    let known = write.span.end + if at_once { Duration::ZERO } else { third };
                    made < write.span.start && known < read.span.start
                });
            match overtaken {
                None => Ok(()),
                Some(write) => Err(format!(
                    "{key} (of node {}): {read:?} returned a value of {made:?}, overtaken by {write:?}",
                    owners[key]
                )),
            }
        })
    }

    /// Shows every Get to `one`, with the moment at which its value was the
    /// newest and all writes of its key; the first complaint.
    pub fn judge(
        &self,
        mut one: impl FnMut(&str, &Read, Duration, &[Write]) -> Result<(), String>,
    ) -> Result<(), String> {
        let (writes, loads) = (self.writes.lock(), self.loads.lock());
        for (key, reads) in self.reads.lock().iter() {
            let writes = writes.get(key).map(Vec::as_slice).unwrap_or_default();
            for read in reads {
                let made = match loads.get(&read.value) {
                    Some(at) => *at,
                    None => made(writes, read.value)
                        .ok_or_else(|| format!("{key}: {read:?} returned what nobody wrote"))?,
                };
                one(key, read, made, writes)?;
            }
        }
        Ok(())
    }

    pub fn reads(&self) -> usize {
        self.reads.lock().values().map(Vec::len).sum()
    }
}

/// The latest moment at which a written value was the newest.
fn made(writes: &[Write], value: u64) -> Option<Duration> {
    let write = writes.iter().find(|write| write.value == Some(value))?;
    Some(if write.acknowledged {
        write.span.end
    } else {
        Duration::MAX
    })
}

/// A small generator, so that a seed says it all.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
