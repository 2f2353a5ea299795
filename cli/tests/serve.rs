//! `kamacache serve` and the commands that talk to it, as processes: getters
//! good and bad, signals, and every wrong input of a configuration.

mod common;

use std::fs;
use std::net::TcpListener;
use std::time::Instant;

use common::{LONG, Serve, Source, code, http, run, run_with, text, until};
use serde_json::Value;

#[test]
fn a_url_getter_loads_and_its_failures_are_told_apart() {
    let source = Source::start();
    let node = Serve::start(&[
        "--group",
        "scores=1MiB,load_timeout=1s,max_value_bytes=2000",
        "--getter-url",
        &source.template(),
    ]);
    let loaded = node.get("scores", "Tom");
    assert_eq!(
        (loaded.status.code(), &*loaded.stdout),
        (Some(0), &b"630"[..])
    );
    assert_eq!(text(&node.get("scores", "a/b ü")), "encoded");
    for (key, exit, says) in [
        ("nobody", 44, &["nobody"][..]),
        (
            "boom",
            7,
            &[
                "/data/scores/boom",
                "500 Internal Server Error",
                "disk on fire",
                "(code 500)",
            ],
        ),
        ("moved", 7, &["302"]),
        ("wide", 7, &["2000", "max_value_bytes"]),
        ("slow", 7, &["/data/scores/slow", "load_timeout"]),
    ] {
        let (found, said) = code(&node.get("scores", key));
        assert_eq!(found, exit, "{key}: {said}");
        assert!(says.iter().all(|part| said.contains(part)), "{key}: {said}");
    }
    let (found, said) = code(&run(&[
        "get",
        "--node",
        &node.address,
        "--timeout",
        "300ms",
        "scores",
        "slow",
    ]));
    assert_eq!(found, 6, "{said}");
    // What still works goes on.
    assert_eq!(text(&node.get("scores", "Tom")), "630");
    assert_eq!(http(&node.admin, "/readyz").0, 200);
    assert!(
        node.logged().contains("500 Internal Server Error"),
        "the log has it too"
    );
}

#[test]
fn values_are_set_read_and_dropped_byte_for_byte() {
    let node = Serve::start(&["--group", "g=1MiB"]);
    let at = ["--node", &node.address];
    let bytes: Vec<u8> = (0..=255).collect();
    let with = |verb: &str, rest: &[&str]| {
        let words: Vec<String> = [&[verb], &at[..], rest]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        words
    };
    let run_it = |words: Vec<String>, input: &[u8]| {
        run_with(&words.iter().map(String::as_str).collect::<Vec<_>>(), input)
    };
    assert_eq!(code(&run_it(with("set", &["g", "k"]), &bytes)).0, 0);
    assert_eq!(run_it(with("get", &["g", "k"]), b"").stdout, bytes);
    assert_eq!(
        code(&run_it(
            with("set", &["g", "k", "text", "--ttl", "1h"]),
            b""
        ))
        .0,
        0
    );
    let told = run_it(with("get", &["g", "k", "--json"]), b"");
    assert_eq!(text(&told), "{\"ok\":true,\"value\":\"text\"}\n");
    assert_eq!(code(&run_it(with("delete", &["g", "k"]), b"")).0, 0);
    let gone = run_it(with("get", &["g", "k", "--json"]), b"");
    let (found, said) = code(&gone);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((found, said["code"].as_str()), (44, Some("NOT_FOUND")));
    let (found, said) = code(&run_it(with("get", &["other", "k"]), b""));
    assert_eq!(found, 8, "{said}");
    assert!(said.contains("other"), "{said}");
    let (found, said) = code(&run_it(with("set", &["g", "large"]), &vec![b'x'; 200_000]));
    assert_eq!(found, 8, "{said}");
    assert!(said.contains("200000"), "{said}");
    let (found, said) = code(&run_it(with("get", &["g", ""]), b""));
    assert_eq!(found, 2, "{said}");
}

