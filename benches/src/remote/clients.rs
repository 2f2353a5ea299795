//! The clients: each asks for one value, and may be asked by many tasks at once.

use super::{
    servers::{GROUP, Server, group_options, value_of},
    wire::{GET, GetRequest, GetResponse},
};
use kamacache_core::{Group, Node, NodeOptions};
use std::{future::Future, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::Mutex,
};
use tonic::{Request, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Something that has values by key.
pub trait Client: Clone + Send + Sync + 'static {
    /// The length of the key's value; `task` says who asks.
    fn get(&self, task: usize, key: &str) -> impl Future<Output = Result<usize, Failure>> + Send;
}

/// A node of this process whose keys are all owned by a node of another.
#[derive(Clone)]
pub struct Ours {
    /// The group here.
    pub group: Group,
    node: Node,
    _server: Arc<Server>,
}

impl Ours {
    /// Two nodes, one of them elsewhere on so many threads.
    pub async fn start(threads: usize) -> Result<Self, Failure> {
        let node = Node::start(NodeOptions::default().listen("127.0.0.1:0")).await?;
        let mut server = Server::start("node", threads)?;
        let members = [node.address().to_owned(), server.address.clone()];
        server.tell(&members.join(","))?;
        node.set_peers(&members)?;
        let group = node.group(GROUP, group_options(), None)?;
        Ok(Self {
            group,
            node,
            _server: Arc::new(server),
        })
    }

    /// Keys that the other node owns, for values of `size` bytes; each is loaded there.
    pub async fn keys(&self, size: usize, count: usize) -> Result<Arc<Vec<String>>, Failure> {
        let all = (0..).map(|n| format!("{size}:{n:016}"));
        let keys: Vec<String> = all
            .filter(|key| {
                self.node
                    .owner(key)
                    .is_ok_and(|owner| owner != self.node.address())
            })
            .take(count)
            .collect();
        for key in &keys {
            self.group.get(key).await?;
        }
        Ok(Arc::new(keys))
    }
}

impl Client for Ours {
    async fn get(&self, _task: usize, key: &str) -> Result<usize, Failure> {
        Ok(self.group.get(key).await?.len())
    }
}

/// tonic's unary call over one connection.
#[derive(Clone)]
pub struct Unary {
    channel: Channel,
    _server: Arc<Server>,
}

impl Unary {
    /// Connects to a service in a process of its own, with so many threads.
    pub async fn start(threads: usize) -> Result<Self, Failure> {
        let server = Server::start("unary", threads)?;
        let endpoint = Channel::from_shared(format!("http://{}", server.address))?;
        Ok(Self {
            channel: endpoint.tcp_nodelay(true).connect().await?,
            _server: Arc::new(server),
        })
    }
}

impl Client for Unary {
    async fn get(&self, _task: usize, key: &str) -> Result<usize, Failure> {
        let limit = 64 << 20;
        let mut client =
            tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(limit);
        client.ready().await?;
        let request = Request::new(GetRequest {
            group: GROUP.into(),
            key: key.into(),
        });
        let codec = ProstCodec::<GetRequest, GetResponse>::default();
        let answer = client
            .unary(request, PathAndQuery::from_static(GET), codec)
            .await?;
        Ok(answer.into_inner().value.len())
    }
}

/// Text connections, one for each task.
#[derive(Clone)]
pub struct Text {
    connections: Arc<Vec<Mutex<BufReader<TcpStream>>>>,
    /// What is sent for a key, how the length is read, and what follows the value.
    get: fn(&str) -> String,
    tail: usize,
    _server: Arc<Server>,
}

