//! What `deploy/` asks for is what a node says: every metric that the dashboard
//! and the alerts name is in `/metrics` of a real cluster, which promtool finds
//! well formed.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Serve, http, until};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the repository")
        .to_owned()
}

fn deployed(file: &str) -> String {
    fs::read_to_string(root().join("deploy").join(file)).expect("it is there")
}

/// `/metrics` of a node with a peer and some traffic.
fn metrics() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("peers");
    fs::write(&list, "").expect("written");
    let discovery = format!("file://{}", list.display());
    let flags = [
        "--group",
        "g=1MiB",
        "--getter-command",
        "printf 1",
        "--discovery",
        &discovery,
    ];
    let nodes = [Serve::start(&flags), Serve::start(&flags)];
    let members = format!("{}\n{}\n", nodes[0].address, nodes[1].address);
    fs::write(folder.path().join("new"), members).expect("written");
    fs::rename(folder.path().join("new"), &list).expect("renamed");
    until("two members", || {
        nodes.iter().all(|node| node.members() == 2)
    });
    for key in 0..8 {
        assert!(nodes[0].get("g", &key.to_string()).status.success());
    }
    let (status, text) = http(&nodes[0].admin, "/metrics");
    assert_eq!(status, 200);
    text
}

/// The names of metrics in a text of any kind.
fn names(text: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !word(c));
    words
        .filter(|word| word.starts_with("kamacache_"))
        .collect()
}

/// The values that a label has in samples, or is compared with in queries.
fn values<'a>(text: &'a str, label: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(label) {
        let Some(rest) = text[at + label.len()..].strip_prefix('=') else {
            continue;
        };
        let rest = rest.trim_start_matches('~');
        let Some(rest) = rest.strip_prefix("\\\"").or_else(|| rest.strip_prefix('"')) else {
            continue;
        };
        let end = rest.find(['"', '\\']).unwrap_or(rest.len());
        found.extend(rest[..end].split('|'));
    }
    found
}

fn promtool() -> Option<PathBuf> {
    let ours = root().join("target/tools/promtool");
    let found = [ours, PathBuf::from("promtool")];
    found
        .into_iter()
        .find(|tool| Command::new(tool).arg("--version").output().is_ok())
}

#[test]
fn dashboard_and_alerts_name_what_a_node_says() {
    let said = metrics();
    let known = names(&said);
    for file in [
        "grafana/kamacache.json",
        "prometheus/kamacache.rules.yml",
        "prometheus/kamacache.tests.yml",
    ] {
        let text = deployed(file);
        let asked = names(&text);
        assert!(asked.len() >= 7, "{file} names only {asked:?}");
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(
            unknown.is_empty(),
            "{file} asks for {unknown:?}, which no node says"
        );
        for label in ["result", "operation"] {
            let known = values(&said, label);
            let unknown: Vec<_> = values(&text, label)
                .into_iter()
                .filter(|value| !known.contains(value))
                .collect();
            assert!(unknown.is_empty(), "{file}: no {label} is {unknown:?}");
        }
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&deployed("grafana/kamacache.json")).expect("JSON");
    assert!(
        dashboard["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() > 20)
    );
    // And the other way round: what a node says is shown, but for what is only
    // there to be looked up.
    let dashboard = deployed("grafana/kamacache.json");
    let families = said
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let hidden: Vec<_> = families
        .filter(|family| !dashboard.contains(family))
        .collect();
    let lookups = [
        "kamacache_view_number",
        "kamacache_options_differ",
        "kamacache_peer_gets_cancelled_total",
        "kamacache_peer_connected",
        "kamacache_peer_view_differs",
        "kamacache_peer_lease_seconds",
        "kamacache_tls_certificate_expiry_timestamp_seconds",
    ];
    assert_eq!(hidden, lookups);
}

#[test]
fn promtool_finds_no_fault() {
    let Some(promtool) = promtool() else {
        // scripts/setup fetches it, and says so where it cannot.
        return;
    };
    let mut check = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let said = metrics();
    check
        .stdin
        .take()
        .expect("a pipe")
        .write_all(said.as_bytes())
        .expect("it reads");
    let checked = check.wait_with_output().expect("it ends");
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    let folder = root().join("deploy/prometheus");
    for args in [
        ["check", "rules", "kamacache.rules.yml"],
        ["test", "rules", "kamacache.tests.yml"],
        ["check", "config", "prometheus.yml"],
    ] {
        let checked = Command::new(&promtool)
            .args(args)
            .current_dir(&folder)
            .output()
            .expect("it runs");
        assert!(
            checked.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&checked.stderr)
        );
    }
}
