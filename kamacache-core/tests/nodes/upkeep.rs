//! What touches every entry runs in the background: a clear, a change of members
//! and what a peer says it wrote cost their caller, and the node's io threads,
//! the same whatever the number of entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::common::near::NearCopies;
use crate::common::stranger::{Hello, Op, Replies, Requests, Stranger, get, hello, open};
use crate::common::{Gate, LONG, gated, options, single, text, until};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{Freshness, Group, GroupOptions, Near, Node, NodeOptions, Ttl};

/// Entries of the larger tests.
const MANY: usize = 20_000;
/// Entries whose sweep takes long enough for many questions of a peer.
const LOADS: usize = 60_000;
/// Entries that the background task handles without letting others run.
const SLICE: usize = 64;

/// Counts evictions.
fn counted() -> (GroupOptions, Arc<AtomicUsize>) {
    let gone = Arc::new(AtomicUsize::new(0));
    let told = gone.clone();
    let mut options = GroupOptions::new(64 << 20);
    options.on_evict = Some(Arc::new(move |_, _, _| {
        told.fetch_add(1, Ordering::SeqCst);
    }));
    (options, gone)
}

async fn fill(group: &Group, count: usize) {
    for i in 0..count {
        group.set(&format!("key-{i}"), "value").await.unwrap();
    }
}

/// Lets the runtime's other tasks run until all are gone; the most that went
/// while this task waited for one turn.
async fn most_in_a_turn(gone: &AtomicUsize, all: usize) -> usize {
    let (mut before, mut most) = (gone.load(Ordering::SeqCst), 0);
    while before < all {
        tokio::task::yield_now().await;
        let now = gone.load(Ordering::SeqCst);
        most = most.max(now - before);
        before = now;
    }
    most
}

#[tokio::test(flavor = "current_thread")]
async fn s22_clear_holds_its_thread_for_no_entry() {
    let node = single().await;
    let (options, gone) = counted();
    let group = node.group("g", options, None).unwrap();
    fill(&group, MANY).await;
    group.clear(None).await.unwrap();
    assert!(
        gone.load(Ordering::SeqCst) <= SLICE,
        "clear frees nothing itself"
    );
    assert_eq!(group.stats().entries, 0);
    assert!(group.stats().bytes > 1 << 20, "charged until it is freed");
    assert_eq!(group.peek("key-7"), None);
    let most = tokio::time::timeout(LONG, most_in_a_turn(&gone, MANY)).await;
    assert!(most.expect("it is freed") <= 2 * SLICE, "in small slices");
    until("nothing is charged", || group.stats().bytes < 1 << 20).await;
}

#[tokio::test(flavor = "current_thread")]
async fn s29_a_change_of_members_holds_its_caller_for_no_entry() {
    let mut cold = NodeOptions::default().listen("127.0.0.1:0");
    cold.warm_window = Some(std::time::Duration::ZERO);
    let node = Node::start(cold).await.unwrap();
    let (options, gone) = counted();
    let group = node.group("g", options, None).unwrap();
    fill(&group, MANY).await;
    // Nobody listens there: it only owns keys.
    let members = [node.address(), "127.0.0.1:1"];
    node.set_peers(&members).unwrap();
    assert_eq!(gone.load(Ordering::SeqCst), 0, "set_peers sweeps nothing");
    let keys = (0..MANY).map(|i| format!("key-{i}"));
    let lost: Vec<_> = keys
        .filter(|key| node.owner(key).unwrap() != node.address())
        .collect();
    for key in &lost {
        assert_eq!(group.peek(key), None, "void at once");
    }
    let swept = most_in_a_turn(&gone, lost.len());
    let most = tokio::time::timeout(LONG, swept).await;
    assert!(most.expect("it is swept") <= 2 * SLICE, "in small slices");
    assert_eq!(group.stats().entries as usize, MANY - lost.len());
}

/// Takes near copies of these keys, over and over, until `stop`.
struct Copiers {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<Vec<Near>>>,
}

