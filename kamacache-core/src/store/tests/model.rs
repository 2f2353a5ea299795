//! Random steps on a store of one shard and on the oracle: both must say and hold the same.

use super::oracle::{Gone, Oracle, Rule};
use crate::{
    clock::{Clock, ManualClock},
    store::{EvictReason, Kind, Policy, Stamp, Store, StoreOptions, Verdict, Weigher},
    value::Value,
};
use parking_lot::Mutex;
#[cfg(test)]
use proptest::prelude::*;
use std::{sync::Arc, time::Duration};

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    GetStale(u8),
    Peek(u8, usize),
    /// Key, length, kind, lifetime in ms.
    Put(u8, usize, Kind, Option<u64>),
    Refuse(u8),
    Remove(u8),
    Take(u8),
    Restamp(u8, Kind, Option<u64>),
    /// Entries of this kind become that, or go.
    Sweep(Kind, Option<Kind>),
    Pass(u64),
    Expire,
    Clear,
}

#[cfg(test)]
fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![5 => Just(Kind::Owned), 3 => Just(Kind::Hot), 1 => Just(Kind::Fallback), 1 => Just(Kind::Heir)]
}

#[cfg(test)]
fn lifetime() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 1 => (1..200_000u64).prop_map(Some)]
}

#[cfg(test)]
fn step() -> impl Strategy<Value = Step> {
    let key = 0..30u8;
    prop_oneof![
        30 => key.clone().prop_map(Step::Get),
        3 => key.clone().prop_map(Step::GetStale),
        3 => (key.clone(), 0..40usize).prop_map(|(key, len)| Step::Peek(key, len)),
        40 => (key.clone(), 0..30usize, kind(), lifetime()).prop_map(|(k, l, kind, ttl)| Step::Put(k, l, kind, ttl)),
        1 => (key.clone(), 100..400usize, kind()).prop_map(|(k, l, kind)| Step::Put(k, l, kind, None)),
        1 => key.clone().prop_map(Step::Refuse),
        5 => key.clone().prop_map(Step::Remove),
        3 => key.clone().prop_map(Step::Take),
        5 => (key, kind(), lifetime()).prop_map(|(key, kind, ttl)| Step::Restamp(key, kind, ttl)),
        1 => (kind(), proptest::option::of(kind())).prop_map(|(from, to)| Step::Sweep(from, to)),
        5 => (1..100_000u64).prop_map(Step::Pass),
        2 => Just(Step::Expire),
        1 => Just(Step::Clear),
    ]
}

struct Pair {
    store: Store,
    hand: ManualClock,
    oracle: Oracle,
    gone: Arc<Mutex<Vec<Gone>>>,
    /// Makes every value different.
    serial: u64,
}

const KEEP_STALE: u64 = 5_000;

impl Pair {
    fn new(rule: Rule, max: u64) -> Pair {
        let (clock, hand) = Clock::manual();
        let gone = Arc::new(Mutex::new(Vec::new()));
        let hook = gone.clone();
        let store = Store::new(StoreOptions {
            policy: if rule == Rule::S3Fifo {
                Policy::S3Fifo
            } else {
                Policy::Lru
            },
            strict: rule == Rule::Strict,
            shards: Some(1),
            hot_divisor: 4,
            keep_stale_ms: KEEP_STALE,
            clock,
            weigher: Weigher::by(|key, value| (key.len() + value.len()) as u64),
            on_evict: Some(Arc::new(move |key, value, reason| {
                hook.lock().push((key.into(), value.to_vec(), reason))
            })),
            ..StoreOptions::new(max)
        });
        Pair {
            store,
            hand,
            oracle: Oracle::new(rule, max, max / 4, KEEP_STALE),
            gone,
            serial: 0,
        }
    }

    fn stamp(&mut self, kind: Kind, lifetime: Option<u64>) -> Stamp {
        self.serial += 1;
        let expires_at = lifetime.map(|ms| self.oracle.now + ms);
        Stamp {
            kind,
            view: self.serial as u32,
            generation: !self.serial as u32,
            expires_at,
        }
    }

