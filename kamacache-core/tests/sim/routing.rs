//! Who loads what: one getter call in the cluster for a cold key (S9), no
//! forwarding (S7), and an end to it also while members differ (S8).

use std::sync::Arc;
use std::time::Duration;

use kamacache_core::testing::CountingGetter;
use kamacache_core::{Error, Group, LoadContext, NodeOptions, getter_fn};
use parking_lot::Mutex;

use crate::common::options;
use crate::seeds;
use crate::world::{Host, Net, TICK, address, ms, now, simulate};

#[test]
fn s09_one_getter_call_cluster_wide_over_random_timings() {
    seeds::each(
        "s09_one_getter_call_cluster_wide_over_random_timings",
        10,
        one_getter_call,
    );
}

fn one_getter_call(seed: u64) -> Result<(), String> {
    const KEYS: usize = 4;
    const GETS: usize = 12;
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let groups: Arc<Mutex<Vec<Group>>> = Arc::default();
    let (source, all) = (calls.clone(), groups.clone());
    simulate(
        seed,
        3,
        Net::healthy(),
        &patient(),
        move |mut host: Host| {
            let (source, all) = (source.clone(), all.clone());
            async move {
                let takes = ms(host.random.below(60) as u64);
                let getter = getter_fn(move |ctx: LoadContext| {
                    source.lock().push(ctx.key().to_owned());
                    async move {
                        tokio::time::sleep(takes).await;
                        Ok::<_, Error>(Some("value"))
                    }
                });
                let group = host.node.group_with("g", options(), getter).map_err(told)?;
                all.lock().push(group.clone());
                host.together().await;
                let gets: Vec<_> = (0..KEYS * GETS)
                    .map(|n| {
                        let (group, key) = (group.clone(), format!("key-{}", n % KEYS));
                        let after = ms(host.random.below(40) as u64);
                        tokio::spawn(async move {
                            tokio::time::sleep(after).await;
                            group.get(&key).await
                        })
                    })
                    .collect();
                for get in gets {
                    get.await.map_err(told)?.map_err(told)?;
                }
                host.together().await;
                Ok(())
            }
        },
    )?;
    let mut called = calls.lock().clone();
    called.sort();
    let expected: Vec<String> = (0..KEYS).map(|n| format!("key-{n}")).collect();
    if called != expected {
        return Err(format!("the getter was called for {called:?}"));
    }
    let stats: Vec<_> = groups.lock().iter().map(Group::stats).collect();
    let fetches: u64 = stats.iter().map(|stats| stats.fetches).sum();
    let served: u64 = stats.iter().map(|stats| stats.peer_gets).sum();
    if fetches != served {
        return Err(format!("{fetches} fetches were sent, {served} were served"));
    }
    Ok(())
}

#[test]
fn s07_s08_a_thousand_gets_end_while_members_differ() {
    seeds::each(
        "s07_s08_a_thousand_gets_end_while_members_differ",
        5,
        opposite_views,
    );
}

/// Some nodes have heard of the last member and some have not, and while the
/// Gets are under way the others hear of it too.
fn opposite_views(seed: u64) -> Result<(), String> {
    const NODES: usize = 3;
    const LOAD: Duration = ms(100);
    let net = Net::healthy();
    let calls = Arc::new(Mutex::new(0));
    let source = calls.clone();
    simulate(seed, NODES, net, &patient(), move |mut host: Host| {
        let source = source.clone();
        async move {
            let warm = CountingGetter::new();
            let other = host
                .node
                .group("warm", options(), Some(warm))
                .map_err(told)?;
            let getter = getter_fn(move |_ctx: LoadContext| {
                *source.lock() += 1;
                async {
                    tokio::time::sleep(LOAD).await;
                    Ok::<_, Error>(Some("value"))
                }
            });
            let group = host.node.group_with("g", options(), getter).map_err(told)?;
            host.together().await;
            // A key of the last node, which without it is another's.
            let key = key_of(&host, NODES - 1);
            for owner in 0..NODES {
                other.get(&key_of(&host, owner)).await.map_err(told)?;
            }
            host.together().await;
            let behind = host.index < NODES - 1 && host.random.below(2) == 0;
            let some: Vec<String> = (0..NODES - 1).map(address).collect();
            if behind {
                host.node.set_peers(&some).map_err(told)?;
            }
            host.together().await;
            let begun = now();
            let gets: Vec<_> = (0..1000 / NODES + 1)
                .map(|_| {
                    let (group, key) = (group.clone(), key.clone());
                    tokio::spawn(async move { group.get(&key).await })
                })
                .collect();
            if behind && host.random.below(2) == 0 {
                tokio::time::sleep(ms(host.random.below(150) as u64)).await;
                let all: Vec<String> = (0..NODES).map(address).collect();
                host.node.set_peers(&all).map_err(told)?;
            }
            for get in gets {
                get.await.map_err(told)?.map_err(told)?;
            }
            let (took, most) = (now() - begun, LOAD + 2 * net.round_trip() + 2 * TICK);
            if took > most {
                return Err(format!(
                    "node {} took {took:?}, more than {most:?}",
                    host.index
                ));
            }
            let stats = group.stats();
            if stats.fetches > 1 {
                return Err(format!(
                    "node {} sent {} fetches",
                    host.index, stats.fetches
                ));
            }
            Ok(())
        }
    })?;
    let calls = *calls.lock();
    if calls > 2 {
        return Err(format!("{calls} getter calls"));
    }
    Ok(())
}

/// A node that never takes a peer for dead.
fn patient() -> NodeOptions {
    let mut options = NodeOptions::default();
    options.suspect_after = Some(Duration::from_secs(30));
    options
}

fn key_of(host: &Host, owner: usize) -> String {
    let owner = address(owner);
    (0..)
        .map(|n| format!("key-{n}"))
        .find(|key| host.node.owner(key).is_ok_and(|found| found == owner))
        .expect("a member owns some key")
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
