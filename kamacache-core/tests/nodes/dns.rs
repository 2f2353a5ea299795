//! `dns://` against a real DNS server: addresses and SRV records that change,
//! their time to live, outages, and answers that make no sense (S27, S30).

#![cfg(feature = "dns")]

use std::time::{Duration, Instant};

use crate::common::daemons::Dns;
use crate::common::logs;
use crate::common::{lists, until};
use kamacache_core::{ErrorKind, Node, NodeOptions};

const NAME: &str = "kama.test";

/// A node that looks for its members by this URL.
async fn node(url: &str) -> Node {
    logs::catch();
    let mut options = NodeOptions::default().listen("127.0.0.1:0");
    options.discovery = Some(url.to_owned());
    options.remove_grace = Some(Duration::ZERO);
    options.suspect_after = Some(Duration::from_millis(200));
    options.probe_interval = Some(Duration::from_millis(50));
    Node::start(options).await.unwrap()
}

fn url(dns: &Dns, port: u16) -> String {
    format!("dns://{NAME}:{port}?interval=100ms&server={}", dns.server())
}

fn hosts(last: impl IntoIterator<Item = u8>) -> String {
    let lines = last.into_iter().map(|n| format!("127.0.0.{n} {NAME}\n"));
    lines.collect()
}

fn at(last: impl IntoIterator<Item = u8>, port: u16) -> Vec<String> {
    let last = last.into_iter();
    last.map(|n| format!("127.0.0.{n}:{port}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_the_addresses_of_a_name() {
    let dns = Dns::start(&hosts([1, 2]), &[]);
    let node = node(&url(&dns, 7000)).await;
    lists(&node, &at([1, 2], 7000)).await;
    assert_eq!(node.discovery_stale(), None);
    // The node itself listens on another port: it is not listed, and owns nothing.
    assert_ne!(node.owner("key").unwrap(), node.address());
    dns.hosts(&hosts([2, 3]));
    lists(&node, &at([2, 3], 7000)).await;
    assert_eq!(node.discovery_failures(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s30_a_hundred_members_at_start() {
    let dns = Dns::start(&hosts(1..=100), &[]);
    let node = node(&url(&dns, 7000)).await;
    lists(&node, &at(1..=100, 7000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_with_a_time_to_live_are_not_asked_for_before_it_is_over() {
    let dns = Dns::start(&hosts([1, 2]), &["--local-ttl=2"]);
    let node = node(&url(&dns, 7000)).await;
    lists(&node, &at([1, 2], 7000)).await;
    let begun = Instant::now();
    dns.hosts(&hosts([3]));
    lists(&node, &at([3], 7000)).await;
    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert!(dns.asked("A") <= 3, "asked {} times", dns.asked("A"));
    assert_eq!(dns.asked("AAAA"), 0, "this node advertises an IPv4 address");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_time_to_live_is_honoured_up_to_max_ttl() {
    let dns = Dns::start(&hosts([1, 2]), &["--local-ttl=3600"]);
    let node = node(&format!("{}&max_ttl=300ms", url(&dns, 7000))).await;
    lists(&node, &at([1, 2], 7000)).await;
    dns.hosts(&hosts([1, 2, 3]));
    lists(&node, &at([1, 2, 3], 7000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_srv_records() {
    let service = |name: &str, port: u16| format!("--srv-host=_kama._tcp.test,{name},{port}");
    let (one, two) = (
        service("node-1.localhost", 7001),
        service("node-2.localhost", 7002),
    );
    let mut dns = Dns::start("", &[&one, &two]);
    let url = format!(
        "dns://_kama._tcp.test?interval=100ms&server={}",
        dns.server()
    );
    let node = node(&url).await;
    let named = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    lists(
        &node,
        &named(&["node-1.localhost:7001", "node-2.localhost:7002"]),
    )
    .await;
    let three = service("node-3.localhost", 7003);
    dns.restart("", &[&two, &three]);
    lists(
        &node,
        &named(&["node-2.localhost:7002", "node-3.localhost:7003"]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_the_last_members_stay_while_dns_is_out_or_empty() {
    let mut dns = Dns::start(&hosts([1, 2]), &[]);
    let node = node(&url(&dns, 7000)).await;
    lists(&node, &at([1, 2], 7000)).await;
    dns.hosts("");
    until("no records are a failure", || node.discovery_failures() > 0).await;
    logs::said(&["WARN", NAME, "there are none", "the last members stay"]).await;
    assert_eq!(node.members(), at([1, 2], 7000));
    dns.hosts(&hosts([1, 3]));
    lists(&node, &at([1, 3], 7000)).await;
    until("it is in order again", || node.discovery_stale().is_none()).await;

    dns.kill();
    until("an outage is seen", || node.discovery_stale().is_some()).await;
    assert_eq!(node.members(), at([1, 3], 7000));
    dns.restart(&hosts([4]), &[]);
    lists(&node, &at([4], 7000)).await;
    until("it is in order again", || node.discovery_stale().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_a_node_starts_while_dns_is_out() {
    let mut dns = Dns::start(&hosts([1]), &[]);
    dns.kill();
    let node = node(&url(&dns, 7000)).await;
    assert_eq!(node.members(), [node.address()], "alone, and at work");
    until("the outage is seen", || node.discovery_failures() > 0).await;
    dns.restart(&hosts([1, 2]), &[]);
    lists(&node, &at([1, 2], 7000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_each_other_by_name() {
    let [port] = crate::common::daemons::free_ports();
    let dns = Dns::start(&hosts([1, 2]), &[]);
    let started = async |last: u8| {
        let mut options = NodeOptions::default().listen(format!("127.0.0.{last}:{port}"));
        options.discovery = Some(url(&dns, port));
        Node::start(options).await.unwrap()
    };
    let nodes = [started(1).await, started(2).await];
    for node in &nodes {
        lists(node, &at([1, 2], port)).await;
    }
    assert_eq!(
        nodes[0].owner("key").unwrap(),
        nodes[1].owner("key").unwrap()
    );
}

#[tokio::test]
async fn a_malformed_url_lists_what_there_is() {
    for (wrong, named) in [
        ("gopher://kama:1", "dns://NAME:PORT"),
        ("dns://kama", "port is missing"),
        ("dns://kama:1?every=5s", "interval, max_ttl, server"),
    ] {
        let mut options = NodeOptions::default().listen("127.0.0.1:0");
        options.discovery = Some(wrong.to_owned());
        let error = Node::start(options).await.unwrap_err();
        assert!(error.message().contains(named), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
