//! The Gets of one caller that asks for many keys: each goes on by itself.
//!
//! Invariant: a promoted wait is looked at as soon as it is promoted, whatever
//! the others are waiting for.

use std::future::Future;
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

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
}

impl std::fmt::Debug for Pendings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pendings")
            .field("waits", &self.waits.len())
            .finish()
    }
}
