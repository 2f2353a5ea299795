"""The contract, checked over what one row recorded. Pure: each check takes
operations and what was done to the ring, and answers with complaints.

Used by case.py. The statements are those of docs/contract.md.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from records import Op, Writes
from ring import Held, Worker

SECOND = 1_000_000
#: The options that the programs leave at their defaults, and what they set.
LEASE, FALLBACK_TTL, HOT_TTL, PROBE = SECOND, 2 * SECOND, 2 * SECOND, SECOND
#: How much later than its load a getter may write its record down.
LAG = SECOND // 2
#: Memory that a process may have more after a fault: buffers and allocator slack, not what leaks with load.
SLACK_BYTES = 12 << 20


@dataclasses.dataclass
class Down:
    """An owner that did not answer for a time, as some nodes saw it."""

    address: str
    since: int
    until: int = 1 << 62
    #: The slots that could not reach it; None: all others.
    seen_by: frozenset[int] | None = None
    #: The process came back empty, or the keys had gone elsewhere.
    cold: bool = False


@dataclasses.dataclass
class Facts:
    """What a row did, and what it recorded."""

    ops: list[Op]
    #: The owner of each key while views are as at the beginning.
    owners: list[str]
    #: The address of each slot.
    addresses: Mapping[int, str]
    down: list[Down]
    #: The version of each key in the data source at the end; the first is 1.
    versions: Sequence[int]
    #: Slots whose process was stopped, from when to when.
    stood_still: Sequence[tuple[int, int, int]] = ()

    def possible_deletes(self) -> Counter[int]:
        """Of each key: those on record, and the writes that a killed process was in the middle of."""
        writes = Counter(op.key for op in self.ops if op.is_write)
        deletes = Counter(op.key for op in self.ops if op.op == "delete")
        for key, version in enumerate(self.versions):
            deletes[key] += version - 1 - writes[key]
        return deletes

    def owner(self, op: Op) -> str:
        return self.owners[op.key]

    def downs(self, op: Op) -> list[Down]:
        return [
            down
            for down in self.down
            if down.address == self.owner(op) and (down.seen_by is None or op.slot in down.seen_by)
        ]

    def is_suspect(self, down: Down, op: Op, after: int) -> bool:
        """Whether the owner may have been suspect when the operation ran: probes restore it within two
        intervals, in which the prober itself is awake, and what came of it lasts `after` more."""
        asleep = sum(
            max(0, min(to, op.at) - max(since, down.until)) for slot, since, to in self.stood_still if slot == op.slot
        )
        return down.since <= op.end and op.at - asleep <= down.until + 2 * PROBE + after


# ---- no Get fails (S24) ----


def failed_gets(ops: Iterable[Op], workers: Iterable[Worker], stopped: Callable[[Op], bool]) -> list[Op]:
    """Gets that a living, running process did not answer."""
    ending = {number: worker.ending for number, worker in enumerate(workers) if worker.ending is not None}
    return [
        op
        for op in ops
        if op.op == "get" and not op.ok and not (op.process in ending and op.end >= ending[op.process]) and not stopped(op)
    ]


# ---- getter calls (S24, S9) ----


@dataclasses.dataclass
class Calls:
    """Getter calls beyond those that deletes ask for."""

    extra: int
    allowed: int
    wrong: list[str]


def steady_calls(facts: Facts) -> Calls:
    """While views stay: a getter call follows a delete, or an owner that is down or came back empty."""
    deletes = facts.possible_deletes()
    by_node: dict[tuple[int, int], list[Op]] = defaultdict(list)
    for op in facts.ops:
        if op.op == "load":
            by_node[op.slot, op.key].append(op)
    failed_writes: dict[tuple[int, int], list[Op]] = defaultdict(list)
    for op in facts.ops:
        if op.is_write and not op.ok:
            failed_writes[op.slot, op.key].append(op)

    found = Calls(0, 0, [])
    for (slot, key), loads in by_node.items():
        if facts.addresses[slot] == facts.owners[key]:
            cold = sum(down.cold for down in facts.down if down.address == facts.owners[key])
            extra, limit = max(0, len(loads) - deletes[key]), cold
            if extra > limit:
                found.wrong.append(f"k{key} was loaded {len(loads)} times by its owner, for {deletes[key]} deletes and {cold} restarts")
        else:
            extra, limit = len(loads), _fallbacks_allowed(facts, loads, failed_writes[slot, key])
            found.wrong += _wrong_fallbacks(facts, loads, failed_writes[slot, key])
        found.extra += extra
        found.allowed += limit
    return found


def _fallbacks_allowed(facts: Facts, loads: list[Op], failed: list[Op]) -> int:
    """One for each fallback_ttl that the owner was suspect, and one after each write that failed."""
    spans = ((down.until + 2 * PROBE - down.since) // FALLBACK_TTL + 1 for down in facts.downs(loads[0]))
    return sum(spans) + len(failed)


def _wrong_fallbacks(facts: Facts, loads: list[Op], failed: list[Op]) -> list[str]:
    wrong = []
    for load in loads:
        if not any(facts.is_suspect(down, load, LAG) for down in facts.downs(load)):
            wrong.append(f"node {load.slot} loaded k{load.key}, whose owner {facts.owner(load)} was well")
    for first, second in zip(loads, loads[1:], strict=False):
        apart = second.at - first.at
        if apart < FALLBACK_TTL - LAG and not any(first.at <= op.end <= second.end for op in failed):
            wrong.append(f"node {first.slot} loaded k{first.key} twice within {apart / 1e6:.3f} s")
    return wrong


def moving_calls(facts: Facts) -> int:
    """Getter calls beyond deletes while members come and go, whoever made them."""
    loads = Counter(op.key for op in facts.ops if op.op == "load")
    deletes = facts.possible_deletes()
    return sum(max(0, count - deletes[key]) for key, count in loads.items())


# ---- staleness (S18, S21, S31) ----


@dataclasses.dataclass
class Staleness:
    worst: int
    wrong: list[str]
    in_doubt: int


def staleness(facts: Facts, limit: Callable[[Op, Op], int | None]) -> Staleness:
    """`limit` says how stale a get may be that a write has overtaken; None: this proves nothing."""
    writes, found = Writes(facts.ops), Staleness(0, [], 0)
    for get in facts.ops:
        if get.op != "get" or not get.ok:
            continue
        write = writes.overtaken_by(get)
        if write is None:
            continue
        allowed = limit(get, write)
        if allowed is None:
            found.in_doubt += 1
            continue
        stale = get.at - write.end
        found.worst = max(found.worst, stale)
        if stale > allowed:
            found.wrong.append(f"{get} was {stale / 1e6:.3f} s behind {write}; allowed are {allowed / 1e6:.3f} s")
    return found


def steady_limit(facts: Facts) -> Callable[[Op, Op], int]:
    """While views stay: the writer and the owner see a write at once, others within a lease, or fallback_ttl."""

    def limit(get: Op, write: Op) -> int:
        if get.process == write.process or facts.addresses[get.slot] == facts.owner(get):
            return 0
        suspect = any(facts.is_suspect(down, get, FALLBACK_TTL) for down in facts.downs(get))
        return FALLBACK_TTL if suspect else LEASE

    return limit


# ---- counters (S38) ----

OUTCOMES = (
    "hits hot_hits stale_hits negative_hits loaded load_joined fetched fetch_joined fallbacks not_found failed in_progress"
).split()
PEER_OUTCOMES = "peer_hits peer_stale_hits peer_negative_hits peer_loaded peer_load_joined peer_not_found peer_failed".split()


def counters(who: str, stats: Mapping[str, int], ops: Iterable[Op]) -> list[str]:
    """The counters of a process at rest, against what it wrote down."""
    wrong = []
    seen = Counter(op.op for op in ops)
    failed = sum(op.op == "get" and op.outcome not in ("OK", "NOT_FOUND") for op in ops)
    pairs = {
        "gets and their outcomes": (stats["gets"], sum(stats[name] for name in OUTCOMES)),
        "gets served for peers and their outcomes": (stats["peer_gets"], sum(stats[name] for name in PEER_OUTCOMES)),
        "gets counted and on record": (stats["gets"], seen["get"]),
        "failed gets counted and on record": (stats["failed"], failed),
        "getter calls counted and on record": (stats["loads"], seen["load"]),
        "gets in progress at rest, and none": (stats["in_progress"], 0),
        "stuck loads, and none": (stats["stuck_loads"], 0),
    }
    for what, (one, other) in pairs.items():
        if one != other:
            wrong.append(f"{who}: {what}: {one} and {other}")
    return wrong


# ---- what peers say (S8a) ----

#: Metrics of a node that stay at 0 as long as it understands its peers.
MISUNDERSTOOD = ("kamacache_malformed_total", "kamacache_links_refused_total", "kamacache_options_differ")


def misunderstood(who: str, metrics: Mapping[str, float]) -> list[str]:
    return [f"{who}: {name} is {metrics[name]:g}, not 0" for name in MISUNDERSTOOD if metrics[name] != 0]


# ---- leaks (S39) ----


# The runtime's pool for blocking calls, as reads of the members' file are, keeps a second thread that was
# needed once for as long as calls come every few seconds.
POOL_THREADS = 1


def leaked(who: str, before: Held, after: Held, more_peers: int) -> list[str]:
    """A peer has two connections: one each way."""
    wrong = []
    for what, one, other in (
        ("file descriptors", before.files + 2 * more_peers, after.files),
        ("threads", before.threads + POOL_THREADS, after.threads),
    ):
        if other > one:
            wrong.append(f"{who}: {other - one} {what} more than the {one} before the fault")
    grown = after.resident - before.resident
    if grown > SLACK_BYTES:
        wrong.append(f"{who}: {grown >> 20} MiB more than the {before.resident >> 20} MiB before the fault")
    return wrong
