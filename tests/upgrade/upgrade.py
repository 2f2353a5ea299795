"""Rolling upgrades, tried: this release and the previous one in one ring, under the
load and the checks of the fault suite, upgraded node by node and back.

    python upgrade.py [--size small|full] [--seed N] [--only up,down] [--at-once N]

Invariant: a process runs the library of its own release, and is asked what it
misunderstood until it ends. scripts/previous builds the previous release.
"""

from __future__ import annotations

import asyncio
import pathlib
import signal
import sys
from collections.abc import Iterable

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "faults"))

import checks  # noqa: E402
import runner  # noqa: E402
from case import Case  # noqa: E402
from ring import PRESENT, ROOT, Broken, Load, Release, Worker  # noqa: E402

from rows import ROWS as FAULTS  # noqa: E402
from rows import Fault, Row, again, moving_limit, processes, row  # noqa: E402

#: Imported, so that its rows are registered.
REGISTERED = processes
NAME, COMMIT = (HERE / "previous").read_text().split()
PREVIOUS = Release(NAME, ROOT / "target/upgrade" / NAME)
UPGRADES: dict[str, Row] = {}
#: Each language in both releases.
BOTH = [(language, release) for language in ("c", "python", "nodejs") for release in (PREVIOUS, PRESENT)]
#: Bytes of a value that does not fit into a link's message: such values go by unary calls.
LARGE = 70_000
#: Faults that are tried in a ring of both releases as well.
MIXED = ("kill", "stop", "leave", "restart", "churn")


async def ring_of(case: Case, release: Release) -> None:
    """A ring of one release, at work."""
    for language in case.size.rolling:
        await case.ring.add(language, release=release)
    await case.ring.connect()
    await case.begin()


async def replace(case: Case, workers: Iterable[Worker], release: Release) -> list[Worker]:
    """One node after the other leaves in order, and the other release starts at its address."""
    successors = []
    for worker in workers:
        await leave(case, worker)
        successors.append(await again(case, worker, release))
        await case.ring.agree()
        await case.last(case.size.during / 4)
    return successors


async def leave(case: Case, worker: Worker) -> None:
    """By SIGTERM; while it leaves its peers may still send it what it does not understand."""
    is_own(worker)
    metrics = await worker.metrics()
    leaving = asyncio.create_task(worker.end(signal.SIGTERM))
    while not leaving.done():
        try:
            metrics = await worker.metrics()
        except Broken:  # it is closed
            break
    if (code := await leaving) != 0:
        case.wrong(f"{worker} ended with code {code} on SIGTERM: {worker.complaints()}")
    case.out.wrong += checks.misunderstood(f"{worker}, which left", metrics)


def is_own(worker: Worker) -> None:
    """A path that leads astray would compare a release with itself."""
    maps = pathlib.Path(f"/proc/{worker.process.pid}/maps").read_text().splitlines()
    paths = {pathlib.Path(line.split(maxsplit=5)[5]) for line in maps if line.count("/") and "kamacache" in line}
    loaded = {path for path in paths if ".so" in path.name or path.suffix == ".node"}
    own = {path for path in loaded if path.is_relative_to(worker.release.root)}
    if worker.release != PREVIOUS:
        own = {path for path in own if not path.is_relative_to(PREVIOUS.root)}
    if not loaded or own != loaded:
        raise Broken(f"{worker} should run the library below {worker.release.root}; it runs {sorted(map(str, loaded))}")


async def finish(case: Case) -> None:
    """As many extra getter calls as a rolling restart may cost: of what a leaver gives little is lost (S32), and
    the program of a node that is back loads its own keys at once (S33)."""
    case.moves = lambda ops: sum(op.op == "get" for op in ops) // 20 + case.size.keys
    case.limit = moving_limit
    for worker in case.ring.workers:
        is_own(worker)
    await case.end()


@row("up", "upgrade, node by node", table=UPGRADES)
async def up(case: Case) -> None:
    await ring_of(case, PREVIOUS)
    async with case.fault():
        await replace(case, case.random.sample(case.ring.workers, len(case.ring.live)), PRESENT)
    await finish(case)


@row("down", "downgrade, node by node", table=UPGRADES)
async def down(case: Case) -> None:
    await ring_of(case, PRESENT)
    async with case.fault():
        await replace(case, case.random.sample(case.ring.workers, len(case.ring.live)), PREVIOUS)
    await finish(case)


@row("back", "an upgrade that is taken back half-way", table=UPGRADES)
async def back(case: Case) -> None:
    await ring_of(case, PREVIOUS)
    half = case.random.sample(case.ring.workers, len(case.ring.live) // 2)
    async with case.fault():
        upgraded = await replace(case, half, PRESENT)
        await replace(case, reversed(upgraded), PREVIOUS)
    await finish(case)


@row("mixed", "both releases in each language, at rest", table=UPGRADES)
async def mixed(case: Case) -> None:
    """Views stay, so all that a ring of one release promises is asked of it."""
    for language, release in BOTH:
        await case.ring.add(language, release=release)
    await case.ring.connect()
    await case.begin()
    async with case.fault():
        await case.last(case.size.during)
    for worker in case.ring.workers:
        is_own(worker)
    await case.end()


@row("large", "upgrade, node by node, of values beyond links", table=UPGRADES)
async def large(case: Case) -> None:
    case.ring.load = Load(readers=2, pause_ms=25, writes=4)
    case.ring.flags = {"pad": str(LARGE)}
    await up(case)


@row("clear", "clears by each node, in a ring of both", table=UPGRADES)
async def clear(case: Case) -> None:
    """What is stale after a clear is judged as after a delete: at once at the owner, within a lease elsewhere."""
    for language, release in BOTH:
        await case.ring.add(language, release=release)
    await case.ring.connect()
    await case.begin()
    async with case.fault():
        for worker in case.ring.workers:
            await worker.do("rest")
            await worker.do(f"clear {worker.slot} {case.ring.parts}")
            await case.ring.begin(worker)
            await case.last(case.size.during / 4)
    clears = len(case.ring.live)
    # Each drops every key; those of its own part are deletes on record.
    case.moves = lambda ops: clears * case.size.keys
    await case.end()


def in_both(fault: Fault) -> Fault:
    """The same row in a ring whose slots have the two releases by turns."""

    async def run(case: Case) -> None:
        first = case.random.randrange(2)
        case.ring.release = lambda slot: (PREVIOUS, PRESENT)[(slot + first) % 2]
        await fault(case)

    return run


for name in MIXED:
    fault = FAULTS[name]
    row(f"mixed-{name}", f"{fault.title}, in a ring of both", sizes=("full",), table=UPGRADES)(in_both(fault.run))


if __name__ == "__main__":
    if not (PREVIOUS.root / "target/faults/node").exists():
        sys.exit(f"upgrade: the previous release is not built; `scripts/previous` builds it, and `make test-upgrade` all")
    sys.exit(asyncio.run(runner.main("upgrade", __doc__ or "", UPGRADES, enough=4)))
