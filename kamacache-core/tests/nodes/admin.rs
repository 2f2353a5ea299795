//! The admin HTTP (S43), asked over sockets as Prometheus and scripts ask it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::common::http::{self, Answer};
use crate::common::{Gate, Gated, LONG, options};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{ErrorKind, Node, NodeOptions};

fn with_admin() -> NodeOptions {
    let mut options = NodeOptions::default();
    options.admin_listen = Some(":0".into());
    options.suspect_after = Some(LONG);
    options.connect_timeout = Some(LONG);
    options
}

async fn ask(node: &Node, path: &str) -> Answer {
    http::get(node.admin_address().expect("it has one"), path).await
}

/// The samples of a text, by name and labels as they are written; checks that
/// each family says its help and type once, before its samples.
fn samples(text: &str) -> HashMap<String, f64> {
    let (mut types, mut helped) = (HashMap::new(), HashSet::new());
    let mut samples = HashMap::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help");
            assert!(helped.insert(name.to_owned()), "{name} twice");
            assert!(help.ends_with('.'), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none());
        } else {
            let (what, value) = line.rsplit_once(' ').expect("a sample");
            let name = what.split('{').next().expect("a name");
            assert!(name.starts_with("kamacache_"), "{line}");
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| name.strip_suffix(part))
                .filter(|family| types.contains_key(*family))
                .unwrap_or(name);
            let kind = types
                .get(family)
                .unwrap_or_else(|| panic!("no type: {line}"));
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let value = value.parse().expect("a number");
            assert!(samples.insert(what.to_owned(), value).is_none(), "{line}");
        }
    }
    samples
}

