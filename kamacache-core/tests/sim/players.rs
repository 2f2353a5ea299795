//! Tasks of a simulated node that use one group at random, and its getter.

use std::sync::Arc;
use std::time::Duration;

use kamacache_core::{Error, Group, GroupOptions, LoadContext, getter_fn};
use parking_lot::Mutex;

use crate::common::history::{History, Random};
use crate::world::{Host, ms, now};

/// The hosts of `count` tasks, each with dice of its own.
pub fn tasks(host: &Host, count: usize) -> impl Iterator<Item = Host> {
    (0..count).map(|task| {
        let mut host = host.clone();
        host.random = Random(host.random.0.wrapping_add(1000 * task as u64));
        host
    })
}

/// A short while between two steps.
pub async fn pause(random: &mut Random) {
    tokio::time::sleep(ms(random.below(8) as u64)).await;
}

/// The group of these histories: its getter makes up a new value each time, and
/// takes a while for it.
pub fn open(
    host: &Host,
    history: &Arc<History>,
    fallback_ttl: Duration,
    hot_ttl: Option<Duration>,
) -> Result<Group, String> {
    let mut options = GroupOptions::new(1 << 20);
    options.fallback_ttl = Some(fallback_ttl);
    options.hot_ttl = hot_ttl;
    let (source, mut random) = (history.clone(), host.random.clone());
    let delays: Mutex<Random> = Mutex::new(Random(random.below(1 << 20) as u64));
    let getter = getter_fn(move |_ctx: LoadContext| {
        let value = source.fresh_value();
        source.loaded(value, now());
        let takes = ms(delays.lock().below(30) as u64);
        async move {
            tokio::time::sleep(takes).await;
            Ok::<_, Error>(Some(value.to_string()))
        }
    });
    let group = host.node.group_with("g", options, getter);
    group.map_err(|error| error.to_string())
}
