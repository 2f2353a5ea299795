//! Hot copies of other owners' values: kept when asked for again, void after a
//! write, a clear, a lost link or a lapsed lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::{LONG, kind, options, text, until};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{ErrorKind, Group, GroupOptions, Loaded, Node, NodeOptions, Ttl, getter_fn};

async fn cluster(
    count: usize,
    options: GroupOptions,
) -> (Cluster, Vec<Group>, Arc<CountingGetter>) {
    let cluster = Cluster::start(count).await.unwrap();
    let getter = CountingGetter::new();
    let groups = cluster.groups("g", &options, &getter).unwrap();
    (cluster, groups, getter)
}

/// Asks until the value is served from a copy of this node.
async fn borrow(group: &Group, key: &str) {
    let copied = async {
        while group.stats().hot_hits == 0 || group.peek(key).is_none() {
            group.get(key).await.unwrap();
        }
    };
    tokio::time::timeout(LONG, copied)
        .await
        .expect("a copy is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_a_key_that_is_asked_for_again_is_kept_as_a_copy() {
    let (cluster, groups, getter) = cluster(2, options()).await;
    let key = cluster.key_owned_by(1, 0);
    groups[0].get(&key).await.unwrap();
    assert_eq!(groups[0].peek(&key), None, "once is not hot");
    borrow(&groups[0], &key).await;
    let fetches = groups[0].stats().fetches;
    for _ in 0..100 {
        assert_eq!(
            text(&groups[0].get(&key).await.unwrap()),
            format!("value-of-{key}")
        );
    }
    assert_eq!(groups[0].stats().fetches, fetches);
    assert_eq!(getter.calls(&key), 1);
    assert!(groups[0].stats().hot_entries == 1 && groups[0].stats().hot_bytes > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_a_write_voids_the_copies_of_others() {
    // Neither the lease nor a time to live ends a copy here: only being told does.
    let mut node = NodeOptions::default();
    node.heartbeat = Some(Duration::from_secs(600));
    node.suspect_after = Some(LONG);
    let mut lasting = options();
    lasting.hot_ttl = Some(Duration::from_secs(600));
    let cluster = Cluster::start_with(3, &node).await.unwrap();
    let groups = cluster
        .groups("g", &lasting, &CountingGetter::new())
        .unwrap();
    for writer in 0..3 {
        let key = cluster.key_owned_by(1, writer);
        groups[0].set(&key, "old").await.unwrap();
        for reader in [0, 2] {
            let before = groups[reader].stats().hot_hits;
            let again = async {
                while groups[reader].stats().hot_hits == before {
                    groups[reader].get(&key).await.unwrap();
                }
            };
            tokio::time::timeout(LONG, again)
                .await
                .expect("a copy is kept");
        }
        if writer % 2 == 0 {
            groups[writer].set(&key, "new").await.unwrap();
        } else {
            groups[writer].set(&key, "between").await.unwrap();
            groups[writer].delete(&key).await.unwrap();
            groups[writer].set(&key, "new").await.unwrap();
        }
        assert_eq!(
            text(&groups[writer].get(&key).await.unwrap()),
            "new",
            "s18: read your writes"
        );
        for reader in [0, 2] {
            let group = groups[reader].clone();
            let fresh = async {
                while text(&group.get(&key).await.unwrap()) != "new" {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(LONG, fresh)
                .await
                .expect("the copy is void");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_a_lost_link_voids_what_was_borrowed_over_it() {
    let (cluster, groups, getter) = cluster(2, options()).await;
    let key = cluster.key_owned_by(1, 0);
    borrow(&groups[0], &key).await;
    let _ = cluster.node(1).close(Some(Duration::ZERO)).await;
    until("the copy is dropped", || groups[0].peek(&key).is_none()).await;
    groups[0].get(&key).await.unwrap();
    assert_eq!(getter.calls(&key), 2, "loaded here in place of the owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_hot_ttl_and_what_is_left_of_the_owners_ttl_end_a_copy() {
    let mut short = options();
    short.hot_ttl = Some(Duration::from_millis(1));
    let (cluster_a, groups, _) = cluster(2, short).await;
    let key = cluster_a.key_owned_by(1, 0);
    for _ in 0..5 {
        groups[0].get(&key).await.unwrap();
    }
    until("hot_ttl has passed", || groups[0].peek(&key).is_none()).await;

    let (cluster_b, groups, _) = cluster(2, options()).await;
    let key = cluster_b.key_owned_by(1, 0);
    let ttl = Ttl::After(Duration::from_millis(300));
    groups[1].set_with(&key, "v", ttl, None).await.unwrap();
    borrow(&groups[0], &key).await;
    until("the owner's ttl has passed", || {
        groups[1].peek(&key).is_none()
    })
    .await;
    assert!(
        groups[0].peek(&key).is_none(),
        "a copy lives no longer than the entry"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_may_do_without_copies() {
    let mut without = options();
    without.hot = Some(false);
    let (cluster, groups, _) = cluster(2, without).await;
    let key = cluster.key_owned_by(1, 0);
    for _ in 0..10 {
        groups[0].get(&key).await.unwrap();
    }
    let stats = groups[0].stats();
    assert_eq!(
        (stats.hot_hits, stats.fetches, stats.hot_entries),
        (0, 10, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_clear_drops_everything_on_every_member() {
    let (cluster, groups, getter) = cluster(3, options()).await;
    let keys: Vec<String> = (0..3).map(|owner| cluster.key_owned_by(owner, 0)).collect();
    for key in &keys {
        for group in &groups {
            for _ in 0..4 {
                group.get(key).await.unwrap();
            }
        }
    }
    assert_eq!(getter.total(), 3);
    groups[0].clear(None).await.unwrap();
    for group in &groups {
        assert_eq!(group.stats().entries, 0);
    }
    for (owner, key) in keys.iter().enumerate() {
        groups[(owner + 1) % 3].get(key).await.unwrap();
        assert_eq!(getter.calls(key), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_clear_names_the_members_that_did_not_acknowledge() {
    let (cluster, groups, _) = cluster(3, options()).await;
    let _ = cluster.node(2).close(Some(Duration::ZERO)).await;
    groups[1]
        .set(&cluster.key_owned_by(1, 0), "v")
        .await
        .unwrap();
    let error = groups[0]
        .clear(Some(Duration::from_secs(2)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.message().contains(cluster.node(2).address()),
        "{error}"
    );
    assert!(
        !error.message().contains(cluster.node(1).address()),
        "{error}"
    );
    assert_eq!(groups[1].stats().entries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_clear_waits_for_views_to_agree_and_else_says_who_differs() {
    let (cluster, groups, _) = cluster(3, options()).await;
    // It does not know node 2, which may hold entries of keys that node 1 serves.
    let some: Vec<&str> = (0..2).map(|n| cluster.node(n).address()).collect();
    cluster.node(1).set_peers(&some).unwrap();
    for (clearer, other) in [(0, 1), (1, 0)] {
        let cleared = groups[clearer].clear(Some(Duration::from_millis(100)));
        let error = cleared.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let differs = cluster.node(other).address();
        assert!(error.message().contains(differs), "{error}");
    }
    let group = groups[1].clone();
    let clearing = tokio::spawn(async move { group.clear(None).await });
    cluster.connect_all().unwrap();
    clearing.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_a_member_that_was_away_is_cleared_before_anything_else() {
    // Probes are hours away: the member is found when it dials.
    let mut rare = NodeOptions::default();
    rare.probe_interval = Some(Duration::from_secs(3600));
    let cluster = Cluster::start_with(2, &rare).await.unwrap();
    let groups = cluster
        .groups("g", &options(), &CountingGetter::new())
        .unwrap();
    let address = cluster.node(1).address().to_owned();
    let mine = cluster.key_owned_by(0, 0);
    let (key, other) = (cluster.key_owned_by(1, 0), cluster.key_owned_by(1, 1));
    let _ = cluster.node(1).close(Some(Duration::ZERO)).await;
    let error = groups[0]
        .clear(Some(Duration::from_secs(1)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    let members = cluster.node(0).members();
    let back = NodeOptions::default().listen(&address).peers(members);
    let back = Node::start(back).await.unwrap();
    let group = back
        .group("g", options(), Some(CountingGetter::new()))
        .unwrap();
    group.set(&key, "missed the clear").await.unwrap();
    group.get(&mine).await.unwrap();
    // Refused, with nothing sent, until the probe finds the member again.
    let began = Instant::now();
    while let Err(error) = groups[0].set(&other, "after the clear").await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{error}");
        tokio::task::yield_now().await;
    }
    assert_eq!(group.peek(&key), None);
    assert!(group.peek(&other).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn p16_values_too_large_for_the_link_travel_beside_it() {
    let mut options = GroupOptions::new(64 << 20);
    options.max_value_bytes = Some(8 << 20);
    let cluster = Cluster::start(2).await.unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let groups: Vec<Group> = cluster
        .nodes()
        .iter()
        .map(|node| {
            let loads = loads.clone();
            let getter = getter_fn(move |_ctx| {
                loads.fetch_add(1, Ordering::SeqCst);
                async { Ok::<_, kamacache_core::Error>(Some(Loaded::new(vec![7u8; 3 << 20]))) }
            });
            node.group_with("g", options.clone(), getter).unwrap()
        })
        .collect();
    let key = cluster.key_owned_by(1, 0);
    for _ in 0..3 {
        assert_eq!(groups[0].get(&key).await.unwrap().len(), 3 << 20);
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    let served = groups[1].stats().peer_gets;
    assert_eq!(
        groups[0].stats().fetches,
        served,
        "s38: also for large values"
    );
    groups[0].set(&key, vec![9u8; 5 << 20]).await.unwrap();
    assert_eq!(
        groups[0].get(&key).await.unwrap()[..],
        vec![9u8; 5 << 20][..]
    );
    assert_eq!(
        kind(groups[0].set(&key, vec![0u8; (8 << 20) + 1]).await),
        ErrorKind::TooLarge
    );
}

#[test]
fn s21_a_reader_that_was_stopped_serves_nothing_beyond_its_lease() {
    const HEARTBEAT: Duration = Duration::from_millis(100);
    // Each node has a runtime of its own, and the reader's has no thread but
    // this one: while this one is elsewhere, nothing of the reader runs, as
    // between SIGSTOP and SIGCONT.
    let runtime = |mut builder: tokio::runtime::Builder| builder.enable_all().build().unwrap();
    let own = runtime(tokio::runtime::Builder::new_multi_thread());
    let stopped = runtime(tokio::runtime::Builder::new_current_thread());
    let mut node = NodeOptions::default().listen("127.0.0.1:0");
    node.heartbeat = Some(HEARTBEAT);
    let owner = own.block_on(Node::start(node.clone())).unwrap();
    let reader = stopped.block_on(Node::start(node)).unwrap();
    let members = [owner.address(), reader.address()];
    let getter = CountingGetter::new();
    let groups = [&owner, &reader].map(|node| {
        node.set_peers(&members).unwrap();
        node.group("g", options(), Some(getter.clone())).unwrap()
    });
    let [written, read] = groups;
    let key = (0..)
        .map(|n| format!("key-{n}"))
        .find(|key| owner.owner(key).unwrap() == owner.address())
        .unwrap();
    let copied = async {
        while read.peek(&key).is_none() {
            read.get(&key).await.unwrap();
        }
    };
    stopped
        .block_on(async { tokio::time::timeout(LONG, copied).await })
        .expect("a copy is kept");
    own.block_on(async {
        written.set(&key, "new").await.unwrap();
        tokio::time::sleep(2 * HEARTBEAT).await;
    });
    assert_eq!(
        read.peek(&key),
        None,
        "its lease has ended, and it has not been told anything yet"
    );
    let fresh = stopped.block_on(read.get_timeout(&key, LONG)).unwrap();
    assert_eq!(text(&fresh), "new");
}
