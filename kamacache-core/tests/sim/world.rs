//! A simulated cluster: each node on a host of its own, one thread, a network
//! whose delays and losses come from the seed, and tokio's clock that moves
//! only when everyone waits.
//!
//! Invariant: a seed says it all. What a run does may depend on nothing else;
//! `getrandom` is answered from the seed too, because hash maps and tokio's
//! own choices start from it.

use std::cell::Cell;
use std::io;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use futures_util::stream;
use kamacache_core::testing::{Connection, Incoming, Network, draw_process_seeds, start_over};
use kamacache_core::{BoxFuture, Node, NodeOptions};
use tokio::sync::Barrier;

use crate::common::history::Random;

/// Time passes in steps of this.
pub const TICK: Duration = Duration::from_millis(1);
const PORT: u16 = 7000;

/// How the network behaves.
#[derive(Clone, Copy)]
pub struct Net {
    /// How long one message takes, at least and at most.
    pub latency: (Duration, Duration),
    /// Links are held, cut and mended while the nodes are at work.
    pub faults: bool,
}

impl Net {
    pub fn healthy() -> Self {
        Self {
            latency: (ms(1), ms(10)),
            faults: false,
        }
    }

    /// The longest way there and back, with the steps that time passes in.
    pub fn round_trip(&self) -> Duration {
        2 * (self.latency.1 + 2 * TICK)
    }
}

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One simulated node, as its script sees it.
#[derive(Clone)]
pub struct Host {
    pub index: usize,
    pub node: Node,
    /// Differs from host to host.
    pub random: Random,
    together: Arc<Barrier>,
    options: NodeOptions,
}

impl Host {
    /// Waits until every host has come this far.
    pub async fn together(&self) {
        self.together.wait().await;
    }

    /// Starts the node again, after it was closed.
    pub async fn restart(&mut self) -> Result<(), String> {
        let started = start_over(Arc::new(Simulated), self.options.clone()).await;
        self.node = started.map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// What a node's host is called.
pub fn name(index: usize) -> String {
    format!("node-{index}")
}

/// What a node is called.
pub fn address(index: usize) -> String {
    format!("{}:{PORT}", name(index))
}

/// Since the start of the run; the same on every host.
pub fn now() -> Duration {
    turmoil::sim_elapsed().expect("inside the simulation")
}

/// Runs `script` once per node, each with its node started and all of them up;
/// the first failure of any of them.
pub fn simulate<F, Fut>(
    seed: u64,
    nodes: usize,
    net: Net,
    options: &NodeOptions,
    script: F,
) -> Result<(), String>
where
    F: Fn(Host) -> Fut + Clone + 'static,
    Fut: Future<Output = Result<(), String>> + 'static,
{
    fix_process_seeds();
    RANDOM.set(Some(seed));
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .min_message_latency(net.latency.0)
        .max_message_latency(net.latency.1)
        .simulation_duration(Duration::from_secs(60))
        .tcp_capacity(4096)
        .enable_random_order()
        .build();
    let together = Arc::new(Barrier::new(nodes));
    let members: Vec<String> = (0..nodes).map(address).collect();
    for index in 0..nodes {
        let mut options = options.clone().listen(format!("0.0.0.0:{PORT}"));
        options.advertise = Some(address(index));
        options.peers = members.clone();
        let (together, script) = (together.clone(), script.clone());
        sim.client(name(index), async move {
            let node = start_over(Arc::new(Simulated), options.clone()).await?;
            let host = Host {
                index,
                node: node.clone(),
                random: Random(seed.wrapping_mul(31).wrapping_add(index as u64 + 1)),
                together,
                options,
            };
            host.together().await;
            script(host.clone()).await?;
            host.together().await;
            node.close(None).await?;
            Ok(())
        });
    }
    if net.faults {
        sim.host("faults", move || async move {
            faults(nodes, Random(!seed), Duration::ZERO, Duration::MAX).await;
            Ok(())
        });
    }
    let ran = sim.run().map_err(|error| error.to_string());
    drop(sim);
    RANDOM.set(None);
    ran
}

/// Now and then one pair of nodes cannot talk for a while: in one direction or
/// both, with what is said meanwhile lost, or only late. At `until` all is well.
pub async fn faults(nodes: usize, mut random: Random, from: Duration, until: Duration) {
    tokio::time::sleep(from.saturating_sub(now())).await;
    loop {
        tokio::time::sleep(ms(random.below(150) as u64)).await;
        let left = until.saturating_sub(now());
        if left.is_zero() {
            return;
        }
        let a = random.below(nodes);
        let b = (a + 1 + random.below(nodes - 1)) % nodes;
        let (a, b) = (name(a), name(b));
        let how = random.below(3);
        match how {
            0 => turmoil::hold(a.as_str(), b.as_str()),
            1 => turmoil::partition(a.as_str(), b.as_str()),
            _ => turmoil::partition_oneway(a.as_str(), b.as_str()),
        }
        tokio::time::sleep(ms(random.below(400) as u64).min(left)).await;
        match how {
            0 => turmoil::release(a.as_str(), b.as_str()),
            _ => turmoil::repair(a.as_str(), b.as_str()),
        }
    }
}

/// turmoil's network, for a node.
struct Simulated;

impl Network for Simulated {
    fn bind(&self, address: &str) -> BoxFuture<io::Result<(Incoming, u16)>> {
        let address = address.to_owned();
        Box::pin(async move {
            let listener = turmoil::net::TcpListener::bind(address).await?;
            let port = listener.local_addr()?.port();
            let incoming = stream::unfold(listener, async |listener| {
                let taken = listener.accept().await;
                let taken = taken.map(|(stream, _)| Box::new(stream) as Box<dyn Connection>);
                Some((taken, listener))
            });
            Ok((Box::pin(incoming) as Incoming, port))
        })
    }

    fn connect(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Connection>>> {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = turmoil::net::TcpStream::connect(address).await?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }
}

/// What is drawn once for all seeds of this process must not depend on which
/// of them runs first.
fn fix_process_seeds() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let fixed = || {
            RANDOM.set(Some(0));
            draw_process_seeds();
        };
        thread::spawn(fixed).join().expect("draws a few numbers");
    });
}

thread_local! {
    /// Where this thread's random bytes come from, inside a simulation.
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Stands in for libc's: on a thread that simulates, bytes of the seed.
///
/// # Safety
/// As of libc: `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    let state = RANDOM.try_with(Cell::get).ok().flatten();
    // Another thread's numbers are not ours to fix; they only have to differ.
    let mut random = state.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64)
    });
    for at in 0..length {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // SAFETY: within the caller's buffer.
        unsafe { buffer.add(at).write((random >> 33) as u8) };
    }
    if state.is_some() {
        RANDOM.set(Some(random));
    }
    length as isize
}
