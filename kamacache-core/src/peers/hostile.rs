//! What anybody may send to the port, as functions of bytes: fuzz targets and
//! property tests call them (S42). Each decodes as the transport does, takes
//! the message through the very code that a link or a call takes it through,
//! and checks what must hold whatever was sent.
//!
//! Invariant of all: no panic, every question answered once, no lease that
//! nobody granted.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message;
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;
use tonic::metadata::MetadataValue;

use super::asking::Asking;
use super::call::{self, CallError};
use super::connection::{Connection, Done};
use super::inbound::Inbound;
use super::link::{Dialer, Link, Times};
use super::outbox::{Outbox, Refused};
use super::transport::Transport;
use crate::server::Local;
use crate::state::State;
use crate::wire::kama_cache_service_server::KamaCacheService;
use crate::wire::{DeleteRequest, GetRequest, Hello, Op, Replies, Request, Requests, SetRequest};
use crate::{Group, GroupOptions, LoadContext, Node, NodeOptions, getter_fn};

/// Longer than any answer takes; only a hang gets so far.
const LONG: Duration = Duration::from_secs(20);
const HEARTBEAT: Duration = Duration::from_millis(500);
const ME: &str = "127.0.0.1:7001";

/// A message of a peer that dialled this node: everything it asks is answered
/// exactly once.
pub fn requests(bytes: &[u8]) {
    if let Ok(message) = Requests::decode(bytes) {
        Rig::with(|rig| rig.requests(message));
    }
}

/// A message of a peer that this node dialled: whoever waits is told exactly
/// once, and no lease is longer than two heartbeats from now.
pub fn replies(bytes: &[u8]) {
    if let Ok(message) = Replies::decode(bytes) {
        Rig::with(|rig| rig.replies(message));
    }
}

/// A hello: accepted only from a node of this cluster that dialled this one.
pub fn hello(bytes: &[u8]) {
    let Ok(hello) = Hello::decode(bytes) else {
        return;
    };
    Rig::with(|rig| {
        let identity = &rig.state().identity;
        if identity.check_caller(&hello).is_ok() {
            assert_eq!(
                (&*hello.dialled, &*hello.cluster),
                (&*identity.address, &*identity.cluster)
            );
        }
        if identity.check_answer(ME, &hello).is_ok() {
            assert_eq!((&*hello.address, hello.major), (ME, 1));
        }
    });
}

/// A unary call: the first byte says which, the second how much of the rest is
/// the text of its timeout.
pub fn unary(bytes: &[u8]) {
    let [which, timeout, rest @ ..] = bytes else {
        return;
    };
    let (timeout, message) = rest.split_at(usize::from(timeout % 12).min(rest.len()));
    Rig::with(|rig| rig.unary(*which, timeout, message));
}

/// A node with a group of few bytes, and a link to nobody.
struct Rig {
    runtime: Runtime,
    node: Node,
    link: Link,
    _group: Group,
}