impl Copiers {
    /// Two of them, once they are at work.
    async fn begin(group: &Group, keys: usize) -> Self {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let spawn = |_| {
            let (group, stop, rounds) = (group.clone(), stop.clone(), rounds.clone());
            thread::spawn(move || {
                let (mut buffer, mut taken) = ([0; 64], Vec::new());
                while !stop.load(Ordering::SeqCst) {
                    for i in 0..keys {
                        taken.extend(group.near_into(&format!("key-{i}"), 0, &mut buffer));
                    }
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
                taken
            })
        };
        let threads = (0..2).map(spawn).collect();
        until("copies are made", || rounds.load(Ordering::SeqCst) > 0).await;
        Self {
            stop,
            rounds,
            threads,
        }
    }

    fn end(self) -> Vec<Near> {
        self.stop.store(true, Ordering::SeqCst);
        assert!(self.rounds.load(Ordering::SeqCst) > 0);
        let threads = self.threads.into_iter();
        threads.flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn standing(copies: &[Near], freshness: &Freshness) -> usize {
    copies.iter().filter(|near| near.stands(freshness)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_near_copies_made_during_a_clear_do_not_stand_after_it() {
    // Whoever calls clear does it twice; the other members once.
    let (_cluster, groups, _b, _getter) = pair().await;
    let (group, clearer) = (&groups[0], &groups[1]);
    for _ in 0..20 {
        fill(group, 1_000).await;
        let copiers = Copiers::begin(group, 1_000).await;
        clearer.clear(None).await.unwrap();
        let copies = copiers.end();
        assert_eq!(
            standing(&copies, &group.freshness()),
            0,
            "of {}",
            copies.len()
        );
    }
}

fn written(id: u64) -> Op {
    Op {
        id,
        op: 18,
        value: vec![0xff; 8192],
        ..Op::default()
    }
}

async fn stranger(node: &Node, capabilities: u64) -> Stranger {
    let first = Requests {
        hello: Some(Hello {
            capabilities,
            ..hello(node.address())
        }),
        ..Requests::default()
    };
    let mut stranger = open(node.address(), first).await.unwrap();
    assert!(stranger.next().await.hello.is_some());
    stranger
}

#[tokio::test(flavor = "multi_thread")]
async fn s34_near_copies_made_while_slots_are_told_do_not_stand_afterwards() {
    let node = Node::start(NodeOptions::default().listen("127.0.0.1:0"));
    let node = node.await.unwrap();
    let group = node.group("g", GroupOptions::new(64 << 20), None).unwrap();
    let mut peer = stranger(&node, 0).await;
    for round in 1..=20 {
        fill(&group, 2_000).await;
        let copiers = Copiers::begin(&group, 2_000).await;
        assert_eq!(peer.ask(written(round)).await.code, 0);
        let copies = copiers.end();
        assert_eq!(standing(&copies, &group.freshness()), 0, "round {round}");
        assert_eq!(group.peek("key-7"), None);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn s34_what_a_peer_says_it_wrote_is_void_at_once_and_swept_in_slices() {
    let node = Node::start(NodeOptions::default().listen("127.0.0.1:0"));
    let node = node.await.unwrap();
    let (options, gone) = counted();
    let group = node.group("g", options, None).unwrap();
    fill(&group, MANY).await;
    let mut peer = stranger(&node, 0).await;
    assert_eq!(peer.ask(written(1)).await.code, 0);
    for i in 0..MANY {
        assert_eq!(group.peek(&format!("key-{i}")), None);
    }
    group.set("key-7", "since").await.unwrap();
    let swept = most_in_a_turn(&gone, MANY);
    let most = tokio::time::timeout(LONG, swept).await;
    assert!(most.expect("it is swept") <= 2 * SLICE, "in small slices");
    assert_eq!(text(&group.get("key-7").await.unwrap()), "since");
}

/// A node with one io thread sweeps, and a peer asks it over and over.
#[tokio::test(flavor = "multi_thread")]
async fn s34_no_question_of_a_peer_waits_for_a_sweep() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let (options, gone) = counted();
    let (node, group) = elsewhere(&runtime, async {
        let node = Node::start(NodeOptions::default().listen("127.0.0.1:0"));
        let node = node.await.unwrap();
        let group = node.group("g", options, None).unwrap();
        fill(&group, LOADS).await;
        (node, group)
    })
    .await;
    let mut peer = stranger(&node, 0).await;
    assert_eq!(peer.ask(written(1)).await.code, 0);
    let (mut most, mut questions) = (0, 0);
    for id in 2.. {
        let before = gone.load(Ordering::SeqCst);
        peer.ask(get(id, b"g", b"absent")).await;
        let after = gone.load(Ordering::SeqCst);
        (most, questions) = (most.max(after - before), questions + 1);
        if after == LOADS {
            break;
        }
    }
    assert_eq!(group.stats().entries, 0);
    // A loaded machine may hold up a few questions, but a sweep none.
    assert!(
        questions > 20 && most <= LOADS / 2,
        "{questions} questions; {most} entries were swept while one waited"
    );
    runtime.shutdown_background();
}

/// Runs this on the other runtime.
async fn elsewhere<T: Send + 'static>(
    runtime: &tokio::runtime::Runtime,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    runtime.spawn(work).await.unwrap()
}

/// What expires together leaves soon, in slices.
#[tokio::test(flavor = "current_thread")]
async fn s23_entries_that_expire_together_leave_together_in_small_slices() {
    let node = single().await;
    let (options, gone) = counted();
    let group = node.group("g", options, None).unwrap();
    let brief = Ttl::After(std::time::Duration::from_secs(1));
    for i in 0..MANY {
        let key = format!("key-{i}");
        group.set_with(&key, "value", brief, None).await.unwrap();
    }
    let most = tokio::time::timeout(LONG, most_in_a_turn(&gone, MANY)).await;
    assert!(most.expect("it expires") <= 2 * SLICE, "in small slices");
    assert_eq!(group.stats().expirations as usize, MANY);
}

/// A hook that panics ends neither the sweep nor reclamation.
#[tokio::test]
async fn s14_an_on_evict_that_panics_ends_no_upkeep() {
    let node = Node::start(NodeOptions::default().listen("127.0.0.1:0"));
    let node = node.await.unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let counted = told.clone();
    let mut options = GroupOptions::new(64 << 20);
    options.on_evict = Some(Arc::new(move |_, _, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        panic!("on_evict")
    }));
    let group = node.group("g", options, None).unwrap();
    let mut peer = stranger(&node, 0).await;
    for round in 1..=2 {
        fill(&group, 200).await;
        assert_eq!(peer.ask(written(2 * round)).await.code, 0);
        let gone = round as usize * 400 - 200;
        until("it is swept", || told.load(Ordering::SeqCst) == gone).await;
        fill(&group, 200).await;
        group.clear(None).await.unwrap();
        until("it is freed", || told.load(Ordering::SeqCst) == gone + 200).await;
    }
}

/// A pair of nodes with two groups, `a` and `b`.
async fn pair() -> (Cluster, Vec<Group>, Vec<Group>, Arc<CountingGetter>) {
    let cluster = Cluster::start(2).await.unwrap();
    let getter = CountingGetter::new();
    let mut lasting = options();
    lasting.hot_ttl = Some(LONG);
    let a = cluster.groups("a", &lasting, &getter).unwrap();
    let b = cluster.groups("b", &lasting, &getter).unwrap();
    (cluster, a, b, getter)
}

async fn borrow(group: &Group, key: &str) {
    while group.peek(key).is_none() {
        group.get(key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_a_clear_voids_copies_of_its_own_group_and_no_other() {
    let (cluster, a, b, _getter) = pair().await;
    let (mine, theirs) = (cluster.key_owned_by(0, 0), cluster.key_owned_by(1, 0));
    borrow(&a[0], &theirs).await;
    borrow(&b[0], &theirs).await;
    b[0].set(&mine, "near").await.unwrap();
    let mut near = NearCopies::of(&b[0]);
    near.take(&b[0], &mine).expect("an owned entry");
    a[1].clear(None).await.unwrap();
    assert_eq!(a[0].peek(&theirs), None, "cleared");
    assert!(
        b[0].peek(&theirs).is_some(),
        "a copy of another group stays"
    );
    assert!(near.get(&mine).is_some(), "and so does a near copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_a_clear_voids_loads_of_its_own_group_and_no_other() {
    let node = single().await;
    let gate = Gate::new();
    let a = node.group("a", options(), gated(&gate)).unwrap();
    let b = node.group("b", options(), gated(&gate)).unwrap();
    let loads = [&a, &b].map(|group| {
        let group = group.clone();
        tokio::spawn(async move { group.get("key").await })
    });
    gate.entered().await;
    gate.entered().await;
    a.clear(None).await.unwrap();
    gate.release(2);
    for load in loads {
        load.await.unwrap().unwrap();
    }
    assert_eq!(a.peek("key"), None, "its load began before the clear");
    assert!(b.peek("key").is_some(), "the other group's load is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn s08a_a_clear_is_told_by_group_to_peers_that_know_it() {
    let node = Node::start(NodeOptions::default().listen("127.0.0.1:0"));
    let node = node.await.unwrap();
    let group = node.group("g", options(), None).unwrap();
    let (mut old, mut new) = (stranger(&node, 0).await, stranger(&node, 16).await);
    group.clear(None).await.unwrap();
    let told = |message: &Replies| message.all_invalid || !message.cleared.is_empty();
    let (mut to_old, mut to_new) = (Replies::default(), Replies::default());
    while !told(&to_old) {
        to_old = old.next().await;
    }
    while !told(&to_new) {
        to_new = new.next().await;
    }
    assert_eq!((to_old.all_invalid, to_old.cleared.len()), (true, 0));
    assert_eq!(
        (to_new.all_invalid, to_new.cleared),
        (false, vec![b"g".to_vec()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_copies_of_owners_that_stay_survive_a_change_of_members() {
    let cluster = Cluster::start(3).await.unwrap();
    let getter = CountingGetter::new();
    let mut lasting = options();
    lasting.hot_ttl = Some(LONG);
    let groups = cluster.groups("g", &lasting, &getter).unwrap();
    let keys: Vec<_> = (0..20).map(|salt| cluster.key_owned_by(1, salt)).collect();
    for key in &keys {
        borrow(&groups[0], key).await;
    }
    let fetches = groups[0].stats().fetches;
    let two: Vec<_> = (0..2).map(|n| cluster.node(n).address()).collect();
    for index in [0, 1] {
        cluster.node(index).set_peers(&two).unwrap();
    }
    for key in &keys {
        groups[0].get(key).await.unwrap();
    }
    assert_eq!(groups[0].stats().fetches, fetches, "no copy was dropped");
    // Node 1 goes, and with it what it lent.
    cluster.node(0).set_peers(&two[..1]).unwrap();
    for key in &keys {
        assert_eq!(groups[0].peek(key), None);
    }
}
