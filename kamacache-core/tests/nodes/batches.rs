//! `get_many` of keys that other nodes own: how each key ends, and what is
//! counted (S10, S13, S20, S21, S25, S38).

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Gate, LONG, gated, kind, options, text, until};
use kamacache_core::testing::Cluster;
use kamacache_core::{Error, ErrorKind, Getter, Group, LoadContext, Loaded, getter_fn};

/// Answers by what the key begins with.
fn getter() -> Arc<dyn Getter> {
    Arc::new(getter_fn(async |ctx: LoadContext| {
        let key = ctx.key();
        match key.split('-').next() {
            Some("none") => Ok(None),
            Some("bad") => Err(Error::getter("the database is down").with_app_code(7)),
            Some("large") => Ok(Some(Loaded::new(vec![7; 100 << 10]))),
            _ => Ok(Some(Loaded::new(key))),
        }
    }))
}

async fn two(getter: impl Fn() -> Option<Arc<dyn Getter>>) -> (Cluster, Vec<Group>) {
    let cluster = Cluster::start(2).await.unwrap();
    let groups = cluster.nodes().iter();
    let groups = groups.map(|node| node.group("g", options(), getter()).unwrap());
    let groups = groups.collect();
    (cluster, groups)
}

/// A key of the other node that begins so.
fn far(cluster: &Cluster, start: &str) -> String {
    let owner = cluster.node(1).address();
    let mut keys = (0..).map(|n| format!("{start}-{n}"));
    keys.find(|key| cluster.node(0).owner(key).unwrap() == owner)
        .unwrap()
}

#[tokio::test]
async fn each_key_of_a_batch_ends_on_its_own_and_is_counted_once() {
    let (cluster, groups) = two(|| Some(getter())).await;
    let keys = ["small", "none", "bad", "large", "small"].map(|start| far(&cluster, start));
    let mut keys = keys.to_vec();
    keys.push(cluster.key_owned_by(0, 0));
    keys.push(String::new());
    let got = groups[0].get_many(&keys, None).await;
    for (at, key) in [(0, &keys[0]), (4, &keys[0]), (5, &keys[5])] {
        assert_eq!(text(got[at].as_ref().unwrap()), key);
    }
    assert_eq!(kind(got[1].clone()), ErrorKind::NotFound);
    let bad = got[2].as_ref().unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::GetterFailed);
    assert_eq!(
        (bad.app_code(), bad.peer()),
        (Some(7), Some(cluster.node(1).address()))
    );
    assert_eq!(got[3].as_ref().unwrap().len(), 100 << 10);
    assert_eq!(kind(got[6].clone()), ErrorKind::InvalidArgument);
    let (stats, owner) = (groups[0].stats(), groups[1].stats());
    assert_eq!((stats.fetched, stats.loaded, stats.not_found), (3, 1, 1));
    assert_eq!((stats.failed, stats.in_progress), (1, 0));
    assert_eq!((stats.gets, stats.fetch_errors), (6, 2));
    assert_eq!(
        stats.fetches, owner.peer_gets,
        "the large one is asked for twice"
    );
    assert_eq!(owner.loads, 4, "a key given twice is loaded once");
}

#[tokio::test]
async fn s10_a_batch_nobody_waits_for_has_failed_and_its_owner_is_told() {
    let gate = Gate::new();
    let (cluster, groups) = two(|| gated(&gate)).await;
    let keys = ["a", "b", "c"].map(|start| far(&cluster, start));
    let asking = tokio::spawn({
        let group = groups[0].clone();
        async move { group.get_many(&keys, Some(LONG)).await }
    });
    for _ in 0..3 {
        gate.entered().await;
    }
    assert_eq!(groups[0].stats().in_progress, 3);
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    let stats = groups[0].stats();
    assert_eq!((stats.in_progress, stats.failed, stats.gets), (0, 3, 3));
    until("the owner is told", || {
        cluster.node(1).stats().cancelled == 3
    })
    .await;
    gate.release(3);
}

#[tokio::test]
async fn a_batch_ends_at_its_deadline_and_at_close() {
    let gate = Gate::new();
    let (cluster, groups) = two(|| gated(&gate)).await;
    let keys = ["a", "b"].map(|start| far(&cluster, start));
    let late = groups[0]
        .get_many(&keys, Some(Duration::from_millis(30)))
        .await;
    for (key, result) in keys.iter().zip(late) {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        assert!(error.message().contains(key.as_str()), "{error}");
    }
    assert_eq!(groups[0].stats().failed, 2);
    let asking = tokio::spawn({
        let (group, keys) = (groups[0].clone(), keys.clone());
        async move { group.get_many(&keys, Some(LONG)).await }
    });
    until("asked again", || groups[0].stats().in_progress == 2).await;
    cluster.node(0).close(Some(Duration::ZERO)).await.unwrap();
    for result in asking.await.unwrap() {
        assert_eq!(kind(result), ErrorKind::Closed);
    }
    assert_eq!(
        kind(groups[0].get_many(&keys, None).await.remove(0)),
        ErrorKind::Closed
    );
    gate.release(4);
}

