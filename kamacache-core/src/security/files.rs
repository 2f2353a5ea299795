//! Files that are replaced while the node runs: certificates, keys, tokens.
//! `tls.rs` and `peers/token.rs` look at theirs with this.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// What changes when a file is written or replaced, also behind a link; `None`:
/// it cannot be looked at.
pub(crate) type Version = Option<(Option<SystemTime>, u64)>;

pub(crate) fn version(path: &Path) -> Version {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok(), about.len()))
}

/// Calls `look` twice a second until `closed`.
pub(crate) async fn look_often(closed: CancellationToken, mut look: impl FnMut()) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => look(),
            () = closed.cancelled() => return,
        }
    }
}
