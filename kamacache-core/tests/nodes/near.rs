//! Near copies: what a binding keeps in memory of its own stands exactly as long
//! as the entry that it was made of.

use std::time::Duration;

use crate::common::near::NearCopies;
use crate::common::{options, single, text};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{Group, Ttl};

async fn pair() -> (Cluster, Vec<Group>) {
    let cluster = Cluster::start(2).await.unwrap();
    let getter = CountingGetter::new();
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    (cluster, groups)
}

async fn with(group: &Group, key: &str, value: &str) -> NearCopies {
    let mut copies = NearCopies::of(group);
    group.set(key, value.to_owned()).await.unwrap();
    let near = copies.take(group, key).expect("the node owns the key");
    assert_eq!(near.length, value.len());
    assert_eq!(text(&copies.get(key).unwrap()), value);
    copies
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_near_copy_ends_with_every_write_of_any_node() {
    let (cluster, groups) = pair().await;
    let key = &cluster.key_owned_by(0, 0);
    for writer in &groups {
        let copies = with(&groups[0], key, "old").await;
        writer.set(key, "new").await.unwrap();
        assert_eq!(copies.get(key), None, "after a set");
        let copies = with(&groups[0], key, "old").await;
        writer.delete(key).await.unwrap();
        assert_eq!(copies.get(key), None, "after a delete");
        let copies = with(&groups[0], key, "old").await;
        writer.clear(None).await.unwrap();
        assert_eq!(copies.get(key), None, "after a clear");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s34_a_near_copy_ends_when_members_change() {
    let (cluster, groups) = pair().await;
    let key = &cluster.key_owned_by(0, 0);
    let copies = with(&groups[0], key, "value").await;
    let node = cluster.node(0);
    node.set_peers(&[node.address()]).unwrap();
    assert_eq!(copies.get(key), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_owned_entries_become_near_copies() {
    let (cluster, groups) = pair().await;
    let key = &cluster.key_owned_by(1, 0);
    let mut copies = NearCopies::of(&groups[0]);
    while groups[0].peek(key).is_none() {
        groups[0].get(key).await.unwrap();
    }
    assert_eq!(copies.take(&groups[0], key), None, "a hot copy");
    assert_eq!(copies.take(&groups[0], "absent"), None);
}

#[tokio::test]
async fn a_near_copy_tells_its_time_and_counts_its_hits() {
    let node = single().await;
    let group = node.group("g", options(), None).unwrap();
    let ttl = Duration::from_secs(60);
    let set = group.set_with("short", "v", Ttl::After(ttl), None).await;
    set.unwrap();
    group.set("long", "v").await.unwrap();
    let mut buffer = [0; 8];
    let short = group.near_into("short", 0, &mut buffer).unwrap();
    assert!(short.left.is_some_and(|left| left <= ttl && left > ttl / 2));
    let long = group.near_into("long", 5000, &mut buffer).unwrap();
    assert_eq!((long.left, long.length), (None, 1));
    group.add_hits(2);
    let stats = group.stats();
    assert_eq!((stats.gets, stats.hits), (5002, 5002));
    // So many hits are sampled, whoever reports them.
    assert_eq!(group.hot_keys(1), [("long".to_owned(), 1024)]);
    assert_eq!(group.near_into("long", 0, &mut []), None, "no room");
}

#[tokio::test]
async fn a_strict_group_sees_every_hit_itself() {
    let node = single().await;
    let mut strict = options();
    let room = node.group("g", options(), None).unwrap().near_room();
    assert_eq!(room, (1 << 20) / 8);
    strict.strict = true;
    assert_eq!(node.group("s", strict, None).unwrap().near_room(), 0);
}
