//! The link as a stranger sees it: messages written down by hand, hellos that
//! do not belong, frames that make no sense. Nothing takes the node down, and
//! every question gets a clear answer.

mod common;

use std::time::Duration;

use common::{LONG, options};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{Node, NodeOptions};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct Hello {
    #[prost(uint32, tag = "1")]
    major: u32,
    #[prost(uint32, tag = "2")]
    minor: u32,
    #[prost(string, tag = "3")]
    cluster: String,
    #[prost(string, tag = "4")]
    address: String,
    #[prost(string, tag = "5")]
    dialled: String,
    #[prost(uint64, tag = "6")]
    incarnation: u64,
    #[prost(uint32, tag = "7")]
    ring_version: u32,
    #[prost(fixed64, tag = "8")]
    view_digest: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Op {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int32, tag = "2")]
    op: i32,
    #[prost(bytes = "vec", tag = "3")]
    group: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
    #[prost(string, tag = "900")]
    of_the_future: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Requests {
    #[prost(message, optional, tag = "1")]
    hello: Option<Hello>,
    #[prost(message, repeated, tag = "2")]
    requests: Vec<Op>,
    #[prost(uint64, tag = "3")]
    ping: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reply {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint32, tag = "2")]
    code: u32,
    #[prost(bytes = "vec", tag = "3")]
    value: Vec<u8>,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Replies {
    #[prost(message, optional, tag = "1")]
    hello: Option<Hello>,
    #[prost(message, repeated, tag = "4")]
    replies: Vec<Reply>,
    #[prost(uint64, tag = "5")]
    pong: u64,
}

struct Stranger {
    to: mpsc::Sender<Requests>,
    from: Streaming<Replies>,
}

fn hello(dialled: &str) -> Hello {
    Hello {
        major: 1,
        minor: 0,
        cluster: "default".into(),
        address: "127.0.0.1:1".into(),
        dialled: dialled.into(),
        incarnation: 42,
        ring_version: 1,
        view_digest: 0,
    }
}

async fn open(address: &str, first: Requests) -> Result<Stranger, Status> {
    let channel = Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let (to, receiver) = mpsc::channel(16);
    to.send(first).await.unwrap();
    let path =
        tonic::codegen::http::uri::PathAndQuery::from_static("/kama.v1.KamaCacheService/Link");
    let request = Request::new(ReceiverStream::new(receiver));
    let codec = ProstCodec::<Requests, Replies>::default();
    let from = client.streaming(request, path, codec).await?.into_inner();
    Ok(Stranger { to, from })
}

impl Stranger {
    async fn next(&mut self) -> Replies {
        let message = tokio::time::timeout(LONG, self.from.message())
            .await
            .expect("an answer");
        message.expect("the link lives").expect("the link lives")
    }

    async fn ask(&mut self, op: Op) -> Reply {
        self.to
            .send(Requests {
                requests: vec![op],
                ..Requests::default()
            })
            .await
            .unwrap();
        loop {
            if let Some(reply) = self.next().await.replies.pop() {
                return reply;
            }
        }
    }
}

fn get(id: u64, group: &[u8], key: &[u8]) -> Op {
    Op {
        id,
        op: 1,
        group: group.into(),
        key: key.into(),
        ..Op::default()
    }
}

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