impl Rig {
    /// One per thread, because a node's tables take longer to make than a
    /// message to handle.
    fn with<T>(run: impl FnOnce(&Self) -> T) -> T {
        thread_local! {
            static RIG: Cell<Option<Rc<Rig>>> = const { Cell::new(None) };
        }
        let rig = RIG.take().unwrap_or_else(|| Rc::new(Self::new()));
        RIG.set(Some(rig.clone()));
        run(&rig)
    }

    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .enable_io()
            .build()
            .expect("a runtime");
        let node = runtime
            .block_on(Node::start(NodeOptions::default()))
            .expect("a node without a network starts");
        let getter = getter_fn(async |ctx: LoadContext| {
            Ok::<_, std::io::Error>(
                (!ctx.key().len().is_multiple_of(3)).then(|| ctx.key().to_owned()),
            )
        });
        let group = node
            .group_with("g", GroupOptions::new(64 << 10), getter)
            .expect("a group");
        let state = node.state();
        let dialer = Dialer {
            state: Arc::downgrade(state),
            identity: state.identity.clone(),
            transport: Transport::Tcp(None),
            times: Times {
                connect_timeout: LONG,
                heartbeat: HEARTBEAT,
                suspect_after: LONG,
                probe_interval: LONG,
            },
        };
        let link = dialer.link(ME.into());
        Self {
            runtime,
            node,
            link,
            _group: group,
        }
    }

    fn state(&self) -> &Arc<State> {
        self.node.state()
    }

    fn requests(&self, message: Requests) {
        let mut asked: HashMap<u64, usize> = HashMap::new();
        let cancel = |request: &&Request| request.op == i32::from(Op::Cancel);
        let one_by_one = message.requests.iter();
        let one_by_one = one_by_one.filter(|request| !cancel(request));
        let in_bulk = message.gets.iter().flat_map(|gets| &gets.ids).copied();
        let ids = one_by_one.map(|request| request.id).chain(in_bulk);
        for id in ids.filter(|id| *id != 0) {
            *asked.entry(id).or_default() += 1;
        }
        // What was cancelled may be answered or not.
        let cancelled: HashSet<u64> = message
            .requests
            .iter()
            .filter(cancel)
            .map(|request| request.id)
            .collect();
        asked.retain(|id, _| !cancelled.contains(id));
        let broken = message.gets.iter().any(|gets| gets.each().is_none());
        let outbox = Outbox::<Replies>::new();
        let hello = crate::wire::Hello {
            address: ME.into(),
            ..Default::default()
        };
        let inbound = Inbound::new(self.state().clone(), outbox.clone(), &hello, None);
        self.runtime.block_on(async {
            let mut stream = outbox.stream();
            inbound.take(message).await;
            if broken {
                assert_eq!(outbox.push(0, |_| ()), Err(Refused::Closed));
                return;
            }
            while !asked.is_empty() {
                let answer = tokio::time::timeout(LONG, stream.next()).await;
                let answer = answer.unwrap_or_else(|_| panic!("no answer for {asked:?}"));
                let answer = answer.expect("the link lives").expect("a message");
                let hits = answer.hits.unwrap_or_default();
                let replies = answer.replies.iter().map(|reply| reply.id);
                let ids = replies.chain(hits.ids);
                for id in ids.filter(|id| !cancelled.contains(id)) {
                    let open = asked.get_mut(&id).expect("an answer to a question");
                    *open -= 1;
                    if *open == 0 {
                        asked.remove(&id);
                    }
                }
            }
        });
        inbound.end();
    }

    fn replies(&self, message: Replies) {
        let told: Arc<[AtomicUsize; 4]> = Arc::default();
        let connection = Connection::new(self.state().clock.clone());
        for at in 0..told.len() {
            let told = told.clone();
            let done = move |_result| {
                told[at].fetch_add(1, Ordering::Relaxed);
            };
            let asking = Asking::Call(Request::default(), None);
            let sent = connection.send(false, asking, Done::One(Box::new(done)));
            assert!(sent.is_ok());
        }
        self.runtime
            .block_on(async { self.link.0.take(&connection, message) });
        let now = self.state().clock.now_ms();
        let lease = self.link.0.lease_until.load(Ordering::Relaxed);
        let most = now + 2 * HEARTBEAT.as_millis() as u64;
        assert!(lease <= most, "a lease to {lease} at {now}");
        for (done, _) in connection.end() {
            done.call(Err(CallError::Unreachable {
                error: call::unreachable(ME, "the test is over"),
                sent: true,
            }));
        }
        let told = told.each_ref().map(|told| told.load(Ordering::Relaxed));
        assert_eq!(told, [1; 4], "each is told once");
    }

    fn unary(&self, which: u8, timeout: &[u8], message: &[u8]) {
        let door = Local(self.state().clone());
        let answered = async {
            match which % 3 {
                0 => {
                    call(GetRequest::decode(message), timeout, async |request| {
                        door.get(request).await.map(drop)
                    })
                    .await
                }
                1 => {
                    call(SetRequest::decode(message), timeout, async |request| {
                        door.set(request).await.map(drop)
                    })
                    .await
                }
                _ => {
                    call(DeleteRequest::decode(message), timeout, async |request| {
                        door.delete(request).await.map(drop)
                    })
                    .await
                }
            }
        };
        let answered = async { tokio::time::timeout(LONG, answered).await };
        self.runtime.block_on(answered).expect("an answer");
    }
}

