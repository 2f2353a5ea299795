"""No fault but time: whether memory stays flat once the cache is full (S39)."""

from __future__ import annotations

import os

from case import Case
from ring import Load, Ring

from rows import row

MINUTES = float(os.environ.get("MINUTES") or 10)
#: Far more keys than their budgets hold.
KEYS, MAX_BYTES = 3_000, 64 << 10
#: Looks at a process, and how much more it may hold in the last quarter than in the second.
LOOKS, GROWTH = 120, 4 << 20


@row("soak", "a full cache under a mixed load", sizes=(), minutes=MINUTES + 5)
async def soak(case: Case) -> None:
    ring = case.ring = Ring(case.folder, KEYS, case.seed, Load(readers=6, pause_ms=8, writes=30))
    for language in case.size.trio:
        await ring.add(language, max_bytes=str(MAX_BYTES))
    await ring.connect()
    await case.begin()
    resident: list[list[int]] = []
    async with case.fault():
        for _ in range(LOOKS):
            await case.last(MINUTES * 60 / LOOKS)
            resident.append([worker.held().resident for worker in ring.workers])
    for number, worker in enumerate(ring.workers):
        held = [look[number] for look in resident]
        early, late = max(held[LOOKS // 4 : LOOKS // 2]), max(held[-LOOKS // 4 :])
        case.out.notes.append(f"{worker.language}: {early >> 10} KiB, then {late >> 10} KiB")
        if late - early > GROWTH:
            case.wrong(f"{worker} grew from {early >> 10} KiB to {late >> 10} KiB")
        stats = (await worker.do("stats"))["stats"]
        if not stats["evictions"] > 0:
            case.wrong(f"the cache of {worker} was never full")
    # What was evicted is loaded again.
    case.moves = len
    await case.end()