impl Text {
    async fn start(
        server: Server,
        connections: usize,
        get: fn(&str) -> String,
        tail: usize,
    ) -> Result<Self, Failure> {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            let stream = TcpStream::connect(&server.address).await?;
            stream.set_nodelay(true)?;
            open.push(Mutex::new(BufReader::new(stream)));
        }
        Ok(Self {
            connections: Arc::new(open),
            get,
            tail,
            _server: Arc::new(server),
        })
    }

    /// Redis over so many connections, holding these keys; `None` when it is not installed.
    pub async fn redis(connections: usize, keys: &[String]) -> Result<Option<Self>, Failure> {
        let Some(server) = Server::redis() else {
            return Ok(None);
        };
        let get = |key: &str| format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
        let redis = Self::start(server, connections, get, 2).await?;
        let set = |key: &str, value: &[u8]| {
            let head = format!(
                "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n",
                key.len(),
                value.len()
            );
            [head.as_bytes(), value, b"\r\n"].concat()
        };
        redis.fill(keys, set).await?;
        Ok(Some(redis))
    }

    /// memcached likewise, with so many threads; Redis has one.
    pub async fn memcached(
        connections: usize,
        keys: &[String],
        threads: usize,
    ) -> Result<Option<Self>, Failure> {
        let Some(server) = Server::memcached(threads) else {
            return Ok(None);
        };
        let memcached = Self::start(server, connections, |key| format!("get {key}\r\n"), 7).await?;
        let set = |key: &str, value: &[u8]| {
            let head = format!("set {key} 0 0 {}\r\n", value.len());
            [head.as_bytes(), value, b"\r\n"].concat()
        };
        memcached.fill(keys, set).await?;
        Ok(Some(memcached))
    }

    async fn fill(
        &self,
        keys: &[String],
        set: impl Fn(&str, &[u8]) -> Vec<u8>,
    ) -> Result<(), Failure> {
        let mut connection = self.connections[0].lock().await;
        let mut answer = String::new();
        for key in keys {
            connection
                .get_mut()
                .write_all(&set(key, &value_of(key)))
                .await?;
            answer.clear();
            connection.read_line(&mut answer).await?;
        }
        Ok(())
    }

    /// Many keys in one write, as deep as there are keys.
    pub async fn pipelined(&self, task: usize, keys: &[String]) -> Result<usize, Failure> {
        let requests: String = keys.iter().map(|key| (self.get)(key)).collect();
        let mut connection = self.connections[task].lock().await;
        connection.get_mut().write_all(requests.as_bytes()).await?;
        let mut total = 0;
        for _ in keys {
            total += self.read(&mut connection).await?;
        }
        Ok(total)
    }

    /// One answer: a line that ends with the length, the value, the tail.
    async fn read(&self, connection: &mut BufReader<TcpStream>) -> Result<usize, Failure> {
        let mut line = String::with_capacity(64);
        connection.read_line(&mut line).await?;
        let number = line
            .trim_end()
            .rsplit([' ', '$'])
            .next()
            .ok_or("an empty line")?;
        let length: usize = number.parse()?;
        let mut rest = vec![0; length + self.tail];
        connection.read_exact(&mut rest).await?;
        Ok(length)
    }
}

impl Client for Text {
    async fn get(&self, task: usize, key: &str) -> Result<usize, Failure> {
        let mut connection = self.connections[task].lock().await;
        connection
            .get_mut()
            .write_all((self.get)(key).as_bytes())
            .await?;
        self.read(&mut connection).await
    }
}

/// One connection that sends 128 bytes and reads them back.
#[derive(Clone)]
pub struct Echo {
    stream: Arc<Mutex<TcpStream>>,
    _server: Arc<Server>,
}

impl Echo {
    /// Connects to an echo in a process of its own, with so many threads.
    pub async fn start(threads: usize) -> Result<Self, Failure> {
        let server = Server::start("echo", threads)?;
        let stream = TcpStream::connect(&server.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: Arc::new(Mutex::new(stream)),
            _server: Arc::new(server),
        })
    }
}

impl Client for Echo {
    async fn get(&self, _task: usize, _key: &str) -> Result<usize, Failure> {
        let mut bytes = [1; crate::harness::VALUE_BYTES];
        let mut stream = self.stream.lock().await;
        stream.write_all(&bytes).await?;
        stream.read_exact(&mut bytes).await?;
        Ok(bytes.len())
    }
}
