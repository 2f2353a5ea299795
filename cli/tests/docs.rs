//! docs/command.md does what it says: its file is a configuration, its console
//! is typed into a shell beside the node that it starts, its tables are whole.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Serve, code, run, text};

fn page(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::read_to_string(docs.join(name)).expect("it is there")
}

/// The blocks of a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let parts = page.split(&*fence).skip(1);
    parts.filter_map(|part| part.split("```").next()).collect()
}

#[test]
fn the_file_is_a_configuration() {
    let page = page("command.md");
    let files = blocks(&page, "toml");
    assert_eq!(files.len(), 1);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kamacache.toml");
    fs::write(&path, files[0]).expect("written");
    let checked = run(&[
        "serve",
        "--check",
        "--config",
        path.to_str().expect("UTF-8"),
    ]);
    let (found, said) = code(&checked);
    assert_eq!(found, 0, "{said}");
    assert!(
        text(&checked).contains("groups.scores.ttl = \"10m\""),
        "{}",
        text(&checked)
    );
}

#[test]
fn the_console_shows_what_a_shell_shows() {
    let page = page("command.md");
    let start = blocks(&page, "sh")[0];
    let getter = start
        .split("--getter-command '")
        .nth(1)
        .and_then(|rest| rest.split('\'').next());
    let node = Serve::start(&[
        "--group",
        "scores=64MiB,ttl=10m",
        "--getter-command",
        getter.expect("one is shown"),
    ]);
    let console = blocks(&page, "console")[0]
        .replace("127.0.0.1:8001", &node.address)
        .replace("127.0.0.1:9001", &node.admin);
    let folder = Path::new(env!("CARGO_BIN_EXE_kamacache"))
        .parent()
        .expect("a folder")
        .to_owned();
    let path = format!(
        "{}:{}",
        folder.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut before = 0;
    for step in console.split("$ ").skip(1) {
        let (command, shown) = step.split_once('\n').expect("a line");
        let done = Command::new("sh")
            .args(["-c", &format!("(exit {before}); {command}")])
            .env("PATH", &path)
            .stdin(Stdio::null())
            .output()
            .expect("a shell");
        before = done.status.code().expect("it exits");
        let said = [&done.stdout[..], &done.stderr[..]].concat();
        assert_eq!(
            String::from_utf8_lossy(&said).trim_end(),
            shown.trim_end(),
            "{command}"
        );
    }
}

#[test]
fn every_exit_code_and_metric_is_listed() {
    let command = page("command.md");
    let help = text(&run(&["--help"]));
    let listed = help
        .split("Exit codes:")
        .nth(1)
        .expect("they are in the help");
    for line in listed.lines().filter(|line| !line.trim().is_empty()) {
        let (number, meaning) = line.trim().split_once("  ").expect("a code");
        let row = format!("| {number} | {} |", meaning.trim());
        assert!(command.contains(&row), "docs/command.md lacks {row}");
    }
    let node = Serve::start(&["--group", "g=1MiB"]);
    let observability = page("observability.md");
    let metrics = common::http(&node.admin, "/metrics").1;
    for family in metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
    {
        assert!(
            observability.contains(family),
            "docs/observability.md lacks {family}"
        );
    }
}