#[test]
fn a_command_getter_loads_and_its_failures_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let started = folder.path().join("started");
    let script = format!(
        r#"case "$KEY" in
             Tom) printf 630 ;;
             group) printf %s "$GROUP" ;;
             none) exit 44 ;;
             nothing) ;;
             broken) echo 'no such host' >&2; exit 3 ;;
             dies) kill -9 $$ ;;
             hangs) sleep 1000 & echo $! > '{0}.new'; mv '{0}.new' '{0}'; wait ;;
             endless) cat /dev/zero ;;
           esac"#,
        started.display()
    );
    let node = Serve::start(&[
        "--group",
        "scores=1MiB,load_timeout=2s,max_value_bytes=100000",
        "--getter-command",
        &script,
    ]);
    assert_eq!(node.get("scores", "Tom").stdout, b"630");
    assert_eq!(node.get("scores", "group").stdout, b"scores");
    for (key, exit, says) in [
        ("none", 44, &["none"][..]),
        ("nothing", 7, &["\"nothing\"", "wrote nothing", "44"]),
        (
            "broken",
            7,
            &["\"broken\"", "exit code 3: no such host", "(code 3)"],
        ),
        ("dies", 7, &["\"dies\"", "signal: 9"]),
        ("endless", 7, &["\"endless\"", "100000"]),
        ("hangs", 7, &["\"hangs\"", "load_timeout", "killed"]),
    ] {
        let (found, said) = code(&node.get("scores", key));
        assert_eq!(found, exit, "{key}: {said}");
        assert!(says.iter().all(|part| said.contains(part)), "{key}: {said}");
    }
    // The command's own child is gone with it.
    let child = fs::read_to_string(&started).expect("it wrote its number");
    until("gone", || has_ended(child.trim()));
    assert_eq!(node.get("scores", "Tom").stdout, b"630");
}

#[test]
fn an_empty_output_may_be_a_value() {
    let node = Serve::start(&[
        "--group",
        "g=1MiB",
        "--getter-command",
        "true",
        "--getter-empty",
    ]);
    let empty = node.get("g", "k");
    assert_eq!((empty.status.code(), empty.stdout.len()), (Some(0), 0));
}

#[test]
fn sigterm_drains_and_exits_with_0_whatever_a_getter_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let started = folder.path().join("started");
    let script = format!("touch '{}'; sleep 1000", started.display());
    let mut node = Serve::start(&[
        "--group",
        "g=1MiB",
        "--getter-command",
        &script,
        "--drain",
        "1s",
    ]);
    let address = node.address.clone();
    let waiter =
        std::thread::spawn(move || run(&["get", "--node", &address, "--timeout", "30s", "g", "k"]));
    until("the getter runs", || started.exists());
    let begun = Instant::now();
    node.signal("-TERM");
    until("draining", || http(&node.admin, "/readyz").0 != 200);
    assert_eq!(node.exit_code(), 0, "{}", node.logged());
    assert!(
        begun.elapsed() < LONG / 2,
        "it does not wait for the getter"
    );
    let (found, said) = code(&waiter.join().expect("it ends"));
    assert_eq!(found, 5, "the waiter is told: {said}");
    let mut idle = Serve::start(&["--group", "g=1MiB"]);
    idle.signal("-INT");
    assert_eq!(idle.exit_code(), 0);
}

