//! How a node ends: it leaves the ring, serves to their end the calls that it
//! has taken, waits for running getters, and frees what it holds.
//!
//! Invariant: closes at the same time are one, and say the same. Called by
//! `Node::close`, and by the drop of the last handle, which waits for nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Inner;
use crate::group::GroupInner;
use crate::membership::Membership;
use crate::units::bounded;
use crate::{Error, ErrorKind, Result};

/// How long open connections may take to end at close.
const HANG_UP: Duration = Duration::from_millis(500);

impl Inner {
    pub(super) async fn close(&self, drain: Option<Duration>) -> Result<()> {
        let drain = bounded(drain.unwrap_or(self.drain));
        let again = self.ended.initialized();
        // Closes at the same time are one; if its caller leaves, another of them
        // goes on with it.
        let ended = self.ended.get_or_init(|| self.end(drain)).await;
        match ended {
            // A later one waits for what the first one left running.
            Err(_) if again => self.idle(Instant::now() + drain, drain).await,
            ended => ended.clone(),
        }
    }

    /// Waits for getters that run.
    async fn idle(&self, deadline: Instant, drain: Duration) -> Result<()> {
        let idle = tokio::time::timeout_at(deadline, self.state.running.wait()).await;
        idle.map_err(|_| {
            let still_running = self.state.running.len();
            let getters = if still_running == 1 {
                "getter"
            } else {
                "getters"
            };
            let when = if drain.is_zero() {
                "at once".to_owned()
            } else {
                format!("after {drain:?}")
            };
            Error::new(
                ErrorKind::DeadlineExceeded,
                format!("closed {when} with {still_running} {getters} still running"),
            )
        })
    }

    async fn end(&self, drain: Duration) -> Result<()> {
        let deadline = Instant::now() + drain;
        self.state.closing.cancel();
        if !self.leaving.swap(true, Ordering::Relaxed) {
            Membership::leave(&self.state, drain).await;
        }
        // Plain clients are served to their end, new ones are refused.
        self.state.routed.close();
        let _ = tokio::time::timeout_at(deadline, self.state.routed.wait()).await;
        self.begin_close();
        let serving = self.serving.lock().take();
        hang_up(serving).await;
        let idle = self.idle(deadline, drain).await;
        for group in self.let_go() {
            while group.reclaim() {
                tokio::task::yield_now().await;
            }
        }
        let admin = self.admin_serving.lock().take();
        hang_up(admin).await;
        idle
    }

    /// From here on nothing new begins, and everyone who waits is told.
    pub(super) fn begin_close(&self) {
        self.state.closing.cancel();
        self.state.closed.cancel();
        self.state.running.close();
        self.state.getters.close();
    }

    /// Drops what still runs, and frees the user's getters; the groups, whose
    /// entries are to be reclaimed.
    fn let_go(&self) -> Vec<Arc<GroupInner>> {
        self.state.abandoned.cancel();
        self.state.peers.hang_up();
        let groups: Vec<_> = self
            .state
            .groups
            .write()
            .drain()
            .map(|(_, group)| group)
            .collect();
        groups.iter().for_each(|group| group.close());
        groups
    }

    pub(super) fn finish_close(&self) {
        for group in self.let_go() {
            while group.reclaim() {}
        }
    }
}

/// Lets a server that was told to end do so.
async fn hang_up(serving: Option<JoinHandle<()>>) {
    if let Some(mut serving) = serving
        && tokio::time::timeout(HANG_UP, &mut serving).await.is_err()
    {
        serving.abort();
    }
}
