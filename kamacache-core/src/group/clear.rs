//! Clears: every entry on every member is dropped, and nothing that began
//! before is kept (S22).
//!
//! Invariant: a clear is done when all members have acknowledged it in the same
//! view. A member with another view may share keys with nodes that the caller
//! does not know, and would not tell them: it says so, and the clear is
//! repeated until the views agree.

use std::time::Duration;

use tokio::time::Instant;

use super::GroupInner;
use super::write::closed_while_writing;
use crate::flight::Flights;
use crate::load::LoadScope;
use crate::peers::View;
use crate::peers::call::CallError;
use crate::stats::Count;
use crate::{Error, ErrorKind, Result};

/// With Unavailable, in answer to a clear: done here, in another view.
pub(crate) const OTHER_VIEW: i64 = 1;
/// How long a clear waits for views to agree, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(20);

/// What members have answered to a clear.
#[derive(Default)]
struct Answers {
    silent: Vec<String>,
    differ: Vec<String>,
}

impl GroupInner {
    /// Clears here and on every member.
    pub(crate) async fn clear(&self, timeout: Option<Duration>) -> Result<()> {
        self.state.check_open()?;
        self.counters.add(Count::Clear);
        let now = Instant::now();
        let deadline = self.deadline(LoadScope::current().as_ref(), timeout, now);
        let patience = now + PATIENCE;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        tokio::select! {
            biased;
            cleared = self.clear_until(deadline, until) => cleared,
            () = self.state.closing.cancelled() => Err(closed_while_writing()),
        }
    }

    async fn clear_until(&self, deadline: Option<Instant>, until: Instant) -> Result<()> {
        loop {
            let view = arc_swap::Guard::into_inner(self.state.peers.view());
            let answers = self.clear_in(&view, deadline).await;
            if !answers.silent.is_empty() {
                return Err(self.not_acknowledged(&answers.silent));
            }
            let moved = self.state.peers.view().serial() != view.serial();
            if answers.differ.is_empty() && !moved {
                return Ok(());
            }
            if Instant::now() + AGAIN > until {
                return Err(self.views_differ(&answers.differ));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Clears here and on the members of this view.
    async fn clear_in(&self, view: &View, deadline: Option<Instant>) -> Answers {
        self.clear_here();
        let (group, digest) = (&self.wire_name, view.digest());
        let clears = view.links().map(|link| async move {
            let cleared = link.clear(group, digest, deadline).await;
            (link.address(), cleared)
        });
        let mut answers = Answers::default();
        for (address, cleared) in futures_util::future::join_all(clears).await {
            match cleared {
                Ok(()) => {}
                // A member without the group has nothing to clear.
                Err(CallError::Answered(error)) if error.kind() == ErrorKind::UnknownGroup => {}
                Err(CallError::Answered(error)) if error.app_code() == Some(OTHER_VIEW) => {
                    answers.differ.push(address.to_owned());
                }
                Err(_) => answers.silent.push(address.to_owned()),
            }
        }
        // What was fetched from a member that had not cleared yet.
        self.clear_here();
        answers
    }

    /// A peer clears, which has the view of the digest; 0: it does not say.
    ///
    /// # Errors
    /// Unavailable with [`OTHER_VIEW`]: everything is dropped here, but this
    /// node has another view.
    pub(crate) fn serve_clear(&self, digest: u64) -> Result<()> {
        self.clear_here();
        if [0, self.state.peers.view().digest()].contains(&digest) {
            return Ok(());
        }
        Err(self.views_differ(&[]).with_app_code(OTHER_VIEW))
    }

    /// A write of every key, at a cost that does not depend on how many entries
    /// there are: nothing that began before it is kept, and nothing
    /// is taken from an owner that did not hear of it (S22, S33).
    fn clear_here(&self) {
        loop {
            let serial = self.state.peers.view().serial();
            self.state.generations.mark_all_written(serial);
            // Before the entries go: a load that is kept after this has begun
            // after it.
            let loads = self.loads.detach_all();
            let fetches = self.fetches.each_ref().map(Flights::detach_all);
            // Before, so that no copy that is on its way is kept after it; and
            // after, so that no near copy of an old entry stands.
            self.void_copies();
            self.store.clear();
            self.void_copies();
            self.state.upkeep.reclaim_is_due();
            drop((loads, fetches));
            self.state.lenders.recall_group(&self.wire_name);
            if self.state.peers.view().serial() == serial {
                return;
            }
        }
    }

    fn not_acknowledged(&self, silent: &[String]) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "group {:?} is cleared here, but not acknowledged by {silent:?}; \
                 they are told when they are reached again",
                &*self.name
            ),
        )
    }

    fn views_differ(&self, members: &[String]) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "group {:?} is cleared on all members of this node's view, but the members are changing, or \
                 differ in {members:?}, and one that was not told may hold entries; clear again when all list the same",
                &*self.name
            ),
        )
    }
}
