//! Much at once between two healthy nodes: replies and requests of many
//! megabytes, batches of a hundred thousand keys, a peer that does not read.
//! No link closes for volume, nobody is refused who could have waited (S9, S11,
//! S17, S25, S42).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::proxy::{Proxy, Road};
use crate::common::{LONG, text, until};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{Error, ErrorKind, Group, GroupOptions, Node, NodeOptions};

const KB: usize = 1000;

fn large() -> GroupOptions {
    GroupOptions::new(256 << 20)
}

async fn two() -> (Cluster, Vec<Group>, Arc<CountingGetter>) {
    let cluster = Cluster::start(2).await.unwrap();
    let getter = CountingGetter::new();
    let groups = cluster.groups("g", &large(), &getter).unwrap();
    (cluster, groups, getter)
}

/// Keys of the second node.
fn keys_of(node: &Node, count: usize) -> Vec<String> {
    let keys = (0..).map(|n| format!("key-{n}"));
    let owned = keys.filter(|key| node.owner(key).unwrap() == node.address());
    owned.take(count).collect()
}

async fn fill(group: &Group, keys: &[String], len: usize) {
    for key in keys {
        group.set(key, vec![7; len]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s09_megabytes_of_cached_values_cost_no_getter_call_and_no_link() {
    let (cluster, groups, getter) = two().await;
    let keys = keys_of(cluster.node(1), 1000);
    for (count, len) in [(100, 60 * KB), (1000, 8 * KB)] {
        fill(&groups[1], &keys[..count], len).await;
        for value in groups[0].get_many(&keys[..count], Some(LONG)).await {
            assert_eq!(value.unwrap().len(), len);
        }
        let gets = keys[..count].iter().map(|key| groups[0].get(key));
        for value in futures_util::future::join_all(gets).await {
            assert_eq!(value.unwrap().len(), len);
        }
    }
    assert_eq!(getter.total(), 0);
    let stats = groups[0].stats();
    assert_eq!((stats.fallbacks, stats.fetch_errors), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn s17_no_write_fails_beside_megabytes_of_replies() {
    let (cluster, groups, getter) = two().await;
    let keys = keys_of(cluster.node(1), 301);
    fill(&groups[1], &keys, 60 * KB).await;
    let (writes, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let writing = tokio::spawn({
        let (group, key) = (groups[0].clone(), keys[300].clone());
        let (writes, over) = (writes.clone(), over.clone());
        async move {
            while over.load(Ordering::SeqCst) == 0 {
                group.set(&key, "written").await?;
                writes.fetch_add(1, Ordering::SeqCst);
            }
            Ok::<_, Error>(())
        }
    });
    let mut rounds = 0;
    while rounds < 3 || writes.load(Ordering::SeqCst) < 100 {
        let gets = keys[..300].iter().map(|key| groups[0].get(key));
        for value in futures_util::future::join_all(gets).await {
            assert_eq!(value.unwrap().len(), 60 * KB);
        }
        rounds += 1;
    }
    over.store(1, Ordering::SeqCst);
    writing.await.unwrap().expect("every write is acknowledged");
    assert_eq!(getter.total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s17_writes_beyond_what_a_link_queues_wait_for_room_in_their_order() {
    let (cluster, groups, _) = two().await;
    let keys = keys_of(cluster.node(1), 100);
    // Each key twice: the second value is the one that stays.
    let entry = |n: usize| (keys[n % 100].clone(), vec![(n / 100) as u8; 60 * KB]);
    let set = groups[0].set_many((0..200).map(entry), Default::default(), Some(LONG));
    for (result, key) in set.await.into_iter().zip(&keys) {
        result.unwrap_or_else(|error| panic!("{key}: {error}"));
    }
    for key in &keys {
        assert_eq!(groups[1].peek(key).unwrap()[0], 1, "the last write stands");
    }
}

/// On one thread, so that nothing is sent while the batch is being put together.
#[tokio::test]
async fn a_hundred_thousand_keys_of_one_owner_are_all_answered() {
    let (cluster, groups, getter) = two().await;
    let keys = keys_of(cluster.node(1), 100_000);
    let minute = Some(Duration::from_secs(60));
    for (key, value) in keys.iter().zip(groups[0].get_many(&keys, minute).await) {
        let value = value.unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(text(&value), format!("value-of-{key}"));
    }
    assert_eq!(getter.total(), keys.len());
    // As bindings do it, one by one without a wait between.
    let begun: Vec<_> = keys
        .iter()
        .map(|key| groups[0].begin(key, minute).unwrap())
        .collect();
    for begin in begun {
        if let kamacache_core::Begin::Wait(pending) = begin {
            pending.wait().await.unwrap();
        }
    }
    assert_eq!((getter.total(), groups[0].stats().failed), (keys.len(), 0));
}

/// A node, and a peer of it behind a road that a test closes; a silent peer is
/// not suspected before an hour has passed.
async fn patient() -> (Node, Node, Proxy, Vec<Group>) {
    let mut patient = NodeOptions::default();
    patient.suspect_after = Some(Duration::from_secs(3600));
    let near = patient.clone().listen("127.0.0.1:0");
    let near = Node::start(near).await.unwrap();
    let (road, far) = Proxy::before(patient).await;
    for node in [&near, &far] {
        node.set_peers(&[near.address(), far.address()]).unwrap();
    }
    let getter = CountingGetter::new();
    let open = |node: &Node| node.group("g", large(), Some(getter.clone())).unwrap();
    let groups = vec![open(&near), open(&far)];
    (near, far, road, groups)
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_write_that_waits_for_room_ends_by_its_deadline_and_was_not_sent() {
    let (_near, far, road, groups) = patient().await;
    let keys = keys_of(&far, 600);
    groups[0].set(&keys[0], "first").await.unwrap();
    road.set(Road::Frozen);
    let entries = keys.iter().map(|key| (key, vec![7; 60 * KB]));
    let deadline = Duration::from_millis(300);
    let began = Instant::now();
    let results = groups[0].set_many(entries, Default::default(), Some(deadline));
    let errors: Vec<_> = results.await.into_iter().map(Result::unwrap_err).collect();
    assert!(began.elapsed() < LONG);
    let unsent = |error: &&Error| error.message().contains("nothing was written");
    assert!(
        errors
            .iter()
            .all(|error| error.kind() == ErrorKind::DeadlineExceeded)
    );
    assert!(!unsent(&&errors[0]), "{}", errors[0]);
    assert!(unsent(&&errors[599]), "{}", errors[599]);
    // None of those is written when the peer reads again.
    road.set(Road::Open);
    groups[0].set(&keys[0], "last").await.unwrap();
    let applied = |key: &&String| groups[1].peek(key).is_some();
    let not_sent = errors.iter().filter(unsent).count();
    assert_eq!(keys.iter().filter(applied).count(), keys.len() - not_sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_overloaded_says_how_long_a_peer_has_taken_in_nothing() {
    let (_near, far, road, groups) = patient().await;
    let keys = keys_of(&far, 600);
    groups[0].set(&keys[0], "first").await.unwrap();
    road.set(Road::Frozen);
    let entries = keys.iter().map(|key| (key, vec![7; 60 * KB]));
    let long = Duration::from_secs(10);
    let results = groups[0].set_many(entries, Default::default(), Some(long));
    let errors: Vec<_> = results.await.into_iter().map(Result::unwrap_err).collect();
    let last = &errors[599];
    assert_eq!(last.kind(), ErrorKind::Overloaded);
    assert!(last.message().contains("none of them for 2s"), "{last}");
    assert_eq!(last.peer(), Some(far.address()));
    assert_eq!(errors[0].kind(), ErrorKind::DeadlineExceeded);
    road.set(Road::Open);
    groups[0].set(&keys[0], "last").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_a_lease_outlives_a_batch_of_many_megabytes() {
    let (cluster, groups, _) = two().await;
    let keys = keys_of(cluster.node(1), 5001);
    fill(&groups[1], &keys, 20 * KB).await;
    let hot = &keys[5000];
    while groups[0].stats().hot_hits == 0 {
        groups[0].get(hot).await.unwrap();
    }
    let batch = tokio::spawn({
        let (group, keys) = (groups[0].clone(), keys[..5000].to_vec());
        async move { group.get_many(&keys, Some(LONG)).await }
    });
    let mut missing = 0;
    while !batch.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        missing += usize::from(groups[0].peek(hot).is_none());
    }
    assert!(batch.await.unwrap().iter().all(Result::is_ok));
    assert_eq!(missing, 0, "the copy is served all the time");
    until("nothing is left over", || {
        groups[0].stats().in_progress == 0
    })
    .await;
}
