"""Stats and Latency: snapshots of one group on this node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters, which only grow, and sizes. gets is the sum of hits to failed,
    plus in_progress. Sizes are in bytes."""

    gets: int
    hits: int
    hot_hits: int
    stale_hits: int
    negative_hits: int
    loaded: int
    load_joined: int
    fetched: int
    fetch_joined: int
    fallbacks: int
    not_found: int
    failed: int
    in_progress: int
    peer_gets: int
    peer_hits: int
    peer_stale_hits: int
    peer_negative_hits: int
    peer_loaded: int
    peer_load_joined: int
    peer_not_found: int
    peer_failed: int
    loads: int
    load_errors: int
    stuck_loads: int
    fetches: int
    fetch_errors: int
    refreshes: int
    sets: int
    deletes: int
    clears: int
    invalidations: int
    evictions: int
    expirations: int
    entries: int
    hot_entries: int
    bytes: int
    hot_bytes: int
    max_bytes: int

    @property
    def hit_ratio(self) -> float:
        """The share of ended gets that this node's memory answered, 0.0 to 1.0."""
        ended = self.gets - self.in_progress
        hits = self.hits + self.hot_hits + self.stale_hits + self.negative_hits
        return hits / ended if ended else 0.0


@dataclass(frozen=True, slots=True)
class Latency:
    """How long an operation took since the group was opened, in nanoseconds;
    all 0 before the first. p50_ns: half took at most this long."""

    count: int
    sum_ns: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    p999_ns: int
    max_ns: int
