//! Several nodes in one process, over real gRPC on loopback: routing, writes,
//! fallback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Gate, Gated, LONG, gated, gets, kind, options, text};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{Error, ErrorKind, Group, LoadContext, Node, NodeOptions, getter_fn};
use tokio::net::TcpListener;

async fn cluster(count: usize) -> (Cluster, Vec<Group>, Arc<CountingGetter>) {
    let cluster = Cluster::start(count).await.unwrap();
    let getter = CountingGetter::new();
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    (cluster, groups, getter)
}

#[tokio::test]
async fn s04_the_static_list_is_checked_at_start() {
    let start = |listen: &str, peers: &[&str]| {
        Node::start(
            NodeOptions::default()
                .listen(listen)
                .peers(peers.iter().copied()),
        )
    };
    let error = start("127.0.0.1:0", &["127.0.0.1:1", "127.0.0.1:2"])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(
        error.message().contains("not in the peer list") && error.message().contains("127.0.0.1:2"),
        "{error}"
    );

    let node = start("127.0.0.1:0", &[]).await.unwrap();
    assert_eq!(node.members(), [node.address()]);
    assert!(!node.address().ends_with(":0"));
    for bad in ["10.0.0.1:8001", "nonsense", "127.0.0.1:0", "0.0.0.0:8001"] {
        let error = node.set_peers(&[node.address(), bad]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
        assert!(error.message().contains(bad), "{error}");
    }
    assert_eq!(
        kind(node.set_peers(&[] as &[&str])),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        node.members(),
        [node.address()],
        "a refused list changes nothing"
    );
}

#[tokio::test]
async fn s04_an_address_that_nobody_can_dial_is_not_advertised() {
    for (listen, advertise) in [
        ("0.0.0.0:0", None),
        ("127.0.0.1:0", Some("127.0.0.1:0")),
        ("127.0.0.1:0", Some("[::]:1")),
    ] {
        let mut options = NodeOptions::default().listen(listen);
        options.advertise = advertise.map(Into::into);
        let error = Node::start(options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("set advertise"), "{error}");
    }
}

#[tokio::test]
async fn a_taken_port_is_named_and_a_range_takes_the_next() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Node::start(NodeOptions::default().listen(format!("127.0.0.1:{port}")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.message().contains(&port.to_string()) && error.message().contains("taken"),
        "{error}"
    );
    if port < 65_000 {
        let range = format!("127.0.0.1:{port}-{}", port + 20);
        let node = Node::start(NodeOptions::default().listen(range))
            .await
            .unwrap();
        assert_ne!(node.address(), format!("127.0.0.1:{port}"));
    }
}

#[tokio::test]
async fn s05_every_node_names_the_same_owner_in_any_order() {
    let (cluster, ..) = cluster(3).await;
    let mut members = cluster.node(0).members();
    members.reverse();
    cluster.node(1).set_peers(&members).unwrap();
    for n in 0..500 {
        let key = format!("key-{n}");
        let owner = cluster.node(0).owner(&key).unwrap();
        assert!(
            cluster
                .nodes()
                .iter()
                .all(|node| node.owner(&key).unwrap() == owner)
        );
    }
}

#[tokio::test]
async fn a_change_of_members_is_told_and_nothing_else_is() {
    let cluster = Cluster::start(3).await.unwrap();
    let all = cluster.node(0).members();
    let mut members = cluster.node(0).watch_members();
    assert_eq!(*members.borrow_and_update(), all);
    cluster.node(0).set_peers(&all).unwrap();
    cluster.node(0).set_peers(&["nonsense"]).unwrap_err();
    assert!(!members.has_changed().unwrap());
    let two = vec![all[0].clone(), all[1].clone()];
    let stays = cluster
        .nodes()
        .iter()
        .find(|node| two.contains(&node.address().to_owned()))
        .unwrap();
    let mut members = stays.watch_members();
    stays.set_peers(&two).unwrap();
    members.changed().await.unwrap();
    assert_eq!(*members.borrow_and_update(), two);
    drop(cluster);
    assert!(members.changed().await.is_err());
}

#[tokio::test]
async fn only_the_owner_loads_and_everyone_reads() {
    let (cluster, groups, getter) = cluster(3).await;
    for owner in 0..3 {
        let key = cluster.key_owned_by(owner, 0);
        for group in &groups {
            assert_eq!(
                text(&group.get(&key).await.unwrap()),
                format!("value-of-{key}")
            );
        }
        assert_eq!(getter.calls(&key), 1);
        assert!(groups[owner].peek(&key).is_some());
    }
    let fetched: u64 = groups.iter().map(|group| group.stats().fetches).sum();
    let served: u64 = groups.iter().map(|group| group.stats().peer_gets).sum();
    assert_eq!(
        (fetched, served),
        (6, 6),
        "s38: fetches sent = gets served for peers"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s09_one_getter_call_cluster_wide() {
    let cluster = Cluster::start(3).await.unwrap();
    let gate = Gate::new();
    let getter = Arc::new(Gated(gate.clone()));
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    let key = cluster.key_owned_by(1, 0);
    let mut tasks = Vec::new();
    for group in &groups {
        tasks.extend(gets(group, &key, 100).await);
    }
    gate.entered().await;
    gate.release(1);
    for task in tasks {
        assert_eq!(text(&task.await.unwrap().unwrap()), "value-1");
    }
    assert_eq!(gate.calls(), 1);
    let sent: u64 = groups.iter().map(|group| group.stats().fetches).sum();
    assert_eq!(sent, 2, "one flight of fetches per node");
}

/// A's view lists A and B; B's view lists B and C. For a key that B owns in the
/// first and C in the second, B is asked by A and does not agree.
async fn disagreeing() -> (Cluster, Vec<Group>, Arc<CountingGetter>, String) {
    let (cluster, groups, getter) = cluster(3).await;
    let [a, b, c] = [0, 1, 2].map(|n| cluster.node(n).address().to_owned());
    cluster.node(0).set_peers(&[&a, &b]).unwrap();
    cluster.node(1).set_peers(&[&b, &c]).unwrap();
    let key = (0..)
        .map(|n| format!("key-{n}"))
        .find(|key| {
            cluster.node(0).owner(key).unwrap() == b && cluster.node(1).owner(key).unwrap() == c
        })
        .unwrap();
    (cluster, groups, getter, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn s07_a_request_of_a_peer_is_never_forwarded() {
    let (_cluster, groups, getter, key) = disagreeing().await;
    let mut tasks = gets(&groups[0], &key, 500).await;
    tasks.extend(gets(&groups[1], &key, 500).await);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert!(groups[1].stats().peer_gets >= 1);
    assert!(
        getter.calls(&key) <= 2,
        "{} getter calls",
        getter.calls(&key)
    );
    assert_eq!(groups[2].stats().fetches, 0);
}

#[tokio::test]
async fn s08_a_write_to_a_node_that_is_not_the_owner_is_refused_with_the_owner() {
    let (cluster, groups, _getter, key) = disagreeing().await;
    for error in [
        groups[0].set(&key, "v").await.unwrap_err(),
        groups[0].delete(&key).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("views differ"), "{error}");
        assert!(
            error.message().contains(cluster.node(2).address()),
            "{error}"
        );
    }
    assert_eq!(groups[1].peek(&key), None);
}

#[tokio::test]
async fn s08_a_write_is_sent_once_more_to_the_owner_that_was_named() {
    let (cluster, groups, _getter) = cluster(3).await;
    let [_, b, c] = [0, 1, 2].map(|n| cluster.node(n).address().to_owned());
    let [old, new] = ["old", "new"];
    // B learns of nobody but itself and C; A still lists all three.
    let key = (0..)
        .map(|n| format!("key-{n}"))
        .find(|key| cluster.node(0).owner(key).unwrap() == b)
        .unwrap();
    let b_only_c = [b.as_str(), c.as_str()];
    cluster.node(1).set_peers(&b_only_c).unwrap();
    groups[0].set(&key, old).await.unwrap();
    groups[0].set(&key, new).await.unwrap();
    let owner = usize::from(cluster.node(1).owner(&key).unwrap() == c) + 1;
    assert_eq!(groups[owner].peek(&key).as_deref(), Some(new.as_bytes()));
}

#[tokio::test]
async fn s08b_an_unknown_group_at_the_owner() {
    let cluster = Cluster::start(2).await.unwrap();
    let getter = CountingGetter::new();
    let group = cluster
        .node(0)
        .group("only-here", options(), Some(getter.clone()))
        .unwrap();
    let key = cluster.key_owned_by(1, 0);
    assert_eq!(
        text(&group.get(&key).await.unwrap()),
        format!("value-of-{key}")
    );
    assert_eq!(getter.calls(&key), 1);
    assert_eq!(group.stats().fallbacks, 1);
    for error in [
        group.set(&key, "v").await.unwrap_err(),
        group.delete(&key).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::UnknownGroup);
        assert!(error.message().contains("only-here"), "{error}");
        assert_eq!(error.peer(), Some(cluster.node(1).address()));
    }
}

#[tokio::test]
async fn s08b_a_young_node_waits_for_its_group_to_be_opened() {
    let cluster = Cluster::start(2).await.unwrap();
    let (here, there) = (CountingGetter::new(), CountingGetter::new());
    let group = cluster
        .node(0)
        .group("late", options(), Some(here.clone()))
        .unwrap();
    let key = cluster.key_owned_by(1, 0);
    let waiting = gets(&group, &key, 1).await;
    let _late = cluster
        .node(1)
        .group("late", options(), Some(there.clone()))
        .unwrap();
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert_eq!((here.calls(&key), there.calls(&key)), (0, 1));
}

#[tokio::test]
async fn s11_slowness_at_the_owner_is_no_reason_to_load_here() {
    let cluster = Cluster::start(2).await.unwrap();
    let (mine, gate) = (CountingGetter::new(), Gate::new());
    let group = cluster
        .node(0)
        .group("g", options(), Some(mine.clone()))
        .unwrap();
    let _slow = cluster.node(1).group("g", options(), gated(&gate)).unwrap();
    let key = cluster.key_owned_by(1, 0);
    let error = group
        .get_timeout(&key, Duration::from_millis(200))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(mine.total(), 0);
    // The load at the owner has outlived its caller; the next get joins it.
    gate.entered().await;
    let next = gets(&group, &key, 1).await;
    gate.release(1);
    for task in next {
        assert_eq!(text(&task.await.unwrap().unwrap()), "value-1");
    }
    assert_eq!(gate.calls(), 1);
}

#[tokio::test]
async fn s11_a_waiter_with_more_time_goes_on_when_the_leader_of_the_fetch_gives_up() {
    let cluster = Cluster::start(2).await.unwrap();
    let gate = Gate::new();
    let getter = Arc::new(Gated(gate.clone()));
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    let key = cluster.key_owned_by(1, 0);
    let hasty = groups[0].get_timeout(&key, Duration::from_millis(150));
    let patient = async {
        let waiting = gets(&groups[0], &key, 1).await;
        for task in waiting {
            assert_eq!(text(&task.await.unwrap().unwrap()), "value-1");
        }
    };
    let release = async {
        let error = hasty.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        gate.entered().await;
        gate.release(1);
    };
    tokio::time::timeout(LONG, async { tokio::join!(release, patient) })
        .await
        .expect("nobody hangs");
    assert_eq!(gate.calls(), 1);
}

#[tokio::test]
async fn s13_the_owners_error_is_the_answer() {
    let cluster = Cluster::start(2).await.unwrap();
    let (mine, theirs) = (CountingGetter::new(), Arc::new(AtomicUsize::new(0)));
    let group = cluster
        .node(0)
        .group("g", options(), Some(mine.clone()))
        .unwrap();
    let _other = cluster
        .node(1)
        .group(
            "g",
            options(),
            crate::common::failing("disk on fire", &theirs),
        )
        .unwrap();
    let key = cluster.key_owned_by(1, 0);
    let error = group.get(&key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::GetterFailed);
    assert_eq!(error.message(), "disk on fire");
    assert_eq!(error.app_code(), Some(7));
    assert_eq!(error.peer(), Some(cluster.node(1).address()));
    assert_eq!((mine.total(), theirs.load(Ordering::SeqCst)), (0, 1));
}

#[tokio::test]
async fn s13_not_found_and_panics_at_the_owner_are_answers_too() {
    let cluster = Cluster::start(2).await.unwrap();
    let mine = CountingGetter::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let a = cluster
        .node(0)
        .group("empty", options(), Some(mine.clone()))
        .unwrap();
    let _ = cluster
        .node(1)
        .group("empty", options(), crate::common::empty(&calls))
        .unwrap();
    let b = cluster
        .node(0)
        .group("panics", options(), Some(mine.clone()))
        .unwrap();
    let panics = getter_fn(async |ctx: LoadContext| {
        assert!(ctx.key().is_empty(), "no key is empty, so this panics");
        Ok::<_, Error>(Some("v"))
    });
    let _ = cluster
        .node(1)
        .group_with("panics", options(), panics)
        .unwrap();
    let key = cluster.key_owned_by(1, 0);
    assert_eq!(kind(a.get(&key).await), ErrorKind::NotFound);
    assert_eq!(kind(b.get(&key).await), ErrorKind::Panicked);
    assert_eq!(mine.total(), 0);
}

#[tokio::test]
async fn s17_a_write_is_seen_through_every_node() {
    let (cluster, groups, getter) = cluster(3).await;
    for owner in 0..3 {
        for writer in 0..3 {
            let key = cluster.key_owned_by(owner, writer);
            groups[writer].set(&key, "first").await.unwrap();
            groups[writer].set(&key, "second").await.unwrap();
            for group in &groups {
                assert_eq!(text(&group.get(&key).await.unwrap()), "second");
            }
            if writer != owner {
                assert_eq!(groups[writer].peek(&key), None, "the writer keeps no copy");
            }
            groups[writer].delete(&key).await.unwrap();
            assert_eq!(getter.calls(&key), 0);
            assert_eq!(
                text(&groups[2 - writer].get(&key).await.unwrap()),
                format!("value-of-{key}")
            );
        }
    }
}

#[tokio::test]
async fn s17_a_write_to_a_dead_owner_says_what_may_have_happened() {
    let (cluster, groups, _getter) = cluster(2).await;
    let key = cluster.key_owned_by(1, 0);
    let _ = cluster.node(1).close(Some(Duration::ZERO)).await;
    for error in [
        groups[0].set(&key, "v").await.unwrap_err(),
        groups[0].delete(&key).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error.message().contains(cluster.node(1).address()),
            "{error}"
        );
        assert!(
            error.message().contains("nothing was written")
                || error.message().contains("may have been"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn s17_a_value_above_the_limit_of_the_owner() {
    let (cluster, groups, _getter) = cluster(2).await;
    let key = cluster.key_owned_by(1, 0);
    groups[0].set(&key, "small").await.unwrap();
    let error = groups[0].set(&key, vec![0; 200_000]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(groups[1].peek(&key), None, "the old entry is gone");
}

#[tokio::test]
async fn s18_a_fetch_begun_before_a_write_is_not_joined_after_it() {
    let cluster = Cluster::start(2).await.unwrap();
    let gate = Gate::new();
    let getter = Arc::new(Gated(gate.clone()));
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    let key = cluster.key_owned_by(1, 0);
    let old = gets(&groups[0], &key, 1).await;
    gate.entered().await;
    groups[0].set(&key, "set").await.unwrap();
    assert_eq!(text(&groups[0].get(&key).await.unwrap()), "set");
    gate.release(1);
    for task in old {
        assert_eq!(text(&task.await.unwrap().unwrap()), "value-1");
    }
    assert_eq!(groups[1].peek(&key).as_deref(), Some(&b"set"[..]));
}

#[tokio::test]
async fn s25_a_closed_owner_is_stood_in_for_and_the_value_is_borrowed() {
    let (cluster, groups, getter) = cluster(3).await;
    let key = cluster.key_owned_by(2, 0);
    let _ = cluster.node(2).close(Some(Duration::ZERO)).await;
    assert_eq!(
        text(&groups[0].get(&key).await.unwrap()),
        format!("value-of-{key}")
    );
    assert_eq!(
        text(&groups[0].get(&key).await.unwrap()),
        format!("value-of-{key}")
    );
    assert_eq!(
        getter.calls(&key),
        1,
        "the borrowed value serves for a moment"
    );
    let stats = groups[0].stats();
    assert_eq!((stats.fallbacks, stats.hits), (1, 1));
    let others = cluster.key_owned_by(1, 0);
    groups[0].get(&others).await.unwrap();
    assert_eq!(
        groups[0].stats().fallbacks,
        1,
        "keys of other owners are not touched"
    );
}

/// A member that is no kamacache node: what it does with a connection.
async fn impostor(behaviour: fn(tokio::net::TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            behaviour(stream);
        }
    });
    address
}

#[tokio::test]
async fn s25_a_peer_that_resets_or_talks_nonsense_is_stood_in_for() {
    let behaviours: [fn(tokio::net::TcpStream); 2] = [drop, |mut stream| {
        tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nnot gRPC").await;
        });
    }];
    for behaviour in behaviours {
        let broken = impostor(behaviour).await;
        let node = Node::start(NodeOptions::default().listen("127.0.0.1:0"))
            .await
            .unwrap();
        node.set_peers(&[node.address(), &broken]).unwrap();
        let getter = CountingGetter::new();
        let group = node.group("g", options(), Some(getter.clone())).unwrap();
        let key = (0..)
            .map(|n| format!("key-{n}"))
            .find(|key| node.owner(key).unwrap() == broken)
            .unwrap();
        assert_eq!(
            text(&group.get(&key).await.unwrap()),
            format!("value-of-{key}")
        );
        assert_eq!(group.stats().fallbacks, 1);
        assert_eq!(kind(group.set(&key, "v").await), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_group_without_getter_says_that_the_owner_is_gone() {
    let cluster = Cluster::start(2).await.unwrap();
    let group = cluster.node(0).group("g", options(), None).unwrap();
    let _other = cluster.node(1).group("g", options(), None).unwrap();
    let key = cluster.key_owned_by(1, 0);
    assert_eq!(kind(group.get(&key).await), ErrorKind::NotFound);
    let _ = cluster.node(1).close(Some(Duration::ZERO)).await;
    assert_eq!(kind(group.get(&key).await), ErrorKind::Unavailable);
}

#[tokio::test]
async fn s34_what_a_node_no_longer_owns_it_does_not_serve() {
    let (cluster, groups, getter) = cluster(2).await;
    let [a, b] = [0, 1].map(|n| cluster.node(n).address().to_owned());
    let (moved, stays) = (cluster.key_owned_by(1, 0), cluster.key_owned_by(0, 0));
    cluster.node(0).set_peers(&[&a]).unwrap();
    groups[0].set(&moved, "old").await.unwrap();
    groups[0].set(&stays, "kept").await.unwrap();
    cluster.node(0).set_peers(&[&a, &b]).unwrap();
    assert_eq!(groups[0].peek(&moved), None);
    let taken = groups[0].get(&moved).await.unwrap();
    assert_eq!(text(&taken), "old", "the new owner took it");
    assert_eq!(groups[0].peek(&moved), None);
    assert_eq!(text(&groups[0].get(&stays).await.unwrap()), "kept");
    assert_eq!(getter.calls(&stays), 0);
}

#[tokio::test]
async fn s37_a_node_closes_under_load_of_its_peers() {
    let cluster = Cluster::start(2).await.unwrap();
    let gate = Gate::new();
    let getter = Arc::new(Gated(gate.clone()));
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    let key = cluster.key_owned_by(1, 0);
    let waiting = gets(&groups[0], &key, 100).await;
    gate.entered().await;
    let closed =
        tokio::time::timeout(LONG, cluster.node(1).close(Some(Duration::from_millis(10)))).await;
    assert_eq!(
        kind(closed.expect("close does not hang")),
        ErrorKind::DeadlineExceeded
    );
    // The owner has gone while it was asked: its callers load themselves.
    gate.entered().await;
    gate.release(2);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert_eq!(gate.calls(), 2);
}

#[tokio::test]
async fn errors_keep_their_kind_through_getters_that_ask_other_groups() {
    let cluster = Cluster::start(2).await.unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    for node in cluster.nodes() {
        node.group("empty", options(), crate::common::empty(&calls))
            .unwrap();
        let inner = node.clone();
        let getter = getter_fn(move |ctx: kamacache_core::LoadContext| {
            let node = inner.clone();
            async move { node.find_group("empty")?.get(ctx.key()).await.map(Some) }
        });
        node.group_with("outer", options(), getter).unwrap();
    }
    let group = cluster.node(0).find_group("outer").unwrap();
    let key = cluster.key_owned_by(1, 0);
    let error: Error = group.get(&key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for node in cluster.nodes() {
        node.close(None).await.unwrap();
    }
}
