//! Configurations, good and bad, without any process.

use std::time::Duration;

use clap::Parser;

use super::*;
use crate::args::{Cli, Command};
use crate::exit::CONFIG;

/// Settings of a file, variables and flags.
fn settings(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Outcome<Settings> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kamacache.toml");
    std::fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();
    let words = ["kamacache", "serve", "--config", path]
        .into_iter()
        .chain(flags.iter().copied());
    let Command::Serve(args) = Cli::try_parse_from(words).unwrap().command else {
        panic!("serve was asked for");
    };
    Settings::read(
        &args,
        variables
            .iter()
            .map(|(name, text)| (name.into(), text.into())),
    )
}

const FILE: &str = r#"
listen = "127.0.0.1:7001"
peers = ["127.0.0.1:7001", "127.0.0.1:7002"]
drain = "10s"
io_threads = 2
getter_url = "http://localhost/{group}/{key}"

[groups.scores]
max_bytes = "64MiB"
ttl = "10m"

[groups.users]
max_bytes = 1048576
hot = false
getter_command = "cat"
"#;

#[test]
fn a_flag_beats_a_variable_beats_the_file() {
    let plain = settings(FILE, &[], &[]).unwrap();
    assert_eq!(plain.node.listen.as_deref(), Some("127.0.0.1:7001"));
    assert_eq!(plain.node.peers.len(), 2);
    assert_eq!(plain.node.drain, Some(Duration::from_secs(10)));
    assert_eq!(plain.node.io_threads, Some(2));
    let scores = &plain.groups["scores"];
    assert_eq!(
        (scores.options.max_bytes, scores.options.ttl),
        (64 << 20, Some(Duration::from_secs(600)))
    );
    assert_eq!(plain.groups["users"].options.hot, Some(false));
    assert_eq!(plain.getter_of(scores).url, plain.getter.url);
    let users = plain.getter_of(&plain.groups["users"]);
    assert_eq!((users.url, users.command.as_deref()), (None, Some("cat")));
    let variables = [
        ("KAMACACHE_DRAIN", "20s"),
        ("KAMACACHE_LISTEN", "127.0.0.1:7003"),
        ("KAMACACHE_GROUPS", "scores=1GiB; more=1MiB,policy=lru"),
        ("KAMACACHE_SERVICE_HOST", "10.0.0.1"),
        ("KAMACACHE_PORT_8001_TCP_ADDR", "10.0.0.1"),
        ("KAMACACHE_ADMIN_PORT", "tcp://10.0.0.1:9001"),
        ("HOME", "/"),
    ];
    let over = settings(
        FILE,
        &variables,
        &[
            "--listen",
            "127.0.0.1:7004",
            "--advertise",
            "127.0.0.1:7001",
            "--getter-command",
            "true",
        ],
    )
    .unwrap();
    assert_eq!(over.node.listen.as_deref(), Some("127.0.0.1:7004"));
    assert_eq!(over.node.drain, Some(Duration::from_secs(20)));
    assert_eq!(over.groups["scores"].options.max_bytes, 1 << 30);
    assert_eq!(
        over.groups["scores"].options.ttl,
        Some(Duration::from_secs(600)),
        "it stays"
    );
    assert_eq!(over.groups.len(), 3);
    assert_eq!(
        (over.getter.url.as_deref(), over.getter.command.as_deref()),
        (None, Some("true"))
    );
    let shown: Vec<String> = over
        .shown()
        .map(|(name, text, origin)| format!("{name}={text} {origin}"))
        .collect();
    assert!(
        shown.contains(&"drain=20s KAMACACHE_DRAIN".to_owned()),
        "{shown:?}"
    );
    assert!(
        shown.contains(&"listen=127.0.0.1:7004 --listen".to_owned()),
        "{shown:?}"
    );
    assert!(
        !shown.iter().any(|one| one.starts_with("getter_url")),
        "{shown:?}"
    );
}

#[test]
fn a_secret_is_not_shown() {
    let token = "hush-hush-hush-hush";
    let flags = ["--getter-url=http://h/{key}?password=hush"];
    let settings = settings(FILE, &[("KAMACACHE_CLUSTER_TOKEN", token)], &flags).unwrap();
    assert_eq!(settings.node.cluster_token.as_deref(), Some(token));
    assert!(!settings.shown().any(|(_, text, _)| text.contains("hush")));
}

#[test]
fn an_error_about_the_file_does_not_repeat_its_line() {
    for wrong in [
        "cluster_token = \"hushhush\" x",
        "\n\ncluster_token=hushhush",
        "getter_url = \"http://u:hush@h/{key}",
        "discovery = \"etcd://u:hush@127.0.0.1:1/x\"\n[groups.g]\nmax_bytes = \"1MiB\"",
        "otlp_endpoint = \"nowhere://u:hush@h\"",
    ] {
        let error = settings(wrong, &[], &[]).unwrap_err();
        assert!(!error.message.contains("hush"), "{}", error.message);
        assert!(!error.message.contains('\n'), "{}", error.message);
    }
    let error = settings("\n\nlisten = x", &[], &[]).unwrap_err();
    assert!(
        error.message.contains("line 3, column 1"),
        "{}",
        error.message
    );
}