#[tokio::test]
async fn s25_a_batch_for_an_owner_that_is_gone_is_loaded_here() {
    let (cluster, groups) = two(|| Some(getter())).await;
    let keys = ["a", "b", "c"].map(|start| far(&cluster, start));
    groups[0]
        .get_many(&[far(&cluster, "first")], None)
        .await
        .remove(0)
        .unwrap();
    cluster.node(1).close(Some(Duration::ZERO)).await.unwrap();
    // Once while the link is just lost, once while the peer is suspect.
    for _ in 0..2 {
        for (key, result) in keys.iter().zip(groups[0].get_many(&keys, Some(LONG)).await) {
            assert_eq!(text(&result.unwrap()), key);
        }
    }
    let stats = groups[0].stats();
    assert!(stats.fallbacks >= 3, "{stats:?}");
    assert_eq!(stats.in_progress, 0);
}

#[tokio::test]
async fn s21_a_batch_keeps_copies_of_what_is_asked_for_again_and_again() {
    let (cluster, groups) = two(|| Some(getter())).await;
    let key = far(&cluster, "hot");
    let keys = [key.clone(), far(&cluster, "other")];
    let begun = std::time::Instant::now();
    while groups[0].stats().hot_hits == 0 {
        assert!(
            groups[0]
                .get_many(&keys, None)
                .await
                .iter()
                .all(Result::is_ok)
        );
        assert!(begun.elapsed() < LONG, "{:?}", groups[0].stats());
    }
    // A write at the owner voids the copy (S18, S20).
    groups[1].set(&key, "new").await.unwrap();
    let new = || {
        groups[0]
            .peek(&key)
            .is_none_or(|value| text(&value) == "new")
    };
    until("the copy is void", new).await;
    assert_eq!(
        text(groups[0].get_many(&keys, None).await[0].as_ref().unwrap()),
        "new"
    );
}

/// Holds keys that begin with "slow" until the test lets them go; counts which
/// keys were asked for.
#[derive(Default)]
struct Slow {
    asked: std::sync::Mutex<Vec<String>>,
    go: tokio::sync::Notify,
}

impl Slow {
    fn has(&self, key: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == key)
    }

    fn getter(self: &Arc<Self>) -> Option<Arc<dyn Getter>> {
        let slow = self.clone();
        Some(Arc::new(getter_fn(move |ctx: LoadContext| {
            let (slow, key) = (slow.clone(), ctx.key().to_owned());
            async move {
                let go = slow.go.notified();
                slow.asked.lock().unwrap().push(key.clone());
                if key.starts_with("slow") {
                    go.await;
                }
                let len = if key.contains("large") { 100 << 10 } else { 1 };
                Ok::<_, Error>(Some(vec![7; len]))
            }
        })))
    }
}

fn near(cluster: &Cluster, start: &str) -> String {
    let owner = cluster.node(0).address();
    let mut keys = (0..).map(|n| format!("{start}-{n}"));
    keys.find(|key| cluster.node(0).owner(key).unwrap() == owner)
        .unwrap()
}

fn asking(
    group: &Group,
    keys: &[String],
) -> tokio::task::JoinHandle<Vec<kamacache_core::Result<kamacache_core::Value>>> {
    let (group, keys) = (group.clone(), keys.to_vec());
    tokio::spawn(async move { group.get_many(&keys, Some(LONG)).await })
}

#[tokio::test]
async fn s24_stand_ins_of_a_batch_do_not_wait_for_slow_loads_of_other_keys() {
    let slow = Arc::<Slow>::default();
    let (cluster, groups) = two(|| slow.getter()).await;
    // The owner is asked, and is gone before it answers.
    let keys = [near(&cluster, "slow"), far(&cluster, "slow-far")];
    let batch = asking(&groups[0], &keys);
    until("both are loaded", || keys.iter().all(|key| slow.has(key))).await;
    slow.asked.lock().unwrap().clear();
    // It says that its getter still runs.
    let _ = cluster.node(1).close(Some(Duration::ZERO)).await;
    until("this node stands in", || slow.has(&keys[1])).await;
    assert!(!batch.is_finished() && !slow.has(&keys[0]));
    until("all end", || {
        slow.go.notify_waiters();
        batch.is_finished()
    })
    .await;
    let got = batch.await.unwrap();
    assert!(got.iter().all(Result::is_ok), "{got:?}");
    assert_eq!(groups[0].stats().fallbacks, 1);
}

#[tokio::test]
async fn a_promoted_load_of_a_batch_begins_at_once() {
    let slow = Arc::<Slow>::default();
    let (cluster, groups) = two(|| slow.getter()).await;
    let keys = [near(&cluster, "slow"), near(&cluster, "given-up")];
    let begun = groups[0].begin(&keys[1], Some(LONG)).unwrap();
    let kamacache_core::Begin::Lead(token, pending) = begun else {
        panic!("nobody else loads")
    };
    let batch = asking(&groups[0], &keys);
    until("the batch waits", || slow.has(&keys[0])).await;
    until("for both", || groups[0].stats().in_progress == 3).await;
    // The leader leaves; the batch inherits its load.
    drop(pending);
    drop(token);
    until("it is loaded", || slow.has(&keys[1])).await;
    assert!(!batch.is_finished());
    slow.go.notify_waiters();
    assert!(batch.await.unwrap().iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_large_value_of_a_batch_does_not_wait_for_slow_loads_of_other_keys() {
    let slow = Arc::<Slow>::default();
    let (cluster, groups) = two(|| slow.getter()).await;
    let keys = [far(&cluster, "slow"), far(&cluster, "large")];
    let batch = asking(&groups[0], &keys);
    until("it has come", || groups[0].stats().fetched == 1).await;
    assert!(!batch.is_finished());
    until("all end", || {
        slow.go.notify_waiters();
        batch.is_finished()
    })
    .await;
    assert!(batch.await.unwrap().iter().all(Result::is_ok));
}
