//! Peers that fall silent, reset or come back: suspicion, fallback, probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::proxy::{Proxy, Road};
use crate::common::{Gate, LONG, gated, kind, options, text, until};
use kamacache_core::testing::CountingGetter;
use kamacache_core::{ErrorKind, Group, Node, NodeOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const HOUR: Duration = Duration::from_secs(3600);

/// A node, and one that it reaches through a proxy.
struct Pair {
    near: Node,
    far: Node,
    road: Proxy,
    groups: [Group; 2],
    getter: Arc<CountingGetter>,
}

impl Pair {
    async fn start(options_of_both: NodeOptions) -> Self {
        let near = options_of_both.clone().listen("127.0.0.1:0");
        let near = Node::start(near).await.unwrap();
        let (road, far) = Proxy::before(options_of_both).await;
        for node in [&near, &far] {
            node.set_peers(&[near.address(), far.address()]).unwrap();
        }
        let getter = CountingGetter::new();
        let groups =
            [&near, &far].map(|node| node.group("g", options(), Some(getter.clone())).unwrap());
        Self {
            near,
            far,
            road,
            groups,
            getter,
        }
    }

    /// Keys of the far node.
    fn keys(&self) -> impl Iterator<Item = String> {
        (0..)
            .map(|n| format!("key-{n}"))
            .filter(|key| self.near.owner(key).unwrap() == self.far.address())
    }

    /// Asks for keys of the far node until one was fetched from it again.
    async fn until_fetched(&self) {
        let before = self.groups[0].stats();
        let mut keys = self.keys().skip(1000);
        let fetched = async {
            while self.groups[0].stats().fetches == before.fetches {
                let key = keys.next().expect("keys never end");
                self.groups[0].get(&key).await.unwrap();
            }
        };
        tokio::time::timeout(LONG, fetched)
            .await
            .expect("the owner is asked again");
    }
}

fn node_options(suspect_after: Duration, probe_interval: Duration) -> NodeOptions {
    let mut options = NodeOptions::default();
    options.suspect_after = Some(suspect_after);
    options.probe_interval = Some(probe_interval);
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_silent_owner_is_suspected_and_its_waiting_gets_fail_over_together() {
    let pair = Pair::start(node_options(Duration::from_millis(400), HOUR)).await;
    let keys: Vec<_> = pair.keys().take(20).collect();
    pair.groups[0].get(&keys[0]).await.unwrap();
    pair.road.set(Road::Frozen);
    let gets = keys[1..].iter().map(|key| pair.groups[0].get(key));
    for value in futures_util::future::join_all(gets).await {
        assert!(text(&value.unwrap()).starts_with("value-of-"));
    }
    let stats = pair.groups[0].stats();
    assert_eq!((stats.fallbacks, stats.failed), (19, 0));
    let borrowed = pair.groups[0].get(&keys[1]).await.unwrap();
    assert_eq!(text(&borrowed), format!("value-of-{}", keys[1]));
    assert_eq!(pair.getter.calls(&keys[1]), 1, "the borrowed copy serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_gets_of_a_suspect_peers_keys_send_nothing_and_wait_for_nothing() {
    // An hour's probe interval: the first probe is two minutes away.
    let pair = Pair::start(node_options(Duration::from_millis(300), HOUR)).await;
    let mut keys = pair.keys();
    pair.groups[0].get(&keys.next().unwrap()).await.unwrap();
    pair.road.set(Road::Frozen);
    pair.groups[0].get(&keys.next().unwrap()).await.unwrap();
    let (accepted, fetches) = (pair.road.accepted(), pair.groups[0].stats().fetches);
    let began = Instant::now();
    for key in keys.take(100) {
        pair.groups[0].get(&key).await.unwrap();
    }
    let took = began.elapsed();
    let stats = pair.groups[0].stats();
    assert_eq!((stats.fallbacks, stats.fetches), (101, fetches));
    // One probe may be: the silent node itself reaches this one, and says hello.
    let dialled = pair.road.accepted() - accepted;
    assert!(dialled <= 1, "a hundred gets dialled {dialled} times");
    assert!(
        took < Duration::from_millis(300) * 100,
        "{took:?}: each get waited"
    );
    let key = pair.keys().nth(500).unwrap();
    let refused = pair.groups[0].set(&key, "v").await;
    assert_eq!(kind(refused.clone()), ErrorKind::Unavailable);
    let error = refused.unwrap_err();
    assert!(error.message().contains("nothing was written"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_a_probe_restores_the_way_to_a_peer_that_is_back() {
    let (suspect, probe) = (Duration::from_millis(200), Duration::from_millis(100));
    let pair = Pair::start(node_options(suspect, probe)).await;
    for broken in [Road::Frozen, Road::Cut] {
        pair.until_fetched().await;
        pair.road.set(broken);
        let before = pair.groups[0].stats().fallbacks;
        let key = format!("after-{before}");
        let key = (0..)
            .map(|n| format!("{key}-{n}"))
            .find(|key| pair.near.owner(key).unwrap() == pair.far.address())
            .unwrap();
        pair.groups[0].get(&key).await.unwrap();
        assert_eq!(pair.groups[0].stats().fallbacks, before + 1);
        pair.road.set(Road::Open);
        pair.until_fetched().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_slow_getter_is_never_a_reason() {
    let suspect = Duration::from_millis(400);
    let pair = Pair::start(node_options(suspect, HOUR)).await;
    let gate = Gate::new();
    let slow = [&pair.near, &pair.far].map(|node| {
        node.group("slow", options(), gated(&gate))
            .expect("a second group")
    });
    let key = pair.keys().next().unwrap();
    let waits = tokio::spawn({
        let (group, key) = (slow[0].clone(), key.clone());
        async move { group.get(&key).await }
    });
    gate.entered().await;
    // Far longer than the silence that makes a peer suspect: pongs go on.
    tokio::time::sleep(suspect * 4).await;
    assert_eq!(gate.calls(), 1);
    gate.release(1);
    assert_eq!(text(&waits.await.unwrap().unwrap()), "value-1");
    assert_eq!(slow[0].stats().fallbacks, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_a_peer_that_dials_is_probed_at_once() {
    let pair = Pair::start(node_options(Duration::from_millis(200), HOUR)).await;
    pair.until_fetched().await;
    pair.road.set(Road::Frozen);
    pair.groups[0]
        .get(&pair.keys().next().unwrap())
        .await
        .unwrap();
    assert_eq!(pair.groups[0].stats().fallbacks, 1);
    pair.road.set(Road::Open);
    // The far node dials the near one, which then knows that it lives.
    let key = (0..)
        .map(|n| format!("near-{n}"))
        .find(|key| pair.near.owner(key).unwrap() == pair.near.address())
        .unwrap();
    pair.groups[1].get(&key).await.unwrap();
    pair.until_fetched().await;
}

/// Takes connections and reads, and says at most that it has understood; how
/// many connections came, and how many are open.
async fn mute(says: &'static [u8]) -> (String, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let told = counts.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counts = counts.clone();
            counts.iter().for_each(|count| {
                count.fetch_add(1, Ordering::SeqCst);
            });
            tokio::spawn(async move {
                until_asked(&mut stream).await;
                let _ = stream.write_all(says).await;
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                counts[1].fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (address, told)
}

/// Reads HTTP/2 up to the first HEADERS frame.
async fn until_asked(stream: &mut TcpStream) {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    let mut frame = vec![0; PREFACE];
    while stream.read_exact(&mut frame).await.is_ok() {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() || head[3] == HEADERS {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        frame.resize(length as usize, 0);
    }
}

/// SETTINGS, and HEADERS of stream 1: `:status 200`, `content-type: application/grpc`.
const UNDERSTOOD: &[u8] =
    b"\0\0\0\x04\0\0\0\0\0\0\0\x14\x01\x04\0\0\0\x01\x88\x0f\x10\x10application/grpc";

#[tokio::test(flavor = "multi_thread")]
async fn s26_probes_of_a_peer_that_never_says_hello_leave_no_connection_behind() {
    for says in [&[][..], UNDERSTOOD] {
        let (address, connections) = mute(says).await;
        let mut quick = NodeOptions::default().listen("127.0.0.1:0");
        quick.suspect_after = Some(Duration::from_millis(50));
        quick.probe_interval = Some(Duration::from_millis(10));
        let node = Node::start(quick).await.unwrap();
        node.set_peers(&[node.address(), &address]).unwrap();
        let getter = CountingGetter::new();
        let group = node.group("g", options(), Some(getter)).unwrap();
        let mut keys = (0..).map(|n| format!("key-{n}"));
        let key = keys.find(|key| node.owner(key).unwrap() == address);
        group.get(&key.unwrap()).await.unwrap();
        let [came, open] = &*connections;
        let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        until("ten connections came", || read(came) >= 10).await;
        until("all but the latest are closed", || read(open) <= 1).await;
        node.close(None).await.unwrap();
        until("and that one too", || read(open) == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_probes_of_a_peer_that_was_stopped_leave_no_connection_behind() {
    let mut quick = NodeOptions::default();
    quick.suspect_after = Some(Duration::from_millis(50));
    quick.probe_interval = Some(Duration::from_millis(10));
    let pair = Pair::start(quick).await;
    for _ in 0..5 {
        pair.until_fetched().await;
        let before = pair.road.accepted();
        pair.road.set(Road::Frozen);
        for key in pair.keys().take(20) {
            pair.groups[0].get(&key).await.unwrap();
        }
        until("it is probed", || pair.road.accepted() >= before + 4).await;
        pair.road.set(Road::Open);
        pair.until_fetched().await;
    }
    until("only the link is left", || pair.road.open() <= 1).await;
}