#[test]
fn two_nodes_are_one_cluster_and_any_of_them_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("peers");
    fs::write(&list, "").expect("written");
    let discovery = format!("file://{}", list.display());
    let source = Source::start();
    let flags = [
        "--group",
        "scores=1MiB",
        "--getter-url",
        &source.template(),
        "--discovery",
        &discovery,
        "--suspect-after",
        "30s",
        "--connect-timeout",
        "30s",
    ];
    let nodes = [Serve::start(&flags), Serve::start(&flags)];
    let members = format!("{}\n{}\n", nodes[0].address, nodes[1].address);
    fs::write(folder.path().join("new"), members).expect("written");
    fs::rename(folder.path().join("new"), &list).expect("renamed");
    until("two members", || {
        nodes.iter().all(|node| node.members() == 2)
    });
    for node in &nodes {
        assert_eq!(text(&node.get("scores", "Tom")), "630");
    }
    let owners: Vec<String> = nodes
        .iter()
        .map(|node| text(&run(&["owner", "--admin", &node.admin, "Tom"])))
        .collect();
    assert_eq!(owners[0], owners[1]);
    let owner = owners[0].trim();
    let other = nodes
        .iter()
        .find(|node| node.address != owner)
        .expect("the other");
    let told = text(&run(&["explain", "--admin", &other.admin, "scores", "Tom"]));
    assert!(
        told.contains(&format!("owner:      {owner}")) && told.contains("connected"),
        "{told}"
    );
    let told = text(&run(&["members", "--admin", &other.admin]));
    assert!(told.contains(owner) && told.contains("this node"), "{told}");
    let told = text(&run(&["stats", "--admin", &other.admin]));
    assert!(
        told.starts_with("scores") && told.contains("fetched"),
        "{told}"
    );
    let stats: Value = serde_json::from_slice(
        &run(&["stats", "--json", "--admin", &other.admin, "scores"]).stdout,
    )
    .expect("JSON");
    assert_eq!(stats["groups"][0]["stats"]["fetches"], 1);
    let both = format!("{},{}", nodes[0].address, nodes[1].address);
    let measured = run(&[
        "bench",
        "--json",
        "--node",
        &both,
        "-n",
        "2000",
        "-c",
        "8",
        "--keys",
        "50",
        "--sets",
        "10",
        "--not-found-is-fine",
        "scores",
    ]);
    let measured: Value = serde_json::from_slice(&measured.stdout).expect("JSON");
    assert_eq!(measured["answered"], 2000, "{measured}");
    let admins = format!("{},{},127.0.0.1:1", nodes[0].admin, nodes[1].admin);
    let seen = run(&[
        "top", "--json", "--admin", &admins, "--every", "50ms", "--looks", "2",
    ]);
    let first = text(&seen);
    let look: Value = serde_json::from_str(first.lines().next().expect("a look")).expect("JSON");
    assert_eq!(look["groups"].as_array().map(Vec::len), Some(2), "{look}");
    assert_eq!(look["unreachable"][0]["node"], "127.0.0.1:1", "{look}");
    assert_eq!(first.lines().count(), 2);
}

