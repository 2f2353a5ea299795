//! Loads and the writes that overtake them: a write voids the loads of its own
//! key, a clear those of its own group, and no others (S20, S22, S23).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Gate, LONG, gated, gets, kind, options, single, text, until};
use kamacache_core::{Error, ErrorKind, Group, GroupOptions, Loaded, Result, Ttl, getter_fn};

/// The slot of a key, as every node computes it.
fn slot(group: &str, key: &str) -> u16 {
    let mut bytes = group.as_bytes().to_vec();
    bytes.push(0);
    bytes.extend_from_slice(key.as_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes) as u16
}

/// Another key that shares the slot of `key`.
fn neighbour(group: &str, key: &str) -> String {
    let wanted = slot(group, key);
    (0..)
        .map(|n| format!("neighbour-{n}"))
        .find(|other| slot(group, other) == wanted)
        .expect("one key in 65,536")
}

#[tokio::test]
async fn s20_writes_of_a_slots_neighbours_void_no_load() {
    let node = single().await;
    let gate = Gate::new();
    let group = node.group("g", options(), gated(&gate)).unwrap();
    let load = gets(&group, "k", 1).await;
    gate.entered().await;
    let other = neighbour("g", "k");
    group.set(&other, "v").await.unwrap();
    group.delete(&other).await.unwrap();
    gate.release(1);
    for task in load {
        task.await.unwrap().unwrap();
    }
    assert_eq!(group.peek("k").as_deref(), Some(&b"value-1"[..]));
}

#[tokio::test]
async fn s20_a_set_wins_over_a_load_that_waited_for_its_permit() {
    let node = single().await;
    let gate = Gate::new();
    let mut options = options();
    options.max_concurrent_loads = Some(1);
    let group = node.group("g", options, gated(&gate)).unwrap();
    let running = gets(&group, "other", 1).await;
    gate.entered().await;
    let queued = gets(&group, "k", 1).await;
    group.set("k", "set").await.unwrap();
    gate.release(2);
    for task in running.into_iter().chain(queued) {
        task.await.unwrap().unwrap();
    }
    assert_eq!(group.peek("k").as_deref(), Some(&b"set"[..]));
}

#[tokio::test]
async fn s22_a_clear_of_one_group_voids_only_its_loads() {
    let node = single().await;
    let (gate, cleared) = (Gate::new(), Gate::new());
    let group = node.group("g", options(), gated(&gate)).unwrap();
    let other = node.group("other", options(), gated(&cleared)).unwrap();
    let mut loads = gets(&group, "k", 1).await;
    loads.extend(gets(&other, "k", 1).await);
    gate.entered().await;
    cleared.entered().await;
    other.clear(None).await.unwrap();
    gate.release(1);
    cleared.release(1);
    for task in loads {
        task.await.unwrap().unwrap();
    }
    assert_eq!(group.peek("k").as_deref(), Some(&b"value-1"[..]));
    assert_eq!(other.peek("k"), None, "its own loads are doomed");
}

/// Whoever inherits a load whose key was written answers the waiters, and keeps
/// nothing: the next write would not find that load any more.
#[tokio::test]
async fn s20_an_heir_of_a_doomed_load_keeps_nothing() {
    let node = single().await;
    let gate = Gate::new();
    let group = node.group("g", options(), gated(&gate)).unwrap();
    let begun = group.begin("k", Some(LONG)).unwrap();
    let kamacache_core::Begin::Lead(token, pending) = begun else {
        panic!("nobody leads yet")
    };
    let waits = gets(&group, "k", 1).await;
    group.delete("k").await.unwrap();
    drop(pending);
    drop(token);
    gate.entered().await;
    group.delete("k").await.unwrap();
    gate.release(1);
    for task in waits {
        assert_eq!(text(&task.await.unwrap().unwrap()), "value-1");
    }
    assert_eq!(group.peek("k"), None);
}

#[tokio::test(start_paused = true)]
async fn s14_a_load_whose_key_was_deleted_is_given_up_after_load_timeout() {
    let node = single().await;
    let gate = Gate::new();
    let mut options = options();
    options.load_timeout = Some(Duration::from_secs(10));
    let group = node.group("g", options, gated(&gate)).unwrap();
    let patient = |key: &'static str| {
        let group = group.clone();
        tokio::spawn(async move { group.get_timeout(key, Duration::MAX).await })
    };
    let waits = [patient("deleted"), patient("cleared")];
    gate.entered().await;
    gate.entered().await;
    group.delete("deleted").await.unwrap();
    group.clear(None).await.unwrap();
    for wait in waits {
        let given_up = tokio::time::timeout(Duration::from_secs(15), wait)
            .await
            .expect("given up after load_timeout");
        let error = given_up.unwrap().unwrap_err();
        assert!(error.message().contains("load_timeout"), "{error}");
    }
    assert_eq!(group.stats().stuck_loads, 2);
}

/// A group whose entries expire at once and are served stale for a minute, with
/// a getter whose second answer is `later`.
async fn stale_then(later: fn() -> Result<Option<Loaded>>) -> (Group, Arc<AtomicUsize>) {
    let node = single().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let getter = getter_fn(move |_ctx| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        let brief = Ttl::After(Duration::from_millis(1));
        std::future::ready(match first {
            true => Ok::<_, Error>(Some(Loaded::new("old").with_ttl(brief))),
            false => later(),
        })
    });
    let mut options = GroupOptions::new(1 << 20);
    options.stale_while_revalidate = Some(Duration::from_secs(60));
    let group = node.group_with("g", options, getter).unwrap();
    assert_eq!(text(&group.get("k").await.unwrap()), "old");
    until("it expires", || group.peek("k").is_none()).await;
    assert_eq!(text(&group.get("k").await.unwrap()), "old", "stale");
    until("the refresh has ended", || {
        let stats = group.stats();
        stats.refreshes == 1 && group.latency(kamacache_core::LatencyKind::Load).count == 2
    })
    .await;
    (group, calls)
}

#[tokio::test]
async fn s23_not_found_ends_the_stale_entry() {
    for later in [
        || Ok(None),
        (|| Err(Error::new(ErrorKind::NotFound, "no row"))) as fn() -> Result<Option<Loaded>>,
    ] {
        let (group, calls) = stale_then(later).await;
        for _ in 0..3 {
            assert_eq!(kind(group.get("k").await), ErrorKind::NotFound);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 5);
    }
}

#[tokio::test]
async fn s23_a_refresh_that_keeps_nothing_ends_the_stale_entry() {
    let no_store = || Ok(Some(Loaded::new("new").with_ttl(Ttl::NoStore)));
    let too_large = || Ok(Some(Loaded::new(vec![b'n'; 200 << 10])));
    for later in [no_store, too_large] {
        let (group, _) = stale_then(later).await;
        let value = group.get("k").await.unwrap();
        assert_eq!(value.first(), Some(&b'n'));
    }
}
