//! The metrics of the node itself and, by peer, of its links.

use super::process;
use super::text::{Kind, Text};
use crate::peers::standing::{BOUNDS_NS, Standing};
use crate::state::State;

/// Every node and peer family.
pub(super) fn write(state: &State, text: &mut Text) {
    node(state, text);
    views(state, text);
    counters(state, text);
    peers(state, text);
    certificate(state, text);
    usage(text);
}

fn certificate(state: &State, text: &mut Text) {
    let mut family = text.family(
        "kamacache_tls_certificate_expiry_timestamp_seconds",
        Kind::Gauge,
        "When the certificate in use expires, since 1970; none without tls.",
    );
    if let Some(until) = state.tls.as_ref().and_then(|tls| tls.expires()) {
        family.sample(&[], until);
    }
}

fn node(state: &State, text: &mut Text) {
    text.family("kamacache_info", Kind::Gauge, "1, with what this node is.")
        .sample(
            &[
                ("version", crate::VERSION),
                ("cluster", &state.identity.cluster),
                ("address", &state.address),
            ],
            1,
        );
    let uptime = state.started.elapsed().as_secs_f64();
    text.one(
        "kamacache_uptime_seconds",
        Kind::Gauge,
        "Since the node was started.",
        uptime,
    );
    let ready = u8::from(state.readiness().is_ok());
    text.one(
        "kamacache_ready",
        Kind::Gauge,
        "1 when /readyz answers 200, else 0.",
        ready,
    );
    let running = state.running.len();
    text.one(
        "kamacache_getters_running",
        Kind::Gauge,
        "Getters that run now, of all groups.",
        running,
    );
}

fn views(state: &State, text: &mut Text) {
    let view = state.peers.view();
    let members = view.members().len();
    text.one(
        "kamacache_view_members",
        Kind::Gauge,
        "Members of this node's view, itself included.",
        members,
    );
    let help = "Grows by one with every change of the members.";
    text.one("kamacache_view_number", Kind::Gauge, help, view.number());
    let digest = format!("{:016x}", view.digest());
    text.family(
        "kamacache_view_info",
        Kind::Gauge,
        "1, with the digest of the members: equal on nodes that list the same.",
    )
    .sample(&[("digest", &digest)], 1);
    let stale = state.membership.stale().unwrap_or_default().as_secs_f64();
    let help = "How long discovery has been out; 0 while it is in order.";
    text.one(
        "kamacache_discovery_stale_seconds",
        Kind::Gauge,
        help,
        stale,
    );
    let help = "Lists of members that could not be had or broke a rule.";
    text.one(
        "kamacache_discovery_failures_total",
        Kind::Counter,
        help,
        state.membership.failures(),
    );
}

fn counters(state: &State, text: &mut Text) {
    let stats = state.node_stats();
    let rows = [
        (
            "kamacache_links",
            Kind::Gauge,
            "Links that peers hold open to this node.",
            stats.links,
        ),
        (
            "kamacache_links_refused_total",
            Kind::Counter,
            "Links refused because the two nodes do not belong together.",
            stats.links_refused,
        ),
        (
            "kamacache_views_differ",
            Kind::Gauge,
            "Peers whose last word names other members than this node's view.",
            stats.views_differ,
        ),
        (
            "kamacache_misrouted_total",
            Kind::Counter,
            "Requests of peers for keys that this node does not own in its view.",
            stats.misrouted,
        ),
        (
            "kamacache_malformed_total",
            Kind::Counter,
            "Messages and operations of peers that made no sense.",
            stats.malformed,
        ),
        (
            "kamacache_options_differ",
            Kind::Gauge,
            "Pairs of group and peer that run it with other options.",
            stats.options_differ,
        ),
        (
            "kamacache_peer_gets_cancelled_total",
            Kind::Counter,
            "Gets of peers that they did not wait for to the end.",
            stats.cancelled,
        ),
        (
            "kamacache_invalidations_total",
            Kind::Counter,
            "Invalidations received from owners.",
            state.invalidations(),
        ),
    ];
    for (name, kind, help, value) in rows {
        text.one(name, kind, help, value);
    }
}

fn peers(state: &State, text: &mut Text) {
    let view = state.peers.view();
    let now_ms = state.clock.now_ms();
    let standings: Vec<(&str, Standing)> = view
        .links()
        .map(|link| (link.address(), link.standing(now_ms)))
        .collect();
    let digest = view.digest();
    let mut gauge = |name, help, value: &dyn Fn(&Standing) -> f64| {
        let mut family = text.family(name, Kind::Gauge, help);
        for (peer, standing) in &standings {
            family.sample(&[("peer", peer)], value(standing));
        }
    };
    let bit = |is: bool| f64::from(u8::from(is));
    gauge(
        "kamacache_peer_suspected",
        "1 while the peer's breaker is open: its keys are loaded here.",
        &|peer| bit(peer.suspicion.is_some()),
    );
    gauge(
        "kamacache_peer_connected",
        "1 while this node's link to the peer is open.",
        &|peer| bit(peer.connected),
    );
    gauge(
        "kamacache_peer_view_differs",
        "1 when the peer's last word names other members than this node's view.",
        &|peer| bit(peer.said.is_some_and(|said| said != digest)),
    );
    gauge(
        "kamacache_peer_lease_seconds",
        "How long copies borrowed from the peer may still be served.",
        &|peer| peer.lease_ms as f64 / 1e3,
    );
    let mut family = text.family(
        "kamacache_peer_fetches_total",
        Kind::Counter,
        "Gets sent to the peer, by how they ended.",
    );
    for (peer, standing) in &standings {
        family.sample(
            &[("peer", peer), ("result", "ok")],
            standing.traffic.fetched(),
        );
        family.sample(
            &[("peer", peer), ("result", "error")],
            standing.traffic.failed,
        );
    }
    let mut family = text.family(
        "kamacache_peer_fetched_bytes_total",
        Kind::Counter,
        "Bytes of values fetched from the peer.",
    );
    for (peer, standing) in &standings {
        family.sample(&[("peer", peer)], standing.traffic.bytes);
    }
    fetch_times(&standings, text);
}

fn fetch_times(standings: &[(&str, Standing)], text: &mut Text) {
    let help = "How long Gets sent to the peer took that brought a value.";
    let mut family = text.family("kamacache_peer_fetch_seconds", Kind::Histogram, help);
    for (peer, standing) in standings {
        let mut up_to = 0;
        for (place, count) in standing.traffic.took.iter().enumerate() {
            up_to += count;
            let le = BOUNDS_NS
                .get(place)
                .map_or("+Inf".to_owned(), |bound| (*bound as f64 / 1e9).to_string());
            family.part("_bucket", &[("peer", peer), ("le", &le)], up_to);
        }
        let sum = standing.traffic.took_ns as f64 / 1e9;
        family.part("_sum", &[("peer", peer)], sum);
        family.part("_count", &[("peer", peer)], up_to);
    }
}

fn usage(text: &mut Text) {
    if let Some(seconds) = process::cpu_seconds() {
        let help = "Processor time of the whole process.";
        text.one(
            "kamacache_process_cpu_seconds_total",
            Kind::Counter,
            help,
            seconds,
        );
    }
    if let Some(bytes) = process::resident_bytes() {
        let help = "Memory of the whole process.";
        text.one(
            "kamacache_process_resident_memory_bytes",
            Kind::Gauge,
            help,
            bytes,
        );
    }
}
