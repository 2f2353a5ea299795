//! A stranger at the port: messages written down by hand from the published
//! field numbers, as an older, newer or broken node would send them.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::LONG;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    #[prost(uint32, tag = "1")]
    pub major: u32,
    #[prost(uint32, tag = "2")]
    pub minor: u32,
    #[prost(string, tag = "3")]
    pub cluster: String,
    #[prost(string, tag = "4")]
    pub address: String,
    #[prost(string, tag = "5")]
    pub dialled: String,
    #[prost(uint64, tag = "6")]
    pub incarnation: u64,
    #[prost(uint32, tag = "7")]
    pub ring_version: u32,
    #[prost(fixed64, tag = "8")]
    pub view_digest: u64,
    #[prost(uint64, tag = "9")]
    pub capabilities: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupOptions {
    #[prost(bytes = "vec", tag = "1")]
    pub group: Vec<u8>,
    #[prost(fixed64, tag = "2")]
    pub digest: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Op {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(int32, tag = "2")]
    pub op: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub group: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    #[prost(string, tag = "900")]
    pub of_the_future: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Requests {
    #[prost(message, optional, tag = "1")]
    pub hello: Option<Hello>,
    #[prost(message, repeated, tag = "2")]
    pub requests: Vec<Op>,
    #[prost(uint64, tag = "3")]
    pub ping: u64,
    #[prost(fixed64, tag = "4")]
    pub view_digest: u64,
    #[prost(message, repeated, tag = "5")]
    pub options: Vec<GroupOptions>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Reply {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint32, tag = "2")]
    pub code: u32,
    #[prost(bytes = "vec", tag = "3")]
    pub value: Vec<u8>,
    #[prost(string, tag = "4")]
    pub message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Replies {
    #[prost(message, optional, tag = "1")]
    pub hello: Option<Hello>,
    #[prost(uint32, repeated, tag = "2")]
    pub invalid: Vec<u32>,
    #[prost(bool, tag = "3")]
    pub all_invalid: bool,
    #[prost(message, repeated, tag = "4")]
    pub replies: Vec<Reply>,
    #[prost(uint64, tag = "5")]
    pub pong: u64,
    #[prost(fixed64, tag = "6")]
    pub view_digest: u64,
    #[prost(bytes = "vec", repeated, tag = "17")]
    pub cleared: Vec<Vec<u8>>,
}

pub struct Stranger {
    pub to: mpsc::Sender<Requests>,
    pub from: Streaming<Replies>,
}

pub fn hello(dialled: &str) -> Hello {
    Hello {
        major: 1,
        minor: 0,
        cluster: "default".into(),
        address: "127.0.0.1:1".into(),
        dialled: dialled.into(),
        incarnation: 42,
        ring_version: 1,
        view_digest: 0,
        capabilities: 0,
    }
}

/// Connected, and ready for one call.
pub async fn client(address: &str) -> Grpc<Channel> {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut client = Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    client
}

pub async fn open(address: &str, first: Requests) -> Result<Stranger, Status> {
    let mut client = client(address).await;
    let (to, receiver) = mpsc::channel(16);
    to.send(first).await.unwrap();
    let path =
        tonic::codegen::http::uri::PathAndQuery::from_static("/kama.v1.KamaCacheService/Link");
    let request = Request::new(ReceiverStream::new(receiver));
    let codec = ProstCodec::<Requests, Replies>::default();
    let from = client.streaming(request, path, codec).await?.into_inner();
    Ok(Stranger { to, from })
}

impl Stranger {
    pub async fn next(&mut self) -> Replies {
        let message = tokio::time::timeout(LONG, self.from.message())
            .await
            .expect("an answer");
        message.expect("the link lives").expect("the link lives")
    }

    pub async fn ask(&mut self, op: Op) -> Reply {
        self.to
            .send(Requests {
                requests: vec![op],
                ..Requests::default()
            })
            .await
            .unwrap();
        loop {
            if let Some(reply) = self.next().await.replies.pop() {
                return reply;
            }
        }
    }
}

pub fn get(id: u64, group: &[u8], key: &[u8]) -> Op {
    Op {
        id,
        op: 1,
        group: group.into(),
        key: key.into(),
        ..Op::default()
    }
}