/// Asks until the answer is as wanted.
async fn until(node: &Node, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let asking = async {
        loop {
            let answer = ask(node, path).await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, asking).await.expect("in time")
}

#[tokio::test]
async fn s43_metrics_are_what_the_counters_say() {
    let cluster = Cluster::start_with(2, &with_admin()).await.unwrap();
    let getter = CountingGetter::new();
    let groups = cluster.groups("scores", &options(), &getter).unwrap();
    let (mine, theirs) = (cluster.key_owned_by(0, 0), cluster.key_owned_by(1, 0));
    for key in [&mine, &mine, &theirs] {
        groups[0].get(key).await.unwrap();
    }
    let here = cluster.node(0);
    let answer = ask(here, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    let samples = samples(&answer.body);
    let peer = cluster.node(1).address();
    for (sample, value) in [
        (
            "kamacache_gets_total{group=\"scores\",result=\"hit\"}".to_owned(),
            1.0,
        ),
        (
            "kamacache_gets_total{group=\"scores\",result=\"loaded\"}".to_owned(),
            1.0,
        ),
        (
            "kamacache_gets_total{group=\"scores\",result=\"fetched\"}".to_owned(),
            1.0,
        ),
        ("kamacache_loads_total{group=\"scores\"}".to_owned(), 1.0),
        (
            "kamacache_max_bytes{group=\"scores\"}".to_owned(),
            f64::from(1 << 20),
        ),
        (
            "kamacache_latency_seconds_count{group=\"scores\",operation=\"load\"}".to_owned(),
            1.0,
        ),
        (
            "kamacache_latency_seconds_bucket{group=\"scores\",operation=\"fetch\",le=\"+Inf\"}"
                .to_owned(),
            1.0,
        ),
        ("kamacache_view_members".to_owned(), 2.0),
        ("kamacache_views_differ".to_owned(), 0.0),
        ("kamacache_ready".to_owned(), 1.0),
        (format!("kamacache_peer_suspected{{peer=\"{peer}\"}}"), 0.0),
        (format!("kamacache_peer_connected{{peer=\"{peer}\"}}"), 1.0),
        (
            format!("kamacache_peer_fetches_total{{peer=\"{peer}\",result=\"ok\"}}"),
            1.0,
        ),
        (
            format!("kamacache_peer_fetched_bytes_total{{peer=\"{peer}\"}}"),
            format!("value-of-{theirs}").len() as f64,
        ),
        (
            format!("kamacache_peer_fetch_seconds_bucket{{peer=\"{peer}\",le=\"+Inf\"}}"),
            1.0,
        ),
        (
            format!("kamacache_peer_fetch_seconds_count{{peer=\"{peer}\"}}"),
            1.0,
        ),
    ] {
        assert_eq!(samples.get(&sample), Some(&value), "{sample}");
    }
    let outcomes = samples
        .iter()
        .filter(|(name, _)| name.starts_with("kamacache_gets_total"));
    assert_eq!(outcomes.map(|(_, value)| value).sum::<f64>(), 3.0, "S38");
    assert!(samples["kamacache_process_resident_memory_bytes"] > 1e5);
    let other = ask(cluster.node(1), "/metrics").await.body;
    let served = "kamacache_peer_gets_total{group=\"scores\",result=\"loaded\"} 1";
    assert!(other.lines().any(|line| line == served), "{other}");
}

#[tokio::test]
async fn readyz_follows_the_node_from_its_start_to_its_end() {
    let node = Node::start(with_admin()).await.unwrap();
    let answer = ask(&node, "/readyz").await;
    assert_eq!(
        (answer.status, &*answer.body),
        (503, "starting: no group is open yet\n")
    );
    assert_eq!(ask(&node, "/healthz").await.status, 200);
    let gate = Gate::new();
    let group = node
        .group("g", options(), Some(Arc::new(Gated(gate.clone()))))
        .unwrap();
    assert_eq!(ask(&node, "/readyz").await.status, 200);
    let waiter = tokio::spawn(async move { group.get("k").await });
    gate.entered().await;
    let closing = tokio::spawn({
        let node = node.clone();
        async move { node.close(Some(LONG)).await }
    });
    let answer = until(&node, "/readyz", |answer| answer.status == 503).await;
    assert!(answer.body.starts_with("draining"), "{answer:?}");
    assert_eq!(ask(&node, "/healthz").await.status, 200);
    gate.release(1);
    closing.await.unwrap().unwrap();
    assert_eq!(waiter.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    let address = node.admin_address().unwrap();
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "its port is free again"
    );
}

#[tokio::test]
async fn readyz_waits_for_the_first_answer_of_discovery() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("peers");
    let mut options = with_admin().listen("127.0.0.1:0");
    options.discovery = Some(format!("file://{}", list.display()));
    let node = Node::start(options).await.unwrap();
    node.group("g", crate::common::options(), None).unwrap();
    crate::common::until("the file was looked for", || node.discovery_failures() > 0).await;
    let answer = ask(&node, "/readyz").await;
    assert_eq!(answer.status, 503);
    let says = "starting: discovery has not answered yet; discovery: the list of members ";
    assert!(answer.body.starts_with(says), "{answer:?}");
    let members = ask(&node, "/debug/members").await.json();
    let reason = members["discovery"]["reason"].as_str().unwrap();
    assert!(reason.contains(list.to_str().unwrap()), "{reason}");
    // An empty list is an answer: there may be no other member.
    std::fs::write(&list, "").unwrap();
    until(&node, "/readyz", |answer| answer.status == 200).await;
}

#[tokio::test]
async fn members_say_who_is_suspected_and_why() {
    let mut options = with_admin();
    options.suspect_after = Some(Duration::from_secs(1));
    let cluster = Cluster::start_with(2, &options).await.unwrap();
    let getter = CountingGetter::new();
    let groups = cluster
        .groups("g", &crate::common::options(), &getter)
        .unwrap();
    let key = cluster.key_owned_by(1, 0);
    groups[0].get(&key).await.unwrap();
    let here = cluster.node(0);
    let view = ask(here, "/debug/members").await.json();
    assert_eq!(view["address"], here.address());
    assert_eq!(view["members"].as_array().unwrap().len(), 2);
    let peer = |view: &serde_json::Value| {
        let members = view["members"].as_array().unwrap();
        members
            .iter()
            .find(|member| member["self"] == false)
            .unwrap()
            .clone()
    };
    assert_eq!(peer(&view)["state"], "connected");
    assert_eq!(peer(&view)["fetches"], 1);
    cluster.node(1).close(Some(Duration::ZERO)).await.unwrap();
    let answer = until(here, "/debug/members", |answer| {
        peer(&answer.json())["state"] == "suspected"
    })
    .await;
    let reason = peer(&answer.json())["reason"].as_str().unwrap().to_owned();
    assert!(!reason.is_empty());
    let metrics = ask(here, "/metrics").await.body;
    let suspected = format!(
        "kamacache_peer_suspected{{peer=\"{}\"}} 1",
        cluster.node(1).address()
    );
    assert!(metrics.lines().any(|line| line == suspected), "{metrics}");
}

#[tokio::test]
async fn explain_says_where_a_key_is() {
    let cluster = Cluster::start_with(2, &with_admin()).await.unwrap();
    let getter = CountingGetter::new();
    let group = options().ttl(LONG);
    let groups = cluster.groups("g", &group, &getter).unwrap();
    let key = cluster.key_owned_by(1, 0);
    let (here, owner) = (cluster.node(0), cluster.node(1));
    let path = format!("/debug/explain?group=g&key={key}");
    let before = ask(here, &path).await.json();
    assert_eq!(before["owner"], owner.address());
    assert_eq!(before["owned_here"], false);
    assert!(before["here"].is_null() && before["loading"] == false);
    // The third fetch keeps a copy.
    for _ in 0..3 {
        groups[0].get(&key).await.unwrap();
    }
    let copy = ask(here, &path).await.json();
    assert_eq!(copy["here"]["kind"], "hot copy");
    assert_eq!(copy["here"]["served"], true);
    assert!(copy["here"]["expires_in_ms"].as_u64().unwrap() <= 10_000);
    assert_eq!(copy["owner_link"]["state"], "connected");
    let owned = ask(owner, &path).await.json();
    assert_eq!(owned["here"]["kind"], "owned");
    assert_eq!(owned["here"]["bytes"], format!("value-of-{key}").len());
    assert_eq!(owned["lent_to"], serde_json::json!([here.address()]));
    let generation = owned["generation"].as_u64().unwrap();
    groups[0].delete(&key).await.unwrap();
    let gone = ask(owner, &path).await.json();
    assert!(gone["here"].is_null());
    assert_eq!(gone["lent_to"], serde_json::json!([]));
    assert_eq!(gone["generation"].as_u64().unwrap(), generation + 1);
    let stats = groups[0].stats();
    assert_eq!(stats.gets, 3, "explaining counts nothing");
    let told = ask(here, &format!("/debug/owner?key={key}")).await.json();
    assert_eq!(told["owner"], owner.address());
}

#[tokio::test]
async fn groups_show_counters_and_hot_keys() {
    let node = Node::start(with_admin()).await.unwrap();
    let group = node
        .group("g", options(), Some(CountingGetter::new()))
        .unwrap();
    for _ in 0..3000 {
        group.get("often").await.unwrap();
    }
    let answer = ask(&node, "/debug/groups?hot=5").await.json();
    let about = &answer["groups"][0];
    assert_eq!(about["name"], "g");
    assert_eq!(about["stats"]["hits"], 2999);
    assert_eq!(about["stats"]["max_bytes"], 1 << 20);
    assert_eq!(about["latency"]["load"]["count"], 1);
    assert_eq!(about["hot_keys"][0]["key"], "often");
    assert!(about["hot_keys"][0]["hits"].as_u64().unwrap() >= 1024);
}

#[tokio::test]
async fn s43_what_is_asked_wrongly_is_told_what_is_right() {
    let node = Node::start(with_admin()).await.unwrap();
    node.group("g", options(), Some(CountingGetter::new()))
        .unwrap();
    let long = "k".repeat(4097);
    for (path, status, says) in [
        ("/", 404, "/metrics"),
        ("/metric", 404, "/metrics"),
        ("/debug/explain", 400, "group"),
        ("/debug/explain?group=g", 400, "key"),
        ("/debug/explain?group=g&key=", 400, "empty"),
        ("/debug/explain?group=none&key=k", 404, "none"),
        ("/debug/explain?group=g&key=k&kye=k", 400, "kye"),
        ("/debug/explain?group=g&key=%FF%FE", 400, "UTF-8"),
        (&format!("/debug/explain?group=g&key={long}"), 400, "4096"),
        ("/debug/groups?hot=many", 400, "many"),
        ("/debug/groups?hot=1000", 400, "32"),
        ("/debug/members?all", 400, "all"),
    ] {
        let answer = ask(&node, path).await;
        let short: String = path.chars().take(60).collect();
        assert_eq!(answer.status, status, "{short}: {answer:?}");
        assert!(answer.body.contains(says), "{short}: {answer:?}");
    }
    let address = node.admin_address().unwrap();
    let posted = http::send(
        address,
        b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(posted.status, 405, "{posted:?}");
    assert!(posted.body.contains("GET"), "{posted:?}");
    for garbage in [
        &b"\x00\x01\xff\xfe\r\n\r\n"[..],
        b"GET\r\n\r\n",
        &[b'A'; 100_000],
    ] {
        let answer = http::send(address, garbage).await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    assert_eq!(ask(&node, "/readyz").await.status, 200);
}

#[tokio::test]
async fn s43_silent_clients_do_not_keep_others_out() {
    let node = Node::start(with_admin()).await.unwrap();
    let address = node.admin_address().unwrap();
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(ask(&node, "/healthz").await.status, 200);
    // Nor do they keep the node from closing.
    tokio::time::timeout(LONG, node.close(None))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn s43_clients_that_do_not_read_their_answers_keep_nobody_out() {
    let node = Node::start(with_admin()).await.unwrap();
    node.group("g", options(), None).unwrap();
    let address: std::net::SocketAddr = node.admin_address().unwrap().parse().unwrap();
    // More answers than the system's buffers hold.
    let requests = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(5000);
    let mut greedy = tokio::task::JoinSet::new();
    for _ in 0..80 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let requests = requests.clone();
        greedy.spawn(async move {
            use tokio::io::AsyncWriteExt;
            // It may be closed to make room.
            let _ = stream.write_all(requests.as_bytes()).await;
            std::future::pending::<()>().await;
            drop(stream);
        });
    }
    for path in ["/healthz", "/readyz", "/metrics", "/healthz"] {
        assert_eq!(ask(&node, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn s43_a_foreign_host_is_refused() {
    let mut options = with_admin().listen("127.0.0.1:0");
    options.admin_hosts = vec!["Metrics.example.com".into()];
    let node = Node::start(options).await.unwrap();
    let address = node.admin_address().unwrap().to_owned();
    let with = async |request: &str| http::send(&address, request.as_bytes()).await;
    for own in [
        "localhost",
        "127.0.0.1:1",
        "metrics.example.com:9001",
        "[::1]",
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n");
        assert_eq!(with(&request).await.status, 200, "{own}");
    }
    assert_eq!(with("GET /healthz HTTP/1.0\r\n\r\n").await.status, 200);
    for (line, host) in [
        ("/metrics", "evil.example"),
        ("/healthz", "evil.example:80"),
        ("/nowhere", "localhost.evil.example"),
        ("http://evil.example/metrics", "localhost"),
        ("/metrics", "localhost\r\nHost: evil.example"),
    ] {
        let request = format!("GET {line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = with(&request).await;
        assert_eq!(answer.status, 403, "{request}: {answer:?}");
        assert!(answer.body.contains("evil.example"), "{answer:?}");
        assert!(answer.body.contains("admin_hosts"), "{answer:?}");
        assert!(!answer.body.contains("kamacache_"), "{answer:?}");
    }
    for (hosts, listen, says) in [
        ("a:1", Some(":0"), "without a port"),
        ("10.0.0.1", Some(":0"), "always answered"),
        ("a", None, "admin_listen"),
    ] {
        let mut options = NodeOptions::default();
        options.admin_listen = listen.map(str::to_owned);
        options.admin_hosts = vec![hosts.into()];
        let error = Node::start(options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_taken_or_wrong_admin_address_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (listen, kind, says) in [
        (&*address, ErrorKind::Unavailable, &*address),
        ("nowhere", ErrorKind::InvalidArgument, "nowhere"),
        (":port", ErrorKind::InvalidArgument, "port"),
    ] {
        let mut options = NodeOptions::default();
        options.admin_listen = Some(listen.to_owned());
        let error = Node::start(options).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains("admin_listen"), "{error}");
        assert!(error.message().contains(says), "{error}");
    }
}
