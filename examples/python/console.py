"""The console of the example: one command a line on stdin, one JSON reply a
line on stdout, in the same order.

    get KEY | set KEY VALUE | delete KEY | peek KEY | burst N KEY
    owner KEY | members | peers A,B | stats | quit
"""

import asyncio
import dataclasses
import json
import threading
from typing import Any

import kamacache


class Console:
    """A method for each command; it returns what the reply says besides "ok"."""

    def __init__(self, node: kamacache.Node, scores: kamacache.Group[str], stop: asyncio.Event) -> None:
        self.node = node
        self.scores = scores
        self.stop = stop

    async def get(self, key: str) -> dict[str, Any]:
        return {"value": await self.scores.aget(key)}

    async def set(self, key: str, value: str) -> dict[str, Any]:
        await self.scores.aset(key, value)
        return {}

    async def delete(self, key: str) -> dict[str, Any]:
        await self.scores.adelete(key)
        return {}

    async def peek(self, key: str) -> dict[str, Any]:
        return {"value": self.scores.peek(key)}

    async def burst(self, count: str, key: str) -> dict[str, Any]:
        values = await asyncio.gather(*(self.scores.aget(key) for _ in range(int(count))))
        return {"n": int(count), "values": sorted(set(values))}

    async def owner(self, key: str) -> dict[str, Any]:
        return {"owner": self.node.owner(key)}

    async def members(self) -> dict[str, Any]:
        return {"members": self.node.members()}

    async def peers(self, addresses: str) -> dict[str, Any]:
        self.node.set_peers(addresses.split(","))
        return {}

    async def stats(self) -> dict[str, Any]:
        return {"stats": dataclasses.asdict(self.scores.stats())}

    async def quit(self) -> dict[str, Any]:
        self.stop.set()
        return {}


COMMANDS = {
    "get": 1, "set": 2, "delete": 1, "peek": 1, "burst": 2, "owner": 1, "members": 0, "peers": 1, "stats": 0, "quit": 0,
}  # fmt: skip


async def run(node: kamacache.Node, scores: kamacache.Group[str], stop: asyncio.Event) -> None:
    """Answers commands until stdin ends."""
    console = Console(node, scores, stop)
    lines = read_lines()
    while (line := await lines.get()) is not None:
        print(json.dumps(await answer(console, line)), flush=True)


async def answer(console: Console, line: str) -> dict[str, Any]:
    name, _, rest = line.partition(" ")
    arguments = rest.split(" ", max(COMMANDS.get(name, 0) - 1, 0)) if rest else []
    if COMMANDS.get(name) != len(arguments):
        return failure("INVALID_ARGUMENT", f"unknown command {line!r}")
    try:
        return {"ok": True, **await getattr(console, name)(*arguments)}
    except kamacache.KamaCacheError as error:
        return failure(error.name, str(error))
    except ValueError as error:
        return failure("INVALID_ARGUMENT", str(error))
    except Exception as error:  # the getter's own, as sqlite3.OperationalError
        return failure("GETTER_FAILED", str(error))


def failure(code: str, message: str) -> dict[str, Any]:
    return {"ok": False, "code": code, "message": message}


def read_lines() -> "asyncio.Queue[str | None]":
    """Lines of stdin, then None. A thread reads, so that stdin may be anything."""
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in open(0, "rb", closefd=False):
            loop.call_soon_threadsafe(lines.put_nowait, line.decode(errors="replace").rstrip("\r\n"))
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    return lines
