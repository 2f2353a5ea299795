//! Set, delete and clear: applied at the owner, under the shard's lock, before
//! anyone is told that it is done.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;
use tracing::Instrument;

use super::{Answer, GroupInner};
use crate::error::Short;
use crate::flight::Detached;
use crate::generations::Slot;
use crate::getter::Ttl;
use crate::load::LoadScope;
use crate::options;
use crate::peers::call::CallError;
use crate::peers::link::Link;
use crate::peers::{Route, View};
use crate::stats::Count;
use crate::store::{EvictReason, Kind, Put, Stamp};
use crate::{Error, ErrorKind, Result, Value, trace};

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The program itself.
    Program,
    /// A plain client, which is served to its end while the node leaves (S37).
    Client,
}

/// A change of one key at its owner.
pub(super) enum Write {
    Set(Value, Ttl),
    Delete,
}

impl GroupInner {
    pub(crate) async fn set(
        self: &Arc<Self>,
        door: Door,
        key: &str,
        value: Value,
        ttl: Ttl,
        timeout: Option<Duration>,
    ) -> Result<()> {
        self.counters.add(Count::Set);
        let refused = self.check_value(key, &value);
        let write = set_or_drop(&refused, value, ttl);
        self.write(door, key, write, timeout).await?;
        refused
    }

    pub(crate) async fn delete(
        self: &Arc<Self>,
        door: Door,
        key: &str,
        timeout: Option<Duration>,
    ) -> Result<()> {
        self.counters.add(Count::Delete);
        self.write(door, key, Write::Delete, timeout).await
    }

    /// Applies a write at the key's owner.
    async fn write(
        self: &Arc<Self>,
        door: Door,
        key: &str,
        write: Write,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let (_under_way, over) = match door {
            Door::Program => (None, &self.state.closing),
            Door::Client => (Some(self.state.routed.token()), &self.state.closed),
        };
        self.state.check_open()?;
        options::check_key(key)?;
        let deadline = self.deadline(LoadScope::current().as_ref(), timeout, Instant::now());
        loop {
            let view = arc_swap::Guard::into_inner(self.state.peers.view());
            match view.route(key) {
                Route::Local => self.apply(key, &write, &view)?,
                Route::Remote(link) => tokio::select! {
                    biased;
                    sent = self.send(key, &write, link, &view, deadline) => sent?,
                    () = over.cancelled() => return Err(closed_while_writing()),
                },
            }
            // A write that straddled a view change is replayed under the new
            // view before it is called done.
            let moved = self.state.peers.view().owner(key) != view.owner(key);
            if !moved {
                return Ok(());
            }
        }
    }

    /// Applies a write here and dooms what began before it, under the shard's
    /// lock; then tells who borrowed.
    pub(super) fn apply(&self, key: &str, write: &Write, view: &View) -> Result<()> {
        let slot = Slot::of(&self.name, key);
        // Of each hold of the lock: what is told is told after the last.
        let mut overtaken = SmallVec::<[Overtaken; 1]>::new();
        let applied = match write {
            Write::Set(value, ttl) => {
                let stamp = Stamp {
                    kind: Kind::Owned,
                    view: view.number(),
                    generation: self.generation(slot).wrapping_add(1),
                    expires_at: self.expires_at(*ttl),
                };
                let put = self.store.put_if(key, value, stamp, || {
                    self.state.generations.mark_written(view.serial(), slot);
                    overtaken.push(self.overtake(key, slot));
                    !self.state.closed.is_cancelled()
                });
                match put {
                    Put::Stored => Ok(()),
                    Put::Refused => Err(Error::closed()),
                    Put::TooLarge => Err(options::too_large(
                        &self.name,
                        key,
                        value.len(),
                        self.config.storable,
                    )),
                }
            }
            Write::Delete => {
                self.state.generations.mark_written(view.serial(), slot);
                overtaken.extend(self.drop_and_overtake(key, slot));
                Ok(())
            }
        };
        let serial = self.state.peers.view().serial();
        if serial != view.serial() {
            // What was written in the old view may have been told already.
            self.state.generations.mark_written(serial, slot);
        }
        drop(overtaken);
        self.state.lenders.recall(&self.state.generations, slot);
        applied
    }

    fn drop_and_overtake(&self, key: &str, slot: Slot) -> Option<Overtaken> {
        let mut overtaken = None;
        self.store.remove_with(key, EvictReason::Deleted, || {
            overtaken = Some(self.overtake(key, slot));
        });
        overtaken
    }

