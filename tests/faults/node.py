"""A node of the fault suite in Python: the program that node.mjs and node.c are
in their languages. It serves a group, makes load when it is told to, and writes
down every operation.

Invariant: an operation is on record, as one JSON line written at once, before
its outcome is used; a killed process loses only what it was in the middle of.

The data source is a file of 64-bit versions, one for each key. A writer raises
its key's version there first and then sets or deletes; a value is "VERSION KEY "
and as many bytes as --pad says.
Commands on stdin, one reply a line on stdout: see README.md. Started by ring.py.
"""

import argparse
import asyncio
import bisect
import dataclasses
import itertools
import json
import logging
import os
import random
import signal
import struct
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import kamacache

GET_TIMEOUT, WRITE_TIMEOUT = "2.5s", "3s"
#: Few, so that all have started before what a process holds is measured; and
#: how many keys a sweep gets at the same time, which starts them.
GETTER_THREADS, AT_ONCE = 4, 32


def microseconds() -> int:
    return time.monotonic_ns() // 1000


class Record:
    """The file of operations."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, op: str, number: int, at: int, outcome: str, version: int) -> None:
        took = microseconds() - at
        line = {"op": op, "key": number, "at": at, "took": took, "outcome": outcome, "version": version}
        os.write(self._file, json.dumps(line).encode() + b"\n")


class Source:
    """The data source: the version of each key."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR)
        self.keys = os.fstat(self._file).st_size // 8

    def version(self, number: int) -> int:
        version: int = struct.unpack("<q", os.pread(self._file, 8, number * 8))[0]
        return version

    def raise_version(self, number: int) -> int:
        version = self.version(number) + 1
        os.pwrite(self._file, struct.pack("<q", version), number * 8)
        return version


def value_of(version: int, key: str, pad: int) -> str:
    return f"{version} {key} {'x' * pad}"


def key_of(number: int) -> str:
    return f"k{number}"