#[test]
fn a_list_of_tokens_and_of_variables() {
    let file = "cluster_token = [\"0123456789,abcdef\", \"fedcba9876543210\"]\n\
                getter_env = [\"PGHOST\", \"PGPASSWORD\"]\n[groups.g]\nmax_bytes = \"1MiB\"\n";
    let settings = settings(file, &[], &[]).unwrap();
    let tokens = settings.node.cluster_token.as_deref();
    assert_eq!(tokens, Some("0123456789,abcdef fedcba9876543210"));
    let getter = settings.getter_of(&settings.groups["g"]);
    assert_eq!(getter.env, ["PGHOST", "PGPASSWORD"]);
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_the_way_out() {
    let group = "[groups.g]\nmax_bytes = \"1MiB\"\n";
    for (file, says) in [
        (
            "lisen = \"x\"",
            ["kamacache.toml:1", "did you mean \"listen\"?"],
        ),
        (
            "\n\n[groups.g]\nmax_bites = 1",
            ["kamacache.toml:4", "did you mean \"max_bytes\"?"],
        ),
        ("drain = 10", ["kamacache.toml:1", "\"10\""]),
        ("drain = \"10 parsecs\"", ["kamacache.toml:1", "10 parsecs"]),
        ("[tls]\ncaa = \"x\"", ["kamacache.toml:2", "\"tls_ca\""]),
        ("listen = ", ["kamacache.toml", "line 1"]),
        (
            "[groups]\nscores = 64",
            ["kamacache.toml:2", "[groups.NAME]"],
        ),
        ("groups = 1", ["kamacache.toml:1", "[groups.NAME]"]),
        ("[groups.g]\n", ["kamacache.toml:1", "max_bytes"]),
        ("peers = [1]", ["kamacache.toml:1", "strings"]),
        ("listen = 1979-05-27", ["kamacache.toml:1", "string"]),
        ("log = \"loud\"", ["kamacache.toml:1", "loud"]),
        ("getter_url = \"\"", ["kamacache.toml:1", "empty"]),
        (
            "getter_url = \"u\"\ngetter_command = \"c\"",
            ["kamacache.toml", "already"],
        ),
        ("[groups.g]\nmax_bytes = \"1KiB\"", ["65536", "\"g\""]),
        ("[groups.\"a b\"]\nmax_bytes = \"1MiB\"", ["a b", "A-Z"]),
        ("", ["no group", "--group"]),
    ] {
        let error = settings(file, &[], &[]).unwrap_err();
        assert_eq!(error.code, CONFIG, "{file}");
        for part in says {
            assert!(error.message.contains(part), "{file}: {}", error.message);
        }
    }
    for (variable, text, says) in [
        ("KAMACACHE_LISTN", "x", "did you mean \"listen\"?"),
        (
            "KAMACACHE_DRAIN",
            "soon",
            "KAMACACHE_DRAIN: option drain: duration \"soon\"",
        ),
        ("KAMACACHE_GROUPS", "scores", "NAME=MAX_BYTES"),
        ("KAMACACHE_PORTS_1", "x", "KAMACACHE_PORTS_1"),
        ("KAMACACHE_GETTER_ENV", "A B", "\"A B\" is no name"),
        (
            "KAMACACHE_GETTER_ENV",
            "KAMACACHE_CLUSTER_TOKEN",
            "option of the node",
        ),
    ] {
        let error = settings(group, &[(variable, text)], &[]).unwrap_err();
        assert!(
            error.message.contains(says),
            "{variable}: {}",
            error.message
        );
    }
    for (flags, says) in [
        (&["--group", "scores"][..], "NAME=MAX_BYTES"),
        (&["--group", "scores=64MB,tl=1s"], "did you mean \"ttl\"?"),
        (
            &["--group", "scores=lots"],
            "--group: option max_bytes: size \"lots\"",
        ),
        (&["--drain", "-1s"], "-1s"),
    ] {
        let flags: Vec<String> = flags
            .chunks(2)
            .map(|pair| format!("{}={}", pair[0], pair[1]))
            .collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let error = settings(group, &[], &flags).unwrap_err();
        assert!(error.message.contains(says), "{flags:?}: {}", error.message);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let words = ["kamacache", "serve", "--config", "/nowhere/kamacache.toml"];
    let Command::Serve(args) = Cli::try_parse_from(words).unwrap().command else {
        panic!("serve was asked for");
    };
    let error = Settings::read(&args, std::iter::empty()).unwrap_err();
    assert!(
        error.message.contains("/nowhere/kamacache.toml"),
        "{}",
        error.message
    );
}
