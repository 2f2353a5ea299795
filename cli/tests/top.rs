//! `kamacache top` in a terminal of its own, which `script` makes: what it
//! shows, and that it gives the terminal back.
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use common::{LONG, Serve};

/// A command in a terminal of 80 columns.
struct Terminal {
    script: Child,
    came: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(command: &str) -> Self {
        let command = format!("stty cols 80 rows 24; exec {command}");
        let mut script = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux has script");
        let mut from = script.stdout.take().expect("a pipe");
        let (sender, came) = mpsc::channel();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut part) {
                if sender.send(part[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            script,
            came,
            seen: String::new(),
        }
    }

    /// Waits until this has been shown, from what was shown after the last call.
    fn shows(&mut self, what: &str) {
        let end = Instant::now() + LONG;
        loop {
            if let Some(at) = self.seen.find(what) {
                self.seen.drain(..at + what.len());
                return;
            }
            // A screen that is drawn again and again is no answer.
            let left = end.saturating_duration_since(Instant::now());
            let more = self.came.recv_timeout(left);
            let more = more.unwrap_or_else(|_| panic!("{what:?} is not in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        let to = self.script.stdin.as_mut().expect("a pipe");
        to.write_all(keys).expect("it reads");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn top_shows_itself_at_once_and_gives_the_terminal_back() {
    let node = Serve::start(&["--group", "scores=1MiB", "--getter-command", "printf 1"]);
    for _ in 0..3 {
        assert!(node.get("scores", "Tom").status.success());
    }
    let command = env!("CARGO_BIN_EXE_kamacache");
    for leave in [&b"q"[..], b"\x1b", b"\x03"] {
        let mut top = Terminal::start(&format!(
            "'{command}' top --admin {} --every 50ms",
            node.admin
        ));
        // The other screen, without a cursor.
        top.shows("\x1b[?1049h");
        top.shows("\x1b[?25l");
        top.shows(&format!(
            "kamacache top: {}, every 50ms; q ends it",
            node.admin
        ));
        top.shows("group   gets/s  hit %");
        top.shows("scores       -      -");
        // And again, with rates; all within the width.
        top.shows("fetches/s  entries");
        top.shows("scores       0      -");
        top.press(leave);
        top.shows("\x1b[?1049l");
        top.shows("\x1b[?25h");
        assert!(top.script.wait().expect("it ends").success());
    }
}
