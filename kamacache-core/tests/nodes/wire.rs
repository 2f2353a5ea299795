//! The wire as another implementation sees it: messages written down by hand
//! from the published field numbers, and a plain gRPC client.

use std::time::Duration;

use crate::common::options;
use crate::common::stranger::client;
use kamacache_core::testing::{Cluster, CountingGetter};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// Field for field what KamaCache-Go sends for Get and Delete.
#[derive(Clone, prost::Message)]
struct KeyRequest {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(bool, tag = "16")]
    route: bool,
}

#[derive(Clone, prost::Message)]
struct SetRequest {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(bytes = "vec", tag = "3")]
    value: Vec<u8>,
    #[prost(bool, tag = "16")]
    route: bool,
}

#[derive(Clone, prost::Message)]
struct BytesResponse {
    #[prost(bytes = "vec", tag = "1")]
    value: Vec<u8>,
}

/// What a GetResponse says beside its value.
#[derive(Clone, prost::Message)]
struct OwnerResponse {
    #[prost(bool, tag = "16")]
    not_owner: bool,
}

#[derive(Clone, prost::Message)]
struct BoolResponse {
    #[prost(bool, tag = "1")]
    value: bool,
}

async fn call<Q, A>(address: &str, method: &'static str, message: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut client = client(address).await;
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(method);
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(10));
    let answer = client
        .unary(request, path, ProstCodec::<Q, A>::default())
        .await?;
    Ok(answer.into_inner())
}

async fn get(address: &str, group: &str, key: &str, route: bool) -> Result<Vec<u8>, Status> {
    let request = KeyRequest {
        group: group.into(),
        key: key.into(),
        route,
    };
    let answer: BytesResponse = call(address, "/kama.v1.KamaCacheService/Get", request).await?;
    Ok(answer.value)
}

async fn set(address: &str, key: &str, value: &[u8], route: bool) -> Result<Vec<u8>, Status> {
    let request = SetRequest {
        group: "g".into(),
        key: key.into(),
        value: value.into(),
        route,
    };
    let answer: BytesResponse = call(address, "/kama.v1.KamaCacheService/Set", request).await?;
    Ok(answer.value)
}

async fn delete(address: &str, key: &str, route: bool) -> Result<bool, Status> {
    let request = KeyRequest {
        group: "g".into(),
        key: key.into(),
        route,
    };
    let answer: BoolResponse = call(address, "/kama.v1.KamaCacheService/Delete", request).await?;
    Ok(answer.value)
}

#[tokio::test]
async fn s07_a_plain_client_is_served_locally_or_routed_as_it_asks() {
    let cluster = Cluster::start(2).await.unwrap();
    let getter = CountingGetter::new();
    let groups = cluster.groups("g", &options(), &getter).unwrap();
    let (here, there) = (cluster.node(0).address(), cluster.node(1).address());
    let key = cluster.key_owned_by(1, 0);

    let value = get(here, "g", &key, true).await.unwrap();
    assert_eq!(value, format!("value-of-{key}").into_bytes());
    assert_eq!(
        groups[1].stats().loaded + groups[1].stats().peer_loaded,
        1,
        "the owner loaded it"
    );

    assert_eq!(set(here, &key, b"routed", true).await.unwrap(), b"routed");
    assert_eq!(get(there, "g", &key, false).await.unwrap(), b"routed");
    assert!(delete(here, &key, true).await.unwrap());
    assert_eq!(groups[1].peek(&key), None);

    let refused = set(here, &key, b"direct", false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.metadata().get("kama-owner").unwrap(), there);
    assert_eq!(set(there, &key, b"direct", false).await.unwrap(), b"direct");
    assert!(delete(there, &key, false).await.unwrap());
    assert!(
        delete(there, &key, false).await.unwrap(),
        "applied, present or not"
    );
}

#[tokio::test]
async fn s08_a_plain_get_tells_whether_the_node_owns_the_key() {
    let cluster = Cluster::start(2).await.unwrap();
    let getter = CountingGetter::new();
    cluster.groups("g", &options(), &getter).unwrap();
    for (node, not_owner) in [(0, true), (1, false)] {
        let request = KeyRequest {
            group: "g".into(),
            key: cluster.key_owned_by(1, 0),
            route: false,
        };
        let method = "/kama.v1.KamaCacheService/Get";
        let answer: OwnerResponse = call(cluster.node(node).address(), method, request)
            .await
            .unwrap();
        assert_eq!(answer.not_owner, not_owner);
    }
}

#[tokio::test]
async fn s03_statuses_of_plain_clients() {
    let cluster = Cluster::start(1).await.unwrap();
    let calls = std::sync::Arc::default();
    cluster
        .node(0)
        .group(
            "g",
            options(),
            crate::common::failing("disk on fire", &calls),
        )
        .unwrap();
    cluster
        .node(0)
        .group("empty", options(), crate::common::empty(&calls))
        .unwrap();
    let address = cluster.node(0).address();
    let rows = [
        ("g", "k", Code::Internal, "3", "disk on fire"),
        ("empty", "k", Code::NotFound, "2", "not found"),
        ("empty", "", Code::InvalidArgument, "1", "4096"),
        ("nobody", "k", Code::FailedPrecondition, "12", "nobody"),
    ];
    for (group, key, code, kama_code, text) in rows {
        let status = get(address, group, key, false).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert_eq!(status.metadata().get("kama-code").unwrap(), kama_code);
        assert!(status.message().contains(text), "{status:?}");
    }
    let status = get(address, "g", "k", false).await.unwrap_err();
    assert_eq!(status.metadata().get("kama-app-code").unwrap(), "7");
}