#[test]
fn every_wrong_input_is_named_and_has_its_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kamacache.toml");
    let path = file.to_str().expect("UTF-8");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("bound").to_string();
    fs::write(
        &file,
        "lisen = \"127.0.0.1:0\"\n[groups.g]\nmax_bytes = \"1MiB\"\n",
    )
    .expect("written");
    let closed = "127.0.0.1:1";
    for (args, exit, says) in [
        (
            &["serve", "--config", path][..],
            3,
            &["kamacache.toml:1", "\"listen\""][..],
        ),
        (
            &["serve", "--group", "g=1MiB", "--listen", &taken],
            4,
            &[&taken, "taken"],
        ),
        (
            &[
                "serve",
                "--group",
                "g=1MiB",
                "--listen",
                "127.0.0.1:0",
                "--admin",
                &taken,
            ],
            4,
            &[&taken, "admin"],
        ),
        (
            &[
                "serve",
                "--group",
                "g=1MiB",
                "--listen",
                "127.0.0.1:0",
                "--peers",
                "127.0.0.1:9",
            ],
            3,
            &["127.0.0.1:9"],
        ),
        (
            &[
                "serve",
                "--group",
                "g=1MiB",
                "--getter-url",
                "http://h/{id}",
            ],
            3,
            &["{key}"],
        ),
        (
            &[
                "serve",
                "--group",
                "g=1MiB",
                "--getter-url",
                "http://h/{key}",
                "--getter-command",
                "true",
            ],
            3,
            &["already"],
        ),
        (&["serve"], 3, &["--group"]),
        (&["serve", "--lisen", "x"], 2, &["--listen"]),
        (&["get", "--node", closed, "g", "k"], 5, &[closed]),
        (&["get", "--node", "nowhere", "g", "k"], 2, &["nowhere"]),
        (&["get", "--timeout", "10", "g", "k"], 2, &["250ms"]),
        (&["stats", "--admin", closed], 5, &[closed, "--admin"]),
        (&["top", "--admin", closed, "--every", "1ms"], 5, &[closed]),
        (
            &["bench", "--node", closed, "-n", "3", "g"],
            5,
            &[closed, "3 requests"],
        ),
    ] {
        let (found, said) = code(&run(args));
        assert_eq!(found, exit, "{args:?}: {said}");
        assert!(
            says.iter().all(|part| said.contains(part)),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn check_refuses_what_a_start_refuses_in_the_same_words() {
    let folder = tempfile::tempdir().expect("a folder");
    for made in ["a", "b"] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/certificates.sh");
        let folder = folder.path().join(made);
        let made = std::process::Command::new("sh")
            .arg(script)
            .arg(folder)
            .status();
        assert!(made.expect("sh runs").success());
    }
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, cert) = (file("a/ca.pem"), file("a/node.pem"));
    let (other, missing) = (file("b/node.key"), file("a/none.pem"));
    let groups: Vec<String> = (0..1025).map(|n| format!("--group=g{n}=64KiB")).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let discovery = "file:///nowhere/peers";
    for (flags, says) in [
        (&["--cluster-token", "short"][..], "16"),
        (&["--cluster-token-file", &missing], "none.pem"),
        (&["--heartbeat", "0s"], "heartbeat is 0"),
        (
            &["--peers", "127.0.0.1:9,127.0.0.1:10"],
            "not in the peer list",
        ),
        (
            &["--peers", "127.0.0.1:8001", "--discovery", discovery],
            "both given",
        ),
        (&["--discovery", "etcd://nowhere"], "etcd://HOST:2379"),
        (&["--listen", "127.0.0.1:99999"], "99999"),
        (&["--admin", "127.0.0.1:99999"], "99999"),
        (&["--admin-hosts", "a"], "set admin_listen"),
        (&["--advertise", "0.0.0.0:8001"], "unspecified"),
        (&["--io-threads", "0"], "io_threads is 0"),
        (
            &["--tls-ca", &ca, "--tls-cert", &missing, "--tls-key", &other],
            "none.pem",
        ),
        (
            &["--tls-ca", &ca, "--tls-cert", &cert, "--tls-key", &other],
            "key of cert",
        ),
        (&["--tls-ca", &ca], "tls cert names no file"),
        (&groups, "1024"),
    ] {
        let listen = ["--listen", "127.0.0.1:0"];
        let listen = match flags.contains(&"--listen") {
            true => &[][..],
            false => &listen[..],
        };
        let start = [&["serve", "--group", "g=1MiB"], flags, listen].concat();
        let (started, said) = code(&run(&start));
        assert_eq!(started, 3, "{flags:?}: {said}");
        assert!(said.contains(says), "{flags:?}: {said}");
        let checked = code(&run(&[&start[..], &["--check"]].concat()));
        assert_eq!(checked, (started, said), "{flags:?}");
    }
    let right = [
        "--listen",
        "127.0.0.1:8001-8003",
        "--peers",
        "127.0.0.1:8001-8003",
    ];
    let (found, said) = code(&run(&[
        &["serve", "--check", "--group", "g=1MiB"],
        &right[..],
    ]
    .concat()));
    assert_eq!(found, 0, "{said}");
}

