//! The loading contract beyond the first load: batches, limits, load timeouts,
//! negative answers, expired values.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Gate, LONG, gated, gets, kind, options, single, text};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{
    BoxFuture, Error, ErrorKind, Getter, Group, LatencyKind, LoadContext, LoadToken, Loaded,
    Result, Ttl, getter_fn,
};

/// Answers many keys with one query, and remembers how many it was asked for.
#[derive(Default)]
struct Batch {
    single: AtomicUsize,
    sizes: parking_lot::Mutex<Vec<usize>>,
}

impl Getter for Batch {
    fn load(&self, ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        self.single.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(Some(Loaded::new(ctx.key()))) })
    }

    fn load_many(&self, ctxs: Vec<LoadContext>) -> Option<BoxFuture<Result<Vec<Option<Loaded>>>>> {
        self.sizes.lock().push(ctxs.len());
        let found =
            |ctx: &LoadContext| (!ctx.key().starts_with("no")).then(|| Loaded::new(ctx.key()));
        let answers = ctxs.iter().map(found).collect();
        Some(Box::pin(async move { Ok(answers) }))
    }
}

#[tokio::test]
async fn a_thousand_missing_keys_are_one_query() {
    let node = single().await;
    let getter = Arc::new(Batch::default());
    let group = node.group("g", options(), Some(getter.clone())).unwrap();
    group.set("key-7", "set").await.unwrap();
    let mut keys: Vec<String> = (0..1000).map(|n| format!("key-{n}")).collect();
    keys.push("nobody".into());
    keys.push(String::new());
    keys.push("key-1".into());
    let results = group.get_many(&keys, None).await;
    assert_eq!(text(results[7].as_ref().unwrap()), "set");
    for n in (0..1000).filter(|n| *n != 7) {
        assert_eq!(text(results[n].as_ref().unwrap()), format!("key-{n}"));
    }
    assert_eq!(
        results[1000].as_ref().unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        results[1001].as_ref().unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        text(results[1002].as_ref().unwrap()),
        "key-1",
        "a key given twice"
    );
    assert_eq!(*getter.sizes.lock(), [1000]);
    assert_eq!(getter.single.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_one_message_per_owner_and_one_query_there() {
    let cluster = Cluster::start(3).await.unwrap();
    let getters: Vec<Arc<Batch>> = (0..3).map(|_| Arc::default()).collect();
    let groups: Vec<Group> = (0..3)
        .map(|n| {
            cluster
                .node(n)
                .group("g", options(), Some(getters[n].clone()))
                .unwrap()
        })
        .collect();
    // The links are up, and all know that there is nothing to take.
    let warm: Vec<String> = (0..300).map(|n| format!("warm-{n}")).collect();
    for group in &groups {
        group.get_many(&warm, None).await;
    }
    for getter in &getters {
        getter.sizes.lock().clear();
        getter.single.store(0, Ordering::SeqCst);
    }
    let keys: Vec<String> = (0..300).map(|n| format!("key-{n}")).collect();
    let results = groups[0].get_many(&keys, None).await;
    for (key, result) in keys.iter().zip(&results) {
        assert_eq!(text(result.as_ref().unwrap()), key);
    }
    for (owner, getter) in getters.iter().enumerate() {
        let owned = keys
            .iter()
            .filter(|key| cluster.node(0).owner(key).unwrap() == cluster.node(owner).address());
        assert_eq!(*getter.sizes.lock(), [owned.count()]);
        assert_eq!(getter.single.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn one_bad_peer_fails_its_own_keys_only() {
    let cluster = Cluster::start(3).await.unwrap();
    let groups: Vec<Group> = cluster
        .nodes()
        .iter()
        .map(|node| node.group("g", options(), None).unwrap())
        .collect();
    let keys: Vec<String> = (0..3).map(|owner| cluster.key_owned_by(owner, 0)).collect();
    let _ = cluster.node(2).close(Some(Duration::ZERO)).await;
    let entries = keys.iter().map(|key| (key, "v"));
    let set = groups[0].set_many(entries, Ttl::Group, None).await;
    assert!(set[0].is_ok() && set[1].is_ok());
    assert_eq!(set[2].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    let got = groups[0].get_many(&keys, None).await;
    assert!(got[0].is_ok() && got[1].is_ok());
    assert_eq!(got[2].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_batch_getter_that_answers_too_few_fails_its_keys() {
    struct Short;
    impl Getter for Short {
        fn load(&self, _ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
            Box::pin(async { Ok(None) })
        }
        fn load_many(
            &self,
            _ctxs: Vec<LoadContext>,
        ) -> Option<BoxFuture<Result<Vec<Option<Loaded>>>>> {
            Some(Box::pin(async { Ok(vec![None]) }))
        }
    }
    let node = single().await;
    let group = node.group("g", options(), Some(Arc::new(Short))).unwrap();
    for result in group.get_many(&["a", "b"], None).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::GetterFailed);
        assert!(error.message().contains("1 of 2"), "{error}");
    }
}

#[tokio::test]
async fn s16_a_batch_getter_may_ask_for_none_of_its_keys() {
    struct Nosy(kamacache_core::Node);
    impl Getter for Nosy {
        fn load(&self, _ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
            Box::pin(async { Ok(Some(Loaded::new("alone"))) })
        }
        fn load_many(
            &self,
            ctxs: Vec<LoadContext>,
        ) -> Option<BoxFuture<Result<Vec<Option<Loaded>>>>> {
            let node = self.0.clone();
            Some(Box::pin(async move {
                let group = node.find_group("g")?;
                for ctx in &ctxs {
                    assert_eq!(kind(group.get(ctx.key()).await), ErrorKind::ReentrantLoad);
                }
                group.get("another").await?;
                Ok(ctxs.iter().map(|_| Some(Loaded::new("batch"))).collect())
            }))
        }
    }
    let node = single().await;
    let group = node
        .group("g", options(), Some(Arc::new(Nosy(node.clone()))))
        .unwrap();
    for result in group.get_many(&["a", "b", "c"], Some(LONG)).await {
        assert_eq!(text(&result.unwrap()), "batch");
    }
    node.close(None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn s14_a_hung_getter_is_given_up_after_load_timeout() {
    let node = single().await;
    let gate = Gate::new();
    let mut options = options();
    options.load_timeout = Some(Duration::from_secs(10));
    let group = node.group("g", options, gated(&gate)).unwrap();
    assert_eq!(
        kind(group.get_timeout("k", Duration::from_secs(1)).await),
        ErrorKind::DeadlineExceeded
    );
    assert_eq!(
        kind(group.get_timeout("k", Duration::from_secs(1)).await),
        ErrorKind::DeadlineExceeded
    );
    assert_eq!(gate.calls(), 1, "no second getter before load_timeout");
    let patient = group.get_timeout("k", Duration::MAX).await.unwrap_err();
    assert!(patient.message().contains("load_timeout"), "{patient}");
    assert_eq!(group.stats().stuck_loads, 1);
    let second = gets(&group, "k", 1).await;
    gate.entered().await;
    gate.entered().await;
    gate.release(2);
    for task in second {
        assert_eq!(text(&task.await.unwrap().unwrap()), "value-2");
    }
    assert_eq!(
        group.peek("k").as_deref(),
        Some(&b"value-2"[..]),
        "the late answer is not kept"
    );
    let stuck = async {
        while group.stats().stuck_loads > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, stuck)
        .await
        .expect("the getter has come back");
}

/// A getter that keeps its tokens and returns, as one that means to answer from
/// elsewhere.
#[derive(Default)]
struct Silent(parking_lot::Mutex<Vec<LoadToken>>);

impl Getter for Silent {
    fn load(&self, _ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        unreachable!("it is started")
    }

    fn start(self: Arc<Self>, token: LoadToken) {
        self.0.lock().push(token);
    }
}

#[tokio::test(start_paused = true)]
async fn s14_a_getter_that_returned_without_an_answer_gives_its_permit_back() {
    let node = single().await;
    let getter = Arc::new(Silent::default());
    let mut options = options();
    options.load_timeout = Some(Duration::from_secs(10));
    options.max_concurrent_loads = Some(1);
    let group = node.group("g", options, Some(getter.clone())).unwrap();
    let begun = tokio::time::Instant::now();
    let given_up = group.get_timeout("a", Duration::MAX).await.unwrap_err();
    assert!(given_up.message().contains("load_timeout"), "{given_up}");
    let waits = gets(&group, "b", 1).await;
    let second = async {
        while getter.0.lock().len() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), second)
        .await
        .expect("the only permit is free again at load_timeout");
    assert!(begun.elapsed() >= Duration::from_secs(10));
    let mut tokens = std::mem::take(&mut *getter.0.lock());
    let (current, late) = (tokens.pop().unwrap(), tokens.pop().unwrap());
    assert!(late.is_cancelled() && !current.is_cancelled());
    late.complete("too late");
    assert_eq!(group.peek("a"), None, "it answers nobody and is not kept");
    // One that still runs keeps its permit.
    let running = current.running();
    tokio::time::sleep(Duration::from_secs(12)).await;
    let third = gets(&group, "c", 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(getter.0.lock().is_empty(), "no second getter beside it");
    drop(running);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(getter.0.lock().len(), 1);
    drop(current);
    std::mem::take(&mut *getter.0.lock())
        .into_iter()
        .for_each(|token| token.complete("here"));
    for task in waits {
        assert!(task.await.unwrap().is_err());
    }
    for task in third {
        assert_eq!(text(&task.await.unwrap().unwrap()), "here");
    }
}

#[tokio::test]
async fn s14_a_delete_lets_a_second_getter_run_at_once() {
    let node = single().await;
    let gate = Gate::new();
    let group = node.group("g", options(), gated(&gate)).unwrap();
    let _hung = gets(&group, "k", 1).await;
    gate.entered().await;
    group.delete("k").await.unwrap();
    let _second = gets(&group, "k", 1).await;
    gate.entered().await;
    assert_eq!(gate.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn s15_getters_beyond_the_limit_wait_and_then_are_overload() {
    let node = single().await;
    let gate = Gate::new();
    let mut options = options();
    options.max_concurrent_loads = Some(2);
    let group = node.group("g", options, gated(&gate)).unwrap();
    let mut running = Vec::new();
    for key in ["a", "b"] {
        running.extend(gets(&group, key, 1).await);
        gate.entered().await;
    }
    assert_eq!(
        kind(group.get_timeout("c", Duration::from_secs(1)).await),
        ErrorKind::Overloaded
    );
    let mut waiting = Vec::new();
    for n in 0..16 {
        waiting.extend(gets(&group, &format!("waiting-{n}"), 1).await);
    }
    let error = group.get_timeout("too-many", LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "at once");
    assert!(error.message().contains("max_concurrent_loads"), "{error}");
    assert_eq!(gate.calls(), 2);
    gate.release(18);
    for task in running.into_iter().chain(waiting) {
        task.await.unwrap().unwrap();
    }
    assert_eq!(gate.calls(), 18);
}

#[tokio::test]
async fn s15_a_get_inside_a_getter_takes_no_second_permit() {
    let node = single().await;
    let mut options = options();
    options.max_concurrent_loads = Some(1);
    let me = node.clone();
    let getter = getter_fn(move |ctx: LoadContext| {
        let node = me.clone();
        async move {
            match ctx.key() {
                "outer" => node.find_group("g")?.get("inner").await.map(Some),
                _ => Ok::<_, Error>(Some("deep".into())),
            }
        }
    });
    let group = node.group_with("g", options, getter).unwrap();
    assert_eq!(
        text(&group.get_timeout("outer", LONG).await.unwrap()),
        "deep"
    );
    node.close(None).await.unwrap();
}

#[tokio::test]
async fn s02_not_found_is_remembered_for_negative_ttl() {
    let node = single().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let mut options = options();
    options.negative_ttl = Some(Duration::from_secs(60));
    let group = node
        .group("g", options, crate::common::empty(&calls))
        .unwrap();
    for _ in 0..3 {
        assert_eq!(kind(group.get("k").await), ErrorKind::NotFound);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(group.peek("k"), None);
    assert_eq!(group.peek_into("k", &mut [0; 8]), None);
    assert_eq!(group.stats().negative_hits, 2);
    group.set("k", "v").await.unwrap();
    assert_eq!(text(&group.get("k").await.unwrap()), "v");
    group.delete("k").await.unwrap();
    assert_eq!(kind(group.get("k").await), ErrorKind::NotFound);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// A getter whose answers are `value-N`, and which can be told to fail.
fn numbered(calls: &Arc<AtomicUsize>, failing: &Arc<AtomicBool>) -> impl Getter {
    let (calls, failing) = (calls.clone(), failing.clone());
    getter_fn(move |_ctx| {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        let fails = failing.load(Ordering::SeqCst);
        async move {
            if fails {
                return Err(Error::getter("down"));
            }
            Ok(Some(
                Loaded::new(format!("value-{call}"))
                    .with_ttl(Ttl::After(Duration::from_millis(30))),
            ))
        }
    })
}

async fn expired(group: &Group, key: &str) {
    let gone = async {
        while group.peek(key).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("expires");
}

#[tokio::test]
async fn s23_an_expired_value_is_served_while_one_refresh_runs() {
    let node = single().await;
    let (calls, failing) = (Arc::default(), Arc::default());
    let mut options = options();
    options.stale_while_revalidate = Some(Duration::from_secs(60));
    let group = node
        .group_with("g", options, numbered(&calls, &failing))
        .unwrap();
    assert_eq!(text(&group.get("k").await.unwrap()), "value-1");
    expired(&group, "k").await;
    assert_eq!(text(&group.get("k").await.unwrap()), "value-1", "stale");
    let refreshed = async {
        while group.peek("k").is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, refreshed)
        .await
        .expect("refreshed");
    let stats = group.stats();
    assert_eq!((stats.stale_hits, stats.refreshes, stats.loads), (1, 1, 2));
}

#[tokio::test]
async fn s23_an_expired_value_is_served_when_its_refresh_fails() {
    let node = single().await;
    let (calls, failing) = (Arc::default(), Arc::<AtomicBool>::default());
    let mut options = options();
    options.stale_if_error = Some(Duration::from_secs(60));
    let group = node
        .group_with("g", options, numbered(&calls, &failing))
        .unwrap();
    group.get("k").await.unwrap();
    expired(&group, "k").await;
    failing.store(true, Ordering::SeqCst);
    assert_eq!(text(&group.get("k").await.unwrap()), "value-1");
    assert_eq!(group.stats().stale_hits, 1);
    group.delete("k").await.unwrap();
    assert_eq!(
        kind(group.get("k").await),
        ErrorKind::GetterFailed,
        "a deleted value is never served"
    );
}

#[tokio::test]
async fn latencies_are_measured() {
    let cluster = Cluster::start(2).await.unwrap();
    let groups = cluster
        .groups("g", &options(), &CountingGetter::new())
        .unwrap();
    let key = cluster.key_owned_by(1, 0);
    groups[0].get(&key).await.unwrap();
    let (fetch, load) = (
        groups[0].latency(LatencyKind::Fetch),
        groups[1].latency(LatencyKind::Load),
    );
    assert_eq!((fetch.count, load.count), (1, 1));
    assert!(fetch.max_ns >= load.max_ns && fetch.p50_ns > 0);
    for _ in 0..3000 {
        groups[1].get(&key).await.unwrap();
    }
    assert!((1..=3).contains(&groups[1].latency(LatencyKind::Hit).count));
}
