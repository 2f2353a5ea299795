//! Permits of `max_concurrent_loads`: every getter call takes one, except inside
//! another getter, which never waits for what it holds itself (S15, S16).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Gate, LONG, gated, gets, options, single, text, until};
use kamacache_core::testing::Cluster;
use kamacache_core::{
    Error, ErrorKind, Getter, Group, GroupOptions, LoadContext, Loaded, Node, Ttl, getter_fn,
};
use tokio::sync::Barrier;

fn limited(limit: usize) -> GroupOptions {
    let mut options = options();
    options.max_concurrent_loads = Some(limit);
    options
}

#[tokio::test]
async fn s15_refreshes_of_stale_values_take_permits() {
    let node = single().await;
    let gate = Gate::new();
    let mut options = limited(2);
    options.stale_while_revalidate = Some(Duration::from_secs(60));
    let group = node.group("g", options, gated(&gate)).unwrap();
    let keys: Vec<String> = (0..10).map(|n| format!("key-{n}")).collect();
    let brief = Ttl::After(Duration::from_millis(1));
    for key in &keys {
        group.set_with(key, "old", brief, None).await.unwrap();
    }
    until("all expire", || {
        keys.iter().all(|key| group.peek(key).is_none())
    })
    .await;
    for key in &keys {
        assert_eq!(text(&group.get(key).await.unwrap()), "old", "stale");
    }
    gate.entered().await;
    gate.entered().await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(gate.calls(), 2, "the limit");
    gate.release(10);
    until("each is refreshed once", || gate.calls() == 10).await;
}

