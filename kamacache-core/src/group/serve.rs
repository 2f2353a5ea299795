//! The local door: what a peer's request may do here. It reads this node's
//! store, joins or leads its loads, applies writes that this node owns, and
//! never asks another node (S7).

use std::sync::Arc;

use tokio::time::Instant;

use super::write::{Write, set_or_drop};
use super::{GroupInner, Here, Lead, Origin, Served};
use crate::getter::Ttl;
use crate::load::Caller;
use crate::options;
use crate::peers::Route;
use crate::pending::{Begin, Side, Tally};
use crate::stats::Count;
use crate::store::{Hit, Kind};
use crate::{Error, Result, Value};

/// What the answer to a peer's Get says beside the value.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServedGet {
    /// Who owns the key in this node's view, when that is not this node.
    pub(crate) other_owner: Option<String>,
    pub(crate) keep: bool,
    /// What the value has left to live; 0: no limit.
    pub(crate) left_ms: u64,
}

impl GroupInner {
    /// The first step of a peer's Get, which never blocks. A hit reads no clock
    /// unless the entry expires. `inside`: the peer asks inside a getter.
    pub(crate) fn begin_for_peer(
        self: &Arc<Self>,
        key: &str,
        inside: bool,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<(Begin, ServedGet)> {
        match self.here(key) {
            Some(Here::Value(hit, _)) => {
                if self.counters.is_sample(Count::PeerHit) {
                    self.hot_keys.note(key);
                }
                self.counters.add(Count::PeerHit);
                let served = self.served_hit(key, &hit);
                return Ok((Begin::Hit(hit.value), served));
            }
            Some(Here::Absent) => {
                self.counters.add(Count::PeerNegativeHit);
                return Err(Error::not_found(key));
            }
            None => {}
        }
        self.state.check_serving()?;
        options::check_key(key)?;
        let view = self.state.peers.view();
        let tally = Tally::start(self, Side::Peer);
        let caller = match inside {
            true => Caller::PeersGetter,
            false => Caller::Outside,
        };
        let begun = self.begin_load(key, &view, deadline(), tally, caller, Lead::Anywhere)?;
        drop(view);
        Ok((begun, self.served_get(key)))
    }

    fn served_hit(&self, key: &str, hit: &Hit) -> ServedGet {
        let owned = hit.stamp.kind == Kind::Owned;
        // What was stored as owned under the current view is: no look at the ring.
        let other_owner = if owned && hit.stamp.view == self.state.peers.number() {
            None
        } else {
            self.served_get(key).other_owner
        };
        ServedGet {
            keep: owned && other_owner.is_none(),
            left_ms: hit
                .stamp
                .expires_at
                .map_or(0, |at| left_ms(at, self.state.clock.now_ms())),
            other_owner,
        }
    }

    /// A peer's whole Get, for the unary call.
    pub(crate) async fn serve_get(
        self: &Arc<Self>,
        key: &str,
        inside: bool,
        deadline: Option<Instant>,
    ) -> Result<(Value, ServedGet)> {
        let (begun, served) = self.begin_for_peer(key, inside, || deadline)?;
        Ok((self.complete_here(begun).await?, served))
    }

    fn served_get(&self, key: &str) -> ServedGet {
        let view = self.state.peers.view();
        let other_owner = match view.route(key) {
            Route::Local => None,
            Route::Remote(link) => Some(link.address().to_owned()),
        };
        ServedGet {
            other_owner,
            keep: false,
            left_ms: 0,
        }
    }

    pub(super) fn served(&self, hit: Hit) -> Served {
        Served {
            value: hit.value,
            origin: Origin::Normal,
            expires_at: hit.stamp.expires_at,
            lendable: hit.stamp.kind == Kind::Owned,
        }
    }

    /// Applies a peer's Set here; `Ok(false)`: this node is not the owner.
    pub(crate) fn serve_set(&self, key: &str, value: Value, ttl: Ttl) -> Result<bool> {
        let refused = self.check_value(key, &value);
        let owned = self.serve_write(key, &set_or_drop(&refused, value, ttl))?;
        if owned {
            refused.map(|()| true)
        } else {
            Ok(false)
        }
    }

    /// Applies a peer's Delete here; `Ok(false)`: this node is not the owner.
    pub(crate) fn serve_delete(&self, key: &str) -> Result<bool> {
        self.serve_write(key, &Write::Delete)
    }

    fn serve_write(&self, key: &str, write: &Write) -> Result<bool> {
        self.state.check_serving()?;
        options::check_key(key)?;
        let view = self.state.peers.view();
        if !view.owns(key) {
            return Ok(false);
        }
        self.apply(key, write, &view)?;
        // Ownership that was lost meanwhile is the caller's to follow up.
        Ok(self.state.peers.view().owns(key))
    }
}

impl ServedGet {
    /// Completed by what is known about the value.
    pub(crate) fn with(mut self, served: &Served, now_ms: u64) -> Self {
        self.keep = served.lendable && self.other_owner.is_none();
        self.left_ms = served.expires_at.map_or(0, |at| left_ms(at, now_ms));
        self
    }
}

/// At least 1, because 0 is no limit.
fn left_ms(expires_at: u64, now_ms: u64) -> u64 {
    expires_at.saturating_sub(now_ms).max(1)
}
