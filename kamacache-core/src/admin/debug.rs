//! What `/debug/...` answers, as JSON: the members, the groups, and all that
//! this node knows about one key.
//!
//! Invariant: no value and no secret is in an answer; keys are.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::group::GroupInner;
use crate::latency::LatencyKind;
use crate::peers::View;
use crate::peers::link::Link;
use crate::state::State;
use crate::stats::Stats;
use crate::store::Kind;

/// This node, its view, and how it stands with each other member.
pub(super) fn members(state: &State) -> Value {
    let view = state.peers.view();
    let now_ms = state.clock.now_ms();
    let mut members: Vec<Value> = Vec::new();
    for address in view.members() {
        members.push(match view.link_to(&address) {
            Some(link) => peer(link, &view, now_ms),
            None => json!({ "address": address, "self": true }),
        });
    }
    json!({
        "address": state.address,
        "cluster": state.identity.cluster,
        "version": crate::VERSION,
        "incarnation": format!("{:016x}", state.identity.incarnation),
        "uptime_seconds": state.started.elapsed().as_secs_f64(),
        "ready": state.readiness().is_ok(),
        "not_ready_because": state.readiness().err(),
        "view": about_view(&view),
        "discovery": {
            "stale_seconds": state.membership.stale().map(|stale| stale.as_secs_f64()),
            "reason": state.membership.outage_reason(),
            "failures": state.membership.failures(),
        },
        "members": members,
    })
}

fn about_view(view: &View) -> Value {
    json!({ "number": view.number(), "digest": digest(view.digest()) })
}

/// Digests are wider than the numbers of JavaScript.
fn digest(digest: u64) -> String {
    format!("{digest:016x}")
}

fn peer(link: &Link, view: &View, now_ms: u64) -> Value {
    let standing = link.standing(now_ms);
    let state = match (&standing.suspicion, standing.connected) {
        (Some(_), _) => "suspected",
        (None, true) => "connected",
        (None, false) => "not dialled yet",
    };
    json!({
        "address": link.address(),
        "self": false,
        "state": state,
        "reason": standing.suspicion.as_deref(),
        "lease_ms": standing.lease_ms,
        "view_digest": standing.said.map(digest),
        "view_differs": standing.said.map(|said| said != view.digest()),
        "fetches": standing.traffic.fetched(),
        "fetch_errors": standing.traffic.failed,
        "fetched_bytes": standing.traffic.bytes,
    })
}

/// The groups with their counters, latencies and `hot` hottest keys.
pub(super) fn groups(groups: &[Arc<GroupInner>], hot: usize) -> Value {
    let mut groups: Vec<&Arc<GroupInner>> = groups.iter().collect();
    groups.sort_unstable_by_key(|group| group.name().to_owned());
    let groups: Vec<Value> = groups.into_iter().map(|one| group(one, hot)).collect();
    json!({ "groups": groups })
}

fn group(group: &GroupInner, hot: usize) -> Value {
    let stats = group.stats();
    let mut about = json!({
        "name": group.name(),
        "hit_ratio": stats.hit_ratio(),
        "stats": counters(&stats),
        "latency": {
            "hit": latency(group, LatencyKind::Hit),
            "load": latency(group, LatencyKind::Load),
            "fetch": latency(group, LatencyKind::Fetch),
        },
        "options_digest": digest(group.options_digest()),
    });
    if hot > 0 {
        let keys = group.hot_keys(hot).into_iter();
        about["hot_keys"] = keys
            .map(|(key, hits)| json!({ "key": key, "hits": hits }))
            .collect();
    }
    about
}

fn counters(stats: &Stats) -> Value {
    stats
        .named()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect()
}

fn latency(group: &GroupInner, kind: LatencyKind) -> Value {
    let read = group.latency(kind);
    json!({
        "count": read.count, "sum_ns": read.sum_ns, "p50_ns": read.p50_ns, "p90_ns": read.p90_ns,
        "p99_ns": read.p99_ns, "p999_ns": read.p999_ns, "max_ns": read.max_ns,
    })
}

/// Who owns the key.
pub(super) fn owner(state: &State, key: &str) -> Value {
    let view = state.peers.view();
    json!({
        "key": key,
        "owner": view.owner(key).map(|owner| &**owner),
        "owned_here": view.owns(key),
        "view": about_view(&view),
    })
}

/// All that this node knows about a key, without asking anybody.
pub(super) fn explain(state: &State, group: &GroupInner, key: &str) -> Value {
    let known = group.explain(key);
    let view = state.peers.view();
    let mut about = owner(state, key);
    about["group"] = group.name().into();
    about["node"] = state.address.as_str().into();
    about["previous_owner"] = view.previous_owner(key).map(|link| link.address()).into();
    about["slot"] = known.slot.into();
    about["generation"] = known.generation.into();
    about["written_since_view_change"] = known.written.into();
    about["loading"] = known.loading.into();
    about["fetching"] = known.fetching.into();
    about["lent_to"] = known.lent_to.into();
    about["here"] = match known.here {
        None => Value::Null,
        Some(here) => json!({
            "kind": kind(here.stamp.kind),
            "bytes": here.bytes,
            "expires_in_ms": here.expires_in_ms,
            "expired_for_ms": here.expired_for_ms,
            "stored_in_view": here.stamp.view,
            "generation": here.stamp.generation,
            "served": here.served,
        }),
    };
    about["owner_link"] = match view.owner(key).and_then(|owner| view.link_to(owner)) {
        None => Value::Null,
        Some(link) => peer(link, &view, state.clock.now_ms()),
    };
    about
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Owned => "owned",
        Kind::Hot => "hot copy",
        Kind::Fallback => "fallback",
        Kind::Heir => "heir",
        Kind::Absent => "not found",
    }
}
