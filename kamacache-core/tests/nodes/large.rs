//! Values that are too large for a link: they fail over as others do (S24, S25),
//! and are loaded once where they cannot be kept (S9).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::proxy::{Proxy, Road};
use crate::common::{LONG, kind, options, text, until};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{
    Error, ErrorKind, Group, GroupOptions, LoadContext, Loaded, Node, NodeOptions, Ttl, getter_fn,
};

const LARGE: usize = 100 << 10;

/// A node, and one that it reaches through a proxy; a large key of the second,
/// and a link between the two.
async fn pair() -> (Node, Node, Proxy, [Group; 2], String) {
    let mut both = NodeOptions::default();
    both.suspect_after = Some(Duration::from_millis(400));
    both.probe_interval = Some(Duration::from_secs(3600));
    let near = Node::start(both.clone().listen("127.0.0.1:0"))
        .await
        .unwrap();
    let (road, far) = Proxy::before(both).await;
    for node in [&near, &far] {
        node.set_peers(&[near.address(), far.address()]).unwrap();
    }
    let getter = CountingGetter::new();
    let open = |node: &Node| node.group("g", options(), Some(getter.clone())).unwrap();
    let groups = [open(&near), open(&far)];
    let mut keys = (0..).map(|n| format!("key-{n}"));
    let key = keys.find(|key| near.owner(key).unwrap() == far.address());
    let key = key.unwrap();
    groups[1].set(&key, vec![7; LARGE]).await.unwrap();
    let mut links = keys.filter(|key| near.owner(key).unwrap() == far.address());
    groups[0].get(&links.next().unwrap()).await.unwrap();
    assert_eq!(road.accepted(), 1, "the link");
    (near, far, road, groups, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_large_value_of_an_owner_that_falls_silent_is_loaded_here() {
    let (_near, _far, road, groups, key) = pair().await;
    road.hold_new();
    let began = Instant::now();
    let get = tokio::spawn({
        let (group, key) = (groups[0].clone(), key.clone());
        async move { group.get_timeout(&key, LONG).await }
    });
    until("it is asked for beside the link", || road.accepted() == 2).await;
    road.set(Road::Frozen);
    let value = get.await.unwrap().expect("loaded here");
    assert_eq!(text(&value), format!("value-of-{key}"));
    assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
    assert_eq!(groups[0].stats().fallbacks, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_large_value_does_not_wait_for_a_connection_that_died() {
    let (_near, _far, road, groups, key) = pair().await;
    // The link is well; what is beside it leads nowhere.
    road.hold_new();
    let value = groups[0]
        .get_timeout(&key, LONG)
        .await
        .expect("loaded here");
    assert_eq!(text(&value), format!("value-of-{key}"));
    assert_eq!(groups[0].stats().fallbacks, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn s17_a_large_write_to_an_owner_that_falls_silent_ends_with_suspicion() {
    let (_near, _far, road, groups, key) = pair().await;
    road.hold_new();
    let set = tokio::spawn({
        let (group, key) = (groups[0].clone(), key.clone());
        async move {
            let value = vec![8; LARGE];
            group.set_with(&key, value, Ttl::Group, Some(LONG)).await
        }
    });
    until("it goes beside the link", || road.accepted() == 2).await;
    road.set(Road::Frozen);
    let refused = set.await.unwrap();
    assert_eq!(kind(refused.clone()), ErrorKind::Unavailable);
    let error = refused.unwrap_err();
    assert!(error.message().contains("may have been applied"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s09_a_large_value_that_cannot_be_kept_is_loaded_once_per_get() {
    let mut small = options();
    small.max_value_bytes = Some(LARGE as u64);
    // Not to be kept, too large to be kept, too large to be set anywhere.
    let cases: [(&str, GroupOptions, usize, Ttl); 3] = [
        ("no-store", options(), LARGE, Ttl::NoStore),
        ("storable", options(), 2 * LARGE, Ttl::Group),
        ("limit", small, 20 * LARGE, Ttl::Group),
    ];
    for (name, options, len, ttl) in cases {
        let cluster = Cluster::start(2).await.unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let groups: Vec<_> = cluster
            .nodes()
            .iter()
            .map(|node| {
                let calls = calls.clone();
                let load = move |_: LoadContext| {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let loaded = Loaded::new(vec![7; len]).with_ttl(ttl);
                    async move { Ok::<_, Error>(Some(loaded)) }
                };
                let getter = Arc::new(getter_fn(load));
                node.group("g", options.clone(), Some(getter)).unwrap()
            })
            .collect();
        let key = cluster.key_owned_by(1, 0);
        for round in 1..=3 {
            let value = groups[0].get(&key).await.unwrap();
            assert_eq!(
                (value.len(), calls.load(Ordering::SeqCst)),
                (len, round),
                "{name}"
            );
        }
        let many = [key.clone(), cluster.key_owned_by(1, 1)];
        for value in groups[0].get_many(&many, None).await {
            assert_eq!(value.unwrap().len(), len);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 5, "{name}, a batch");
        let (asked, owner) = (groups[0].stats(), groups[1].stats());
        assert_eq!(asked.fetches, owner.peer_gets, "s38");
        assert_eq!((asked.fallbacks, asked.failed), (0, 0));
    }
}
