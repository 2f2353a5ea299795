//! `k8s://` against an HTTP server that replays what the API server documents:
//! a list, watches, bookmarks, 410 Gone, errors. `make test-discovery` runs it.

#![cfg(feature = "k8s")]

use std::time::Duration;

use crate::common::logs;
use crate::common::{LONG, lists};
use kamacache_core::{ErrorKind, Node, NodeOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The API server: each request waits for the test to answer it.
struct Api(TcpListener);

struct Asked {
    target: String,
    stream: TcpStream,
}

impl Api {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self) -> String {
        let address = self.0.local_addr().unwrap();
        format!("k8s://default/scores:7000?api=http://{address}")
    }

    /// The next request.
    async fn asked(&self) -> Asked {
        let accepted = tokio::time::timeout(LONG, self.0.accept()).await;
        let (stream, _) = accepted.expect("a request").unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(reader.read_until(b'\n', &mut head).await.unwrap(), 0);
        }
        let head = String::from_utf8(head).unwrap();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        Asked {
            target,
            stream: reader.into_inner(),
        }
    }

    async fn lists(&self, version: &str, slices: &[Value]) {
        let mut asked = self.asked().await;
        assert!(!asked.is_watch(), "{}", asked.target);
        let body = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
            "metadata": {"resourceVersion": version}, "items": slices,
        });
        asked.answer("200 OK", &body).await;
    }

    async fn watched_from(&self, version: &str) -> Asked {
        let mut asked = self.asked().await;
        assert!(asked.is_watch(), "{}", asked.target);
        let from = format!("resourceVersion={version}");
        assert!(
            asked.target.contains(&from),
            "{} and not {from}",
            asked.target
        );
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
        asked.stream.write_all(head.as_bytes()).await.unwrap();
        asked
    }
}

impl Asked {
    fn is_watch(&self) -> bool {
        self.target.contains("watch=true")
    }

    async fn answer(&mut self, status: &str, body: &Value) {
        let body = body.to_string();
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        self.stream.write_all(answer.as_bytes()).await.unwrap();
    }

    async fn tells(&mut self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.stream.write_all(line.as_bytes()).await.unwrap();
    }
}

/// A slice with endpoints at 10.0.0.N, or none of them ready.
fn slice(name: &str, version: &str, kind: &str, endpoints: &[(&str, bool)]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(address, ready)| json!({"addresses": [address], "conditions": {"ready": ready}}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": kind,
        "metadata": {"name": name, "namespace": "default", "resourceVersion": version,
                     "labels": {"kubernetes.io/service-name": "scores"}},
        "endpoints": endpoints, "ports": [{"port": 7000}],
    })
}

async fn node(api: &Api) -> Node {
    logs::catch();
    let mut options = NodeOptions::default().listen("127.0.0.1:0");
    options.advertise = Some("10.0.0.9:7000".into());
    options.discovery = Some(api.url());
    options.remove_grace = Some(Duration::ZERO);
    options.suspect_after = Some(Duration::from_millis(100));
    options.connect_timeout = Some(Duration::from_millis(100));
    Node::start(options).await.unwrap()
}

async fn has(node: &Node, last: &[u8]) {
    let members: Vec<String> = last.iter().map(|n| format!("10.0.0.{n}:7000")).collect();
    lists(node, &members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_a_watch_bookmarks_and_a_history_that_is_gone() {
    let api = Api::start().await;
    let node = node(&api).await;
    let one = slice(
        "one",
        "10",
        "IPv4",
        &[("10.0.0.1", true), ("10.0.0.2", false)],
    );
    let six = slice("six", "10", "IPv6", &[("fd00::1", true)]);
    api.lists("12", &[one, six]).await;
    has(&node, &[1]).await;

    let mut watch = api.watched_from("12").await;
    let two = slice("two", "20", "IPv4", &[("10.0.0.3", true)]);
    watch.tells("ADDED", &two).await;
    has(&node, &[1, 3]).await;
    let one = slice(
        "one",
        "21",
        "IPv4",
        &[("10.0.0.1", true), ("10.0.0.2", true)],
    );
    watch.tells("MODIFIED", &one).await;
    has(&node, &[1, 2, 3]).await;
    let bookmark = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"resourceVersion": "30"}, "addressType": "", "endpoints": null,
    });
    watch.tells("BOOKMARK", &bookmark).await;
    drop(watch);

    let mut watch = api.watched_from("30").await;
    watch.tells("DELETED", &two).await;
    has(&node, &[1, 2]).await;
    let gone = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "too old resource version: 30 (1234)", "reason": "Expired", "code": 410,
    });
    watch.tells("ERROR", &gone).await;
    drop(watch);
    let three = slice(
        "three",
        "90",
        "IPv4",
        &[("10.0.0.4", true), ("10.0.0.9", true)],
    );
    api.lists("99", &[three]).await;
    has(&node, &[4, 9]).await;
    assert_eq!(node.discovery_failures(), 0, "none of that is an outage");
    api.watched_from("99").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_the_last_members_stay_while_the_api_refuses() {
    let api = Api::start().await;
    let node = node(&api).await;
    let refusal = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "endpointslices is forbidden: no right to list", "reason": "Forbidden", "code": 403,
    });
    api.asked().await.answer("403 Forbidden", &refusal).await;
    logs::said(&["WARN", "default/scores", "forbidden"]).await;
    assert_eq!(node.members(), [node.address()], "alone, and at work");
    assert!(node.discovery_stale().is_some());
    let one = slice("one", "10", "IPv4", &[("10.0.0.1", true)]);
    api.lists("12", &[one]).await;
    has(&node, &[1]).await;
    assert!(node.discovery_failures() > 0);
}

#[tokio::test]
async fn a_malformed_url_says_how_to_write_it() {
    for wrong in [
        "k8s://",
        "k8s://default",
        "k8s://default/scores",
        "k8s://default/scores:0",
        "k8s:///scores:7000",
        "k8s://default/a/b:7000",
    ] {
        let mut options = NodeOptions::default().listen("127.0.0.1:0");
        options.discovery = Some(wrong.to_owned());
        let error = Node::start(options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(
            error.message().contains("k8s://NAMESPACE/SERVICE:PORT"),
            "{error}"
        );
    }
}
