//! Real `kamacache` processes, and a data source over HTTP, for tests.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here takes; only a hang gets so far.
pub const LONG: Duration = Duration::from_secs(30);

/// The command, in an environment without options.
pub fn kamacache() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kamacache"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KAMACACHE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the command to its end.
pub fn run(args: &[&str]) -> Output {
    run_with(args, b"")
}

/// The same with something on standard input.
pub fn run_with(args: &[&str], input: &[u8]) -> Output {
    let mut command = kamacache();
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // It may end without reading.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("it ends")
}

/// Its exit code and what it said.
pub fn code(output: &Output) -> (i32, String) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("it exits"), said)
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A node in a process of its own; killed when it is dropped.
pub struct Serve {
    child: Child,
    pub address: String,
    pub admin: String,
    /// What it logs, as it comes.
    log: mpsc::Receiver<String>,
}

impl Serve {
    /// Starts it with these flags, on free ports, and waits for `/readyz`.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_in(flags, &[])
    }

    pub fn start_in(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_as(kamacache(), flags, variables)
    }

    /// The same by a shell script, which has the command as `$0` and its words
    /// as `$@`.
    pub fn start_by(script: &str, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_kamacache")]);
        Self::start_as(shell, flags, variables)
    }

    fn start_as(mut command: Command, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        command
            .args([
                "--json",
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin",
                ":0",
            ])
            .args(flags)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let log = lines(child.stderr.take().expect("a pipe"));
        let said = lines(child.stdout.take().expect("a pipe"));
        let ready = said.recv_timeout(LONG);
        let Ok(ready) = ready else {
            let _ = child.kill();
            panic!(
                "it is not ready; it said {:?}",
                log.iter().collect::<Vec<_>>()
            );
        };
        let ready: Value = serde_json::from_str(&ready).expect("JSON");
        let word = |name: &str| ready[name].as_str().expect("an address").to_owned();
        let node = Self {
            child,
            address: word("address"),
            admin: word("admin"),
            log,
        };
        until("ready", || http(&node.admin, "/readyz").0 == 200);
        node
    }

    pub fn get(&self, group: &str, key: &str) -> Output {
        self.get_with(group, key, &[])
    }

    pub fn get_with(&self, group: &str, key: &str, flags: &[&str]) -> Output {
        let at = ["get", "--node", &self.address, group, key];
        run(&[&at[..], flags].concat())
    }

    /// kill -9, and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    pub fn members(&self) -> usize {
        let view: Value =
            serde_json::from_str(&http(&self.admin, "/debug/members").1).expect("JSON");
        view["members"].as_array().expect("a list").len()
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .expect("kill runs")
                .success()
        );
    }

    /// Waits for its end.
    pub fn exit_code(&mut self) -> i32 {
        let mut code = None;
        until("ended", || {
            code = self.child.try_wait().expect("it can be waited for");
            code.is_some()
        });
        code.expect("it ended").code().expect("by itself")
    }

    /// What it has logged so far, and until its end if it has ended.
    pub fn logged(&self) -> String {
        self.log.try_iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Looks until it is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !so() {
        assert!(Instant::now() < end, "never {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A GET: status and body; 0 when nobody listens.
pub fn http(address: &str, path: &str) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return (0, String::new());
    };
    stream.set_read_timeout(Some(LONG)).expect("above 0");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap_or(0), body.to_owned())
}

/// An HTTP service with some keys, and some that go wrong. Answers a key by its
/// path's last part: `Tom` is 630, `boom` a 500, `slow` never comes, `moved` a
/// redirect, any other is 404.
pub struct Source {
    pub address: String,
}

impl Source {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || answer(stream));
            }
        });
        Self { address }
    }

    pub fn template(&self) -> String {
        format!("http://{}/data/{{group}}/{{key}}", self.address)
    }
}

fn answer(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 2 {
            line.clear();
        }
        let path = first.split([' ', '?']).nth(1).unwrap_or_default();
        let (status, body) = match path.rsplit('/').next().unwrap_or_default() {
            "Tom" => ("200 OK", "630"),
            "a%2Fb%20%C3%BC" => ("200 OK", "encoded"),
            "boom" => ("500 Internal Server Error", "disk on\n fire"),
            "moved" => ("302 Found", ""),
            "slow" => {
                // Until the client leaves.
                let _ = reader.read_line(&mut first);
                return;
            }
            "wide" => ("200 OK", &*"w".repeat(3000)),
            _ => ("404 Not Found", "no such row"),
        };
        let body = body.to_owned();
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
}
