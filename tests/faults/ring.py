"""A ring of the suite's programs, each a process: started, asked, harmed, stopped.

Invariant: whoever starts a process ends it; nothing waits without a deadline; a
process does not outlive the suite. Used by case.py and rows/.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: How long a process may take to start, to answer, to end, in seconds.
START, ANSWER, STOP = 30.0, 20.0, 15.0
#: How long it may work on every key.
SWEEP = 120.0


@dataclasses.dataclass(frozen=True)
class Release:
    """A tree of this repository in which the programs were built."""

    name: str
    root: pathlib.Path

    def program(self, language: str) -> list[str]:
        faults = self.root / "tests/faults"
        return {
            "python": [str(self.root / ".venv/bin/python"), str(faults / "node.py")],
            # V8 lets its young generation grow for minutes, which would hide what leaks.
            "nodejs": ["node", "--max-semi-space-size=1", str(faults / "node.mjs")],
            "c": [str(self.root / "target/faults/node")],
        }[language]


PRESENT = Release("this release", ROOT)


class Broken(Exception):
    """A process did not do what every process must; the message says what it said."""


def microseconds() -> int:
    """The clock of all records: monotonic, the same in all processes of a machine."""
    return time.monotonic_ns() // 1000


async def until(what: str, done: Callable[[], Awaitable[bool]], seconds: float = ANSWER) -> None:
    """Waits for a condition that only asking can tell."""
    deadline = time.monotonic() + seconds
    while not await done():
        if time.monotonic() > deadline:
            raise Broken(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.02)


@dataclasses.dataclass(frozen=True)
class Held:
    """What a process holds, as /proc tells."""

    files: int
    threads: int
    resident: int


@dataclasses.dataclass(frozen=True)
class Load:
    readers: int = 4
    pause_ms: float = 12
    writes: float = 12


class Worker:
    """One process. `slot` is its place in the ring, which a successor takes over; `within` the
    command that runs programs where the process runs."""

    def __init__(
        self,
        language: str,
        release: Release,
        slot: int,
        process: asyncio.subprocess.Process,
        files: pathlib.Path,
        within: Sequence[str],
    ) -> None:
        self.language, self.release, self.slot = language, release, slot
        self.process, self.files, self.within = process, files, within
        self.address = self.admin = ""
        self.started = microseconds()
        #: When it was told or made to end; its own operations prove nothing after that.
        self.ending: int | None = None
        self._turn = asyncio.Lock()

    def __str__(self) -> str:
        release = "" if self.release == PRESENT else f" of {self.release.name}"
        return f"{self.language} node {self.slot}{release} ({self.address})"

    @property
    def ops(self) -> pathlib.Path:
        return self.files.with_suffix(".ops")

    def complaints(self) -> str:
        return self.files.with_suffix(".err").read_text(errors="replace").strip()[-2000:]

    async def _line(self, what: str, seconds: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), seconds)
        except TimeoutError:
            raise Broken(f"{self} did not answer {what!r} within {seconds:g} s") from None
        if not line:
            raise Broken(f"{self} ended at {what!r}: {self.complaints() or 'it said nothing'}")
        reply = json.loads(line)
        assert isinstance(reply, dict), reply
        return reply

    async def ready(self) -> None:
        reply = await self._line("ready", START)
        self.address, self.admin = reply["address"], reply["admin"]

    async def do(self, command: str, seconds: float = ANSWER) -> dict[str, Any]:
        """Gives a command, which must succeed; its reply."""
        async with self._turn:
            assert self.process.stdin is not None
            with contextlib.suppress(ConnectionError):  # its end is told below
                self.process.stdin.write(command.encode() + b"\n")
                await self.process.stdin.drain()
            reply = await self._line(command, seconds)
        if reply.get("ok") is not True:
            raise Broken(f"{command.split()[0]!r} at {self}: {reply}")
        return reply

    async def members(self) -> list[str]:
        members: list[str] = (await self.do("members"))["members"]
        return members

    async def owners(self) -> list[str]:
        owners: list[str] = (await self.do("owners"))["owners"]
        return owners

    async def metrics(self) -> dict[str, float]:
        """What the node counts, of metrics without labels."""
        process = await asyncio.create_subprocess_exec(
            *self.within, "curl", "--silent", "--show-error", "--fail", "--max-time", f"{ANSWER:g}", f"http://{self.admin}/metrics",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        text, errors = await process.communicate()
        if process.returncode != 0:
            raise Broken(f"the metrics of {self}: {errors.decode().strip()}")
        lines = (line.split() for line in text.decode().splitlines() if line[:1] not in ("", "#"))
        return {name: float(value) for name, value in lines if "{" not in name}

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self, number: signal.Signals) -> int:
        """Signals it and waits for its end; the exit code."""
        self.ending = microseconds()
        with contextlib.suppress(ProcessLookupError):
            self.send(number)
        try:
            return await asyncio.wait_for(self.process.wait(), STOP)
        except TimeoutError:
            raise Broken(f"{self} did not end within {STOP:g} s of {number.name}") from None

    def held(self) -> Held:
        proc = pathlib.Path(f"/proc/{self.process.pid}")
        pages = int((proc / "statm").read_text().split()[1])
        return Held(len(os.listdir(proc / "fd")), len(os.listdir(proc / "task")), pages * os.sysconf("SC_PAGE_SIZE"))


class Ring:
    """The processes of one row, and the data source that they read."""

    def __init__(self, folder: pathlib.Path, keys: int, seed: int, load: Load) -> None:
        self.folder, self.keys, self.seed, self.load = folder, keys, seed, load
        self.source = folder / "source"
        self.source.write_bytes(struct.pack("<q", 1) * keys)
        self.live: dict[int, Worker] = {}
        self.all: list[Worker] = []
        #: Into how many parts the keys are dealt, one for each writer; 0: not dealt yet.
        self.parts = 0
        #: Flags of all programs.
        self.flags: dict[str, str] = {}
        #: Which release runs in a slot.
        self.release: Callable[[int], Release] = lambda slot: PRESENT

    @property
    def workers(self) -> list[Worker]:
        return list(self.live.values())

    @property
    def addresses(self) -> list[str]:
        return [worker.address for worker in self.workers]

    async def add(
        self,
        language: str,
        slot: int | None = None,
        *,
        listen: str = "127.0.0.1:0",
        log: pathlib.Path | None = None,
        environment: dict[str, str] | None = None,
        within: Sequence[str] = (),
        release: Release | None = None,
        **flags: str,
    ) -> Worker:
        """One more process. `within` is a command that runs the program somewhere else."""
        slot = len(self.live) if slot is None else slot
        release = release or self.release(slot)
        files = self.folder / f"{slot}-{len(self.all)}-{language}"
        flags |= self.flags | {"listen": listen, "source": str(self.source), "ops": str(files.with_suffix(".ops"))}
        flags["log"] = str(log or files.with_suffix(".log"))
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        arguments = [text for name, value in flags.items() for text in (f"--{name.replace('_', '-')}", value)]
        with files.with_suffix(".err").open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *guard, *within, *release.program(language), *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
                env=os.environ | (environment or {}), start_new_session=True, limit=1 << 24,
            )  # fmt: skip
        worker = Worker(language, release, slot, process, files, within)
        self.live[slot] = worker
        self.all.append(worker)
        await worker.ready()
        return worker

    def gone(self, worker: Worker) -> None:
        del self.live[worker.slot]

    def versions(self) -> tuple[int, ...]:
        """What the data source says of each key."""
        return struct.unpack(f"<{self.keys}q", self.source.read_bytes())

    async def each(
        self, command: str, workers: Iterable[Worker] | None = None, *, seconds: float = ANSWER
    ) -> list[dict[str, Any]]:
        chosen = self.workers if workers is None else list(workers)
        return list(await asyncio.gather(*(worker.do(command, seconds) for worker in chosen)))

    async def connect(self, more: Iterable[str] = ()) -> None:
        """Gives every process the list of all, and of `more`."""
        await self.each("peers " + ",".join([*self.addresses, *more]))

    async def agree(self, members: Iterable[str] | None = None, seconds: float = ANSWER) -> None:
        """Waits until all have the same members: those that run."""
        expected = sorted(self.addresses if members is None else members)

        async def agreed() -> bool:
            return all([await worker.members() == expected for worker in self.workers])

        await until(f"all members are {expected}", agreed, seconds)

    async def begin(self, *workers: Worker) -> None:
        """Puts these, or all, under load."""
        load = self.load
        for worker in workers or self.workers:
            seed = self.seed * 1000 + worker.slot * 10
            await worker.do(f"load {seed} {load.readers} {load.pause_ms} {load.writes} {worker.slot} {self.parts}")

    async def stop(self) -> None:
        """Ends whatever still runs."""
        running = [worker for worker in self.all if worker.process.returncode is None]
        for worker in running:
            with contextlib.suppress(ProcessLookupError):
                worker.send(signal.SIGKILL)
        for worker in running:
            await worker.process.wait()
