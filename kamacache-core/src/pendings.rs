//! The Gets of one caller that asks for many keys: each goes on by itself.
//!
//! Invariant: a promoted wait is looked at as soon as it is promoted, whatever
//! the others are waiting for. A caller that blocks its thread, or runs a getter
//! on it, has each driven by a task: [`Driven`].

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::pending::Pending;
use crate::{Result, Value};

type Ends = Pin<Box<dyn Future<Output = (usize, Result<Value>)> + Send>>;

/// The right to several results, each by its place in its caller's list.
/// Dropping it leaves the waits.
#[derive(Default)]
#[must_use]
pub struct Pendings {
    waits: FuturesUnordered<Ends>,
}

impl Pendings {
    /// One more, for the place `at`.
    pub fn add(&mut self, at: usize, pending: Pending) {
        self.waits
            .push(Box::pin(async move { (at, pending.wait().await) }));
    }

    /// The next that is decided, in whatever order, each by its own deadline;
    /// `None`: all were. Cancel-safe.
    pub async fn next(&mut self) -> Option<(usize, Result<Value>)> {
        self.waits.next().await
    }

    /// Has tasks of `runtime` drive the waits from now on.
    pub fn drive(self, runtime: &Handle) -> Driven {
        let (sender, results) = channel();
        let drive = |wait| {
            let sender = sender.clone();
            runtime.spawn(Driver { wait, sender }.run()).abort_handle()
        };
        let tasks = self.waits.into_iter().map(drive).collect();
        Driven { results, tasks }
    }
}

impl std::fmt::Debug for Pendings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pendings")
            .field("waits", &self.waits.len())
            .finish()
    }
}

/// Waits that tasks drive, for a caller that blocks its thread; inside a getter
/// it holds a [`crate::pool::away`] meanwhile. Dropping it leaves the waits soon,
/// [`Driven::leave`] at once.
#[derive(Debug)]
#[must_use]
pub struct Driven {
    results: Receiver<(usize, Result<Value>)>,
    tasks: Vec<AbortHandle>,
}

impl Driven {
    /// The next that is decided, in whatever order; blocks this thread. `None`:
    /// all were, or the node went down with its runtime.
    pub fn next(&self) -> Option<(usize, Result<Value>)> {
        self.results.recv().ok()
    }

    /// The same for at most `slice`.
    ///
    /// # Errors
    /// Timeout: none was decided; Disconnected: as `None` of [`Driven::next`].
    pub fn next_within(
        &self,
        slice: Duration,
    ) -> std::result::Result<(usize, Result<Value>), RecvTimeoutError> {
        self.results.recv_timeout(slice)
    }

    /// Leaves the waits: a load that is given up afterwards is inherited by none
    /// of them. Blocks this thread for the tasks' current steps.
    pub fn leave(self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        while self.results.recv().is_ok() {}
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Its fields are dropped in this order: once the channel is closed, the waits
/// are left.
struct Driver {
    wait: Ends,
    sender: Sender<(usize, Result<Value>)>,
}

impl Driver {
    async fn run(mut self) {
        let ended = (&mut self.wait).await;
        // Nobody listens only when the caller has left.
        let _ = self.sender.send(ended);
    }
}
