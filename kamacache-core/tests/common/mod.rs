//! Getters that tests hold by the hand, and short ways to say what a test says.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod certificates;
pub mod daemons;
pub mod history;
pub mod http;
pub mod logs;
pub mod near;
pub mod player;
pub mod proxy;
pub mod stranger;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kamacache_core::{
    BoxFuture, Error, ErrorKind, Getter, Group, GroupOptions, LoadContext, Loaded, Node,
    NodeOptions, Result, Value,
};
use tokio::sync::Semaphore;

/// Longer than anything here takes; only a hang gets so far.
pub const LONG: Duration = Duration::from_secs(20);

pub fn options() -> GroupOptions {
    GroupOptions::new(1 << 20)
}

pub async fn single() -> Node {
    Node::start(NodeOptions::default())
        .await
        .expect("a single instance starts")
}

pub fn text(value: &Value) -> &str {
    std::str::from_utf8(value).expect("text")
}

pub fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

/// Waits for what nothing tells of, by looking again and again.
pub async fn until(what: &str, done: impl Fn() -> bool) {
    let looking = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let seen = tokio::time::timeout(LONG, looking).await;
    seen.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The same for what has to be asked.
pub async fn until_async(what: &str, done: impl AsyncFn() -> bool) {
    let looking = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let seen = tokio::time::timeout(LONG, looking).await;
    seen.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until the node lists these members, in whatever order.
pub async fn lists(node: &Node, members: &[String]) {
    let mut members = members.to_vec();
    members.sort_unstable();
    let mut watch = node.watch_members();
    let wait = watch.wait_for(|now| *now == members);
    if tokio::time::timeout(LONG, wait).await.is_err() {
        panic!("{:?} and not {members:?}: {}", node.members(), logs::all());
    }
}

/// A getter whose calls wait until the test lets them go, each answering
/// `value-N` for its N-th call.
pub struct Gate {
    started: Semaphore,
    released: Semaphore,
    calls: AtomicUsize,
}

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Semaphore::new(0),
            released: Semaphore::new(0),
            calls: AtomicUsize::new(0),
        })
    }

    /// Waits until one more call is inside.
    pub async fn entered(&self) {
        let permit = tokio::time::timeout(LONG, self.started.acquire()).await;
        permit
            .expect("the getter is called")
            .expect("open")
            .forget();
    }

    pub fn release(&self, calls: usize) {
        self.released.add_permits(calls);
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// The getter side of a gate: a type of its own, so that a test sees when the
/// group lets go of it.
pub struct Gated(pub Arc<Gate>);

impl Getter for Gated {
    fn load(&self, _ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        let gate = self.0.clone();
        Box::pin(async move {
            let call = gate.calls.fetch_add(1, Ordering::SeqCst) + 1;
            gate.started.add_permits(1);
            gate.released.acquire().await.expect("open").forget();
            Ok(Some(Loaded::new(format!("value-{call}"))))
        })
    }
}

pub fn gated(gate: &Arc<Gate>) -> Option<Arc<dyn Getter>> {
    Some(Arc::new(Gated(gate.clone())))
}

/// A getter that fails every call.
pub fn failing(message: &'static str, calls: &Arc<AtomicUsize>) -> Option<Arc<dyn Getter>> {
    let calls = calls.clone();
    Some(Arc::new(kamacache_core::getter_fn(move |_ctx| {
        calls.fetch_add(1, Ordering::SeqCst);
        async move { Err::<Option<&str>, _>(Error::getter(message).with_app_code(7)) }
    })))
}

/// A getter without any key.
pub fn empty(calls: &Arc<AtomicUsize>) -> Option<Arc<dyn Getter>> {
    let calls = calls.clone();
    Some(Arc::new(kamacache_core::getter_fn(move |_ctx| {
        calls.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<Option<&str>, Error>(None) }
    })))
}

/// Spawned gets of one key, all begun when this returns.
pub async fn gets(
    group: &Group,
    key: &str,
    count: usize,
) -> Vec<tokio::task::JoinHandle<Result<Value>>> {
    let begun = Arc::new(Semaphore::new(0));
    let tasks = (0..count)
        .map(|_| {
            let (group, key, begun) = (group.clone(), key.to_owned(), begun.clone());
            tokio::spawn(async move {
                let mut get = std::pin::pin!(group.get_timeout(&key, LONG));
                // The first poll joins or leads; only then is the get begun.
                let first =
                    std::future::poll_fn(|cx| std::task::Poll::Ready(get.as_mut().poll(cx))).await;
                begun.add_permits(1);
                match first {
                    std::task::Poll::Ready(result) => result,
                    std::task::Poll::Pending => get.await,
                }
            })
        })
        .collect();
    let all = u32::try_from(count).expect("few");
    tokio::time::timeout(LONG, begun.acquire_many(all))
        .await
        .expect("all begin")
        .expect("open")
        .forget();
    tasks
}
