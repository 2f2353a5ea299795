//! The end of a node: two closes at once, limits of time, and what is under way.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Gate, LONG, gated, kind, options, text, until};
use kamacache_core::client::Client;
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{
    Error, ErrorKind, GroupOptions, LoadContext, Loaded, Node, NodeOptions, Ttl, getter_fn,
};

#[tokio::test(flavor = "multi_thread")]
async fn s32_two_closes_at_once_are_one_that_gives_everything() {
    const KEYS: usize = 5_000;
    // Half of it is for giving, on a machine that does much else.
    const DRAIN: Option<Duration> = Some(Duration::from_secs(120));
    let cluster = Cluster::start(2).await.unwrap();
    let options = GroupOptions::new(64 << 20);
    let getter = CountingGetter::new();
    let groups = cluster.groups("g", &options, &getter).unwrap();
    let owned = |key: &String| cluster.node(0).owner(key).unwrap() == cluster.node(0).address();
    let keys: Vec<String> = (0..2 * KEYS)
        .map(|n| format!("key-{n}"))
        .filter(owned)
        .collect();
    for key in &keys {
        groups[0].set(key, "v").await.unwrap();
    }
    let (one, two) = tokio::join!(cluster.node(0).close(DRAIN), cluster.node(0).close(DRAIN));
    one.unwrap();
    two.unwrap();
    until("the other owns all", || {
        cluster.node(1).members().len() == 1
    })
    .await;
    for key in &keys {
        assert_eq!(text(&groups[1].get(key).await.unwrap()), "v");
    }
    assert_eq!(getter.total(), 0);
}

/// Whatever a duration is, nothing panics: the longest ones never end.
#[tokio::test(flavor = "multi_thread")]
async fn durations_without_end_are_only_long() {
    let longest = [
        Duration::MAX,
        Duration::from_millis(u64::MAX),
        Duration::from_millis(u64::MAX - 2),
        Duration::from_secs(i64::MAX as u64),
    ];
    for long in longest {
        let mut node = NodeOptions::default();
        node.default_timeout = Some(long);
        node.connect_timeout = Some(long);
        node.heartbeat = Some(long);
        node.suspect_after = Some(long);
        node.probe_interval = Some(long);
        node.remove_grace = Some(long);
        node.warm_window = Some(long);
        node.drain = Some(long);
        let mut options = options();
        options.ttl = Some(long);
        options.negative_ttl = Some(long);
        options.hot_ttl = Some(long);
        options.fallback_ttl = Some(long);
        options.stale_while_revalidate = Some(long);
        options.stale_if_error = Some(long);
        options.load_timeout = Some(long);
        options.max_concurrent_loads = Some(1);
        let cluster = Cluster::start_with(2, &node).await.unwrap();
        let groups = cluster
            .groups("g", &options, &CountingGetter::new())
            .unwrap();
        for owner in 0..2 {
            let key = cluster.key_owned_by(owner, 0);
            groups[0].get(&key).await.unwrap();
            groups[0]
                .set_with(&key, "set", Ttl::After(long), Some(long))
                .await
                .unwrap();
            for group in &groups {
                let value = group.get_timeout(&key, long).await.unwrap();
                assert_eq!(text(&value), "set");
            }
            let large = vec![7; 100 << 10];
            groups[0].set(&key, large.clone()).await.unwrap();
            assert_eq!(groups[1].get(&key).await.unwrap().to_vec(), large);
            groups[0].delete_with(&key, Some(long)).await.unwrap();
            groups[0].clear(Some(long)).await.unwrap();
        }
        // A load that stands in for a dead owner keeps what it has for so long.
        let key = cluster.key_owned_by(1, 1);
        cluster.node(1).close(Some(long)).await.unwrap();
        groups[0].get(&key).await.unwrap();
        cluster.node(0).close(None).await.unwrap();
    }
}

/// A plain client's routed call that is under way when the node is told to end.
#[tokio::test(flavor = "multi_thread")]
async fn s37_routed_calls_under_way_are_served_within_drain() {
    let cluster = Cluster::start(2).await.unwrap();
    let gate = Gate::new();
    for node in cluster.nodes() {
        node.group("g", options(), gated(&gate)).unwrap();
    }
    let client = Arc::new(Client::new(cluster.node(0).address()).unwrap());
    let keys = [cluster.key_owned_by(0, 0), cluster.key_owned_by(1, 0)];
    let calls = keys.map(|key| {
        let client = client.clone();
        tokio::spawn(async move { client.get("g", &key, LONG).await })
    });
    gate.entered().await;
    gate.entered().await;
    let node = cluster.node(0).clone();
    let closing = tokio::spawn(async move { node.close(Some(LONG)).await });
    until("it closes", || cluster.node(0).is_closed()).await;
    until("it has left", || cluster.node(1).members().len() == 1).await;
    gate.release(2);
    for call in calls {
        assert!(call.await.unwrap().unwrap().starts_with(b"value-"));
    }
    closing.await.unwrap().unwrap();
}

#[tokio::test]
async fn s37_a_routed_call_does_not_hold_up_a_close_beyond_drain() {
    let node = Node::start(NodeOptions::default().listen("127.0.0.1:0"))
        .await
        .unwrap();
    let gate = Gate::new();
    node.group("g", options(), gated(&gate)).unwrap();
    let client = Client::new(node.address()).unwrap();
    let call = tokio::spawn(async move { client.get("g", "k", LONG).await });
    gate.entered().await;
    let closed = tokio::time::timeout(LONG / 2, node.close(Some(Duration::from_millis(50)))).await;
    closed.expect("drain is over").unwrap_err();
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn s38_sets_and_deletes_of_plain_clients_are_counted() {
    let node = Node::start(NodeOptions::default().listen("127.0.0.1:0"))
        .await
        .unwrap();
    let group = node.group("g", options(), None).unwrap();
    let client = Client::new(node.address()).unwrap();
    client.set("g", "k", "v", Ttl::Group, LONG).await.unwrap();
    client.delete("g", "k", LONG).await.unwrap();
    let stats = group.stats();
    assert_eq!((stats.sets, stats.deletes), (1, 1));
}

/// A getter that asks its own group for other keys, and the last handle that
/// the program drops.
#[tokio::test]
async fn s37_a_getter_that_asks_its_own_group_does_not_keep_the_node_open() {
    let node = Node::start(NodeOptions::default().listen("127.0.0.1:0"))
        .await
        .unwrap();
    let (weak, address) = (node.downgrade(), node.address().to_owned());
    let held = Arc::new(());
    let marker = Arc::downgrade(&held);
    let getter = getter_fn(move |ctx: LoadContext| {
        let _held = &held;
        async move {
            match ctx.key().strip_prefix("outer-") {
                None => Ok::<_, Error>(Some(Loaded::new(ctx.key()))),
                Some(inner) => {
                    let value = ctx.find_group(ctx.group())?.get(inner).await?;
                    let unknown = ctx.find_group("unknown").map(drop);
                    assert_eq!(kind(unknown), ErrorKind::UnknownGroup);
                    Ok(Some(Loaded::new(value)))
                }
            }
        }
    });
    let group = node.group_with("g", options(), getter).unwrap();
    assert_eq!(text(&group.get("outer-k").await.unwrap()), "k");
    assert!(weak.upgrade().is_some());
    drop(node);
    assert_eq!(text(&group.get("outer-j").await.unwrap()), "j", "open");
    drop(group);
    assert!(weak.upgrade().is_none());
    until("the getter is freed", || marker.upgrade().is_none()).await;
    until("the port is free", || {
        std::net::TcpListener::bind(&address).is_ok()
    })
    .await;
}
