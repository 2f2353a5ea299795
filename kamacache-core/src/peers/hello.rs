//! The handshake of a link (S8a): who speaks, and whether the two belong
//! together. Each side checks the other's hello before anything else.

use std::time::Duration;

use tokio::time::Instant;

use super::token::Token;
use crate::address::Address;
use crate::error::Shown;
use crate::wire::{Hello, Incarnation};
use crate::{Error, ErrorKind};

const MAJOR: u32 = 1;
/// 1.1 added capabilities, 1.2 clears by group; each minor version works with the one before it,
/// because what is new is sent only to a peer that names it.
const MINOR: u32 = 2;
/// Takes OP_CANCEL.
pub(crate) const CANCEL: u64 = 1;
/// Takes gets in bulk, and answers those in bulk.
pub(crate) const BULK: u64 = 2;
/// Takes the caller's trace.
pub(crate) const TRACE: u64 = 4;
/// Takes requests without a token: it has none itself.
const OPEN: u64 = 8;
/// Is told which group was cleared.
pub(crate) const CLEARED: u64 = 16;
/// Takes no permit for what is asked inside a getter.
pub(crate) const INSIDE: u64 = 32;
/// Says whether it leaves, when it is asked.
pub(crate) const LEAVING: u64 = 64;
/// A new capability is a bit that no release has used, and is listed here.
const KNOWN: u64 = distinct(&[CANCEL, BULK, TRACE, OPEN, CLEARED, INSIDE, LEAVING]);
const CAPABILITIES: u64 = KNOWN & !OPEN;
/// Ring v1: 512 points a member, xxh3-64.
const RING_VERSION: u32 = 1;

/// All of these bits. Two that are the same do not compile: a peer would take
/// the one capability for the other.
const fn distinct(bits: &[u64]) -> u64 {
    let (mut all, mut i) = (0, 0);
    while i < bits.len() {
        assert!(
            bits[i].is_power_of_two() && all & bits[i] == 0,
            "a capability is one bit of its own"
        );
        all |= bits[i];
        i += 1;
    }
    all
}

/// What a node says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) cluster: String,
    pub(crate) address: String,
    pub(crate) incarnation: u64,
    pub(crate) started: Instant,
    /// What all members share; it travels with each request, beside the hello.
    pub(crate) token: Option<Token>,
}

impl Identity {
    /// A request to a peer.
    pub(crate) fn request<M>(&self, message: M) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        if let Some(token) = &self.token {
            token.sign(&mut request);
        }
        request
    }

    /// This node's hello to `dialled`, or in answer to whoever dialled it;
    /// `left`: who has said goodbye.
    pub(crate) fn hello(&self, dialled: &str, view_digest: u64, left: Vec<Incarnation>) -> Hello {
        let age = self.started.elapsed().as_millis();
        Hello {
            // 0 would say nothing.
            age_ms: u64::try_from(age).unwrap_or(u64::MAX).max(1),
            left,
            major: MAJOR,
            minor: MINOR,
            cluster: self.cluster.clone(),
            address: self.address.clone(),
            dialled: dialled.to_owned(),
            incarnation: self.incarnation,
            ring_version: RING_VERSION,
            view_digest,
            capabilities: match &self.token {
                Some(_) => CAPABILITIES,
                None => CAPABILITIES | OPEN,
            },
        }
    }

    /// Checks a hello that came with a link somebody opened to this node.
    ///
    /// # Errors
    /// What does not fit; texts of the caller are cut in it, and on one line.
    pub(crate) fn check_caller(&self, hello: &Hello) -> Result<(), Refused> {
        self.check_both(hello)?;
        if hello.dialled != self.address {
            return Err(refuse(
                "dialled",
                format!(
                    "{} was dialled as {}, but advertises {}; list it by the address it advertises",
                    self.address,
                    Shown(&hello.dialled),
                    self.address
                ),
            ));
        }
        Ok(())
    }

    /// Checks the answer of the node that was dialled as `dialled`.
    pub(crate) fn check_answer(&self, dialled: &str, hello: &Hello) -> Result<(), Refused> {
        self.check_both(hello)?;
        if hello.address != dialled {
            return Err(refuse(
                "advertised",
                format!(
                    "the node at {dialled} advertises {}; list it by that address",
                    Shown(&hello.address)
                ),
            ));
        }
        if self.token.is_some() && hello.capabilities & OPEN != 0 {
            return Err(refuse(
                "no token",
                format!(
                    "peer {dialled} has no cluster token and serves whoever asks, so it gets nothing of this cluster, which has one; give all members the same cluster_token"
                ),
            ));
        }
        Ok(())
    }

    fn check_both(&self, hello: &Hello) -> Result<(), Refused> {
        let peer = Shown(&hello.address);
        if hello.major != MAJOR {
            return Err(refuse(
                "protocol",
                format!(
                    "peer {peer} speaks protocol {}.{}, this node {MAJOR}.{MINOR}; run the same major version on all members",
                    hello.major, hello.minor
                ),
            ));
        }
        if hello.cluster != self.cluster {
            let other = Shown(&hello.cluster).to_string();
            return Err(refuse(
                "cluster",
                format!(
                    "peer {peer} belongs to cluster {other:?}, this node to {:?}; give all members the same cluster name",
                    self.cluster
                ),
            ));
        }
        if hello.ring_version != RING_VERSION {
            return Err(refuse(
                "ring version",
                format!(
                    "peer {peer} has ring version {}, this node {RING_VERSION}; they would not agree on owners",
                    hello.ring_version
                ),
            ));
        }
        if hello.incarnation == self.incarnation {
            return Err(refuse(
                "itself",
                format!(
                    "peer {peer} is this very node; list each member once, by the address it advertises"
                ),
            ));
        }
        let canonical = Address::parse(&hello.address).map(|address| address.to_string());
        if canonical.ok().as_ref() != Some(&hello.address) {
            return Err(refuse(
                "address",
                format!(
                    "peer {peer} does not say where it can be dialled; a member's address is one host:port, as it is advertised"
                ),
            ));
        }
        Ok(())
    }
}

