//! What a getter answered, and what of it is kept: the guarded fill, negative
//! answers, and expired values while they are better than nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::lead::Leading;
use super::{Answer, GroupInner, LoadStart, Origin, Served, millis};
use crate::flight::{Role, Token};
use crate::getter::{Loaded, Ttl};
use crate::hashing::random;
use crate::latency::LatencyKind;
use crate::load::Caller;
use crate::peers::{Standing, View};
use crate::stats::Count;
use crate::store::{EvictReason, Hit, Kind, Put, Stamp, jittered};
use crate::{Error, ErrorKind, Result, Value};

impl GroupInner {
    /// Keeps what a getter answered, if it may be kept; what the waiters get.
    pub(crate) fn finish_load(
        &self,
        flight: &Token<Answer>,
        start: LoadStart,
        answer: Result<Option<Loaded>>,
    ) -> Answer {
        let key = &**flight.key();
        self.latencies
            .record(LatencyKind::Load, start.began.elapsed());
        match answer {
            Ok(Some(loaded)) => {
                let stamp = self.keep(flight, start, &loaded);
                Ok(Served {
                    value: loaded.value,
                    origin: Origin::Normal,
                    expires_at: stamp.and_then(|stamp| stamp.expires_at),
                    lendable: stamp.is_some_and(|stamp| stamp.kind == Kind::Owned),
                })
            }
            Ok(None) => {
                self.keep_absent(flight, start);
                Err(Error::not_found(key))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.keep_absent(flight, start);
                Err(error)
            }
            Err(error) => {
                self.counters.add(Count::LoadError);
                match self.stale(key, self.config.stale_if_error) {
                    Some(stale) => Ok(Served {
                        origin: Origin::Stale,
                        lendable: false,
                        ..self.served(stale)
                    }),
                    None => Err(error),
                }
            }
        }
    }

    /// Stores a loaded value, owned or borrowed, unless something has overtaken
    /// it; its stamp if it is stored.
    fn keep(&self, flight: &Token<Answer>, start: LoadStart, loaded: &Loaded) -> Option<Stamp> {
        let key = &**flight.key();
        if loaded.ttl == Ttl::NoStore || loaded.value.len() as u64 > self.config.storable {
            self.drop_outdated(flight);
            return None;
        }
        let view = self.state.peers.view();
        let (kind, expires_at) = if self.is_still_owned(key, start, &view) {
            (Kind::Owned, self.expires_at(loaded.ttl))
        } else {
            let borrowed = start.begun_ms + millis(self.config.fallback_ttl);
            let own = self.expires_at(loaded.ttl).unwrap_or(u64::MAX);
            (Kind::Fallback, Some(own.min(borrowed)))
        };
        let stamp = Stamp {
            kind,
            view: view.number(),
            generation: start.generation,
            expires_at,
        };
        // What was not kept is not lent either: a copy of it would outlive a
        // later load here without ever being recalled.
        let put = self.fill(key, &loaded.value, stamp, || {
            let told = || self.generation(start.slot) != start.generation;
            !flight.is_doomed() && (kind == Kind::Owned || !told())
        });
        (put == Put::Stored).then_some(stamp)
    }

    /// Remembers that there is no such key, where the group wants that (S2); in
    /// any case an expired value of it is served no more (S23).
    fn keep_absent(&self, flight: &Token<Answer>, start: LoadStart) {
        let key = &**flight.key();
        self.drop_outdated(flight);
        let Some(ttl) = self.config.negative_ttl else {
            return;
        };
        let view = self.state.peers.view();
        if self.is_still_owned(key, start, &view) {
            let expires_at = Some(self.state.clock.now_ms().saturating_add(millis(ttl)));
            let stamp = Stamp {
                kind: Kind::Absent,
                view: view.number(),
                generation: start.generation,
                expires_at,
            };
            self.fill(key, &Value::default(), stamp, || !flight.is_doomed());
        }
    }

    /// Owned from the load's start until now, and written by nobody else.
    pub(super) fn is_still_owned(&self, key: &str, start: LoadStart, view: &View) -> bool {
        start.owned && view.standing(key, || start.slot, start.view) == Standing::Kept
    }

    /// A load has answered with what is not kept: the expired value that it was
    /// to replace goes, unless a write has overtaken the load.
    fn drop_outdated(&self, flight: &Token<Answer>) {
        self.store
            .remove_if(flight.key(), EvictReason::Expired, || !flight.is_doomed());
    }

    /// The guarded fill: nothing is stored that a change of view or a close has
    /// overtaken, or that does not stand any more. Writes detach the flight of
    /// their key under the shard's lock, under which `stands` is asked.
    pub(super) fn fill(
        &self,
        key: &str,
        value: &Value,
        stamp: Stamp,
        mut stands: impl FnMut() -> bool,
    ) -> Put {
        self.store.put_if(key, value, stamp, || {
            stands() && self.state.peers.number() == stamp.view && !self.state.closed.is_cancelled()
        })
    }

    // ---- expired values, while they are better than nothing ----

    /// An owned value that expired no longer than `window` ago.
    pub(super) fn stale(&self, key: &str, window: Option<Duration>) -> Option<Hit> {
        let window = millis(Some(window?));
        let hit = self.store.get_stale(key)?;
        let expired_at = hit.stamp.expires_at?;
        let current = hit.stamp.kind == Kind::Owned && self.stands(key, hit.stamp);
        (current && self.state.clock.now_ms() < expired_at.saturating_add(window)).then_some(hit)
    }

    /// Whether an entry may still be served, whatever its number.
    pub(super) fn stands(&self, key: &str, stamp: Stamp) -> bool {
        stamp.view == self.state.peers.number()
            || self.standing(&self.state.peers.view(), key, stamp) == Standing::Kept
    }

    /// Loads an expired key in the background, once at a time.
    pub(super) fn refresh(self: &Arc<Self>, key: &str, view: &View) {
        if let Role::Lead(flight, _nobody_waits) = self.loads.begin(key, Instant::now()) {
            self.counters.add(Count::Refresh);
            let start = self.load_start(key, view);
            let leading = Leading::new(flight, start, Caller::Outside, None);
            if let Some(token) = self.admit(leading) {
                self.start(token);
            }
        }
    }

    /// When a value stored now expires, on the store's clock.
    pub(super) fn expires_at(&self, ttl: Ttl) -> Option<u64> {
        let ttl = match ttl {
            Ttl::Forever | Ttl::NoStore => return None,
            Ttl::After(ttl) => ttl,
            Ttl::Group if self.config.jitter => jittered(self.config.ttl?, random()),
            Ttl::Group => self.config.ttl?,
        };
        Some(self.state.clock.now_ms().saturating_add(millis(ttl)))
    }
}
