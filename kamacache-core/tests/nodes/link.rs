//! The link as a stranger sees it: messages written down by hand, hellos that
//! do not belong, frames that make no sense. Nothing takes the node down, and
//! every question gets a clear answer.

use std::sync::Arc;
use std::time::Duration;

use crate::common::stranger::{GroupOptions, Hello, Op, Requests, get, hello, open};
use crate::common::{Gate, Gated, LONG, gated, gets, options, until};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{Node, NodeOptions};
use tonic::Code;

#[tokio::test]
async fn s08a_a_link_opens_with_a_hello_each_way() {
    let cluster = Cluster::start(1).await.unwrap();
    let address = cluster.node(0).address();
    let first = Requests {
        hello: Some(hello(address)),
        ping: 7,
        ..Requests::default()
    };
    let mut stranger = open(address, first).await.unwrap();
    let answer = stranger.next().await.hello.expect("a hello");
    assert_eq!(
        (
            answer.major,
            answer.cluster.as_str(),
            answer.address.as_str()
        ),
        (1, "default", address)
    );
    while stranger.next().await.pong != 7 {}
}

#[tokio::test]
async fn s08a_what_does_not_belong_is_refused_and_told_why() {
    let cluster = Cluster::start(1).await.unwrap();
    let address = cluster.node(0).address();
    let good = hello(address);
    let cases = [
        (None, "hello"),
        (
            Some(Hello {
                major: 2,
                ..good.clone()
            }),
            "protocol 2",
        ),
        (
            Some(Hello {
                cluster: "elsewhere".into(),
                ..good.clone()
            }),
            "elsewhere",
        ),
        (
            Some(Hello {
                ring_version: 2,
                ..good.clone()
            }),
            "ring version 2",
        ),
        (
            Some(Hello {
                dialled: "127.0.0.1:9".into(),
                ..good.clone()
            }),
            "127.0.0.1:9",
        ),
    ];
    for (hello, named) in cases {
        let first = Requests {
            hello,
            ..Requests::default()
        };
        let status = open(address, first).await.err().expect("refused");
        assert!(
            matches!(status.code(), Code::InvalidArgument | Code::Unavailable),
            "{status:?}"
        );
        assert!(status.message().contains(named), "{status:?}");
    }
    let newer = Requests {
        hello: Some(Hello { minor: 1, ..good }),
        ..Requests::default()
    };
    open(address, newer)
        .await
        .expect("a newer minor version is fine");
}

#[tokio::test]
async fn s08a_clusters_of_different_names_do_not_mix() {
    let start = |cluster: &str| {
        let mut options = NodeOptions::default().listen("127.0.0.1:0");
        options.cluster = Some(cluster.into());
        Node::start(options)
    };
    let (red, blue) = (start("red").await.unwrap(), start("blue").await.unwrap());
    for node in [&red, &blue] {
        node.set_peers(&[red.address(), blue.address()]).unwrap();
    }
    let (mine, theirs) = (CountingGetter::new(), CountingGetter::new());
    let group = red.group("g", options(), Some(mine.clone())).unwrap();
    blue.group("g", options(), Some(theirs.clone())).unwrap();
    let key = (0..)
        .map(|n| format!("key-{n}"))
        .find(|key| red.owner(key).unwrap() == blue.address())
        .unwrap();
    group.get(&key).await.unwrap();
    assert_eq!((mine.total(), theirs.total()), (1, 0), "no data crosses");
}

#[tokio::test]
async fn s42_nonsense_is_answered_and_the_link_goes_on() {
    let cluster = Cluster::start(1).await.unwrap();
    let getter = CountingGetter::new();
    let group = cluster
        .node(0)
        .group("g", options(), Some(getter.clone()))
        .unwrap();
    let address = cluster.node(0).address();
    let first = Requests {
        hello: Some(hello(address)),
        ..Requests::default()
    };
    let mut stranger = open(address, first).await.unwrap();
    let future = Op {
        of_the_future: "x".into(),
        ..get(1, b"g", b"k")
    };
    assert_eq!(
        stranger.ask(future).await.value,
        b"value-of-k",
        "unknown fields are ignored"
    );
    let cases = [
        (
            Op {
                op: 77,
                ..get(2, b"g", b"k")
            },
            17,
            "77",
        ),
        (get(3, b"g", b"\xff\xfe"), 1, "UTF-8"),
        (get(4, b"\xff", b"k"), 1, "UTF-8"),
        (get(5, b"g", b""), 1, "4096"),
        (get(6, b"g", &[b'k'; 5000]), 1, "4096"),
        (
            Op {
                op: 2,
                value: vec![0; 200_000],
                ..get(7, b"g", b"k")
            },
            11,
            "200000",
        ),
        (
            Op {
                op: 2,
                ..get(8, b"nobody", b"k")
            },
            12,
            "nobody",
        ),
    ];
    for (op, code, named) in cases {
        let id = op.id;
        let reply = stranger.ask(op).await;
        assert_eq!((reply.id, reply.code), (id, code), "{reply:?}");
        assert!(reply.message.contains(named), "{reply:?}");
    }
    assert_eq!(
        group.peek("k"),
        None,
        "an oversized set drops the old entry"
    );
    assert_eq!(stranger.ask(get(9, b"g", b"k")).await.value, b"value-of-k");
}