/// How long the sender of a hello has run; an older release does not say.
pub(crate) fn age(hello: &Hello) -> Option<Duration> {
    (hello.age_ms > 0).then(|| Duration::from_millis(hello.age_ms))
}

/// Why two nodes do not belong together.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Which of the reasons, for warnings that are told apart by it.
    pub(crate) kind: &'static str,
    pub(crate) error: Error,
}

fn refuse(kind: &'static str, message: String) -> Refused {
    let error = Error::new(ErrorKind::Unavailable, message);
    Refused { kind, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(address: &str, incarnation: u64) -> Identity {
        Identity {
            cluster: "default".into(),
            address: address.into(),
            incarnation,
            started: Instant::now(),
            token: None,
        }
    }

    #[test]
    fn s40_a_node_with_a_token_refuses_a_peer_without_one() {
        let (bare, peer) = (identity("a:1", 1), identity("b:2", 2));
        let with_token = |of: &Identity| Identity {
            token: Some(Token::check("0123456789abcdef").unwrap()),
            ..of.clone()
        };
        let (guarded, fellow) = (with_token(&bare), with_token(&peer));
        let refused = guarded.check_answer("b:2", &peer.hello("", 0, Vec::new()));
        let error = refused.unwrap_err().error;
        assert!(error.message().contains("same cluster_token"), "{error}");
        guarded
            .check_answer("b:2", &fellow.hello("", 0, Vec::new()))
            .unwrap();
        bare.check_answer("b:2", &peer.hello("", 0, Vec::new()))
            .unwrap();
        // Before there were capabilities nobody said whether it has a token.
        let old = Hello {
            capabilities: 0,
            ..peer.hello("", 0, Vec::new())
        };
        guarded.check_answer("b:2", &old).unwrap();
    }

    #[test]
    fn s08a_nodes_that_do_not_belong_together_are_refused_by_name() {
        let (me, peer) = (identity("a:1", 1), identity("b:2", 2));
        me.check_caller(&peer.hello("a:1", 0, Vec::new())).unwrap();
        peer.check_answer("a:1", &me.hello("a:1", 0, Vec::new()))
            .unwrap();
        let good = peer.hello("a:1", 0, Vec::new());
        let cases = [
            (
                Hello {
                    major: 2,
                    ..good.clone()
                },
                "protocol 2",
            ),
            (
                Hello {
                    cluster: "other".into(),
                    ..good.clone()
                },
                "\"other\"",
            ),
            (
                Hello {
                    ring_version: 9,
                    ..good.clone()
                },
                "ring version 9",
            ),
            (
                Hello {
                    dialled: "c:3".into(),
                    ..good.clone()
                },
                "c:3",
            ),
            (
                Hello {
                    incarnation: 1,
                    ..good.clone()
                },
                "this very node",
            ),
        ];
        for (hello, named) in cases {
            let error = me.check_caller(&hello).unwrap_err().error;
            assert!(error.message().contains(named), "{error}");
        }
        assert!(
            me.check_answer("z:9", &good)
                .unwrap_err()
                .error
                .message()
                .contains("z:9")
        );
        me.check_caller(&Hello { minor: 7, ..good }).unwrap();
    }

    #[test]
    fn s42_what_a_stranger_says_of_itself_is_cut_and_on_one_line() {
        let (me, peer) = (identity("a:1", 1), identity("b:2", 2));
        let good = peer.hello("a:1", 0, Vec::new());
        for text in ["x".repeat(900_000), "\nFORGED \u{1b}[31m\u{2028}".into()] {
            let (address, cluster, dialled) = (text.clone(), text.clone(), text);
            let hellos = [
                Hello {
                    address: address.clone(),
                    ..good.clone()
                },
                Hello {
                    address,
                    major: 9,
                    ..good.clone()
                },
                Hello {
                    cluster,
                    ..good.clone()
                },
                Hello {
                    dialled,
                    ..good.clone()
                },
            ];
            let mut kinds = Vec::new();
            for hello in hellos {
                let refused = me.check_caller(&hello).unwrap_err();
                let message = refused.error.message();
                assert!(
                    message.len() < 2048 && !message.contains(char::is_control),
                    "{message}"
                );
                assert!(!message.contains('\u{2028}'), "{message}");
                kinds.push(refused.kind);
            }
            assert_eq!(kinds, ["address", "protocol", "cluster", "dialled"]);
        }
    }
}
