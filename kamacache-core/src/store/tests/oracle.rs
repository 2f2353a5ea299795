//! The store as one would write it without caring for time: vectors, searched from end to end.
//!
//! Invariant: says after every step what a store of one shard must hold, in bytes and in order, for
//! both policies. Costs are key plus value, so that no allocator is involved.

use crate::store::{EvictReason, Kind, Put, Stamp, Verdict};

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) stamp: Stamp,
    uses: u8,
}

impl Item {
    pub(super) fn cost(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }

    fn is_hot(&self) -> bool {
        self.stamp.kind == Kind::Hot
    }
}

pub(super) type Gone = (String, Vec<u8>, EvictReason);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// `policy = lru` and `strict`.
    Strict,
    /// `policy = lru`.
    Clock,
    S3Fifo,
}

pub(super) struct Oracle {
    pub(super) rule: Rule,
    pub(super) max: u64,
    pub(super) hot_max: u64,
    pub(super) keep_stale: u64,
    pub(super) now: u64,
    /// Front first: everything (Lru), or main and hot copies (S3Fifo).
    main: Vec<Item>,
    /// Oldest first: newcomers (S3Fifo).
    small: Vec<Item>,
    /// Oldest first: keys of hot copies.
    hot: Vec<String>,
    /// Oldest first.
    ghost: Vec<(String, u64)>,
    has_evicted: bool,
    pub(super) gone: Vec<Gone>,
}

impl Oracle {
    pub(super) fn new(rule: Rule, max: u64, hot_max: u64, keep_stale: u64) -> Oracle {
        Oracle {
            rule,
            max,
            hot_max,
            keep_stale,
            now: 0,
            main: Vec::new(),
            small: Vec::new(),
            hot: Vec::new(),
            ghost: Vec::new(),
            has_evicted: false,
            gone: Vec::new(),
        }
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.main.iter().chain(&self.small)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.items().map(Item::cost).sum()
    }

    pub(super) fn hot_bytes(&self) -> u64 {
        self.items()
            .filter(|item| item.is_hot())
            .map(Item::cost)
            .sum()
    }

    fn find(&mut self, key: &str) -> Option<&mut Item> {
        self.main
            .iter_mut()
            .chain(&mut self.small)
            .find(|item| item.key == key)
    }

    fn expired(&self, stamp: Stamp) -> bool {
        stamp.expires_at.is_some_and(|at| at <= self.now)
    }

    pub(super) fn get(&mut self, key: &str, keep_stale: u64) -> Option<Item> {
        let item = self.find(key)?.clone();
        let over = item
            .stamp
            .expires_at
            .is_some_and(|at| at + keep_stale <= self.now);
        if over || item.stamp.kind == Kind::Heir {
            return None;
        }
        self.used(key);
        Some(item)
    }

    fn used(&mut self, key: &str) {
        if self.rule == Rule::Strict {
            let at = self.main.iter().position(|item| item.key == key).unwrap();
            let item = self.main.remove(at);
            if item.is_hot() {
                self.hot.retain(|hot| hot != key);
                self.hot.push(key.into());
            }
            self.main.insert(0, item);
        } else {
            let cap = if self.rule == Rule::Clock { 1 } else { 3 };
            let item = self.find(key).unwrap();
            item.uses = (item.uses + 1).min(cap);
        }
    }

    pub(super) fn put(&mut self, key: &str, value: &[u8], stamp: Stamp) -> Put {
        let new = Item {
            key: key.into(),
            value: value.into(),
            stamp,
            uses: 0,
        };
        let fits = new.cost() <= self.max && (!new.is_hot() || new.cost() <= self.hot_max);
        if !fits {
            self.remove(key, EvictReason::Replaced);
            return Put::TooLarge;
        }
        if self.find(key).is_some() {
            self.replace(new);
        } else {
            let returning = self.ghost.iter().position(|(ghost, _)| ghost == key);
            returning.map(|at| self.ghost.remove(at));
            while self.bytes() + new.cost() > self.max && self.evict() {}
            self.insert(new, returning.is_some());
        }
        self.settle();
        Put::Stored
    }

    fn insert(&mut self, new: Item, returning: bool) {
        let small_cost: u64 = self.small.iter().map(Item::cost).sum();
        if new.is_hot() {
            self.hot.push(new.key.clone());
        } else if self.rule == Rule::S3Fifo
            && !returning
            && (self.has_evicted || small_cost < self.max / 10)
        {
            return self.small.push(new);
        }
        self.main.insert(0, new);
    }