async fn call<M>(
    message: Result<M, prost::DecodeError>,
    timeout: &[u8],
    send: impl AsyncFnOnce(tonic::Request<M>) -> Result<(), tonic::Status>,
) {
    let Ok(message) = message else { return };
    let mut request = tonic::Request::new(message);
    if let Ok(timeout) = MetadataValue::try_from(timeout) {
        request.metadata_mut().insert("grpc-timeout", timeout);
    }
    // An error is an answer.
    let _ = send(request).await;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Gets, Hits, Reply};

    fn names() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => Just(b"g".to_vec()),
            2 => proptest::collection::vec(any::<u8>(), 0..6),
            1 => Just(vec![b'k'; 5000]),
        ]
    }

    fn numbers() -> impl Strategy<Value = u64> {
        prop_oneof![0..5u64, any::<u64>(), Just(u64::MAX), Just(u64::MAX - 1)]
    }

    prop_compose! {
        fn request()(
            id in numbers(), op in -1..22i32, group in names(), key in names(),
            value in names(), left_ms in numbers(), ttl_ms in numbers(), borrow: bool,
            view_digest in numbers(), trace in "[0-9a-f-]{0,60}", inside: bool,
        ) -> Request {
            let (group, key, value) = (group.into(), key.into(), value.into());
            Request { id, op, group, key, value, left_ms, ttl_ms, borrow, view_digest, trace, inside }
        }
    }

    prop_compose! {
        fn reply()(
            id in numbers(), code in 0..20u32, value in names(), message in ".{0,9}",
            app_code: Option<i64>, owner in proptest::option::of(".{0,9}"),
            ttl_ms in numbers(), by_unary: bool, held in numbers(),
        ) -> Reply {
            let value = value.into();
            Reply { id, code, value, message, app_code, owner, ttl_ms, by_unary, held }
        }
    }

    /// Lists of numbers that fit together, and now and then do not.
    fn lists() -> impl Strategy<Value = (Vec<u64>, Vec<u64>, Vec<u32>, Vec<u8>)> {
        let parts = proptest::collection::vec((numbers(), numbers(), names()), 0..5);
        (parts, 0..9u8).prop_map(|(parts, broken)| {
            let mut lengths: Vec<u32> = parts.iter().map(|part| part.2.len() as u32).collect();
            if broken == 0 {
                lengths.push(u32::MAX);
            }
            let numbers =
                |which: fn(&(u64, u64, Vec<u8>)) -> u64| parts.iter().map(which).collect();
            let bytes = parts.iter().flat_map(|part| part.2.clone()).collect();
            (
                numbers(|part| part.0),
                numbers(|part| part.1),
                lengths,
                bytes,
            )
        })
    }

    prop_compose! {
        fn gets()((ids, left_ms, key_lengths, keys) in lists(), group in names(), borrow: bool, inside: bool) -> Gets {
            Gets { group: group.into(), borrow, inside, ids, left_ms, key_lengths, keys }
        }
    }

    prop_compose! {
        fn hits()((ids, ttl_ms, value_lengths, values) in lists()) -> Hits {
            Hits { ids, ttl_ms, value_lengths, values }
        }
    }

    /// Some bytes of a message are others, or its end is missing.
    fn damaged(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
        let whole = Just(bytes.clone());
        if bytes.is_empty() {
            return whole.boxed();
        }
        let changed = (0..bytes.len(), any::<u8>()).prop_map(move |(at, byte)| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - at % 2);
            bytes
        });
        prop_oneof![1 => whole, 1 => changed].boxed()
    }

    fn message<M: Message + 'static>(
        strategy: impl Strategy<Value = M> + 'static,
    ) -> impl Strategy<Value = Vec<u8>> {
        strategy.prop_flat_map(|message| damaged(message.encode_to_vec()))
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(200)
        })]

        #[test]
        fn s42_any_requests_are_answered_once(
            bytes in message((
                proptest::collection::vec(request(), 0..8),
                proptest::collection::vec(gets(), 0..3),
                numbers(),
            ).prop_map(
                |(requests, gets, ping)| Requests { requests, gets, ping, ..Requests::default() },
            ))
        ) {
            requests(&bytes);
        }

        #[test]
        fn s42_any_replies_end_no_wait_twice_and_grant_no_lease(
            bytes in message((proptest::collection::vec(reply(), 0..8), numbers(), any::<bool>(),
                proptest::collection::vec(any::<u32>(), 0..4), proptest::option::of(hits())).prop_map(
                |(replies, pong, all_invalid, invalid, hits)|
                    Replies { replies, pong, all_invalid, invalid, hits, ..Replies::default() },
            ))
        ) {
            replies(&bytes);
        }

        #[test]
        fn s42_any_hello_is_checked(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            hello(&bytes);
        }

        #[test]
        fn s42_any_unary_call_is_answered(
            which: u8,
            timeout in "[0-9]{0,8}[HMSmun]?",
            request in message((names(), names(), names(), any::<[bool; 2]>(), numbers()).prop_map(
                |(group, key, value, [route, give], ttl_ms)| SetRequest {
                    group: String::from_utf8_lossy(&group).into(),
                    key: String::from_utf8_lossy(&key).into(),
                    value: value.into(), route, ttl_ms, give,
                },
            ))
        ) {
            let mut bytes = vec![which, timeout.len() as u8];
            bytes.extend(timeout.bytes());
            bytes.extend(request);
            unary(&bytes);
        }
    }
}
