//! A proxy in front of one node, so that a test can make the network between
//! the others and that node fail.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kamacache_core::{Node, NodeOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does with bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Road {
    Open,
    /// Takes connections and bytes, and delivers nothing: a stopped process.
    Frozen,
    /// Resets what is there and what comes.
    Cut,
}

pub struct Proxy {
    road: watch::Sender<Road>,
    /// New connections are carried.
    gate: watch::Sender<bool>,
    accepted: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Proxy {
    /// A node that advertises a proxy's address and listens behind it: same
    /// port, another loopback address.
    pub async fn before(options: NodeOptions) -> (Self, Node) {
        for _ in 0..100 {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("bound");
            let behind = SocketAddr::new([127, 0, 0, 2].into(), address.port());
            let mut options = options.clone().listen(behind.to_string());
            options.advertise = Some(address.to_string());
            if let Ok(node) = Node::start(options).await {
                return (Self::start(listener, behind), node);
            }
        }
        panic!("no port is free on both loopback addresses");
    }

    fn start(listener: TcpListener, behind: SocketAddr) -> Self {
        let (road, seen) = watch::channel(Road::Open);
        let (gate, let_in) = watch::channel(true);
        let accepted = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let (count, now) = (accepted.clone(), open.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                now.fetch_add(1, Ordering::SeqCst);
                let (now, seen, mut let_in) = (now.clone(), seen.clone(), let_in.clone());
                tokio::spawn(async move {
                    // Its end is a proxy that is gone.
                    let _ = let_in.wait_for(|open| *open).await;
                    carry(stream, behind, seen).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            road,
            gate,
            accepted,
            open,
        }
    }

    /// Connections that come from now on are accepted, and nothing more.
    pub fn hold_new(&self) {
        self.gate.send_replace(false);
    }

    pub fn set(&self, road: Road) {
        self.road.send_replace(road);
    }

    /// Connections that neither end has closed.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn carry(near: TcpStream, behind: SocketAddr, mut road: watch::Receiver<Road>) {
    if passable(&mut road).await.is_none() {
        return;
    }
    let Ok(far) = TcpStream::connect(behind).await else {
        return;
    };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        () = pump(near_in, far_out, road.clone()) => {}
        () = pump(far_in, near_out, road.clone()) => {}
        _ = road.wait_for(|road| *road == Road::Cut) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut road: watch::Receiver<Road>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if passable(&mut road).await.is_none() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// Waits while the road is frozen; `None` when it is cut.
async fn passable(road: &mut watch::Receiver<Road>) -> Option<()> {
    let now = *road.wait_for(|road| *road != Road::Frozen).await.ok()?;
    (now == Road::Open).then_some(())
}