    fn held(&self, key: &str) -> Option<Stamp> {
        self.oracle
            .items()
            .find(|item| item.key == key)
            .map(|item| item.stamp)
    }

    fn take_step(&mut self, step: &Step) {
        match *step {
            Step::Get(key) => {
                let (ours, theirs) = (self.store.get(&name(key)), self.oracle.get(&name(key), 0));
                assert_eq!(
                    ours.map(|hit| (hit.value.to_vec(), hit.stamp)),
                    theirs.map(|item| (item.value, item.stamp))
                );
            }
            Step::GetStale(key) => {
                let (ours, theirs) = (
                    self.store.get_stale(&name(key)),
                    self.oracle.get(&name(key), KEEP_STALE),
                );
                assert_eq!(
                    ours.map(|hit| (hit.value.to_vec(), hit.stamp)),
                    theirs.map(|item| (item.value, item.stamp))
                );
            }
            Step::Peek(key, len) => {
                let mut buf = vec![0; len];
                let ours = self.store.peek_into(&name(key), |_| true, &mut buf);
                let value = self.oracle.get(&name(key), 0).map(|item| item.value);
                let theirs = value.as_ref().map(|value| {
                    if value.len() <= len {
                        Ok(value.len())
                    } else {
                        Err(value.len())
                    }
                });
                assert_eq!(ours, theirs);
                if let (Some(Ok(copied)), Some(value)) = (ours, value) {
                    assert_eq!(buf[..copied], value);
                }
            }
            Step::Put(key, len, kind, lifetime) => {
                let stamp = self.stamp(kind, lifetime);
                let value: Vec<u8> = (0..len as u64).map(|i| (self.serial + i) as u8).collect();
                let ours =
                    self.store
                        .put_if(&name(key), &Value::from(value.clone()), stamp, || true);
                assert_eq!(ours, self.oracle.put(&name(key), &value, stamp));
            }
            Step::Refuse(key) => {
                let put = self
                    .store
                    .put_if(&name(key), &Value::from("no"), Stamp::OWNED, || false);
                assert_eq!(put, crate::store::Put::Refused);
            }
            Step::Remove(key) => {
                let mut ran = false;
                let ours = self
                    .store
                    .remove_with(&name(key), EvictReason::Deleted, || ran = true);
                let theirs = self.oracle.remove(&name(key), EvictReason::Deleted);
                assert!(ran);
                assert_eq!(
                    ours.map(|value| value.to_vec()),
                    theirs.map(|item| item.value)
                );
            }
            Step::Take(key) => {
                let stamp = self.held(&name(key)).unwrap_or(Stamp::OWNED);
                let ours = self.store.take(&name(key), stamp);
                let theirs = self.oracle.take(&name(key));
                assert_eq!(
                    ours.map(|hit| hit.value.to_vec()),
                    theirs.map(|item| item.value)
                );
            }
            Step::Restamp(key, kind, lifetime) => {
                let to = self.stamp(kind, lifetime);
                let from = self.held(&name(key)).unwrap_or(to);
                let to = Stamp {
                    expires_at: if lifetime.is_some() {
                        to.expires_at
                    } else {
                        from.expires_at
                    },
                    ..to
                };
                assert_eq!(
                    self.store.restamp(&name(key), from, to),
                    self.oracle.restamp(&name(key), from, to)
                );
            }
            Step::Sweep(from, to) => {
                let verdict = |_: &str, stamp: Stamp| match to {
                    _ if stamp.kind != from => Verdict::Keep,
                    Some(kind) if (kind == Kind::Hot) == (from == Kind::Hot) => {
                        Verdict::Restamp(Stamp { kind, ..stamp })
                    }
                    Some(_) => Verdict::Keep,
                    None => Verdict::Drop(EvictReason::Moved),
                };
                self.store.sweep(verdict);
                self.oracle.sweep(verdict);
                self.sort_gone();
            }
            Step::Pass(ms) => {
                self.hand.advance(Duration::from_millis(ms));
                self.oracle.now += ms;
            }
            Step::Expire => {
                let mut shard = 0;
                while self.store.expire_slice(&mut shard) {}
                self.oracle.expire();
                self.sort_gone();
            }
            Step::Clear => {
                let bytes = self.store.stats().bytes;
                self.store.clear();
                assert_eq!(self.store.stats().entries, 0);
                assert_eq!(self.store.stats().bytes, bytes, "not freed yet");
                while self.store.reclaim() {}
                self.oracle.clear();
                self.sort_gone();
            }
        }
    }