#[test]
fn a_failed_load_tells_no_secret_and_is_logged_once_in_a_while() {
    let source = Source::start();
    let secret = "hush-hush-hush";
    let url = format!("{}?api_key={secret}", source.template());
    let script = format!(": {secret}; echo 'no row {secret}' >&2; exit 3");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kamacache.toml");
    let groups = format!(
        "[groups.url]\nmax_bytes = \"1MiB\"\ngetter_url = \"{url}\"\n\
         [groups.command]\nmax_bytes = \"1MiB\"\ngetter_command = \"{script}\"\n"
    );
    fs::write(&file, groups).expect("written");
    let node = Serve::start(&["--config", file.to_str().expect("UTF-8")]);
    for group in ["url", "command"] {
        for _ in 0..5 {
            let (found, said) = code(&node.get(group, "boom"));
            assert_eq!(found, 7, "{said}");
            assert!(!said.contains("hush"), "{said}");
        }
    }
    let (_, said) = code(&node.get("command", "boom"));
    assert!(said.contains("exit code 3: no row ***"), "{said}");
    for path in [
        "/metrics",
        "/debug/groups?hot=32",
        "/debug/explain?group=url&key=boom",
    ] {
        assert!(!http(&node.admin, path).1.contains("hush"), "{path}");
    }
    let logged = node.logged();
    for (group, detail) in [
        ("url", "?api_key=hush-hush-hush"),
        ("command", "no row hush-hush-hush"),
    ] {
        let group = format!("group=\"{group}\"");
        let lines: Vec<&str> = logged
            .lines()
            .filter(|line| line.contains(&group))
            .collect();
        assert_eq!(lines.len(), 1, "{logged}");
        assert!(
            lines[0].contains(detail),
            "its own log has all of it: {logged}"
        );
    }
}

#[test]
fn a_command_gets_a_stated_environment_and_no_descriptor_of_the_nodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let lock = folder.path().join("lock");
    let node = Serve::start_by(
        // As a script that holds a lock while it starts the node.
        &format!("exec 9>'{}'; flock 9; exec \"$0\" \"$@\"", lock.display()),
        &[
            "--group",
            "g=1MiB",
            "--getter-command",
            "env; ls -l /proc/self/fd",
            "--getter-env",
            "DATABASE",
        ],
        &[
            ("KAMACACHE_CLUSTER_TOKEN", "hush-hush-hush-hush"),
            ("DATABASE", "rows"),
            ("PASSWORD", "hush"),
            ("LC_TIME", "C"),
        ],
    );
    let seen = node.get_with("g", "k", &["--cluster-token", "hush-hush-hush-hush"]);
    let seen = text(&seen);
    for has in ["GROUP=g", "KEY=k", "PATH=", "DATABASE=rows", "LC_TIME=C"] {
        assert!(
            seen.lines().any(|line| line.starts_with(has)),
            "{has}: {seen}"
        );
    }
    assert!(
        !seen.contains("hush") && !seen.contains("KAMACACHE"),
        "{seen}"
    );
    assert!(!seen.contains("lock"), "an inherited descriptor: {seen}");
}

#[test]
fn what_a_command_has_started_ends_with_a_node_that_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let started = folder.path().join("started");
    let script = format!(
        "sleep 1000 & echo \"$$ $!\" > '{0}.new'; mv '{0}.new' '{0}'; wait",
        started.display()
    );
    let mut node = Serve::start(&["--group", "g=1MiB", "--getter-command", &script]);
    // One that has ended leaves nothing to kill.
    let address = node.address.clone();
    let waiter = std::thread::spawn(move || run(&["get", "--node", &address, "g", "k"]));
    until("the getter runs", || started.exists());
    node.kill();
    let processes = fs::read_to_string(&started).expect("it wrote its numbers");
    for process in processes.split_whitespace() {
        until("gone", || has_ended(process));
    }
    waiter.join().expect("it ends");
}

