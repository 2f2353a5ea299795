//! The servers: a kamacache node, a plain tonic service, a TCP echo, Redis and memcached.
//!
//! The first three are this very program with `--serve NAME`; the last two come from the system
//! and are left out when they are not installed.

use super::wire::{GET, GetRequest, GetResponse};
use kamacache_core::{Error, GroupOptions, LoadContext, Node, NodeOptions, getter_fn};
use std::{
    convert::Infallible,
    future::Future,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    process::{Child, Command, Stdio},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Request, Response, Status, body::Body, codegen::http, server::NamedService};
use tonic_prost::ProstCodec;

/// The argument that makes this program a server.
pub const SERVE: &str = "--serve";
/// The one that says with how many threads.
pub const THREADS: &str = "--threads";

/// The name of the group that nodes serve.
pub const GROUP: &str = "bench";

/// A group that keeps no copies, so that every remote get is remote.
pub fn group_options() -> GroupOptions {
    let mut options = GroupOptions::new(1 << 30);
    options.hot = Some(false);
    options
}

/// The value of a key: `SIZE:anything` has so many bytes.
pub fn value_of(key: &str) -> Vec<u8> {
    let size = key.split(':').next().and_then(|size| size.parse().ok());
    vec![7; size.unwrap_or(crate::harness::VALUE_BYTES)]
}

/// A server in a process of its own.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts this program as the server of this name, with so many threads.
    pub fn start(name: &str, threads: usize) -> std::io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([SERVE, name, THREADS, &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        let out = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        BufReader::new(out).read_line(&mut address)?;
        let address = address.trim().to_owned();
        Ok(Self { child, address })
    }

    /// Starts a program of the system on a free port; `None` when it is not installed.
    pub fn system(program: &str, arguments: impl Fn(u16) -> Vec<String>) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?;
        let child = Command::new(program)
            .args(arguments(free.port()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let server = Self {
            child,
            address: free.to_string(),
        };
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(free).is_err() {
            if Instant::now() > patience {
                return None;
            }
            std::thread::yield_now();
        }
        Some(server)
    }

    /// Redis, without persistence.
    pub fn redis() -> Option<Self> {
        Self::system("redis-server", |port| {
            [
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ]
            .map(str::to_owned)
            .to_vec()
        })
    }

    /// memcached with so many threads.
    pub fn memcached(threads: usize) -> Option<Self> {
        Self::system("memcached", |port| {
            [
                "-p",
                &port.to_string(),
                "-l",
                "127.0.0.1",
                "-U",
                "0",
                "-u",
                "nobody",
                "-t",
                &threads.to_string(),
            ]
            .map(str::to_owned)
            .to_vec()
        })
    }

    /// Tells a node its members.
    pub fn tell(&mut self, line: &str) -> std::io::Result<()> {
        match &mut self.child.stdin {
            Some(input) => writeln!(input, "{line}"),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Serves until standard input ends.
pub fn serve(name: &str, threads: usize) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    match name {
        "node" => runtime.block_on(node()),
        "unary" => runtime.block_on(unary()),
        "echo" => runtime.block_on(echo()),
        _ => Err(format!("no server is called {name:?}").into()),
    }
}

#[expect(clippy::print_stdout, reason = "the parent reads the address here")]
fn announce(address: impl std::fmt::Display) {
    println!("{address}");
}

/// The lines of standard input, to its end.
async fn next_line() -> Option<String> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        match std::io::stdin().read_line(&mut line) {
            Ok(length) if length > 0 => Some(line.trim().to_owned()),
            _ => None,
        }
    });
    read.await.ok().flatten()
}

async fn node() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::start(NodeOptions::default().listen("127.0.0.1:0")).await?;
    let getter = getter_fn(async |ctx: LoadContext| Ok::<_, Error>(Some(value_of(ctx.key()))));
    let _group = node.group_with(GROUP, group_options(), getter)?;
    announce(node.address());
    while let Some(members) = next_line().await {
        let members: Vec<&str> = members.split(',').collect();
        node.set_peers(&members)?;
    }
    node.close(None).await?;
    Ok(())
}

/// A service that does nothing but answer.
#[derive(Clone)]
struct Plain;

impl NamedService for Plain {
    const NAME: &'static str = "kama.v1.KamaCacheService";
}

impl tonic::server::UnaryService<GetRequest> for Plain {
    type Response = GetResponse;
    type Future = std::future::Ready<Result<Response<GetResponse>, Status>>;

    fn call(&mut self, request: Request<GetRequest>) -> Self::Future {
        let value = value_of(&request.into_inner().key).into();
        std::future::ready(Ok(Response::new(GetResponse { value })))
    }
}

impl tonic::codegen::Service<http::Request<Body>> for Plain {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        debug_assert_eq!(request.uri().path(), GET);
        Box::pin(async move {
            let mut grpc =
                tonic::server::Grpc::new(ProstCodec::<GetResponse, GetRequest>::default());
            Ok(grpc.unary(Plain, request).await)
        })
    }
}

async fn unary() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let ended = async { while next_line().await.is_some() {} };
    let server = tonic::transport::Server::builder().add_service(Plain);
    server.serve_with_incoming_shutdown(incoming, ended).await?;
    Ok(())
}

async fn echo() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address: SocketAddr = listener.local_addr()?;
    announce(address);
    let accept = async {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let mut bytes = [0; crate::harness::VALUE_BYTES];
                while stream.read_exact(&mut bytes).await.is_ok()
                    && stream.write_all(&bytes).await.is_ok()
                {}
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = async { while next_line().await.is_some() {} } => {}
    }
    Ok(())
}
