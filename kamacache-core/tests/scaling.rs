//! What stays and what grows with the number of nodes: connections, messages
//! and getter calls of whole rings in one process, over a network in memory and
//! a clock that moves only when everyone waits.
//!
//! The small rings run always and hold the statements; `make scaling` runs the
//! large ones and prints the table of docs/scaling.md.

mod common;

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use common::history::Random;
use common::options;
use futures_util::{StreamExt, future, stream};
use kamacache_core::testing::{Connection, CountingGetter, Incoming, Network, start_over};
use kamacache_core::{BoxFuture, Group, Node, NodeOptions};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

const KEYS: usize = 2000;
/// Of each node, in each step.
const GETS: usize = 200;

/// Connections in memory, counted.
#[derive(Default)]
struct Memory {
    hosts: Mutex<HashMap<String, mpsc::UnboundedSender<Box<dyn Connection>>>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    open: AtomicU64,
    /// Times that something was handed to the network, and how much.
    sends: AtomicU64,
    bytes: AtomicU64,
}

/// One end of a connection.
struct End {
    stream: DuplexStream,
    counts: Arc<Counts>,
    dialled: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.dialled {
            self.counts.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.counts.sends.fetch_add(1, Ordering::Relaxed);
            self.counts
                .bytes
                .fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Network for Memory {
    fn bind(&self, address: &str) -> BoxFuture<io::Result<(Incoming, u16)>> {
        let (taken, incoming) = mpsc::unbounded_channel();
        self.hosts.lock().insert(address.to_owned(), taken);
        let incoming = stream::unfold(incoming, async |mut incoming| {
            let connection = incoming.recv().await?;
            Some((Ok(connection), incoming))
        });
        Box::pin(future::ready(Ok((Box::pin(incoming) as Incoming, PORT))))
    }

    fn connect(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Connection>>> {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let end = |stream, dialled| {
            let counts = self.counts.clone();
            Box::new(End {
                stream,
                counts,
                dialled,
            }) as Box<dyn Connection>
        };
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = (end(ours, true), end(theirs, false));
        let hosts = self.hosts.lock();
        let sent = hosts
            .get(address)
            .is_some_and(|host| host.send(theirs).is_ok());
        let refused = || Err(io::ErrorKind::ConnectionRefused.into());
        Box::pin(future::ready(if sent { Ok(ours) } else { refused() }))
    }
}

const PORT: u16 = 7000;

fn address(index: usize) -> String {
    format!("10.0.{}.{}:{PORT}", index / 250, index % 250 + 1)
}

/// A ring, and what it has cost so far.
struct Ring {
    network: Arc<Memory>,
    nodes: Vec<(Node, Group)>,
    getter: Arc<CountingGetter>,
    random: Random,
}

/// What a step cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    connections: u64,
    sends: u64,
    bytes: u64,
    loads: usize,
}

impl Ring {
    async fn of(count: usize) -> Self {
        let mut ring = Self {
            network: Arc::default(),
            nodes: Vec::new(),
            getter: CountingGetter::new(),
            random: Random(count as u64),
        };
        for index in 0..count {
            ring.start(index).await;
        }
        ring.connect();
        ring
    }

    async fn start(&mut self, index: usize) {
        let mut node = NodeOptions::default().listen(address(index));
        node.advertise = Some(address(index));
        // One thread does the work of all: slowness is no sign of death here.
        node.suspect_after = Some(Duration::from_secs(30));
        let network: Arc<dyn Network> = self.network.clone();
        let node = start_over(network, node).await.unwrap();
        let group = node.group("g", options(), Some(self.getter.clone()));
        self.nodes.push((node, group.unwrap()));
    }

    /// Gives every node the list of all.
    fn connect(&self) {
        let members: Vec<&str> = self.nodes.iter().map(|(node, _)| node.address()).collect();
        for (node, _) in &self.nodes {
            node.set_peers(&members).unwrap();
        }
    }

    /// What `step` costs, with the quarter of a second after it.
    async fn cost(&mut self, step: impl AsyncFnOnce(&mut Self)) -> Cost {
        let counts = self.network.counts.clone();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (sends, bytes, loads) = (
            read(&counts.sends),
            read(&counts.bytes),
            self.getter.total(),
        );
        step(self).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        Cost {
            connections: read(&counts.open),
            sends: read(&counts.sends) - sends,
            bytes: read(&counts.bytes) - bytes,
            loads: self.getter.total() - loads,
        }
    }

    /// Every node asks for some of the keys.
    async fn gets(&mut self) {
        let mut gets = Vec::new();
        for (_, group) in &self.nodes {
            for _ in 0..GETS {
                gets.push((group, format!("key-{}", self.random.below(KEYS))));
            }
        }
        let asked = gets.iter().map(|(group, key)| group.get(key));
        let answers: Vec<_> = stream::iter(asked).buffer_unordered(4096).collect().await;
        assert!(answers.iter().all(Result::is_ok));
    }

    /// Each key is asked for once, by one node or another.
    async fn all_keys(&mut self) {
        let keys: Vec<String> = (0..KEYS).map(|key| format!("key-{key}")).collect();
        let parts = keys.chunks(KEYS.div_ceil(self.nodes.len()));
        let asked = self.nodes.iter().zip(parts);
        let asked = asked.map(|((_, group), keys)| group.get_many(keys, None));
        let answers = future::join_all(asked).await;
        assert!(answers.iter().flatten().all(Result::is_ok));
    }

    /// Every node sets one key.
    async fn sets(&mut self) {
        for (index, (_, group)) in self.nodes.iter().enumerate() {
            group.set(&format!("key-{index}"), "set").await.unwrap();
        }
    }
}

/// The steps of a ring's life.
#[derive(Debug)]
struct Life {
    nodes: usize,
    cold: Cost,
    warm: Cost,
    beats: Cost,
    idle: Cost,
    join: Cost,
    joined: Cost,
    written: Cost,
    leave: Cost,
    left: Cost,
}

async fn live(count: usize) -> Life {
    let mut ring = Ring::of(count).await;
    let cold = ring.cost(async |ring| ring.gets().await).await;
    let warm = ring.cost(async |ring| ring.gets().await).await;
    let wait = async |_: &mut Ring| tokio::time::sleep(Duration::from_secs(2)).await;
    let beats = ring.cost(wait).await;
    let wait = async |_: &mut Ring| tokio::time::sleep(Duration::from_secs(120)).await;
    let idle = ring.cost(wait).await;
    ring.all_keys().await;
    let join = ring
        .cost(async |ring| {
            ring.start(count).await;
            ring.connect();
        })
        .await;
    let joined = ring.cost(async |ring| ring.all_keys().await).await;
    ring.sets().await;
    let written = ring
        .cost(async |ring| {
            ring.start(count + 1).await;
            ring.connect();
        })
        .await;
    ring.all_keys().await;
    let leave = ring
        .cost(async |ring| {
            let (leaver, _) = ring.nodes.remove(0);
            leaver.close(None).await.unwrap();
        })
        .await;
    let left = ring.cost(async |ring| ring.all_keys().await).await;
    for (node, _) in &ring.nodes {
        let _ = node.close(Some(Duration::ZERO)).await;
    }
    Life {
        nodes: count,
        cold,
        warm,
        beats,
        idle,
        join,
        joined,
        written,
        leave,
        left,
    }
}

#[tokio::test(start_paused = true)]
async fn loads_do_not_grow_with_the_ring_and_idle_links_are_closed() {
    for count in [4, 12] {
        let life = live(count).await;
        assert!(life.cold.loads <= KEYS, "{life:?}");
        let pairs = (count * (count - 1)) as u64;
        assert!(life.cold.connections <= pairs, "{life:?}");
        assert_eq!(life.idle.connections, 0, "idle links are closed: {life:?}");
        // What a change of members moves is taken or given, not loaded again.
        assert_eq!(life.joined.loads, 0, "{life:?}");
        assert!(life.left.loads <= KEYS / 100, "{life:?}");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the table")]
#[ignore = "make scaling: minutes, and gigabytes of memory"]
fn table_of_large_rings() {
    println!(
        "| nodes | connections, all pairs asked | after two idle minutes | sends for a get, cold | warm | heartbeats a second and connection | getter calls for {KEYS} keys | join: KiB told | extra loads | join after writes: KiB told | leave: KiB given and told | extra loads |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut lives = Vec::new();
    for count in [10, 25, 50, 100, 200] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let life = runtime.block_on(live(count));
        let gets = (count * GETS) as f64;
        let beats = life.beats.sends as f64 / 2.25 / life.beats.connections.max(1) as f64;
        let first = life.cold.loads + life.warm.loads;
        println!(
            "| {} | {} | {} | {:.2} | {:.2} | {beats:.1} | {first} | {} | {} | {} | {} | {} |",
            life.nodes,
            life.cold.connections.max(life.warm.connections),
            life.idle.connections,
            life.cold.sends as f64 / gets,
            life.warm.sends as f64 / gets,
            life.join.bytes >> 10,
            life.joined.loads,
            life.written.bytes >> 10,
            life.leave.bytes >> 10,
            life.left.loads,
        );
        lives.push(life);
    }
    let of_each = |what: fn(&Life) -> u64| lives.iter().map(what).collect::<Vec<_>>();
    let nodes = of_each(|life| life.nodes as u64);
    let getters = of_each(|life| (life.cold.loads + life.warm.loads) as u64);
    let connections = of_each(|life| life.cold.connections.max(life.warm.connections));
    println!("{}", chart("Getter calls for 2,000 keys", &nodes, &getters));
    println!(
        "{}",
        chart("Connections, all pairs asked", &nodes, &connections)
    );
}

/// A plot in the language that GitHub draws in Markdown.
fn chart(title: &str, nodes: &[u64], values: &[u64]) -> String {
    format!(
        "```mermaid\nxychart-beta\n    title \"{title}\"\n    x-axis \"nodes\" {nodes:?}\n    y-axis 0 --> {}\n    line {values:?}\n```",
        values.iter().max().copied().unwrap_or_default()
    )
}
