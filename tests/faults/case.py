"""One row of the suite: a ring under load, a fault, and the judgement.

Invariant: a row that did not run to its end, or whose record breaks the
contract, has complaints. The order is always the same: warm, load ("before"),
rest and measure, load, fault ("during"), healed ("after"), rest, measure,
every key written and read once more, close under load.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import pathlib
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence

import checks
from checks import Down, Facts
from records import Op, p99, read
from ring import SWEEP, Broken, Held, Load, Ring, Worker, microseconds, until

#: How long what a fault needed may be held: warm_window, and a little, in seconds.
SETTLED = 35


@dataclasses.dataclass(frozen=True)
class Size:
    """How large a run is: seconds of the phases, and the rings."""

    before: float
    during: float
    after: float
    keys: int
    trio: Sequence[str]
    rolling: Sequence[str]
    crowd: int
    changes: int
    repeats: int


SIZES = {
    "small": Size(1.0, 2.5, 3.5, 200, ("python", "nodejs", "c"), ("c", "python", "c", "nodejs"), 8, 10, 1),
    "full": Size(
        4.0, 6.0, 6.0, 400, ("python", "nodejs", "c", "c"),
        ("c", "python", "c", "nodejs", "c", "python", "c", "nodejs"), 20, 40, 3,
    ),
}  # fmt: skip


@dataclasses.dataclass
class Outcome:
    """A line of the table."""

    title: str
    skipped: str = ""
    operations: int = 0
    failed: int = 0
    extra: int = 0
    allowed: int = 0
    stale_ms: float = 0
    p99: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    notes: list[str] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)


class Case:
    def __init__(self, title: str, folder: pathlib.Path, size: Size, seed: int) -> None:
        self.size, self.folder = size, folder
        self.random = random.Random(f"{seed} {title}")
        self.seed = seed
        self.out = Outcome(title)
        self.ring = Ring(folder, size.keys, seed, Load())
        self.down: list[Down] = []
        self.stopped: list[tuple[int, int, int]] = []
        #: Set by rows whose members change: how many extra getter calls that may cost, and how stale a get may be.
        self.moves: Callable[[list[Op]], int] | None = None
        self.limit: Callable[[Op, Op], int | None] | None = None
        #: What a row adds when all has been judged.
        self.judged: Callable[[], object] = lambda: None
        self._begun = self._fault = self._healed = self._end = self._closing = 0
        self._before: dict[int, Held] = {}
        self._members = 0
        self._owners: list[str] = []

    # ---- the phases ----

    async def last(self, seconds: float) -> None:
        """The ring works on for so long."""
        await asyncio.sleep(seconds)

    async def begin(self) -> None:
        """The ring is complete: warms it, and shows what it does without a fault."""
        ring = self.ring
        ring.parts = ring.parts or len(ring.live)
        await ring.agree()
        self._owners, self._members = await ring.workers[0].owners(), len(ring.live)
        # Those that get several keys at a time first, which starts the threads of all.
        for worker in sorted(ring.workers, key=lambda worker: worker.language == "c"):
            await worker.do("sweep", SWEEP)
        self._begun = microseconds()
        await ring.begin()
        await self.last(self.size.before)
        await ring.each("rest")
        await self._fetches_are_gets()
        self._before = {worker.process.pid: worker.held() for worker in ring.workers}
        await ring.begin()

    async def _fetches_are_gets(self) -> None:
        """Without faults, what is sent is what is served (S38)."""
        stats = [reply["stats"] for reply in await self.ring.each("stats")]
        sent, served = sum(s["fetches"] for s in stats), sum(s["peer_gets"] for s in stats)
        if sent != served:
            self.wrong(f"before the fault {sent} fetches were sent and {served} served")

    @contextlib.asynccontextmanager
    async def fault(self) -> AsyncIterator[None]:
        self._fault = microseconds()
        yield
        self._healed = microseconds()
        for down in self.down:
            down.until = min(down.until, self._healed)
        await self.last(self.size.after)
        self._end = microseconds()

    async def end(self) -> None:
        """Back at rest: nothing is left behind, every key can be written and read, and closing under load is quiet."""
        ring = self.ring
        await ring.each("rest")
        await self._left_behind()
        await asyncio.gather(*(worker.do(f"touch {worker.slot} {ring.parts}", SWEEP) for worker in ring.workers))
        touched = microseconds()
        await ring.each("sweep", seconds=SWEEP)
        await self._counters()
        await self.misunderstood()
        last = [op for op in self._records() if op.at >= self._end and op.is_write]
        for op in last:
            if not op.ok and op.at < touched:
                self.wrong(f"after the fault: {op}")
        self._closing = microseconds()
        await ring.begin()
        await asyncio.gather(*(self._closes(worker) for worker in ring.workers))

    async def _closes(self, worker: Worker) -> None:
        code = await worker.end(signal.SIGTERM)
        if code != 0:
            self.wrong(f"{worker} ended with code {code} on SIGTERM under load: {worker.complaints()}")

    async def _left_behind(self) -> None:
        """Idle threads and closed connections take a moment to go; links of earlier views a warm window."""
        more = max(0, len(self.ring.live) - self._members)

        def left() -> list[str]:
            pairs = ((worker, self._before.get(worker.process.pid)) for worker in self.ring.workers)
            return [text for worker, before in pairs if before for text in checks.leaked(str(worker), before, worker.held(), more)]

        async def nothing() -> bool:
            return not left()

        with contextlib.suppress(Broken):  # what is left is told below
            await until("nothing is left behind", nothing, SETTLED)
        self.out.wrong += left()

    async def _counters(self) -> None:
        for number, worker in enumerate(self.ring.all):
            if self.ring.live.get(worker.slot) is worker:
                stats = (await worker.do("stats"))["stats"]
                self.out.wrong += checks.counters(str(worker), stats, read(worker.ops, number, worker.slot))

    async def misunderstood(self) -> None:
        """What nodes did not understand of their peers."""
        for worker in self.ring.workers:
            self.out.wrong += checks.misunderstood(str(worker), await worker.metrics())

    # ---- what a row says of its fault ----

    def wrong(self, text: str) -> None:
        self.out.wrong.append(text)

    def pick(self) -> Worker:
        return self.random.choice(self.ring.workers)

    def is_down(self, worker: Worker, *, cold: bool = False, seen_by: frozenset[int] | None = None) -> Down:
        down = Down(worker.address, microseconds(), cold=cold, seen_by=seen_by)
        self.down.append(down)
        return down

    def stood_still(self, worker: Worker, since: int) -> None:
        """A stopped process cannot answer its own program."""
        self.stopped.append((worker.slot, since, microseconds()))

    # ---- the judgement ----

    def _records(self) -> list[Op]:
        records = (read(worker.ops, number, worker.slot) for number, worker in enumerate(self.ring.all))
        return sorted((op for ops in records for op in ops), key=lambda op: op.at)

    def judge(self) -> Outcome:
        out, ring = self.out, self.ring
        ops = [op for op in self._records() if self._begun <= op.at < self._closing]
        addresses = {worker.slot: worker.address for worker in ring.all}
        facts = Facts(ops, self._owners, addresses, self.down, ring.versions(), self.stopped)
        out.operations = sum(op.op != "load" for op in ops)
        gets = [op for op in ops if op.op == "get"]

        failed = checks.failed_gets(ops, ring.all, self._stood_still)
        out.failed = len(failed)
        out.wrong += [f"a failed get: {op}" for op in failed]

        if self.moves is None:
            calls = checks.steady_calls(facts)
            out.extra, out.allowed = calls.extra, calls.allowed
            out.wrong += calls.wrong
        else:
            out.extra, out.allowed = checks.moving_calls(facts), self.moves(ops)
            if out.extra > out.allowed:
                self.wrong(f"{out.extra} extra getter calls, {out.allowed} allowed")

        stale = checks.staleness(facts, self.limit or checks.steady_limit(facts))
        out.stale_ms = stale.worst / 1000
        out.wrong += stale.wrong
        out.p99 = (
            p99(op for op in gets if op.at < self._fault),
            p99(op for op in gets if self._fault <= op.at < self._healed and not self._stood_still(op)),
            p99(op for op in gets if self._healed <= op.at < self._end and not self._stood_still(op)),
        )
        for phase, (since, to) in {"during": (self._fault, self._healed), "after": (self._healed, self._end)}.items():
            if not any(since <= op.at < to for op in gets):
                self.wrong(f"nothing was got {phase} the fault")
        self.judged()
        return out

    def _stood_still(self, op: Op) -> bool:
        return any(op.slot == slot and op.at <= to and since <= op.end for slot, since, to in self.stopped)
