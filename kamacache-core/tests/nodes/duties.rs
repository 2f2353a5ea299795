//! Duties that a getter is given and does not do as it should: it is missing,
//! panics early, or its group's other callbacks do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Gate, LONG, gated, kind, lists, options, single, text, until};
use kamacache_core::testing::Cluster;
use kamacache_core::{
    BoxFuture, Error, ErrorKind, Getter, Group, GroupOptions, LoadContext, LoadToken, Loaded, Node,
    NodeOptions, Result, Ttl, blocking, blocking_getter,
};

/// Absent keys of a group without a getter, asked for together soon after a
/// node has joined, while it asks their previous owner first.
#[tokio::test]
async fn s02_a_batch_of_absent_keys_is_not_found_without_a_getter() {
    let cluster = Cluster::start(2).await.unwrap();
    let joins = Node::start(NodeOptions::default().listen("127.0.0.1:0"))
        .await
        .unwrap();
    for node in cluster.nodes() {
        node.group("g", options(), None).unwrap();
    }
    let group = joins.group("g", options(), None).unwrap();
    let mut members = cluster.node(0).members();
    members.push(joins.address().to_owned());
    let old: Vec<&str> = members[..2].iter().map(String::as_str).collect();
    let mut left = old.clone();
    left.push(joins.address());
    for node in cluster.nodes() {
        node.set_peers(&left).unwrap();
    }
    joins.set_peers(&left).unwrap();
    lists(&joins, &members).await;
    let mine = |key: &String| joins.owner(key).unwrap() == joins.address();
    let keys: Vec<String> = (0..300).map(|n| format!("key-{n}")).filter(mine).collect();
    assert!(keys.len() > 1);
    for result in group.get_many(&keys, Some(LONG)).await {
        assert_eq!(kind(result), ErrorKind::NotFound);
    }
    let _ = joins.close(Some(Duration::ZERO)).await;
}

/// Panics before it has a future to give, in the way that it is told to.
struct Hasty {
    calls: AtomicUsize,
    in_start: bool,
}

impl Getter for Hasty {
    fn load(&self, ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        Box::pin(async move { Ok(Some(Loaded::new(ctx.key()))) })
    }

    fn load_many(&self, _: Vec<LoadContext>) -> Option<BoxFuture<Result<Vec<Option<Loaded>>>>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        panic!("too early")
    }

    fn start(self: Arc<Self>, token: LoadToken) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.in_start {
            panic!("too early");
        }
        token.complete("here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_a_getter_that_panics_before_its_future_fails_its_waiters_and_no_link() {
    for in_start in [false, true] {
        let cluster = Cluster::start(2).await.unwrap();
        let getter = Arc::new(Hasty {
            calls: AtomicUsize::new(0),
            in_start,
        });
        let groups: Vec<Group> = cluster.groups("g", &options(), &getter).unwrap();
        // The link is up, and its owner knows that there is nothing to take.
        let warm = groups[0]
            .get_timeout(&cluster.key_owned_by(1, 2), LONG)
            .await;
        assert_eq!(warm.is_err(), in_start);
        getter.calls.store(0, Ordering::SeqCst);
        let keys = [cluster.key_owned_by(1, 0), cluster.key_owned_by(1, 1)];
        for result in groups[0].get_many(&keys, Some(LONG)).await {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Panicked, "{error}");
            assert!(in_start || error.message().contains("too early"), "{error}");
        }
        assert!(
            getter.calls.load(Ordering::SeqCst) <= keys.len(),
            "no second try"
        );
        let error = groups[0].get_timeout(&keys[0], LONG).await;
        match in_start {
            true => assert_eq!(kind(error), ErrorKind::Panicked),
            false => assert_eq!(text(&error.unwrap()), "here"),
        }
        assert_eq!(cluster.node(1).stats().links, 1, "the link goes on");
        assert_eq!(groups[0].stats().fallbacks, 0);
    }
}

#[tokio::test]
async fn s14_an_on_evict_that_panics_ends_neither_expiry_nor_load_timeout() {
    let node = single().await;
    let gate = Gate::new();
    let told = Arc::new(AtomicUsize::new(0));
    let counted = told.clone();
    let mut options = GroupOptions::new(1 << 20);
    options.load_timeout = Some(Duration::from_millis(300));
    options.on_evict = Some(Arc::new(move |_, _, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        panic!("on_evict")
    }));
    let group = node.group("g", options, gated(&gate)).unwrap();
    let brief = Ttl::After(Duration::from_millis(1));
    for round in 1..=2 {
        group.set_with("k", "v", brief, None).await.unwrap();
        until("it is evicted", || told.load(Ordering::SeqCst) == round).await;
    }
    let error = tokio::time::timeout(LONG, group.get_timeout("hung", Duration::MAX))
        .await
        .expect("load_timeout is still looked after");
    assert!(error.unwrap_err().message().contains("load_timeout"));
    group.set("k", "v").await.unwrap();
    group.delete("k").await.unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 3);
}

/// All getter threads of a node are busy when it dials a peer by its name.
#[test]
fn s25_name_lookup_does_not_wait_for_getters() {
    let (entered, inside) = std::sync::mpsc::channel();
    let (go, told) = std::sync::mpsc::channel::<()>();
    let told = parking_lot::Mutex::new(told);
    let getter: Arc<dyn Getter> = Arc::new(blocking_getter(move |ctx: LoadContext| {
        if ctx.key().starts_with("slow") {
            entered.send(()).unwrap();
            let _ = told.lock().recv();
        }
        Ok::<_, Error>(Some(Loaded::new(ctx.key())))
    }));
    let start = || {
        let mut options = NodeOptions::default().listen("localhost:0");
        options.getter_threads = Some(1);
        blocking::Node::start(options).unwrap()
    };
    let nodes = [start(), start()];
    let members = [nodes[0].address(), nodes[1].address()];
    let groups = nodes.each_ref().map(|node| {
        node.set_peers(&members).unwrap();
        node.group("g", options(), Some(getter.clone())).unwrap()
    });
    let owned_by = |owner: usize, prefix: &str| {
        let mut keys = (0..).map(|n| format!("{prefix}-{n}"));
        let owner = members[owner];
        keys.find(|key| nodes[0].owner(key).unwrap() == owner)
            .unwrap()
    };
    let slow = groups[0].inner().clone();
    let key = owned_by(0, "slow");
    let running = nodes[0]
        .handle()
        .spawn(async move { slow.get_timeout(&key, LONG).await });
    inside.recv_timeout(LONG).expect("the only thread is busy");
    let key = owned_by(1, "key");
    let value = nodes[0].handle().block_on(groups[0].inner().get(&key));
    assert_eq!(text(&value.unwrap()), key);
    assert_eq!(groups[0].stats().fallbacks, 0);
    drop(go);
    nodes[0].handle().block_on(running).unwrap().unwrap();
}
