//! Rules that an oracle of one shard does not see: many shards, true charges, large values, hooks.

use crate::{
    clock::Clock,
    store::{
        EvictReason, Kind, Policy, Put, Stamp, Store, StoreOptions, Walk,
        entry::Entry,
        evictor::{Hunt, Patience},
        jittered,
        shard::Shard,
    },
    value::Value,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::{collections::HashMap, sync::Arc, time::Duration};

const POLICIES: [Policy; 2] = [Policy::Lru, Policy::S3Fifo];

fn store(policy: Policy, max_bytes: u64, shards: usize) -> Store {
    Store::new(StoreOptions {
        policy,
        shards: Some(shards),
        ..StoreOptions::new(max_bytes)
    })
}

#[test]
fn s01_an_eighth_of_the_budget_fits_whatever_the_shards() {
    for policy in POLICIES {
        for shards in [1, 4, 64] {
            let store = store(policy, 1 << 20, shards);
            for i in 0..2_000 {
                store.put_if(
                    &format!("small:{i}"),
                    &Value::from(vec![0; 300]),
                    Stamp::OWNED,
                    || true,
                );
            }
            let large = Value::from(vec![7; 1 << 17]);
            for i in 0..20 {
                let key = format!("large:{i}");
                assert_eq!(
                    store.put_if(&key, &large, Stamp::OWNED, || true),
                    Put::Stored
                );
                assert!(store.stats().bytes <= 1 << 20);
                assert_eq!(
                    store.get(&key).map(|hit| hit.value.len()),
                    Some(1 << 17),
                    "{policy:?}, {shards} shards"
                );
            }
        }
    }
}

#[test]
fn s01_a_value_that_can_never_fit_takes_the_old_one_and_nobody_else() {
    for policy in POLICIES {
        let store = store(policy, 1 << 20, 4);
        for i in 0..100 {
            store.put_if(&format!("{i}"), &Value::from("x"), Stamp::OWNED, || true);
        }
        let put = store.put_if("7", &Value::from(vec![0; 1 << 20]), Stamp::OWNED, || true);
        assert_eq!(put, Put::TooLarge);
        assert!(store.get("7").is_none());
        assert_eq!(store.stats().entries, 99);
        assert_eq!(store.stats().evictions, 0);
    }
}

#[test]
fn a_refused_put_changes_nothing() {
    let store = store(Policy::Lru, 1 << 20, 4);
    store.put_if("k", &Value::from("old"), Stamp::OWNED, || true);
    assert_eq!(
        store.put_if("k", &Value::from("new"), Stamp::OWNED, || false),
        Put::Refused
    );
    assert_eq!(
        store.get("k").map(|hit| hit.value),
        Some(Value::from("old"))
    );
}

#[test]
fn a_shard_that_emptied_for_a_large_value_gets_its_share_back() {
    let store = store(Policy::Lru, 4 << 20, 16);
    let small = Value::from(vec![0; 200]);
    let fill = |from: u32| {
        for i in from..from + 40_000 {
            store.put_if(&format!("{i}"), &small, Stamp::OWNED, || true);
        }
    };
    fill(0);
    let full = store.stats().entries;
    store.put_if(
        "large",
        &Value::from(vec![0; 1 << 19]),
        Stamp::OWNED,
        || true,
    );
    fill(1_000_000);
    let again = store.stats().entries;
    assert!(store.get("large").is_none());
    assert!(
        again * 100 >= full * 97,
        "{again} entries where {full} had fitted"
    );
}

#[test]
fn s23_jitter_only_shortens_and_by_a_tenth_at_most() {
    let ttl = Duration::from_secs(100);
    assert_eq!(jittered(ttl, 0), ttl);
    for random in [1, u64::MAX / 3, u64::MAX / 2, u64::MAX] {
        let short = jittered(ttl, random);
        assert!(short <= ttl && short >= ttl * 9 / 10, "{short:?}");
    }
    assert!(jittered(ttl, u64::MAX) < Duration::from_millis(90_001));
    assert!(jittered(Duration::MAX, u64::MAX) < Duration::MAX);
    assert_eq!(jittered(Duration::ZERO, u64::MAX), Duration::ZERO);
}

#[test]
fn s23_expiry_goes_on_in_bounded_steps() {
    let (clock, hand) = Clock::manual();
    let gone = Arc::new(Mutex::new(Vec::new()));
    let told = gone.clone();
    let store = Store::new(StoreOptions {
        clock,
        shards: Some(4),
        on_evict: Some(Arc::new(move |_, _, reason| told.lock().push(reason))),
        ..StoreOptions::new(16 << 20)
    });
    for i in 0..1_000u64 {
        let stamp = Stamp {
            expires_at: Some(1 + i * 50),
            ..Stamp::OWNED
        };
        store.put_if(&format!("{i}"), &Value::from("x"), stamp, || true);
    }
    hand.advance(Duration::from_millis(25_000));
    let (mut shard, mut before) = (0, 0);
    while store.expire_slice(&mut shard) {
        let now = store.stats().expirations;
        assert!(now - before <= 64, "in one slice: {}", now - before);
        before = now;
    }
    assert_eq!(store.stats().entries, 500);
    assert_eq!(*gone.lock(), vec![EvictReason::Expired; 500]);
}

#[test]
fn a_value_a_store_gave_out_is_kept_again_without_a_copy() {
    let (one, other) = (
        store(Policy::Lru, 1 << 20, 1),
        store(Policy::Lru, 1 << 20, 1),
    );
    one.put_if("k", &Value::from(vec![1; 4000]), Stamp::OWNED, || true);
    let first = one.get("k").unwrap().value;
    other.put_if("k", &first, Stamp::OWNED, || true);
    other.put_if("another", &first, Stamp::OWNED, || true);
    assert_eq!(other.get("k").unwrap().value.as_ptr(), first.as_ptr());
    assert_ne!(other.get("another").unwrap().value.as_ptr(), first.as_ptr());
    assert_eq!(other.get("another").unwrap().value, first);
}

#[test]
fn hooks_may_use_the_store() {
    let slot: Arc<Mutex<Option<Arc<Store>>>> = Arc::default();
    let inner = slot.clone();
    let hook = move |key: &str, value: &Value, _: EvictReason| {
        assert_eq!(key.as_bytes(), &value[..]);
        let store = inner.lock().clone().unwrap();
        assert!(store.get(key).is_none());
        store.stats();
    };
    let options = StoreOptions {
        shards: Some(1),
        on_evict: Some(Arc::new(hook)),
        ..StoreOptions::new(1 << 20)
    };
    let store = Arc::new(Store::new(options));
    *slot.lock() = Some(store.clone());
    for i in 0..10_000 {
        let key = i.to_string();
        store.put_if(&key, &Value::from(key.as_str()), Stamp::OWNED, || true);
    }
    store.remove_with("9999", EvictReason::Deleted, || {});
    store.clear();
    while store.reclaim() {}
    assert!(store.stats().evictions > 0);
    assert_eq!(store.stats().entries, 0);
    slot.lock().take();
}

#[test]
fn the_hottest_are_the_last_used() {
    let store = Store::new(StoreOptions {
        policy: Policy::Lru,
        strict: true,
        shards: Some(1),
        ..StoreOptions::new(1 << 20)
    });
    for key in ["a", "b", "c"] {
        store.put_if(key, &Value::from("123456789"), Stamp::OWNED, || true);
    }
    store.get("a");
    let mut walk = Walk::default();
    let found = store.hottest(&mut walk).unwrap();
    let keys: Vec<_> = found.into_iter().map(|(key, ..)| key).collect();
    assert_eq!(keys, ["a", "c", "b"]);
    assert!(store.hottest(&mut walk).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// S35, S36 with many shards and true charges: never over budget, never another key's value.
    #[test]
    fn s35_s36_many_shards(
        policy in prop_oneof![Just(Policy::Lru), Just(Policy::S3Fifo)],
        shards in 0..6u32,
        puts in prop::collection::vec((0..2_000u32, 0..3_000usize, any::<bool>()), 1..2_000),
    ) {
        let max = 256 << 10;
        let store = store(policy, max, 1 << shards);
        let mut last = HashMap::new();
        for (serial, (key, len, hot)) in puts.into_iter().enumerate() {
            let name = key.to_string();
            let value = Value::from([name.as_bytes(), &serial.to_le_bytes(), &vec![0; len]].concat());
            let kind = if hot { Kind::Hot } else { Kind::Owned };
            if store.put_if(&name, &value, Stamp { kind, ..Stamp::OWNED }, || true) == Put::Stored {
                last.insert(name, value);
            } else {
                last.remove(&name);
            }
            let stats = store.stats();
            prop_assert!(stats.bytes <= max && stats.hot_bytes <= max / 8, "{stats:?}");
        }
        let mut held = 0;
        for (name, value) in &last {
            if let Some(hit) = store.get(name) {
                held += 1;
                prop_assert_eq!(&hit.value, value);
            }
        }
        prop_assert_eq!(held, store.stats().entries);
    }
}

/// A store with so many entries of 100 bytes, read once each.
fn filled(policy: Policy, max_bytes: u64, entries: u32, shards: usize) -> Store {
    let store = store(policy, max_bytes, shards);
    let value = Value::from(vec![0; 100]);
    for i in 0..entries {
        store.put_if(&format!("{i:08}"), &value, Stamp::OWNED, || true);
    }
    for i in 0..entries {
        store.get(&format!("{i:08}"));
    }
    store
}

#[test]
fn s22_clear_frees_nothing_itself_and_reclaim_goes_on_in_slices() {
    let gone = Arc::new(Mutex::new(Vec::new()));
    let told = gone.clone();
    let store = Store::new(StoreOptions {
        shards: Some(4),
        on_evict: Some(Arc::new(move |key, _, reason| {
            told.lock().push((key.to_owned(), reason))
        })),
        ..StoreOptions::new(16 << 20)
    });
    for i in 0..1_000 {
        store.put_if(&format!("{i}"), &Value::from("x"), Stamp::OWNED, || true);
    }
    let full = store.stats().bytes;
    store.clear();
    assert_eq!((store.stats().entries, gone.lock().len()), (0, 0));
    assert!(store.get("7").is_none());
    assert!(store.stats().bytes >= full, "charged until it is freed");
    let mut slices = 0;
    loop {
        let before = gone.lock().len();
        let more = store.reclaim();
        slices += 1;
        assert!(gone.lock().len() - before <= 64);
        if !more {
            break;
        }
    }
    assert!(slices > 1_000 / 64);
    let mut gone = std::mem::take(&mut *gone.lock());
    assert!(
        gone.iter()
            .all(|(_, reason)| *reason == EvictReason::Cleared)
    );
    gone.sort_by(|a, b| a.0.cmp(&b.0));
    gone.dedup();
    assert_eq!(gone.len(), 1_000, "each once");
    assert!(store.stats().bytes < full / 10);
}

/// S35 between a clear and its reclamation: what comes in takes the place of what is buried, and
/// nothing alive leaves for it.
#[test]
fn s35_puts_after_a_clear_stay_within_the_budget_and_evict_nothing_alive() {
    for policy in POLICIES {
        let max = 4 << 20;
        let store = filled(policy, max, 30_000, 8);
        let evictions = store.stats().evictions;
        store.clear();
        let value = Value::from(vec![1; 100]);
        for i in 0..10_000 {
            store.put_if(&format!("new:{i}"), &value, Stamp::OWNED, || true);
            assert!(store.stats().bytes <= max, "{policy:?} {:?}", store.stats());
        }
        assert_eq!(store.stats().evictions, evictions, "{policy:?}");
        assert_eq!(store.stats().entries, 10_000, "{policy:?}");
    }
}

/// A sweep visits each entry once, in slices, and leaves the order of eviction as it was.
#[test]
fn a_sweep_visits_each_entry_once_and_keeps_their_order() {
    let store = store(Policy::Lru, 64 << 10, 1);
    let value = Value::from(vec![0; 100]);
    for i in 0..200 {
        store.put_if(&format!("{i:03}"), &value, Stamp::OWNED, || true);
    }
    let (mut walk, mut seen) = (Walk::default(), Vec::new());
    loop {
        let before = seen.len();
        let more = store.sweep_slice(&mut walk, |key, _| {
            seen.push(key.to_owned());
            crate::store::Verdict::Keep
        });
        assert!(seen.len() - before <= 64);
        if !more {
            break;
        }
    }
    let expected: Vec<_> = (0..200).map(|i| format!("{i:03}")).collect();
    assert_eq!(seen, expected);
    // The next to leave is still the oldest.
    let mut i = 200;
    while store.stats().evictions == 0 {
        store.put_if(&format!("{i:03}"), &value, Stamp::OWNED, || true);
        i += 1;
    }
    assert!(store.inspect("000").is_none() && store.inspect("001").is_some());
}

/// However many entries were used since, one hold of a lock looks at 128 and 32 holds in vain are
/// enough; what they have aged is not looked at again.
#[test]
fn the_search_for_a_victim_ends_each_hold_early_and_goes_on_under_the_next() {
    for policy in POLICIES {
        let options = StoreOptions {
            policy,
            ..StoreOptions::new(1 << 30)
        };
        let mut shard = Shard::new(&options);
        let store = store(policy, 1 << 30, 1);
        for i in 0..20_000 {
            let query = store.query(&i.to_string()).hash;
            let entry = Entry::new(query, i.to_string().as_bytes(), b"value");
            shard.insert(entry.clone(), Stamp::OWNED, true, 1 << 20);
            entry.set_uses(shard.uses_cap());
        }
        let looked_at = |shard: &mut Shard| {
            let (slots, cap) = (shard.list.len(), shard.uses_cap());
            let aged = |(entry, _): (Entry, Stamp)| usize::from(entry.uses() < cap);
            let turn = (0..slots).filter_map(|_| shard.list.rotate());
            turn.map(aged).sum::<usize>()
        };
        let mut patience = Patience::new();
        let mut holds = 1;
        while let Hunt::Tired = shard.evict(1 << 20, &mut patience) {
            assert_eq!(looked_at(&mut shard), 128 * holds, "{policy:?}");
            patience.renew();
            holds += 1;
        }
        assert_eq!(holds, 33, "{policy:?}");
    }
}