#[tokio::test]
async fn s42_an_oversized_message_ends_its_link_and_nothing_else() {
    let cluster = Cluster::start(2).await.unwrap();
    let groups = cluster
        .groups("g", &options(), &CountingGetter::new())
        .unwrap();
    let address = cluster.node(1).address();
    let first = Requests {
        hello: Some(hello(address)),
        ..Requests::default()
    };
    let mut stranger = open(address, first).await.unwrap();
    stranger.next().await;
    let huge = Op {
        op: 2,
        value: vec![0; 64 << 20],
        ..get(1, b"g", b"k")
    };
    let _ = stranger
        .to
        .send(Requests {
            requests: vec![huge],
            ..Requests::default()
        })
        .await;
    let ended = async { while let Ok(Some(_)) = stranger.from.message().await {} };
    tokio::time::timeout(LONG, ended)
        .await
        .expect("the link ends");
    let key = cluster.key_owned_by(1, 0);
    tokio::time::timeout(Duration::from_secs(10), groups[0].get(&key))
        .await
        .expect("others are served")
        .unwrap();
}

/// Waits until a count that grows elsewhere says so.
#[tokio::test]
async fn s08a_the_minor_version_before_and_the_next_are_served() {
    let cluster = Cluster::start(1).await.unwrap();
    let getter = CountingGetter::new();
    cluster
        .node(0)
        .group("g", options(), Some(getter.clone()))
        .unwrap();
    let address = cluster.node(0).address();
    // 1.0 knows no capabilities; a version of the future has some of its own.
    for (minor, capabilities) in [(0, 0), (3, u64::MAX)] {
        let first = Requests {
            hello: Some(Hello {
                minor,
                capabilities,
                ..hello(address)
            }),
            ..Requests::default()
        };
        let mut stranger = open(address, first).await.expect("let in");
        let answer = stranger.next().await.hello.expect("a hello");
        assert_eq!((answer.major, answer.minor), (1, 2));
        assert_eq!(
            answer.capabilities,
            1 | 2 | 4 | 8 | 16 | 32 | 64,
            "takes cancellations, gets in bulk, traces, requests without a token, cleared groups, what is asked inside a getter, and says whether it leaves"
        );
        assert_eq!(stranger.ask(get(1, b"g", b"k")).await.value, b"value-of-k");
        let unknown = Op {
            op: 60,
            ..get(2, b"g", b"k")
        };
        let reply = stranger.ask(unknown).await;
        assert!(
            reply.message.contains("operation 60 is unknown"),
            "{reply:?}"
        );
    }
    assert_eq!(cluster.node(0).stats().malformed, 2);
}

