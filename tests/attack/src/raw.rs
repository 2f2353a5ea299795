//! A stranger: HTTP/2 by hand, so that it may do what no client would.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::ring::Outcome;

pub(crate) const GET: &str = "/kama.v1.KamaCacheService/Get";
pub(crate) const SET: &str = "/kama.v1.KamaCacheService/Set";
pub(crate) const LINK: &str = "/kama.v1.KamaCacheService/Link";
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// Bytes of messages that are longer than what is ever sent of them.
static ZEROS: [u8; 16 << 20] = [0; 16 << 20];

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {
    #[prost(uint32, tag = "1")]
    pub(crate) major: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) minor: u32,
    #[prost(string, tag = "3")]
    pub(crate) cluster: String,
    #[prost(string, tag = "4")]
    pub(crate) address: String,
    #[prost(string, tag = "5")]
    pub(crate) dialled: String,
    #[prost(uint64, tag = "6")]
    pub(crate) incarnation: u64,
    #[prost(uint32, tag = "7")]
    pub(crate) ring_version: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Op {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(int32, tag = "2")]
    pub(crate) op: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) group: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Requests {
    #[prost(message, optional, tag = "1")]
    pub(crate) hello: Option<Hello>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) requests: Vec<Op>,
}

#[derive(Clone, PartialEq, Message)]
struct Replies {
    #[prost(message, optional, tag = "1")]
    hello: Option<Hello>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Keyed {
    #[prost(string, tag = "1")]
    pub(crate) group: String,
    #[prost(string, tag = "2")]
    pub(crate) key: String,
}

/// One that this node believes, from `address`.
pub(crate) fn hello(dialled: &str, address: &str) -> Hello {
    Hello {
        major: 1,
        minor: 1,
        cluster: "default".into(),
        address: address.into(),
        dialled: dialled.into(),
        incarnation: 42,
        ring_version: 1,
    }
}

/// A message as gRPC frames it.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.encoded_len()).expect("a small message"));
    message.encode(&mut framed).expect("there is room");
    framed.freeze()
}

/// The first bytes of a message of `length`, of which `sent` come.
pub(crate) fn half(length: usize, sent: usize) -> Bytes {
    let mut half = BytesMut::new();
    half.put_u8(0);
    half.put_u32(u32::try_from(length).expect("a message"));
    half.put_slice(&ZEROS[..sent]);
    half.freeze()
}

/// One connection; its end ends all that it did.
pub(crate) struct Stranger {
    pub(crate) send: SendRequest<Bytes>,
    address: String,
    token: Option<String>,
    connection: JoinHandle<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Stranger {
    /// `window`: what the other side may send on a stream before it is read.
    pub(crate) async fn connect(address: &str, token: Option<&str>, window: u32) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(window)
            .handshake(stream)
            .await?;
        let connection = tokio::spawn(async move {
            // It ends when the node has had enough.
            let _ = connection.await;
        });
        Ok(Self {
            send,
            address: address.to_owned(),
            token: token.map(str::to_owned),
            connection,
        })
    }

    pub(crate) async fn call(
        &mut self,
        path: &str,
    ) -> Outcome<(ResponseFuture, SendStream<Bytes>)> {
        std::future::poll_fn(|cx| self.send.poll_ready(cx)).await?;
        let mut request = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Ok(self.send.send_request(request.body(())?, false)?)
    }

    /// A link that has greeted; its replies are read and thrown away.
    pub(crate) async fn link(&mut self, hello: Hello) -> Outcome<Link> {
        let (response, mut send) = self.call(LINK).await?;
        let first = Requests {
            hello: Some(hello),
            ..Requests::default()
        };
        send.send_data(framed(&first), false)?;
        let reading = tokio::spawn(async move {
            if let Ok(response) = response.await {
                read_all(response.into_body()).await;
            }
        });
        Ok(Link { send, reading })
    }

    /// What the node at the other end calls itself.
    pub(crate) async fn incarnation(&mut self, dialled: &str) -> Outcome<u64> {
        let (response, mut send) = self.call(LINK).await?;
        let first = Requests {
            hello: Some(hello(dialled, "127.0.0.1:1")),
            ..Requests::default()
        };
        send.send_data(framed(&first), false)?;
        let mut body = response.await?.into_body();
        let data = body.data().await.ok_or("no answer")??;
        let replies = Replies::decode(&data[5..])?;
        Ok(replies.hello.ok_or("no hello")?.incarnation)
    }
}

async fn read_all(mut body: RecvStream) {
    while let Some(Ok(data)) = body.data().await {
        if body.flow_control().release_capacity(data.len()).is_err() {
            return;
        }
    }
}

pub(crate) struct Link {
    send: SendStream<Bytes>,
    reading: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Link {
    /// Sends all of it as fast as it is taken; `false`: the link was closed.
    pub(crate) async fn send(&mut self, data: &Bytes) -> bool {
        let mut rest = data.clone();
        while !rest.is_empty() {
            self.send.reserve_capacity(rest.len());
            let capacity = std::future::poll_fn(|cx| self.send.poll_capacity(cx)).await;
            let Some(Ok(room)) = capacity else {
                return false;
            };
            let part = rest.split_to(room.min(rest.len()));
            if self.send.send_data(part, false).is_err() {
                return false;
            }
        }
        true
    }
}