    /// Under the shard's lock of the key, so that what is kept under it comes
    /// before or not at all (S20): voids copies of the slot, and dooms the loads
    /// and fetches of the key alone. Dropped after the lock.
    fn overtake(&self, key: &str, slot: Slot) -> Overtaken {
        self.state.generations.bump(slot);
        Overtaken {
            _loads: self.loads.detach(key),
            _fetches: self.fetches.each_ref().map(|fetches| fetches.detach(key)),
        }
    }

    /// Sends a write to the owner, and once more to the one that the receiver
    /// names if views differ.
    async fn send(
        &self,
        key: &str,
        write: &Write,
        link: &Arc<Link>,
        view: &View,
        deadline: Option<Instant>,
    ) -> Result<()> {
        // In every outcome, also when the caller leaves, what was borrowed or
        // is being fetched here is gone before the caller goes on (S17, S18).
        let _forget = Forget { group: self, key };
        let sent = match self.send_once(key, write, link, deadline).await {
            Err(CallError::NotOwner {
                owner: Some(owner),
                error,
            }) => match view.link_to(&owner) {
                Some(named) => self
                    .send_once(key, write, named, deadline)
                    .await
                    .map_err(|again| match again {
                        CallError::NotOwner { .. } => CallError::NotOwner { owner: None, error },
                        other => other,
                    }),
                None => Err(CallError::NotOwner { owner: None, error }),
            },
            other => other,
        };
        sent.map_err(|error| uncertain(error, key))
    }

    async fn send_once(
        &self,
        key: &str,
        write: &Write,
        link: &Link,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        let (group, peer) = (&self.wire_name, link.address());
        let (name, short) = (&*self.name, Short(key));
        let span = match write {
            Write::Set(..) => tracing::debug_span!("send_set", group = name, key = ?short, peer),
            Write::Delete => tracing::debug_span!("send_delete", group = name, key = ?short, peer),
        };
        let trace = span.in_scope(trace::current);
        let sent = async {
            match write {
                Write::Set(value, ttl) => link.set(group, key, value, *ttl, deadline, trace).await,
                Write::Delete => link.delete(group, key, deadline, trace).await,
            }
        };
        sent.instrument(span).await
    }

    /// Drops what is borrowed of a key, and dooms what is on its way.
    fn forget(&self, key: &str) {
        drop(self.drop_and_overtake(key, Slot::of(&self.name, key)));
    }

    pub(super) fn check_value(&self, key: &str, value: &Value) -> Result<()> {
        if value.len() as u64 <= self.config.storable {
            return Ok(());
        }
        Err(options::too_large(
            &self.name,
            key,
            value.len(),
            self.config.storable,
        ))
    }
}

/// The loads and fetches that a write has doomed, whose leaders hear of it when
/// this is dropped.
struct Overtaken {
    _loads: Detached<Answer>,
    _fetches: [Detached<Answer>; 2],
}

/// Drops what this node borrowed of a key, at the latest when its writer leaves.
struct Forget<'a> {
    group: &'a GroupInner,
    key: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.group.forget(self.key);
    }
}

/// A Set that is refused, or that keeps nothing, drops the old entry.
pub(super) fn set_or_drop(refused: &Result<()>, value: Value, ttl: Ttl) -> Write {
    if refused.is_err() || ttl == Ttl::NoStore {
        Write::Delete
    } else {
        Write::Set(value, ttl)
    }
}

/// The node was closed while the write was with its owner (S37).
pub(super) fn closed_while_writing() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the node was closed during the write, which may have been applied",
    )
}

/// What a writer is told: whether its write may have been applied.
fn uncertain(error: CallError, key: &str) -> Error {
    match error {
        CallError::Answered(error) | CallError::NotOwner { error, .. } => error,
        CallError::Unreachable { error, sent } => {
            let told = Error::new(
                error.kind(),
                format!("{}; {}", error.message(), applied(sent)),
            );
            match error.peer() {
                Some(peer) => told.with_peer(peer),
                None => told,
            }
        }
        CallError::Deadline { sent } => {
            let error = Error::deadline(key);
            Error::new(
                error.kind(),
                format!("{}; {}", error.message(), applied(sent)),
            )
        }
    }
}

fn applied(sent: bool) -> &'static str {
    if sent {
        "the write may have been applied"
    } else {
        "nothing was written"
    }
}
