//! One trace over two nodes: a subscriber that notes which span was made in
//! which, and a propagator over it, as OpenTelemetry's are.

mod common;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use common::{Gate, Gated, options};
use kamacache_core::Result;
use kamacache_core::testing::Cluster;
use kamacache_core::trace::{Propagator, set_propagator};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Instrument, Metadata, Span, Subscriber};

/// Every span so far.
#[derive(Default)]
struct Notes {
    spans: Mutex<Vec<Noted>>,
    /// What `set_parent` said, by span.
    remote: Mutex<HashMap<u64, String>>,
}

#[derive(Clone, Debug)]
struct Noted {
    name: &'static str,
    parent: Option<u64>,
}

thread_local! {
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

fn notes() -> &'static Notes {
    static NOTES: OnceLock<Notes> = OnceLock::new();
    NOTES.get_or_init(Notes::default)
}

struct Recorder;

impl Subscriber for Recorder {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.is_span()
            && (about.target().starts_with("kamacache_core") || about.target() == "trace")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let current = ENTERED.with_borrow(|stack| stack.last().copied());
        let parent = span.parent().map(Id::into_u64).or(current);
        let mut spans = notes().spans.lock().unwrap();
        METADATA.get_or_init(|| span.metadata());
        let name = span.metadata().name();
        spans.push(Noted { name, parent });
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|stack| stack.push(span.into_u64()));
    }

    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(|stack| stack.pop());
    }

    fn current_span(&self) -> tracing_core::span::Current {
        let current = ENTERED.with_borrow(|stack| stack.last().copied());
        let spans = notes().spans.lock().unwrap();
        match current {
            Some(id) if (id as usize) <= spans.len() => {
                tracing_core::span::Current::new(Id::from_u64(id), METADATA.get().unwrap())
            }
            _ => tracing_core::span::Current::none(),
        }
    }
}

/// `Current` wants the metadata of some span; nobody reads which.
static METADATA: OnceLock<&'static Metadata<'static>> = OnceLock::new();

struct InNotes;

impl Propagator for InNotes {
    fn traceparent(&self, span: &Span) -> Option<String> {
        let id = span.id()?.into_u64();
        Some(format!("00-{:0>32x}-{id:016x}-01", trace_of(id)))
    }

    fn set_parent(&self, span: &Span, traceparent: &str) {
        if let Some(id) = span.id() {
            let mut remote = notes().remote.lock().unwrap();
            remote.insert(id.into_u64(), traceparent.to_owned());
        }
    }
}

/// The trace that a span belongs to: its remote parent's, or its root's number.
fn trace_of(id: u64) -> u128 {
    if let Some(remote) = notes().remote.lock().unwrap().get(&id) {
        return u128::from_str_radix(&remote[3..35], 16).unwrap();
    }
    let parent = notes().spans.lock().unwrap()[id as usize - 1].parent;
    parent.map_or(u128::from(id) + 0xabc0, trace_of)
}

/// The spans of a name, with their numbers.
fn named(name: &str) -> Vec<(u64, Noted)> {
    let spans = notes().spans.lock().unwrap();
    let numbered = (1_u64..).zip(spans.iter().cloned());
    numbered.filter(|(_, span)| span.name == name).collect()
}

/// The only span of this name in a trace.
fn only(trace: u128, name: &str) -> (u64, Noted) {
    let mut found = named(name);
    found.retain(|(id, _)| trace_of(*id) == trace);
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found.remove(0)
}

/// What the owner was told of a write: its caller's trace, and the span that sent it.
async fn write_in_a_trace(write: impl Future<Output = Result<()>>, sent: &str) {
    let request = tracing::info_span!(target: "trace", "request");
    write.instrument(request.clone()).await.unwrap();
    let trace = trace_of(request.id().unwrap().into_u64());
    let (send, noted) = only(trace, sent);
    assert_eq!(noted.parent, request.id().map(|id| id.into_u64()));
    let (serve, _) = only(trace, "serve");
    let remote = notes().remote.lock().unwrap()[&serve].clone();
    assert!(remote.ends_with(&format!("-{send:016x}-01")), "{remote}");
}

#[tokio::test]
async fn gets_and_writes_are_one_trace_over_two_nodes_and_a_hit_makes_no_span() {
    tracing::subscriber::set_global_default(Recorder).unwrap();
    let cluster = Cluster::start(2).await.unwrap();
    let gate = Gate::new();
    let getter = Arc::new(Gated(gate.clone()));
    let mut cold = options();
    cold.hot = Some(false);
    let groups = cluster.groups("g", &cold, &getter).unwrap();
    set_propagator(InNotes).unwrap();
    assert!(set_propagator(InNotes).is_err(), "a process has one");
    // The link greets before the first get with a trace.
    gate.release(10);
    groups[0].get(&cluster.key_owned_by(1, 1)).await.unwrap();

    let key = cluster.key_owned_by(1, 0);
    let request = tracing::info_span!(target: "trace", "request");
    groups[0]
        .get(&key)
        .instrument(request.clone())
        .await
        .unwrap();
    let trace = trace_of(request.id().unwrap().into_u64());
    let (fetch, noted) = only(trace, "fetch");
    assert_eq!(noted.parent, request.id().map(|id| id.into_u64()));
    let (serve, _) = only(trace, "serve");
    let remote = notes().remote.lock().unwrap()[&serve].clone();
    assert!(remote.ends_with(&format!("-{fetch:016x}-01")), "{remote}");
    let (_, load) = only(trace, "load");
    assert_eq!(load.parent, Some(serve));

    write_in_a_trace(groups[0].set(&key, "small"), "send_set").await;
    // By unary.
    write_in_a_trace(groups[0].set(&key, vec![7; 100_000]), "send_set").await;
    write_in_a_trace(groups[0].delete(&key), "send_delete").await;

    let owned = cluster.key_owned_by(0, 0);
    groups[0].get(&owned).await.unwrap();
    let before = notes().spans.lock().unwrap().len();
    for _ in 0..2000 {
        groups[0].get(&owned).await.unwrap();
    }
    assert_eq!(notes().spans.lock().unwrap().len(), before, "hits");
}
