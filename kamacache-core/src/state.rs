//! What all groups of one node share.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::generations::Generations;
use crate::peers::Peers;

pub(crate) struct State {
    /// Where loads, fetches and callbacks run.
    pub(crate) runtime: Handle,
    pub(crate) peers: Peers,
    pub(crate) generations: Generations,
    pub(crate) clock: Clock,
    pub(crate) default_timeout: Duration,
    /// Set by `close`: everyone who waits is told so.
    pub(crate) closed: CancellationToken,
    /// Set when `close` has waited long enough: async getters are dropped.
    pub(crate) abandoned: CancellationToken,
    /// Getters that run now.
    pub(crate) running: TaskTracker,
}
