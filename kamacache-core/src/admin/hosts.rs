//! By which names the admin HTTP may be asked: a page in a browser may point a
//! name of its own at this address (DNS rebinding), and would then read what is
//! shown here. Such a request carries that name as its `Host`.
//!
//! Invariant: an IP address is always answered, since no page can be served
//! under one that is not its own; so is a request without `Host`, which no
//! browser sends. Called by `listen.rs` for every request.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::routes::Refusal;

/// Names beside `localhost`, in lower case.
#[derive(Clone, Debug)]
pub(super) struct Hosts(BTreeSet<String>);

impl Hosts {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether `host:port` is this node's.
    fn admits(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else {
            return false;
        };
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_ok() {
            return true;
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        name == "localhost" || name.ends_with(".localhost") || self.0.contains(&name)
    }
}

/// Lets a request pass whose `Host`, and the host of its URI if it has one, are
/// this node's.
pub(super) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let named = request.headers().get_all(header::HOST).iter();
    let named = named.map(|host| host.to_str().unwrap_or("?"));
    let in_uri = request.uri().authority().map(Authority::as_str);
    match named.chain(in_uri).find(|host| !hosts.admits(host)) {
        None => next.run(request).await,
        Some(foreign) => {
            let foreign: String = foreign.chars().take(64).collect();
            Refusal(
                StatusCode::FORBIDDEN,
                format!(
                    "host {foreign:?} is no name of this node; ask by its IP address, localhost or the name that it advertises, or add the name to admin_hosts"
                ),
            )
            .into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s43_only_names_of_this_node_and_addresses_are_admitted() {
        let hosts = Hosts::new(["node-1.kama".to_owned()]);
        for own in [
            "localhost",
            "LOCALHOST:9001",
            "a.localhost:1",
            "127.0.0.1:9001",
            "[::1]:9001",
            "10.1.2.3",
            "Node-1.kama.:9001",
        ] {
            assert!(hosts.admits(own), "{own}");
        }
        for foreign in [
            "evil.example",
            "evil.example:9001",
            "node-1.kama.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "",
            "?",
            "a b",
        ] {
            assert!(!hosts.admits(foreign), "{foreign}");
        }
    }
}
