//! `etcd://` against a real etcd: registering, watching, and everything that
//! goes wrong on the way (S27, S30).

#![cfg(feature = "etcd")]

use std::time::Duration;

use crate::common::certificates::Authority;
use crate::common::daemons::Etcd;
use crate::common::http;
use crate::common::logs;
use crate::common::{LONG, lists, until};
use kamacache_core::{ErrorKind, Node, NodeOptions};

fn looking(url: String) -> NodeOptions {
    let mut options = NodeOptions::default().listen("127.0.0.1:0");
    options.discovery = Some(url);
    options.remove_grace = Some(Duration::ZERO);
    options.suspect_after = Some(Duration::from_millis(500));
    options.probe_interval = Some(Duration::from_millis(50));
    options
}

async fn node(etcd: &Etcd) -> Node {
    logs::catch();
    let url = format!("etcd://{}/scores?ttl=2s", etcd.address());
    Node::start(looking(url)).await.unwrap()
}

/// All of these list each other, and nobody else.
async fn agree(nodes: &[&Node]) {
    let members: Vec<String> = nodes.iter().map(|node| node.address().to_owned()).collect();
    for node in nodes {
        lists(node, &members).await;
    }
}

fn keys(etcd: &Etcd) -> String {
    etcd.ctl(&["get", "--prefix", "/services/"])
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_register_and_find_each_other() {
    let etcd = Etcd::start();
    let (a, b) = (node(&etcd).await, node(&etcd).await);
    agree(&[&a, &b]).await;
    // As KamaCache-Go writes and reads them.
    for node in [&a, &b] {
        let (key, value) = (
            format!("/services/scores/{0}", node.address()),
            node.address(),
        );
        assert!(keys(&etcd).contains(&format!("{key}\n{value}\n")));
    }
    let c = node(&etcd).await;
    agree(&[&a, &b, &c]).await;
    b.close(None).await.unwrap();
    assert!(
        !keys(&etcd).contains(b.address()),
        "a leaver takes its key along"
    );
    agree(&[&a, &c]).await;
    assert_eq!(a.discovery_failures(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_gone_when_its_lease_is_over() {
    let etcd = Etcd::start();
    let a = node(&etcd).await;
    let process = tokio::runtime::Runtime::new().unwrap();
    let started = process.spawn({
        let address = etcd.address();
        async move { Node::start(looking(format!("etcd://{address}/scores?ttl=2s"))).await }
    });
    let b = started.await.unwrap().unwrap();
    agree(&[&a, &b]).await;
    // Neither a goodbye nor a word to etcd: all of its tasks end at once.
    process.shutdown_background();
    agree(&[&a]).await;
    drop(b);
}

#[tokio::test(flavor = "multi_thread")]
async fn s32_the_last_member_and_one_without_drain_deregister() {
    let etcd = Etcd::start();
    let at = format!("etcd://{}/scores?ttl=1h", etcd.address());
    let start = async || Node::start(looking(at.clone())).await.unwrap();
    let (a, b) = (start().await, start().await);
    agree(&[&a, &b]).await;
    b.close(Some(Duration::ZERO)).await.unwrap();
    assert!(!keys(&etcd).contains(b.address()), "{}", keys(&etcd));
    agree(&[&a]).await;
    a.close(None).await.unwrap();
    assert!(!keys(&etcd).contains(a.address()), "{}", keys(&etcd));
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_a_node_is_not_ready_before_etcd_has_answered() {
    let mut etcd = Etcd::start();
    etcd.kill();
    let mut options = looking(format!("etcd://{}/scores?ttl=2s", etcd.address()));
    options.admin_listen = Some(":0".into());
    let node = Node::start(options).await.unwrap();
    let group = node.group("g", crate::common::options(), None).unwrap();
    until("etcd was asked", || node.discovery_failures() > 0).await;
    let readyz = async || http::get(node.admin_address().unwrap(), "/readyz").await;
    let answer = readyz().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("discovery"), "{answer:?}");
    assert!(answer.body.contains(&etcd.address()), "{answer:?}");
    let members = http::get(node.admin_address().unwrap(), "/debug/members").await;
    assert!(members.body.contains(&etcd.address()), "{members:?}");
    // It works all the same, alone.
    group.set("k", "v").await.unwrap();
    etcd.restart();
    let ready = async {
        while readyz().await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, ready).await.expect("ready");
    // What is out later does not undo it.
    let failures = node.discovery_failures();
    etcd.kill();
    until("the outage is seen", || {
        node.discovery_failures() > failures
    })
    .await;
    assert_eq!(readyz().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_nodes_register_again_after_etcd_was_killed() {
    let mut etcd = Etcd::start();
    let (a, b) = (node(&etcd).await, node(&etcd).await);
    agree(&[&a, &b]).await;
    etcd.kill();
    until("the outage is seen", || a.discovery_stale().is_some()).await;
    logs::said(&["WARN", &etcd.address(), "the last members stay"]).await;
    assert_eq!(a.members().len(), 2, "the last members stay");
    etcd.restart();
    until("it is back", || a.discovery_stale().is_none()).await;
    let c = node(&etcd).await;
    agree(&[&a, &b, &c]).await;
    // One that has lost all it knew.
    etcd.restart_empty();
    let d = node(&etcd).await;
    agree(&[&a, &b, &c, &d]).await;
    assert!(a.discovery_failures() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_a_node_whose_lease_ran_out_registers_again() {
    let etcd = Etcd::start();
    let (a, b) = (node(&etcd).await, node(&etcd).await);
    agree(&[&a, &b]).await;
    etcd.ctl(&["del", &format!("/services/scores/{}", a.address())]);
    until("it is registered again", || {
        keys(&etcd).contains(a.address())
    })
    .await;
    agree(&[&a, &b]).await;
    for lease in etcd.ctl(&["lease", "list"]).lines().skip(1) {
        etcd.ctl(&["lease", "revoke", lease]);
    }
    until("both are registered again", || {
        let keys = keys(&etcd);
        keys.contains(a.address()) && keys.contains(b.address())
    })
    .await;
    agree(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_an_etcd_that_stands_still_is_an_outage_and_then_none() {
    let etcd = Etcd::start();
    let (a, b) = (node(&etcd).await, node(&etcd).await);
    agree(&[&a, &b]).await;
    etcd.signal("STOP");
    until("the outage is seen", || a.discovery_stale().is_some()).await;
    assert_eq!(a.members().len(), 2);
    etcd.signal("CONT");
    until("it is back", || a.discovery_stale().is_none()).await;
    let c = node(&etcd).await;
    agree(&[&a, &b, &c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_a_node_starts_while_etcd_is_out() {
    let mut etcd = Etcd::start();
    etcd.kill();
    let a = node(&etcd).await;
    assert_eq!(a.members(), [a.address()], "alone, and at work");
    // Told at once, and not when patience ends.
    let address = etcd.address();
    logs::said(&["WARN", &address, "refused", "registers again when etcd"]).await;
    assert!(a.discovery_failures() > 0);
    etcd.restart();
    let b = node(&etcd).await;
    agree(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s30_compaction_loses_nothing() {
    let etcd = Etcd::start();
    let (a, b) = (node(&etcd).await, node(&etcd).await);
    agree(&[&a, &b]).await;
    for round in 0..20 {
        etcd.ctl(&["put", "/other", &round.to_string()]);
    }
    let status = etcd.ctl(&["get", "/other", "--write-out=json"]);
    let revision = serde_json::from_str::<serde_json::Value>(&status).unwrap();
    let revision = revision["header"]["revision"].as_i64().unwrap();
    etcd.ctl(&["compact", &revision.to_string(), "--physical"]);
    let c = node(&etcd).await;
    agree(&[&a, &b, &c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s30_a_hundred_members_at_start_and_entries_that_are_none() {
    let etcd = Etcd::start();
    for n in 1..=99 {
        let address = format!("127.0.0.{n}:7000");
        etcd.ctl(&["put", &format!("/services/scores/{address}"), &address]);
    }
    etcd.ctl(&["put", "/services/scores/nonsense", "not an address"]);
    etcd.ctl(&["put", "/services/scores-of-others/x", "127.0.0.200:7000"]);
    let a = node(&etcd).await;
    let mut watch = a.watch_members();
    let wait = watch.wait_for(|now| now.len() == 100);
    tokio::time::timeout(LONG, wait).await.unwrap().unwrap();
    assert!(!a.members().contains(&"127.0.0.200:7000".to_owned()));
    logs::said(&["WARN", "/services/scores/nonsense", "is no member"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_of_the_hosts_will_do() {
    let etcd = Etcd::start();
    let [nobody] = crate::common::daemons::free_ports();
    let url = format!("etcd://127.0.0.1:{nobody},{}/scores", etcd.address());
    let a = Node::start(looking(url)).await.unwrap();
    let b = node(&etcd).await;
    agree(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_wanted_and_given() {
    logs::catch();
    let etcd = Etcd::start();
    etcd.ctl(&["user", "add", "root:hush-hush"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["auth", "enable"]);
    let at = |more: &str| format!("etcd://{}/scores?ttl=2s{more}", etcd.address());
    let file = etcd.file("password", "hush-hush\n");
    let a = at(&format!("&user=root&password_file={}", file.display()));
    let a = Node::start(looking(a)).await.unwrap();
    let b = Node::start(looking(at("&user=root&password=hush%2dhush")))
        .await
        .unwrap();
    agree(&[&a, &b]).await;
    for wrong in ["", "&user=root&password=guessed"] {
        let stranger = Node::start(looking(at(wrong))).await.unwrap();
        until("it fails", || stranger.discovery_failures() > 0).await;
        assert_eq!(stranger.members(), [stranger.address()]);
    }
    logs::said(&["WARN", &etcd.address(), "authentication failed"]).await;
    logs::said(&["WARN", &etcd.address(), "user name is empty"]).await;
    assert!(!logs::leaked("hush") && !logs::leaked("guessed"));
    agree(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_may_want_certificates() {
    logs::catch();
    let authority = Authority::new();
    let (server, client) = (
        authority.member("server", &["127.0.0.1"]),
        authority.member("client", &["client"]),
    );
    let etcd = Etcd::start_with(
        "https",
        &[
            format!("--cert-file={}", server.cert),
            format!("--key-file={}", server.key),
            format!("--trusted-ca-file={}", server.ca),
            "--client-cert-auth".to_owned(),
        ],
    );
    let with = format!(
        "etcd://{}/scores?ca={}&cert={}&key={}",
        etcd.address(),
        client.ca,
        client.cert,
        client.key
    );
    let a = Node::start(looking(with.clone())).await.unwrap();
    let b = Node::start(looking(with)).await.unwrap();
    agree(&[&a, &b]).await;
    let other = Authority::new();
    let stranger = format!(
        "etcd://{}/scores?ca={}",
        etcd.address(),
        crate::common::certificates::text(&other.ca())
    );
    let stranger = Node::start(looking(stranger)).await.unwrap();
    until("it fails", || stranger.discovery_failures() > 0).await;
    logs::said(&["WARN", &etcd.address(), "UnknownIssuer"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s30_an_entry_that_cannot_be_dialled_holds_up_no_member() {
    let etcd = Etcd::start();
    let a = node(&etcd).await;
    agree(&[&a]).await;
    for (number, evil) in ["0.0.0.0:99", "evil.localhost:0", "10.9.0.1:80", "[::]:1"]
        .into_iter()
        .enumerate()
    {
        etcd.ctl(&["put", &format!("/services/scores/evil{number}"), evil]);
    }
    let b = node(&etcd).await;
    agree(&[&a, &b]).await;
    logs::said(&["WARN", "/services/scores/evil0", "is no member"]).await;
    assert_eq!(a.discovery_failures() + b.discovery_failures(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_entries_of_the_register_forge_no_log_line_and_do_not_flood_the_log() {
    let etcd = Etcd::start();
    let a = node(&etcd).await;
    agree(&[&a]).await;
    let forged = "/services/scores/flood\n2026-01-01 ERROR forged \u{1b}[31m";
    etcd.ctl(&["put", forged, &"x".repeat(100 << 10)]);
    for number in 0..40 {
        etcd.ctl(&["put", &format!("/services/scores/flood{number}"), "flood"]);
    }
    // The last change has been seen.
    etcd.ctl(&["put", "/services/scores/last", "127.0.0.1:7999"]);
    until("the last entry is seen", || a.members().len() == 2).await;
    let lines = logs::lines(&["flood"]);
    assert_eq!(lines.len(), 1, "{} lines", lines.len());
    assert!(lines[0].len() < 1024, "{} bytes", lines[0].len());
    assert!(!lines[0].chars().any(char::is_control), "{}", lines[0]);
}

#[tokio::test]
async fn a_malformed_url_says_how_to_write_it() {
    for (wrong, named) in [
        ("etcd://", "HOST:PORT"),
        ("etcd://host/scores", "HOST:PORT"),
        ("etcd://host:2379", "service is missing"),
        ("etcd://host:2379/scores?ttl=1ms", "ttl"),
        ("etcd://host:2379/scores?user=me", "password_file"),
        ("etcd://host:2379/scores?password=hush", "password_file"),
        ("etcd://host:2379/scores?cert=/x", "cert and key"),
        ("etcd://host:2379/scores?lease=1", "ttl, user"),
    ] {
        let error = Node::start(looking(wrong.to_owned())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(named), "{error}");
        assert!(!error.message().contains("hush"), "{error}");
    }
}