#[tokio::test]
async fn s10_a_get_that_is_cancelled_is_not_answered_and_its_load_goes_on() {
    let cluster = Cluster::start(1).await.unwrap();
    let gate = Gate::new();
    let group = cluster.node(0).group("g", options(), gated(&gate)).unwrap();
    let address = cluster.node(0).address();
    let first = Requests {
        hello: Some(hello(address)),
        requests: vec![get(1, b"g", b"k"), get(2, b"g", b"k")],
        ..Requests::default()
    };
    let mut stranger = open(address, first).await.unwrap();
    gate.entered().await;
    let cancel = |id| Op {
        id,
        op: 5,
        ..Op::default()
    };
    let cancels = Requests {
        requests: vec![cancel(1), cancel(1), cancel(99)],
        ..Requests::default()
    };
    stranger.to.send(cancels).await.unwrap();
    until("cancelled", || cluster.node(0).stats().cancelled == 1).await;
    gate.release(1);
    let reply = loop {
        if let Some(reply) = stranger.next().await.replies.pop() {
            break reply;
        }
    };
    assert_eq!((reply.id, reply.value.as_slice()), (2, &b"value-1"[..]));
    assert_eq!(
        stranger.ask(get(3, b"g", b"k")).await.id,
        3,
        "nothing came for 1"
    );
    assert!(group.peek("k").is_some() && gate.calls() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_the_owner_is_told_when_the_last_waiter_of_a_fetch_has_left() {
    let cluster = Cluster::start(2).await.unwrap();
    let gate = Gate::new();
    let getter = Arc::new(Gated(gate.clone()));
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    let key = cluster.key_owned_by(1, 0);
    let mut waiting = gets(&groups[0], &key, 3).await;
    gate.entered().await;
    for (left, wait) in waiting.drain(..).enumerate() {
        let cancelled = cluster.node(1).stats().cancelled;
        assert_eq!(cancelled, 0, "{left} have left and others wait");
        wait.abort();
        assert!(wait.await.is_err());
    }
    until("told", || cluster.node(1).stats().cancelled == 1).await;
    gate.release(1);
    until("loaded", || groups[1].peek(&key).is_some()).await;
    let value = groups[0].get(&key).await.unwrap();
    assert_eq!((&*value, gate.calls()), (&b"value-1"[..], 1));
    let (asked, served) = (groups[0].stats(), groups[1].stats());
    assert_eq!((asked.fetches, served.peer_gets), (2, 2), "s38");
    assert_eq!((asked.failed, asked.in_progress), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn s08_members_that_differ_and_what_goes_astray_are_counted() {
    let cluster = Cluster::start(3).await.unwrap();
    let groups = cluster
        .groups("g", &options(), &CountingGetter::new())
        .unwrap();
    let key = cluster.key_owned_by(2, 0);
    // Node 1 has not heard of node 2.
    let some: Vec<&str> = (0..2).map(|n| cluster.node(n).address()).collect();
    cluster.node(1).set_peers(&some).unwrap();
    let astray = (0..)
        .map(|salt| cluster.key_owned_by(2, salt))
        .find(|key| cluster.node(1).owner(key).unwrap() == some[0])
        .expect("one of its keys is another's without it");
    assert_eq!(cluster.node(0).stats().misrouted, 0);
    groups[1].get(&astray).await.unwrap();
    assert_eq!(cluster.node(0).stats().misrouted, 1);
    for key in [cluster.key_owned_by(1, 0), key] {
        groups[0].get(&key).await.unwrap();
    }
    until("node 0 sees that node 1 differs", || {
        cluster.node(0).stats().views_differ == 1
    })
    .await;
    // Node 2, which node 1 does not know, may have asked it for what it had.
    until("and node 1 that node 0 does", || {
        cluster.node(1).stats().views_differ >= 1
    })
    .await;
    cluster.connect_all().unwrap();
    until("they agree again", || {
        (0..3).all(|n| cluster.node(n).stats().views_differ == 0)
    })
    .await;
}

#[tokio::test]
async fn s08b_differing_options_are_reported_once_per_group_and_peer() {
    let cluster = Cluster::start(2).await.unwrap();
    let getter = CountingGetter::new();
    let mut short = options();
    short.ttl = Some(Duration::from_secs(1));
    let same = cluster.groups("same", &options(), &getter).unwrap();
    cluster
        .node(0)
        .group("other", options(), Some(getter.clone()))
        .unwrap();
    cluster
        .node(1)
        .group("other", short, Some(getter.clone()))
        .unwrap();
    let key = cluster.key_owned_by(1, 0);
    same[0].get(&key).await.unwrap();
    until("reported", || cluster.node(1).stats().options_differ == 1).await;
    let address = cluster.node(1).address();
    let told = GroupOptions {
        group: b"same".to_vec(),
        digest: 7,
    };
    let first = Requests {
        hello: Some(hello(address)),
        options: vec![told.clone(), told.clone()],
        ..Requests::default()
    };
    let mut stranger = open(address, first).await.unwrap();
    until("of this one too", || {
        cluster.node(1).stats().options_differ == 2
    })
    .await;
    let again = Requests {
        options: vec![told],
        ping: 1,
        ..Requests::default()
    };
    stranger.to.send(again).await.unwrap();
    while stranger.next().await.pong != 1 {}
    assert_eq!(cluster.node(1).stats().options_differ, 2, "once");
}

#[tokio::test]
async fn s08a_refused_links_are_counted() {
    let cluster = Cluster::start(1).await.unwrap();
    let address = cluster.node(0).address();
    for cluster in ["elsewhere", "nowhere"] {
        let first = Requests {
            hello: Some(Hello {
                cluster: cluster.into(),
                ..hello(address)
            }),
            ..Requests::default()
        };
        assert!(open(address, first).await.is_err());
    }
    assert!(open(address, Requests::default()).await.is_err());
    let stats = cluster.node(0).stats();
    assert_eq!(
        (stats.links_refused, stats.malformed, stats.links),
        (2, 1, 0)
    );
}