    /// For steps that say what leaves, not in which order.
    fn sort_gone(&mut self) {
        let order = |a: &Gone, b: &Gone| a.0.cmp(&b.0);
        self.gone.lock().sort_by(order);
        self.oracle.gone.sort_by(order);
    }

    fn compare(&mut self) {
        assert_eq!(*self.gone.lock(), self.oracle.gone, "what left, in order");
        self.gone.lock().clear();
        self.oracle.gone.clear();
        let stats = self.store.stats();
        assert_eq!(stats.bytes, self.oracle.bytes());
        assert_eq!(stats.hot_bytes, self.oracle.hot_bytes());
        assert_eq!(stats.entries, self.oracle.items().count() as u64);
        assert!(stats.bytes <= self.oracle.max);
        assert!(stats.hot_bytes <= self.oracle.hot_max);
    }
}

fn name(key: u8) -> String {
    // Lengths differ, so that replacing and evicting do not cancel out.
    "k".repeat(1 + key as usize % 3) + &key.to_string()
}

/// Reads a rule, a budget and steps from any bytes. For the fuzzer; panics where the store and the
/// oracle differ.
#[cfg_attr(not(fuzzing), allow(unreachable_pub))]
pub fn run_bytes(bytes: &[u8]) {
    let [rule, max, rest @ ..] = bytes else {
        return;
    };
    let rule = [Rule::Strict, Rule::Clock, Rule::S3Fifo][*rule as usize % 3];
    let steps: Vec<Step> = rest.chunks_exact(4).map(read_step).collect();
    run(rule, 40 + u64::from(*max) % 160, &steps);
}

/// What to do, the key, and two bytes that say how.
fn read_step(bytes: &[u8]) -> Step {
    let (key, how, more) = (bytes[1] % 30, bytes[2], bytes[3]);
    let kind = [Kind::Owned, Kind::Hot, Kind::Fallback, Kind::Heir][how as usize % 4];
    let lifetime = (more > 128).then(|| 1 + u64::from(more - 128) * 1_500);
    match bytes[0] % 32 {
        0..10 => Step::Get(key),
        10..20 => Step::Put(key, usize::from(how / 4) % 30, kind, lifetime),
        20 => Step::GetStale(key),
        21 => Step::Peek(key, usize::from(how) % 40),
        22 => Step::Put(key, 100 + usize::from(more), kind, None),
        23 => Step::Refuse(key),
        24 | 25 => Step::Remove(key),
        26 => Step::Take(key),
        27 => Step::Restamp(key, kind, lifetime),
        28 => Step::Sweep(kind, (more > 200).then_some(Kind::Heir)),
        29 => Step::Pass(u64::from(how) * u64::from(more)),
        30 => Step::Expire,
        _ if more > 250 => Step::Clear,
        _ => Step::Get(key),
    }
}

fn run(rule: Rule, max: u64, steps: &[Step]) {
    let mut pair = Pair::new(rule, max);
    for step in steps {
        pair.take_step(step);
        pair.compare();
    }
}

#[cfg(test)]
proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s35_s36_strict_lru_is_the_oracle(max in 40..300u64, steps in prop::collection::vec(step(), 1..300)) {
        run(Rule::Strict, max, &steps);
    }

    #[test]
    fn s35_s36_clock_is_the_oracle(max in 40..300u64, steps in prop::collection::vec(step(), 1..300)) {
        run(Rule::Clock, max, &steps);
    }

    #[test]
    fn s35_s36_s3fifo_is_the_oracle(max in 40..200u64, steps in prop::collection::vec(step(), 1..300)) {
        run(Rule::S3Fifo, max, &steps);
    }

    #[test]
    fn s35_s36_any_bytes_are_steps(bytes in prop::collection::vec(any::<u8>(), 0..1_200)) {
        run_bytes(&bytes);
    }
}
