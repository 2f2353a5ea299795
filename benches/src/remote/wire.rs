//! The unary Get of `kama.v1`, by hand: what a plain tonic service would be made of.

use prost::Message;

/// GetRequest.
#[derive(Clone, PartialEq, Message)]
pub struct GetRequest {
    /// The group's name.
    #[prost(string, tag = "1")]
    pub group: String,
    /// The key.
    #[prost(string, tag = "2")]
    pub key: String,
}

/// GetResponse.
#[derive(Clone, PartialEq, Message)]
pub struct GetResponse {
    /// The value.
    #[prost(bytes = "bytes", tag = "1")]
    pub value: bytes::Bytes,
}

/// The path of the call.
pub const GET: &str = "/kama.v1.KamaCacheService/Get";