class Program:
    def __init__(self, options: argparse.Namespace) -> None:
        self.source = Source(options.source)
        self.record = Record(options.ops)
        self.node = kamacache.Node(
            options.listen,
            advertise=options.advertise,
            peers=options.peers.split(",") if options.peers else (),
            discovery=options.discovery,
            admin="127.0.0.1:0",
            getter_threads=GETTER_THREADS,
        )
        self.group = self.node.group("faults", self.load, max_bytes=options.max_bytes, hot_ttl="2s", codec="str")
        self.pad = options.pad
        self.loops: list[asyncio.Task[None]] = []
        self.going = False
        self.stop = asyncio.Event()

    def load(self, key: str) -> str:
        """The getter; on several threads."""
        number, at = int(key[1:]), microseconds()
        version = self.source.version(number)
        self.record.add("load", number, at, "OK", version)
        return value_of(version, key, self.pad)

    # ---- operations ----

    async def get(self, number: int) -> str:
        at, version, key = microseconds(), -1, key_of(number)
        try:
            text, whose, _ = (await self.group.aget(key, timeout=GET_TIMEOUT)).split(" ")
            version, outcome = int(text), "OK" if whose == key else "WRONG_VALUE"
        except kamacache.KamaCacheError as error:
            outcome = error.name
        self.record.add("get", number, at, outcome, version)
        return outcome

    async def write(self, number: int, deletes: bool) -> str:
        version, key, outcome = self.source.raise_version(number), key_of(number), "OK"
        at = microseconds()
        try:
            if deletes:
                await self.group.adelete(key, timeout=WRITE_TIMEOUT)
            else:
                await self.group.aset(key, value_of(version, key, self.pad), timeout=WRITE_TIMEOUT)
        except kamacache.KamaCacheError as error:
            outcome = error.name
        self.record.add("delete" if deletes else "set", number, at, outcome, version)
        return outcome

    # ---- load ----

    async def read_on(self, random: random.Random, weights: list[float], pause: float) -> None:
        while self.going:
            number = bisect.bisect_left(weights, random.random() * weights[-1])
            if await self.get(number) == "CLOSED":
                return
            await asyncio.sleep(pause)

    async def write_on(self, random: random.Random, own: range, per_second: float) -> None:
        while self.going:
            if await self.write(random.choice(own), random.random() < 0.5) == "CLOSED":
                return
            await asyncio.sleep(1 / per_second)

    async def command_load(self, seed: str, readers: str, pause: str, writes: str, part: str, parts: str) -> None:
        """`readers` loops of Zipf gets, `pause` ms between two; `writes` a second on this part of the keys."""
        self.going = True
        weights = list(itertools.accumulate((i + 1) ** -0.99 for i in range(self.source.keys)))
        for reader in range(int(readers)):
            loop = self.read_on(random.Random(f"{seed} {reader}"), weights, float(pause) / 1000)
            self.loops.append(asyncio.create_task(loop))
        if float(writes) > 0:
            own = range(int(part), self.source.keys, int(parts))
            self.loops.append(asyncio.create_task(self.write_on(random.Random(seed), own, float(writes))))

    async def command_rest(self) -> None:
        """Ends the load; every operation has ended when it answers."""
        self.going = False
        await asyncio.gather(*self.loops)
        self.loops.clear()

    async def command_sweep(self) -> None:
        """Gets every key once."""
        keys = range(self.source.keys)
        for start in range(0, len(keys), AT_ONCE):
            await asyncio.gather(*(self.get(number) for number in keys[start : start + AT_ONCE]))

    async def command_touch(self, part: str, parts: str) -> None:
        """Sets every key of a part."""
        for number in range(int(part), self.source.keys, int(parts)):
            await self.write(number, False)

    async def command_clear(self, part: str, parts: str) -> None:
        """Raises every version of a part, then clears the group: on record as a delete of each of its keys."""
        numbers = range(int(part), self.source.keys, int(parts))
        versions = [self.source.raise_version(number) for number in numbers]
        at, outcome = microseconds(), "OK"
        try:
            await self.group.aclear(timeout=WRITE_TIMEOUT)
        except kamacache.KamaCacheError as error:
            outcome = error.name
        for number, version in zip(numbers, versions, strict=True):
            self.record.add("delete", number, at, outcome, version)

    async def command_peers(self, addresses: str) -> None:
        self.node.set_peers(addresses.split(","))

    async def command_members(self) -> dict[str, Any]:
        return {"members": self.node.members()}

    async def command_owners(self) -> dict[str, Any]:
        return {"owners": [self.node.owner(key_of(number)) for number in range(self.source.keys)]}

    async def command_stats(self) -> dict[str, Any]:
        return {"stats": dataclasses.asdict(self.group.stats())}

    async def answer(self, line: str) -> dict[str, Any]:
        name, *arguments = line.split()
        try:
            return {"ok": True, **(await getattr(self, f"command_{name}")(*arguments) or {})}
        except kamacache.KamaCacheError as error:
            return {"ok": False, "code": error.name, "message": str(error)}

    async def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop.set)
        async with self.node:
            say({"ready": True, "address": self.node.address, "admin": self.node.admin_address})
            commands = asyncio.create_task(self.obey())
            await self.stop.wait()
            commands.cancel()

    async def obey(self) -> None:
        async for line in lines():
            say(await self.answer(line))


def say(reply: dict[str, Any]) -> None:
    print(json.dumps(reply), flush=True)


async def lines() -> AsyncIterator[str]:
    """Lines of stdin. A thread reads them."""
    arrived: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in open(0, "rb", closefd=False):
            loop.call_soon_threadsafe(arrived.put_nowait, line.decode())

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield await arrived.get()


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("listen", "advertise", "peers", "discovery"):
        parser.add_argument(f"--{flag}")
    parser.add_argument("--max-bytes", default="16MiB")
    parser.add_argument("--pad", type=int, default=0)
    for flag in ("source", "ops", "log"):
        parser.add_argument(f"--{flag}", required=True)
    options = parser.parse_args()
    logging.raiseExceptions = False  # a full disk is no reason to say so on stderr for each record
    logging.basicConfig(filename=options.log, level=logging.DEBUG)
    try:
        asyncio.run(Program(options).run())
    except kamacache.KamaCacheError as error:
        sys.exit(f"node.py: {error.name}: {error}")


if __name__ == "__main__":
    main()
