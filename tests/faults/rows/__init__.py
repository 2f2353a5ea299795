"""The faults: one function for each row, registered with its title.

A row builds its ring, calls `begin`, does harm inside `fault`, says of whom it
must be known that they were down, and calls `end`. Here are the register and
what rows share. Used by suite.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

from case import Case
from checks import HOT_TTL, SECOND
from records import Op
from ring import Release, Ring, Worker

Fault = Callable[[Case], Awaitable[None]]


@dataclasses.dataclass(frozen=True)
class Row:
    title: str
    run: Fault
    #: The sizes that have it; it can always be named.
    sizes: tuple[str, ...]
    #: How long it is meant to take beyond what rows take.
    minutes: float


ROWS: dict[str, Row] = {}


def row(
    name: str,
    title: str,
    *,
    sizes: tuple[str, ...] = ("small", "full"),
    minutes: float = 0,
    table: dict[str, Row] = ROWS,
) -> Callable[[Fault], Fault]:
    def register(function: Fault) -> Fault:
        table[name] = Row(title, function, sizes, minutes)
        return function

    return register


async def trio(case: Case) -> Ring:
    """The ring of most rows: every language."""
    ring = case.ring
    for language in case.size.trio:
        await ring.add(language)
    await ring.connect()
    return ring


async def again(case: Case, worker: Worker, release: Release | None = None) -> Worker:
    """A successor at the same address, under load; of the same release, if no other is named."""
    ring = case.ring
    successor = await ring.add(
        worker.language, worker.slot,
        listen=worker.address, peers=",".join(ring.addresses), release=release or worker.release,
    )  # fmt: skip
    await ring.begin(successor)
    return successor


#: Soon after views agree again: hot_ttl, fallback_ttl or two heartbeats, and a round trip (S31).
WINDOW = HOT_TTL + SECOND // 4


def moving_limit(get: Op, write: Op) -> int:
    """How stale a get may be while members come and go."""
    return WINDOW
