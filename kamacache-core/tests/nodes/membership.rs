//! Changes of membership: goodbyes, returns, hand-over to next owners, take
//! from previous ones, and lists that come from a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::common::{Gate, Gated, LONG, kind, lists, logs, options, text, until, until_async};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{
    Error, ErrorKind, Group, GroupOptions, LoadContext, Node, NodeOptions, getter_fn,
};

async fn cluster(count: usize) -> (Cluster, Vec<Group>, Arc<CountingGetter>) {
    let cluster = Cluster::start(count).await.unwrap();
    let getter = CountingGetter::new();
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    (cluster, groups, getter)
}

fn keys_of(cluster: &Cluster, index: usize, count: usize) -> Vec<String> {
    (0..count)
        .map(|salt| cluster.key_owned_by(index, salt))
        .collect()
}

/// Gives the first `count` nodes a list of themselves.
fn only_first(cluster: &Cluster, count: usize) {
    let members: Vec<&str> = cluster.nodes()[..count].iter().map(Node::address).collect();
    for node in &cluster.nodes()[..count] {
        node.set_peers(&members).unwrap();
    }
}

fn alone(cluster: &Cluster, index: usize) {
    let node = cluster.node(index);
    node.set_peers(&[node.address()]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s28_a_goodbye_removes_a_member_at_once() {
    let (cluster, groups, getter) = cluster(3).await;
    let key = cluster.key_owned_by(2, 0);
    cluster.node(2).close(None).await.unwrap();
    for node in &cluster.nodes()[..2] {
        assert_eq!(node.members().len(), 2, "before close has returned");
    }
    groups[0].get(&key).await.unwrap();
    groups[1].get(&key).await.unwrap();
    assert_eq!(getter.calls(&key), 1, "one owner, one load");
    assert_eq!(groups[0].stats().fallbacks + groups[1].stats().fallbacks, 0);
}

/// A planned leave is no failure, whether the list still names the leaver or not.
#[tokio::test(flavor = "multi_thread")]
async fn s32_a_member_that_leaves_in_order_is_not_suspected() {
    logs::catch();
    for listed_still in [true, false] {
        let list = List::new();
        let start = async || Node::start(list.options()).await.unwrap();
        let (stays, leaves) = (start().await, start().await);
        list.write(&format!("{}\n{}\n", stays.address(), leaves.address()));
        let getter = CountingGetter::new();
        for node in [&stays, &leaves] {
            until("both are members", || node.members().len() == 2).await;
            node.group("g", options(), Some(getter.clone())).unwrap();
        }
        let group = stays.find_group("g").unwrap();
        let key = (0..10_000)
            .map(|n| n.to_string())
            .find(|key| stays.owner(key).unwrap() == leaves.address())
            .unwrap();
        group.get(&key).await.unwrap();
        assert_eq!(group.stats().fetches, 1, "there is a link");
        if !listed_still {
            list.write(stays.address());
        }
        let gone = leaves.address().to_owned();
        leaves.close(None).await.unwrap();
        until("it is out", || stays.members() == [stays.address()]).await;
        // The next member that dies is suspected, so that what was logged before
        // is there.
        let dies = start().await;
        list.write(&format!("{}\n{}\n", stays.address(), dies.address()));
        until("it is in", || stays.members().len() == 2).await;
        dies.group("g", options(), Some(getter.clone())).unwrap();
        let key = (0..10_000)
            .map(|n| n.to_string())
            .find(|key| stays.owner(key).unwrap() == dies.address())
            .unwrap();
        group.get(&key).await.unwrap();
        let dead = format!("peer={:?}", dies.address());
        dies.close(Some(Duration::ZERO)).await.unwrap();
        logs::said(&["WARN", &dead, "peer suspected"]).await;
        assert_eq!(logs::warnings(&[&dead]).len(), 1, "{}", logs::all());
        let gone = logs::lines(&[&format!("peer={gone:?}"), "suspected"]);
        assert!(gone.is_empty(), "{gone:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s28_a_member_that_comes_back_is_a_member_again() {
    let mut quick = NodeOptions::default();
    quick.probe_interval = Some(Duration::from_millis(50));
    let cluster = Cluster::start_with(2, &quick).await.unwrap();
    let members = cluster.node(0).members();
    let address = cluster.node(1).address().to_owned();
    cluster.node(1).close(None).await.unwrap();
    assert_eq!(cluster.node(0).members(), [cluster.node(0).address()]);
    let back = quick.listen(&address).peers(members.clone());
    let back = Node::start(back).await.unwrap();
    until("it is back", || cluster.node(0).members() == members).await;
    assert_eq!(back.members(), members);
}

#[tokio::test(flavor = "multi_thread")]
async fn s32_what_a_leaver_owned_is_at_its_next_owners() {
    let (cluster, groups, getter) = cluster(3).await;
    let keys = keys_of(&cluster, 2, 300);
    for key in &keys {
        groups[2].get(key).await.unwrap();
    }
    groups[2].set(&keys[0], "set").await.unwrap();
    cluster.node(2).close(None).await.unwrap();
    for (number, key) in keys.iter().enumerate() {
        let value = groups[number % 2].get(key).await.unwrap();
        let expected = match number {
            0 => "set".to_owned(),
            _ => format!("value-of-{key}"),
        };
        assert_eq!(text(&value), expected);
    }
    assert_eq!(getter.total(), keys.len(), "nothing was loaded again");
}

#[tokio::test(flavor = "multi_thread")]
async fn s32_nothing_given_is_seen_before_the_giver_has_left() {
    let (cluster, groups, getter) = cluster(2).await;
    // A node that dies without a goodbye has given nothing.
    let keys = keys_of(&cluster, 1, 20);
    for key in &keys {
        groups[1].get(key).await.unwrap();
    }
    let _ = cluster.node(1).close(Some(Duration::ZERO)).await;
    assert_eq!(groups[0].get_many(&keys, None).await.len(), keys.len());
    assert_eq!(getter.total(), 2 * keys.len());
    assert_eq!(cluster.node(0).members().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn s33_a_new_owner_takes_what_the_previous_one_has() {
    let (cluster, groups, getter) = cluster(3).await;
    let moved = keys_of(&cluster, 2, 100);
    only_first(&cluster, 2);
    cluster
        .node(2)
        .set_peers(&[cluster.node(2).address()])
        .unwrap();
    for key in &moved {
        groups[0].get(key).await.unwrap();
    }
    cluster.connect_all().unwrap();
    let deleted = &moved[0];
    groups[1].delete(deleted).await.unwrap();
    for key in &moved {
        groups[2].get(key).await.unwrap();
    }
    assert_eq!(getter.calls(deleted), 2, "written since: not taken");
    assert_eq!(getter.total(), moved.len() + 1);
    let stats = groups[2].stats();
    assert_eq!(stats.loads, 1);
    assert_eq!(stats.gets, stats.loaded + stats.hits);
}

/// Too large for a link, and for the default share of the memory.
const LARGE: usize = 300 << 10;

/// A large value takes its time on a busy machine; only the wait is bounded.
async fn patient(count: usize) -> Cluster {
    let mut patient = NodeOptions::default();
    patient.suspect_after = Some(LONG);
    Cluster::start_with(count, &patient).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn s32_large_values_are_given_as_well() {
    let cluster = patient(3).await;
    let getter = CountingGetter::new();
    let groups = cluster.groups("g", &GroupOptions::new(64 << 20), &getter);
    let groups = groups.unwrap();
    let keys = keys_of(&cluster, 2, 12);
    for (key, fill) in keys.iter().zip(0..) {
        groups[2].set(key, vec![fill; LARGE]).await.unwrap();
    }
    cluster.node(2).close(None).await.unwrap();
    for (key, fill) in keys.iter().zip(0..) {
        let value = groups[0].get(key).await.unwrap();
        assert_eq!(*value, vec![fill; LARGE]);
    }
    assert_eq!(getter.total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s33_large_values_are_taken_as_well() {
    let cluster = patient(2).await;
    // Loaded, not set: what was written is told to node 1, whenever that comes.
    let calls = Arc::new(AtomicU8::new(0));
    let groups = [0, 1].map(|node| {
        let calls = calls.clone();
        let getter = getter_fn(move |_ctx: LoadContext| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move { Ok::<_, Error>(Some(vec![call; LARGE])) }
        });
        let options = GroupOptions::new(64 << 20);
        cluster
            .node(node)
            .group_with("large", options, getter)
            .unwrap()
    });
    let keys = keys_of(&cluster, 1, 12);
    alone(&cluster, 0);
    alone(&cluster, 1);
    for key in &keys {
        groups[0].get(key).await.unwrap();
    }
    cluster.connect_all().unwrap();
    for (key, call) in keys.iter().zip(0..) {
        let value = groups[1].get(key).await.unwrap();
        assert_eq!(*value, vec![call; LARGE]);
        assert!(groups[1].peek(key).is_some(), "kept as its own");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 12);
    assert_eq!(groups[0].stats().entries, 0, "given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn s33_without_a_warm_window_nothing_is_kept_for_others() {
    let mut cold = NodeOptions::default();
    cold.warm_window = Some(Duration::ZERO);
    let cluster = Cluster::start_with(2, &cold).await.unwrap();
    let getter = CountingGetter::new();
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    let key = cluster.key_owned_by(1, 0);
    alone(&cluster, 0);
    groups[0].get(&key).await.unwrap();
    cluster.connect_all().unwrap();
    groups[1].get(&key).await.unwrap();
    assert_eq!(getter.calls(&key), 2);
    until("its memory is given back", || {
        groups[0].stats().entries == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s34_after_the_round_trip_of_a_key_its_old_value_is_not_served() {
    for gracefully in [true, false] {
        let (cluster, groups, _) = cluster(2).await;
        let key = cluster.key_owned_by(1, 0);
        alone(&cluster, 0);
        alone(&cluster, 1);
        groups[0].set(&key, "v1").await.unwrap();
        cluster.connect_all().unwrap();
        assert_eq!(groups[0].peek(&key), None, "lost with the view");
        assert_eq!(text(&groups[1].get(&key).await.unwrap()), "v1", "taken");
        groups[0].set(&key, "v2").await.unwrap();
        if gracefully {
            cluster.node(1).close(None).await.unwrap();
        } else {
            alone(&cluster, 0);
        }
        assert_eq!(cluster.node(0).members().len(), 1);
        // Given or taken; or loaded, when node 1 heard only after the second
        // write that node 0 had written there before.
        let value = groups[0].get(&key).await.unwrap();
        let loaded = format!("value-of-{key}");
        assert!([&*loaded, "v2"].contains(&text(&value)), "{value:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_new_owner_hears_of_writes_under_the_old_view() {
    let (cluster, groups, getter) = cluster(2).await;
    let (moved, other) = (cluster.key_owned_by(1, 0), cluster.key_owned_by(1, 1));
    alone(&cluster, 0);
    // Node 1 has the new view already, loads what it owns there, and does not
    // see the writes at the owner of the old one.
    groups[1].get(&moved).await.unwrap();
    groups[1].get(&other).await.unwrap();
    groups[0].set(&moved, "acknowledged").await.unwrap();
    cluster.connect_all().unwrap();
    until("the overtaken entry is gone", || {
        groups[1].peek(&moved).is_none()
    })
    .await;
    assert!(groups[1].peek(&other).is_some(), "nothing else is lost");
    groups[0].get(&moved).await.unwrap();
    assert_eq!(getter.calls(&other), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_requests_in_flight_to_a_removed_peer_finish() {
    let cluster = Cluster::start(2).await.unwrap();
    let gate = Gate::new();
    let getter = Arc::new(Gated(gate.clone()));
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    let key = cluster.key_owned_by(1, 0);
    let waits = tokio::spawn({
        let (group, key) = (groups[0].clone(), key.clone());
        async move { group.get(&key).await }
    });
    gate.entered().await;
    alone(&cluster, 0);
    gate.release(1);
    assert_eq!(text(&waits.await.unwrap().unwrap()), "value-1");
    assert_eq!(groups[0].stats().fallbacks, 0);
    assert_eq!(groups[0].peek(&key), None, "not kept by who was no owner");
}

// ---- discovery by a file ----

struct List(tempfile::TempDir);

impl List {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("peers")
    }

    /// Replaces the file, as a configuration tool does.
    fn write(&self, text: &str) {
        let new = self.0.path().join("peers.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.path()).unwrap();
    }

    fn options(&self) -> NodeOptions {
        let mut options = NodeOptions::default().listen("127.0.0.1:0");
        options.discovery = Some(format!("file://{}", self.path().display()));
        options.remove_grace = Some(Duration::from_millis(100));
        options
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_a_list_that_fails_or_makes_no_sense_changes_nothing() {
    let list = List::new();
    let node = Node::start(list.options()).await.unwrap();
    until("the missing file is noticed", || {
        node.discovery_stale().is_some()
    })
    .await;
    assert_eq!(node.members(), [node.address()]);
    let other = "127.0.0.1:9";
    list.write(&format!("{}\n{other} # a comment\n", node.address()));
    until("the list is read", || node.members().len() == 2).await;
    assert_eq!(node.discovery_stale(), None);
    let members = node.members();
    let huge: String = (0..10_001)
        .map(|n| format!("127.0.0.1:{}\n", n + 1))
        .collect();
    for (number, bad) in ["", "nonsense\n", "127.0.0.1:0\n", &huge]
        .iter()
        .enumerate()
    {
        let before = node.discovery_failures();
        list.write(bad);
        until("it is counted", || node.discovery_failures() > before).await;
        assert_eq!(node.members(), members, "bad list {number}");
        assert!(node.discovery_stale().is_some());
    }
    std::fs::remove_file(list.path()).unwrap();
    let before = node.discovery_failures();
    until("it is counted", || node.discovery_failures() > before).await;
    assert_eq!(node.members(), members);
    let error = node.set_peers(&[node.address()]).unwrap_err();
    assert!(error.message().contains("discovery"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s04_a_node_that_is_not_listed_while_others_are_owns_nothing() {
    let list = List::new();
    let listed = Node::start(NodeOptions::default().listen("127.0.0.1:0"))
        .await
        .unwrap();
    list.write(listed.address());
    let node = Node::start(list.options()).await.unwrap();
    let getter = CountingGetter::new();
    let groups =
        [&listed, &node].map(|node| node.group("g", options(), Some(getter.clone())).unwrap());
    until("the list is read", || node.members() == [listed.address()]).await;
    for n in 0..20 {
        let key = format!("key-{n}");
        assert_eq!(node.owner(&key).unwrap(), listed.address());
        groups[1].get(&key).await.unwrap();
    }
    assert_eq!(groups[1].stats().loads, 0);
    assert_eq!(groups[0].stats().loads, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn s04_an_unlisted_node_owns_nothing_from_its_first_view_on() {
    let list = List::new();
    let mut patient = list.options();
    // Nobody's grace ends during the test.
    patient.remove_grace = Some(LONG);
    let listed = Node::start(NodeOptions::default().listen("127.0.0.1:0"))
        .await
        .unwrap();
    list.write(listed.address());
    let node = Node::start(patient).await.unwrap();
    let mut views = node.watch_members();
    let view = tokio::time::timeout(LONG, views.changed()).await;
    view.expect("the list is read").unwrap();
    assert_eq!(*views.borrow(), [listed.address()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s04_the_later_of_two_living_nodes_with_one_address_is_refused_by_name() {
    logs::catch();
    let judge = Node::start(NodeOptions::default().listen("127.0.0.1:0"))
        .await
        .unwrap();
    let first = Node::start(NodeOptions::default().listen("127.0.0.1:0"))
        .await
        .unwrap();
    let members = [judge.address().to_owned(), first.address().to_owned()];
    let mut groups = Vec::new();
    let getter = CountingGetter::new();
    for node in [&judge, &first] {
        node.set_peers(&members).unwrap();
        groups.push(node.group("g", options(), Some(getter.clone())).unwrap());
    }
    let key = (0..).map(|n| format!("key-{n}"));
    let key = key
        .into_iter()
        .find(|key| first.owner(key).unwrap() == judge.address())
        .unwrap();
    groups[1].get(&key).await.unwrap();
    // A second one that says of itself that it is the first.
    let mut double = NodeOptions::default().listen("127.0.0.1:0");
    double.advertise = Some(first.address().to_owned());
    let double = Node::start(double.peers(members.to_vec())).await.unwrap();
    let doubled = double.group("g", options(), Some(getter.clone())).unwrap();
    doubled.get(&key).await.unwrap();
    until("it is refused", || double.stats().links_refused > 0).await;
    assert!(judge.stats().links_refused > 0);
    logs::said(&["two living nodes advertise", first.address()]).await;
    // The first one is served on.
    groups[1].set(&key, "first").await.unwrap();
    assert_eq!(text(&groups[0].get(&key).await.unwrap()), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn s28_a_node_that_starts_after_a_goodbye_hears_of_it() {
    let cluster = Cluster::start(3).await.unwrap();
    let getter = CountingGetter::new();
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    let members = cluster.node(0).members();
    cluster.node(0).close(None).await.unwrap();
    let _ = cluster.node(2).close(Some(Duration::ZERO)).await;
    let back = NodeOptions::default().listen(cluster.node(2).address());
    let back = Node::start(back.peers(members)).await.unwrap();
    let group = back.group("g", options(), Some(getter.clone())).unwrap();
    let living = [back.address(), cluster.node(1).address()].map(str::to_owned);
    // Any request makes the link over which it is told.
    let key = cluster.key_owned_by(1, 0);
    until_async("it can be cleared", async || {
        let _ = group.get(&key).await;
        group.clear(Some(LONG)).await.is_ok()
    })
    .await;
    lists(&back, &living).await;
    groups[1].clear(Some(LONG)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s28_members_join_and_go_with_the_file() {
    let list = List::new();
    let nodes = [
        Node::start(list.options()).await.unwrap(),
        Node::start(list.options()).await.unwrap(),
    ];
    let both = format!("{}\n{}\n", nodes[0].address(), nodes[1].address());
    list.write(&both);
    for node in &nodes {
        until("both are members", || node.members().len() == 2).await;
    }
    // Listed no more: it answers, so it stays for the grace, and then goes.
    list.write(nodes[0].address());
    until("the grace is over", || nodes[0].members().len() == 1).await;
    until("it owns nothing", || {
        nodes[1].members() == [nodes[0].address()]
    })
    .await;
    list.write(&both);
    for node in &nodes {
        until("both are members", || node.members().len() == 2).await;
    }
}

#[tokio::test]
async fn discovery_urls_and_peers_are_checked_at_start() {
    for wrong in ["zookeeper://h/x", "file:peers", "nothing"] {
        let mut options = NodeOptions::default().listen("127.0.0.1:0");
        options.discovery = Some(wrong.into());
        let error = Node::start(options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("file:///"), "{error}");
    }
    let mut options = NodeOptions::default();
    options.discovery = Some("file:///peers".into());
    assert_eq!(kind(Node::start(options).await), ErrorKind::InvalidArgument);
}