/// Whether a process is gone, or waits for its parent to look.
fn has_ended(process: &str) -> bool {
    match fs::read_to_string(format!("/proc/{process}/stat")) {
        Err(_) => true,
        Ok(stat) => stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z')),
    }
}

#[test]
fn options_come_from_the_file_and_the_environment_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kamacache.toml");
    fs::write(&file, "cluster = \"file\"\nlog_format = \"json\"\n[groups.g]\nmax_bytes = \"1MiB\"\ngetter_command = \"printf 1\"\n").expect("written");
    let path = file.to_str().expect("UTF-8");
    let variables = [
        ("KAMACACHE_CLUSTER", "variable"),
        ("KAMACACHE_GROUPS", "h=1MiB"),
        ("KAMACACHE_CONFIG", path),
    ];
    let node = Serve::start_in(&[], &variables);
    assert_eq!(text(&node.get("g", "k")), "1");
    assert_eq!(code(&node.get("h", "k")).0, 44);
    let members: Value =
        serde_json::from_str(&http(&node.admin, "/debug/members").1).expect("JSON");
    assert_eq!(members["cluster"], "variable");
    let first = node.logged();
    let first: Value =
        serde_json::from_str(first.lines().next().expect("a line")).expect("a JSON log");
    assert!(first["message"].is_string(), "{first}");
    let shown = common::kamacache()
        .args(["serve", "--config", path, "--check"])
        .envs([("KAMACACHE_CLUSTER_TOKEN", "hush-hush-hush-hush")])
        .output()
        .expect("it runs");
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    assert!(text(&shown).contains("cluster = \"file\""), "{shown:?}");
    assert!(!text(&shown).contains("hush"));
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let made = run(&["completions", shell]);
        assert!(
            made.status.success() && text(&made).contains("getter-url"),
            "{shell}"
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man1");
    assert_eq!(code(&run(&["man", pages.to_str().expect("UTF-8")])).0, 0);
    let page = fs::read_to_string(pages.join("kamacache-serve.1")).expect("a page");
    assert!(
        page.contains("getter") && page.contains(".TH kamacache-serve"),
        "{page}"
    );
    assert!(pages.join("kamacache.1").exists());
}

#[test]
fn s40_a_secured_node_answers_whoever_has_the_token_and_a_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/certificates.sh");
    let made = std::process::Command::new("sh")
        .arg(script)
        .arg(folder.path())
        .status();
    assert!(
        made.expect("sh runs").success(),
        "openssl makes certificates"
    );
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("node.pem"), file("node.key"));
    let tls = [
        ["--tls-ca", &ca],
        ["--tls-cert", &cert],
        ["--tls-key", &key],
    ]
    .concat();
    let token = "0123456789abcdef0123456789abcdef";
    let secret = [("KAMACACHE_CLUSTER_TOKEN", token)];
    let node = Serve::start_in(&[&["--group", "g=1MiB"][..], &tls].concat(), &secret);
    let ask = |with: &[&str]| {
        let at = ["get", "--node", &node.address, "--timeout", "5s"];
        code(&run(&[&at, with, &["g", "k"]].concat()))
    };
    let (found, said) = ask(&[&tls[..], &["--cluster-token", token]].concat());
    assert_eq!(found, 44, "{said}");
    let (found, said) = ask(&tls);
    assert!(found != 0 && found != 44, "{found}: {said}");
    assert!(said.contains("cluster_token"), "{said}");
    let (found, said) = ask(&["--cluster-token", token]);
    assert!(found != 0 && found != 44, "without a certificate: {said}");
    let (found, said) = ask(&["--tls-cert", &cert]);
    assert_eq!(found, 2, "{said}");
    for said in [http(&node.admin, "/metrics").1, node.logged()] {
        assert!(!said.contains(token), "the token is told: {said}");
    }
}
