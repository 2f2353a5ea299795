//! A copy whose owner falls silent is served to the end of its lease and not a
//! moment longer (S21): two heartbeats after the last answered ping was sent.

use std::sync::Arc;
use std::time::Duration;

use kamacache_core::NodeOptions;
use kamacache_core::testing::CountingGetter;
use parking_lot::Mutex;

use crate::common::options;
use crate::seeds;
use crate::world::{Host, Net, TICK, address, ms, now, simulate};

const HEARTBEAT: Duration = ms(100);
const NET: Net = Net {
    latency: (ms(20), ms(30)),
    faults: false,
};

#[test]
fn s21_a_copy_ends_with_its_lease_when_the_owner_is_cut_off() {
    seeds::each(
        "s21_a_copy_ends_with_its_lease_when_the_owner_is_cut_off",
        10,
        |seed| {
            let mut node = NodeOptions::default();
            node.heartbeat = Some(HEARTBEAT);
            // Only the lease ends a copy here.
            node.suspect_after = Some(ms(30_000));
            let cut = Arc::new(Mutex::new(Duration::ZERO));
            simulate(seed, 2, NET, &node, move |host| one(host, cut.clone()))
        },
    );
}

/// Node 1 owns the key, node 0 reads it.
async fn one(mut host: Host, cut: Arc<Mutex<Duration>>) -> Result<(), String> {
    let told = |error: kamacache_core::Error| error.to_string();
    let getter = CountingGetter::new();
    let group = host
        .node
        .group("g", options(), Some(getter))
        .map_err(told)?;
    let key = (0..)
        .map(|n| format!("key-{n}"))
        .find(|key| host.node.owner(key).is_ok_and(|owner| owner == address(1)))
        .expect("a member owns some key");
    host.together().await;
    if host.index == 1 {
        // The reader has its copy, and some time has passed.
        host.together().await;
        let written = group.set(&key, "new").await.map_err(told);
        host.together().await;
        return written;
    }
    while group.peek(&key).is_none() {
        group.get(&key).await.map_err(told)?;
    }
    tokio::time::sleep(ms(host.random.below(400) as u64)).await;
    if group.peek(&key).is_none() {
        return Err("the copy was gone before anything happened".into());
    }
    turmoil::partition("node-0", "node-1");
    *cut.lock() = now();
    host.together().await;
    let cut = *cut.lock();
    let mut served = cut;
    while now() < cut + 3 * HEARTBEAT {
        if group.peek(&key).is_some() {
            served = now();
        }
        tokio::time::sleep(TICK).await;
    }
    turmoil::repair("node-0", "node-1");
    host.together().await;
    // What was answered before the cut was sent one way earlier at the least.
    let most = 2 * HEARTBEAT - NET.latency.0 + 2 * TICK;
    if served - cut > most {
        return Err(format!(
            "a copy was served {:?} after the cut, more than {most:?}",
            served - cut
        ));
    }
    Ok(())
}