#[tokio::test(start_paused = true)]
async fn s15_promoted_waiters_take_permits() {
    let node = single().await;
    let gate = Gate::new();
    let group = node.group("g", limited(1), gated(&gate)).unwrap();
    let running = gets(&group, "running", 1).await;
    gate.entered().await;
    let keys: Vec<String> = (0..4).map(|n| format!("key-{n}")).collect();
    let mut patient = Vec::new();
    let mut hasty = Vec::new();
    for key in &keys {
        let (group, key) = (group.clone(), key.clone());
        hasty.push(tokio::spawn({
            let (group, key) = (group.clone(), key.clone());
            async move { group.get_timeout(&key, Duration::from_millis(50)).await }
        }));
        tokio::task::yield_now().await;
        patient.extend(gets(&group, &key, 1).await);
    }
    for task in hasty {
        let error = task.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(gate.calls(), 1, "the limit");
    gate.release(5);
    for task in running.into_iter().chain(patient) {
        task.await.unwrap().unwrap();
    }
    assert_eq!(gate.calls(), 5);
}

/// `outer-KEY` is the value of KEY, whatever owns it; all else is its own name.
fn nested(node: &Node, entered: &Arc<AtomicUsize>, meet: &Arc<Barrier>) -> impl Getter {
    let (node, entered, meet) = (node.clone(), entered.clone(), meet.clone());
    getter_fn(move |ctx: LoadContext| {
        let (node, entered, meet) = (node.clone(), entered.clone(), meet.clone());
        async move {
            let Some(inner) = ctx.key().strip_prefix("outer-") else {
                return Ok::<_, Error>(Some(Loaded::new(ctx.key())));
            };
            entered.fetch_add(1, Ordering::SeqCst);
            meet.wait().await;
            let value = node.find_group("g")?.get_timeout(inner, LONG).await?;
            Ok(Some(Loaded::new(value)))
        }
    })
}

/// A key that node `index` owns, as is the key `outer-` of `inner` by another.
fn pair(cluster: &Cluster, outer: usize, inner: usize, salt: usize) -> String {
    let owned = |key: &str, index: usize| {
        cluster.node(0).owner(key).unwrap() == cluster.node(index).address()
    };
    (0..)
        .map(|n| format!("key-{salt}-{n}"))
        .find(|key| owned(key, inner) && owned(&format!("outer-{key}"), outer))
        .unwrap()
}

async fn close_all(cluster: &Cluster) {
    for node in cluster.nodes() {
        let _ = node.close(Some(Duration::ZERO)).await;
    }
}

#[tokio::test]
async fn s16_a_get_inside_a_getter_needs_no_permit_though_its_owner_is_dead() {
    let cluster = Cluster::start(2).await.unwrap();
    let (entered, meet) = (Arc::default(), Arc::new(Barrier::new(1)));
    let getter = nested(cluster.node(0), &entered, &meet);
    let group = cluster.node(0).group_with("g", limited(1), getter).unwrap();
    let inner = pair(&cluster, 0, 1, 0);
    cluster.node(1).close(Some(Duration::ZERO)).await.unwrap();
    let value = group.get_timeout(&format!("outer-{inner}"), LONG).await;
    assert_eq!(text(&value.unwrap()), inner);
    close_all(&cluster).await;
}

#[tokio::test]
async fn s16_a_get_inside_a_getter_joins_no_queue_for_its_own_permit() {
    let node = single().await;
    let (entered, meet) = (Arc::<AtomicUsize>::default(), Arc::new(Barrier::new(2)));
    let getter = nested(&node, &entered, &meet);
    let group = node.group_with("g", limited(1), getter).unwrap();
    let outer = gets(&group, "outer-k", 1).await;
    until("it holds the permit", || {
        entered.load(Ordering::SeqCst) == 1
    })
    .await;
    let queued = gets(&group, "k", 1).await;
    meet.wait().await;
    for task in outer.into_iter().chain(queued) {
        assert_eq!(text(&task.await.unwrap().unwrap()), "k");
    }
    node.close(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_two_nodes_that_load_from_each_other_need_one_permit_each() {
    let cluster = Cluster::start(2).await.unwrap();
    let (entered, meet) = (Arc::default(), Arc::new(Barrier::new(2)));
    let groups: Vec<Group> = cluster
        .nodes()
        .iter()
        .map(|node| {
            let getter = nested(node, &entered, &meet);
            node.group_with("g", limited(1), getter).unwrap()
        })
        .collect();
    let inner = [pair(&cluster, 0, 1, 0), pair(&cluster, 1, 0, 0)];
    let outer = inner.clone().map(|key| format!("outer-{key}"));
    let (a, b) = tokio::join!(
        groups[0].get_timeout(&outer[0], LONG),
        groups[1].get_timeout(&outer[1], LONG)
    );
    assert_eq!(text(&a.unwrap()), inner[0]);
    assert_eq!(text(&b.unwrap()), inner[1]);
    close_all(&cluster).await;
}

/// The fetch that the inner Get joins was begun outside of any getter, and its
/// owner has queued it.
#[tokio::test(flavor = "multi_thread")]
async fn s16_a_get_inside_a_getter_joins_no_fetch_that_waits_for_a_permit() {
    let cluster = Cluster::start(2).await.unwrap();
    let (entered, meet) = (Arc::<AtomicUsize>::default(), Arc::new(Barrier::new(3)));
    let groups: Vec<Group> = cluster
        .nodes()
        .iter()
        .map(|node| {
            let getter = nested(node, &entered, &meet);
            node.group_with("g", limited(1), getter).unwrap()
        })
        .collect();
    let inner = [pair(&cluster, 0, 1, 0), pair(&cluster, 1, 0, 0)];
    let mut tasks = Vec::new();
    for (group, key) in groups.iter().zip(&inner) {
        tasks.extend(gets(group, &format!("outer-{key}"), 1).await);
    }
    until("both permits are held", || {
        entered.load(Ordering::SeqCst) == 2
    })
    .await;
    // What each getter is going to ask for is queued at its owner already.
    for (group, key) in groups.iter().zip(&inner) {
        tasks.extend(gets(group, key, 1).await);
    }
    until("both are queued", || {
        groups.iter().all(|group| group.stats().fetches >= 1)
    })
    .await;
    meet.wait().await;
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    close_all(&cluster).await;
}
