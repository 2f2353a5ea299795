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
from ring import Ring, Worker

Fault = Callable[[Case], Awaitable[None]]


@dataclasses.dataclass(frozen=True)
class Row:
    title: str
    run: Fault
    #: Whether the small size has it too.
    small: bool


ROWS: dict[str, Row] = {}


def row(name: str, title: str, *, small: bool = True) -> Callable[[Fault], Fault]:
    def register(function: Fault) -> Fault:
        ROWS[name] = Row(title, function, small)
        return function

    return register


async def trio(case: Case) -> Ring:
    """The ring of most rows: every language."""
    ring = case.ring
    for language in case.size.trio:
        await ring.add(language)
    await ring.connect()
    return ring


async def again(case: Case, worker: Worker) -> Worker:
    """A successor at the same address, under load."""
    ring = case.ring
    successor = await ring.add(worker.language, worker.slot, listen=worker.address, peers=",".join(ring.addresses))
    await ring.begin(successor)
    return successor


def moving_limit(get: Op, write: Op) -> int:
    """Soon after views agree again: hot_ttl, fallback_ttl or two heartbeats, and a round trip (S31)."""
    return HOT_TTL + SECOND // 4
