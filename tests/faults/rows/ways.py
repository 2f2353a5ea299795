"""Rows about what is between nodes: partitions, slow ways, silence."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import checks
from case import Case
from checks import SECOND
from network import Network
from proxy import Proxy, silent_peer
from records import Op
from ring import microseconds

from rows import WINDOW, moving_limit, row, trio


@contextlib.asynccontextmanager
async def hosts(case: Case) -> AsyncIterator[Network]:
    """A ring of which each node is a host of its own."""
    async with Network(len(case.size.trio)) as network:
        for number, language in enumerate(case.size.trio):
            await case.ring.add(language, listen=f"{network.host(number)}:0", within=network.within(number))
        await case.ring.connect()
        try:
            yield network
        finally:
            await case.ring.stop()


def cut_off(case: Case, one: set[int], other: set[int]) -> None:
    """Neither side hears the other."""
    for worker in case.ring.workers:
        case.is_down(worker, seen_by=frozenset(other if worker.slot in one else one))


@row("partition", "partition: packets lost without a word")
async def partition(case: Case) -> None:
    async with hosts(case) as network:
        await case.begin()
        apart = {case.pick().slot}
        async with case.fault():
            cut_off(case, apart, set(case.ring.live) - apart)
            await network.split(sorted(apart))
            await case.last(case.size.during)
            await network.join()
        await case.end()


@row("one-way", "a route into nothing, one way only", sizes=("full",))
async def one_way(case: Case) -> None:
    async with hosts(case) as network:
        await case.begin()
        one, other = case.random.sample(case.ring.workers, 2)
        async with case.fault():
            case.is_down(one, seen_by=frozenset([other.slot]))
            case.is_down(other, seen_by=frozenset([one.slot]))
            await network.blackhole(one.slot, other.slot)
            await case.last(case.size.during)
            await network.blackhole(one.slot, other.slot, add=False)
        await case.end()


@row("two-views", "partition, and each side a ring of its own", sizes=("full",))
async def two_views(case: Case) -> None:
    async with hosts(case) as network:
        ring = case.ring
        await case.begin()
        apart = {case.pick().slot}
        sides = [[w for w in ring.workers if (w.slot in apart) is side] for side in (True, False)]
        async with case.fault():
            await network.split(sorted(apart))
            for side in sides:
                await ring.each("peers " + ",".join(w.address for w in side), side)
            await case.last(case.size.during)
            healed = microseconds()
            await network.join()
            await ring.connect()
            agreed = microseconds()
        last = 0

        def limit(get: Op, write: Op) -> int | None:
            """Across the partition nothing is known of a write; nor anywhere until some time after the views agree (S31)."""
            nonlocal last
            other_side = (get.slot in apart) != (write.slot in apart)
            if (other_side or healed <= get.at) and get.at <= agreed + WINDOW:
                last = max(last, get.at - agreed)
                return None
            return WINDOW

        case.limit = limit
        # Each side loads the keys that it takes over, and those that it gets back.
        case.moves = lambda ops: 3 * case.size.keys + sum(op.op == "delete" for op in ops)
        await case.end()
        case.judged = lambda: case.out.notes.append(f"the last stale get {max(0, last) / SECOND:.1f} s after views agreed")


@contextlib.asynccontextmanager
async def proxied(case: Case) -> AsyncIterator[dict[int, Proxy]]:
    """A ring of which each node is reached through a proxy."""
    proxies = {}
    for slot, language in enumerate(case.size.trio):
        proxy = proxies[slot] = await Proxy.start()
        await case.ring.add(language, slot, listen=proxy.behind, advertise=proxy.address)
    await case.ring.connect()
    try:
        yield proxies
    finally:
        for proxy in proxies.values():
            await proxy.stop()


@row("slow", "50 ms of delay, and bytes that drip")
async def slow(case: Case) -> None:
    async with proxied(case) as proxies:
        await case.begin()
        dripping = case.pick().slot
        async with case.fault():
            for proxy in proxies.values():
                proxy.delay = 0.05
            proxies[dripping].drip = 0.001
            await case.last(case.size.during)
            for proxy in proxies.values():
                proxy.delay, proxy.drip = 0.0, None
        await case.end()


@row("black-hole", "connections that end in a black hole")
async def black_hole(case: Case) -> None:
    async with proxied(case) as proxies:
        await case.begin()
        victim = case.pick()
        async with case.fault():
            case.is_down(victim)
            proxies[victim.slot].open.clear()
            await case.last(case.size.during)
            proxies[victim.slot].open.set()
        await case.end()


@row("silent", "a member that takes connections and never answers")
async def silent(case: Case) -> None:
    ring = await trio(case)
    await case.begin()
    with silent_peer() as address:
        async with case.fault():
            began = microseconds()
            await ring.connect([address])
            lost = {key for key, owner in enumerate(await ring.workers[0].owners()) if owner == address}
            await case.last(case.size.during)
            await ring.connect()
            over = microseconds()
    case.out.notes.append(f"it owned {len(lost)} of {case.size.keys} keys")
    case.limit = moving_limit
    spans = (over - began) // checks.FALLBACK_TTL + 2

    def allowed(ops: list[Op]) -> int:
        """One load of each of its keys by each node and fallback_ttl, and one when it is back."""
        failed = sum(op.is_write and not op.ok for op in ops)
        return len(lost) * (len(ring.live) * spans + 1) + failed

    case.moves = allowed
    await case.end()
