//! The store under shuttle's scheduler: every lock and every shared number is a point where another
//! thread may go on.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p kamacache-core --lib store::tests::concurrency`

use crate::{
    clock::Clock,
    store::{EvictReason, Policy, Put, Stamp, Store, StoreOptions, Weigher},
    value::Value,
};
use shuttle::{
    check_random,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};
use std::sync::Arc;

const SCHEDULES: usize = 3_000;

fn store(policy: Policy, shards: usize, max: u64) -> Arc<Store> {
    Arc::new(Store::new(StoreOptions {
        policy,
        shards: Some(shards),
        clock: Clock::manual().0,
        weigher: Weigher::by(|key, value| (key.len() + value.len()) as u64),
        ..StoreOptions::new(max)
    }))
}

fn put(store: &Store, key: &str, len: usize) -> Put {
    let byte = key.as_bytes()[0];
    store.put_if(key, &Value::from(vec![byte; len]), Stamp::OWNED, || true)
}

/// A fill that captured its generation before a delete is not kept after it.
#[test]
fn a_fill_and_a_delete() {
    let run = || {
        let store = store(Policy::Lru, 1, 1_000);
        let generation = Arc::new(AtomicU32::new(0));
        let filler = thread::spawn({
            let (store, generation) = (store.clone(), generation.clone());
            move || {
                let captured = generation.load(Ordering::SeqCst);
                let unchanged = || generation.load(Ordering::SeqCst) == captured;
                store.put_if("k", &Value::from("old"), Stamp::OWNED, unchanged);
                captured
            }
        });
        store.remove_with("k", EvictReason::Deleted, || {
            generation.fetch_add(1, Ordering::SeqCst);
        });
        let captured = filler.join().unwrap();
        assert_eq!(store.get("k").is_some(), captured == 1);
    };
    check_random(run, SCHEDULES);
}

/// Writers in several shards, one of them of large values: the budget holds when all are done, and
/// readers see whole values of the key they asked for.
#[test]
fn writers_and_readers_share_one_budget() {
    for policy in [Policy::Lru, Policy::S3Fifo] {
        let run = move || {
            let store = store(policy, 4, 100);
            let writers = [("abcd", 20), ("efgh", 20), ("ijk", 60)].map(|(keys, len)| {
                let store = store.clone();
                thread::spawn(move || {
                    for key in keys.split_inclusive(|_| true) {
                        assert_eq!(put(&store, key, len), Put::Stored);
                    }
                })
            });
            let reader = thread::spawn({
                let store = store.clone();
                move || {
                    for key in ["a", "e", "i", "k"] {
                        if let Some(hit) = store.get(key) {
                            assert!(hit.value.iter().all(|byte| *byte == key.as_bytes()[0]));
                        }
                    }
                }
            });
            for writer in writers {
                writer.join().unwrap();
            }
            reader.join().unwrap();
            let held: u64 = "abcdefghijk"
                .split_inclusive(|_| true)
                .filter_map(|key| store.get(key))
                .map(|hit| 1 + hit.value.len() as u64)
                .sum();
            let stats = store.stats();
            assert_eq!(stats.bytes, held);
            assert!(held <= 100, "{stats:?}");
        };
        check_random(run, SCHEDULES);
    }
}

/// Clear, sweep and put do not lose count of each other.
#[test]
fn upkeep_beside_writes() {
    let run = || {
        let store = store(Policy::S3Fifo, 2, 200);
        let others = [
            thread::spawn({
                let store = store.clone();
                move || ["a", "b", "c", "d"].map(|key| put(&store, key, 30))
            }),
            thread::spawn({
                let store = store.clone();
                move || ["b", "e", "f", "a"].map(|key| put(&store, key, 50))
            }),
        ];
        store.sweep(|key, _| {
            if key == "b" {
                crate::store::Verdict::Drop(EvictReason::Moved)
            } else {
                crate::store::Verdict::Keep
            }
        });
        store.clear();
        for other in others {
            other.join().unwrap();
        }
        // What was cleared is charged until it is freed.
        while store.reclaim() {}
        let held: u64 = ["a", "b", "c", "d", "e", "f"]
            .iter()
            .filter_map(|key| store.get(key))
            .map(|hit| 1 + hit.value.len() as u64)
            .sum();
        assert_eq!(store.stats().bytes, held);
        store.clear();
        while store.reclaim() {}
        assert_eq!((store.stats().bytes, store.stats().entries), (0, 0));
    };
    check_random(run, SCHEDULES);
}

/// A copy of an entry, checked against a count of clears that was read before the entry, does not
/// stand after a clear that counts before and after it empties the store, as `group/clear.rs` does.
#[test]
fn a_copy_made_during_a_clear_does_not_stand_after_it() {
    let run = || {
        let store = store(Policy::S3Fifo, 2, 200);
        put(&store, "a", 10);
        let clears = Arc::new(AtomicU32::new(0));
        let copier = thread::spawn({
            let (store, clears) = (store.clone(), clears.clone());
            move || {
                let captured = clears.load(Ordering::SeqCst);
                let copied = store.peek_into("a", |_| true, &mut [0; 16]);
                (captured, copied.is_some())
            }
        });
        clears.fetch_add(1, Ordering::SeqCst);
        store.clear();
        clears.fetch_add(1, Ordering::SeqCst);
        let (captured, copied) = copier.join().unwrap();
        assert!(!copied || captured != clears.load(Ordering::SeqCst));
    };
    check_random(run, SCHEDULES);
}

/// Slices of reclamation, from two threads, beside puts: nothing is lost count of.
#[test]
fn reclamation_beside_writes() {
    let run = || {
        let store = store(Policy::S3Fifo, 2, 200);
        for key in ["a", "b", "c", "d"] {
            put(&store, key, 30);
        }
        store.clear();
        let others = [["e", "f"], ["g", "h"]].map(|keys| {
            let store = store.clone();
            thread::spawn(move || {
                store.reclaim();
                for key in keys {
                    assert_eq!(put(&store, key, 60), Put::Stored);
                }
            })
        });
        for other in others {
            other.join().unwrap();
        }
        while store.reclaim() {}
        let held: u64 = ["e", "f", "g", "h"]
            .iter()
            .filter_map(|key| store.get(key))
            .map(|hit| 1 + hit.value.len() as u64)
            .sum();
        assert_eq!(store.stats().bytes, held);
        assert!(held <= 200);
    };
    check_random(run, SCHEDULES);
}