    fn replace(&mut self, mut new: Item) {
        let place = self.small.iter().position(|item| item.key == new.key);
        let old = self.find(&new.key).unwrap().clone();
        let hot = old.is_hot() || new.is_hot();
        if self.rule == Rule::S3Fifo && !hot {
            new.uses = (old.uses + 1).min(3);
            if let Some(place) = place {
                self.leave(old, EvictReason::Replaced);
                self.small[place] = new;
                return;
            }
        }
        self.remove(&new.key, EvictReason::Replaced);
        if hot {
            self.insert(new, false);
        } else {
            self.main.insert(0, new);
        }
    }

    fn leave(&mut self, item: Item, reason: EvictReason) {
        let own = matches!(reason, EvictReason::Capacity | EvictReason::Replaced);
        let reason = if own && self.expired(item.stamp) {
            EvictReason::Expired
        } else {
            reason
        };
        self.hot.retain(|hot| *hot != item.key);
        self.gone.push((item.key, item.value, reason));
    }

    pub(super) fn remove(&mut self, key: &str, reason: EvictReason) -> Option<Item> {
        let item = self.find(key)?.clone();
        self.main.retain(|item| item.key != key);
        self.small.retain(|item| item.key != key);
        self.leave(item.clone(), reason);
        Some(item)
    }

    fn settle(&mut self) {
        while self.hot_bytes() > self.hot_max {
            for _ in 0..self.hot.len() {
                let key = self.hot[0].clone();
                let item = self.find(&key).unwrap();
                if item.uses == 0 {
                    break;
                }
                item.uses = 0;
                self.hot.rotate_left(1);
            }
            let key = self.hot[0].clone();
            self.remove(&key, EvictReason::Capacity);
        }
        while self.bytes() > self.max && self.evict() {}
    }

    fn evict(&mut self) -> bool {
        self.has_evicted = true;
        loop {
            let main_cost: u64 = self
                .main
                .iter()
                .filter(|item| !item.is_hot())
                .map(Item::cost)
                .sum();
            if main_cost <= self.max - self.max / 10 && !self.small.is_empty() {
                let mut item = self.small.remove(0);
                if item.uses >= 2 {
                    item.uses = 0;
                    self.main.insert(0, item);
                    continue;
                }
                self.remember(&item);
                self.leave(item, EvictReason::Capacity);
                return true;
            }
            let Some(mut item) = self.main.pop() else {
                return false;
            };
            if item.uses == 0 {
                self.leave(item, EvictReason::Capacity);
                return true;
            }
            item.uses -= 1;
            self.main.insert(0, item);
        }
    }

    fn remember(&mut self, item: &Item) {
        self.ghost.retain(|(key, _)| *key != item.key);
        self.ghost.push((item.key.clone(), item.cost().max(1)));
        while self.ghost.iter().map(|ghost| ghost.1).sum::<u64>() > self.max - self.max / 10 {
            self.ghost.remove(0);
        }
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Item> {
        let item = self.find(key)?.clone();
        if self.expired(item.stamp) {
            return None;
        }
        self.remove(key, EvictReason::Moved)
    }

    pub(super) fn restamp(&mut self, key: &str, from: Stamp, to: Stamp) -> bool {
        let Some(item) = self.find(key).filter(|item| item.stamp == from) else {
            return false;
        };
        let hot_changes = (from.kind == Kind::Hot) != (to.kind == Kind::Hot);
        if !hot_changes && from.expires_at == to.expires_at {
            item.stamp = to;
        } else {
            let new = Item {
                stamp: to,
                uses: 0,
                ..item.clone()
            };
            let told = self.gone.len();
            self.replace(new);
            self.gone.truncate(told);
        }
        self.settle();
        true
    }

    pub(super) fn sweep(&mut self, mut verdict: impl FnMut(&str, Stamp) -> Verdict) {
        let seen: Vec<_> = self
            .items()
            .map(|item| (item.key.clone(), item.stamp))
            .collect();
        for (key, stamp) in seen {
            match verdict(&key, stamp) {
                Verdict::Keep => {}
                Verdict::Restamp(to) => _ = self.restamp(&key, stamp, to),
                Verdict::Drop(reason) => _ = self.remove(&key, reason),
            }
        }
    }

    pub(super) fn expire(&mut self) {
        let due = self.items().filter(|item| {
            item.stamp
                .expires_at
                .is_some_and(|at| at + self.keep_stale <= self.now)
        });
        let due: Vec<_> = due.map(|item| item.key.clone()).collect();
        for key in due {
            self.remove(&key, EvictReason::Expired);
        }
    }

    pub(super) fn clear(&mut self) {
        let all: Vec<_> = self.items().map(|item| item.key.clone()).collect();
        for key in all {
            self.remove(&key, EvictReason::Cleared);
        }
        self.ghost.clear();
        self.has_evicted = false;
    }
}
