//! Real servers from the distribution, started by a test on free loopback ports
//! and ended with it.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::LONG;

/// A program that runs until this is dropped.
pub struct Daemon(Child);

impl Daemon {
    /// # Panics
    /// When the program is not installed; `make setup` installs it.
    pub fn start(program: &str, arguments: &[String], log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        let started = Command::new(program)
            .args(arguments)
            .env(
                "PATH",
                format!("{}:/usr/sbin:/usr/bin", std::env::var("PATH").unwrap()),
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self(started.unwrap_or_else(|error| {
            panic!("{program} cannot be started: {error}; `make setup` installs it")
        }))
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.0.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// kill -9, and waits for the end.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something listens there; the log tells why nothing does.
pub fn listens(address: SocketAddr, log: &Path) {
    wait(&format!("listen on {address}"), log, || {
        TcpStream::connect(address).is_ok()
    });
}

fn wait(what: &str, log: &Path, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        let log = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(begun.elapsed() < LONG, "it does not {what}: {}", log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ports that are free for both TCP and UDP. Below those that the system gives
/// out by itself: nobody takes one while a test restarts its daemon there.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    std::array::from_fn(|_| {
        let candidates = std::iter::repeat_with(|| {
            let seed = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(seed);
            20_000 + u16::try_from(hash % 12_000).unwrap()
        });
        let is_free = |port: &u16| {
            let address = ("127.0.0.1", *port);
            TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
        };
        candidates.take(1000).find(is_free).expect("a free port")
    })
}

/// A DNS server whose records a test writes.
pub struct Dns {
    daemon: Daemon,
    folder: TempDir,
    port: u16,
}

impl Dns {
    /// `options`: more of dnsmasq's.
    pub fn start(hosts: &str, options: &[&str]) -> Self {
        let (folder, [port]) = (tempfile::tempdir().unwrap(), free_ports());
        let daemon = Self::run(folder.path(), port, hosts, options);
        Self {
            daemon,
            folder,
            port,
        }
    }

    fn run(folder: &Path, port: u16, hosts: &str, options: &[&str]) -> Daemon {
        let file = folder.join("hosts");
        std::fs::write(&file, hosts).unwrap();
        let log = folder.join("log");
        let mut arguments: Vec<String> = [
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--listen-address=127.0.0.1",
            "--pid-file=",
            "--user=root",
            // What it does not know does not exist.
            "--local=/test/",
            "--log-queries",
            "--log-facility=-",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--port={port}"));
        arguments.push(format!("--addn-hosts={}", file.display()));
        arguments.extend(options.iter().map(ToString::to_string));
        let daemon = Daemon::start("dnsmasq", &arguments, &log);
        listens(SocketAddr::from(([127, 0, 0, 1], port)), &log);
        daemon
    }

    /// `server=` of a discovery URL.
    pub fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Other addresses, from now on.
    pub fn hosts(&self, hosts: &str) {
        let file = self.folder.path().join("hosts");
        std::fs::write(file, hosts).unwrap();
        self.daemon.signal("HUP");
    }

    /// Answers nothing any more.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Answers again, on the same port.
    pub fn restart(&mut self, hosts: &str, options: &[&str]) {
        self.daemon.kill();
        self.daemon = Self::run(self.folder.path(), self.port, hosts, options);
    }

    /// How often it was asked for this kind of record.
    pub fn asked(&self, kind: &str) -> usize {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        log.matches(&format!("query[{kind}]")).count()
    }
}

/// An etcd of one member.
pub struct Etcd {
    daemon: Daemon,
    folder: TempDir,
    client: u16,
    peer: u16,
    /// `http`, or `https` with more options.
    scheme: &'static str,
    options: Vec<String>,
}

impl Etcd {
    pub fn start() -> Self {
        Self::start_with("http", &[])
    }

    pub fn start_with(scheme: &'static str, options: &[String]) -> Self {
        let (folder, [client, peer]) = (tempfile::tempdir().unwrap(), free_ports());
        let options = options.to_vec();
        let daemon = Self::run(folder.path(), client, peer, scheme, &options);
        Self {
            daemon,
            folder,
            client,
            peer,
            scheme,
            options,
        }
    }

    fn run(folder: &Path, client: u16, peer: u16, scheme: &str, options: &[String]) -> Daemon {
        let log = folder.join("log");
        let (client_url, peer_url) = (
            format!("{scheme}://127.0.0.1:{client}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let mut arguments = vec![
            "--name=one".to_owned(),
            format!("--data-dir={}", folder.join("data").display()),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=one={peer_url}"),
            "--unsafe-no-fsync".to_owned(),
        ];
        if Command::new("etcd")
            .arg("--version")
            .output()
            .is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("Version: 3.4"))
        {
            arguments.retain(|argument| argument != "--unsafe-no-fsync");
        }
        arguments.extend_from_slice(options);
        let daemon = Daemon::start("etcd", &arguments, &log);
        // It listens before it has elected itself; one that is killed by then
        // never answers again.
        let ready = "ready to serve client requests";
        wait(&format!("say {ready:?}"), &log, || {
            std::fs::read_to_string(&log).is_ok_and(|said| said.contains(ready))
        });
        daemon
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client)
    }

    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    pub fn signal(&self, name: &str) {
        self.daemon.signal(name);
    }

    /// On the same port, with the same data.
    pub fn restart(&mut self) {
        self.daemon.kill();
        self.daemon = Self::run(
            self.folder.path(),
            self.client,
            self.peer,
            self.scheme,
            &self.options,
        );
    }

    /// On the same port, with nothing in it.
    pub fn restart_empty(&mut self) {
        self.daemon.kill();
        std::fs::remove_dir_all(self.folder.path().join("data")).unwrap();
        self.restart();
    }

    /// Runs etcdctl; what it prints.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let endpoint = format!("{}://{}", self.scheme, self.address());
        let out = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &endpoint])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| {
                panic!("etcdctl cannot be started: {error}; `make setup` installs it")
            });
        assert!(
            out.status.success(),
            "etcdctl {arguments:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }

    /// A file beside its data.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path
    }
}
