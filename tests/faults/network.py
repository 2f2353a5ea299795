"""Network namespaces: a host of its own for each node, all on one switch that
can be split in two, and routes that end in nothing.

Invariant: nothing is changed outside namespaces that this module made, whose
names carry the suite's process id; what a killed run left is removed by the
next. Needs root and the `ip` tool. Used by rows/.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pathlib
import re
import shutil

PREFIX = "kamafault"
numbers = itertools.count()


class NotPossible(Exception):
    """This machine cannot do it; the message says why."""


async def ip(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "ip", *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise NotPossible(f"ip {' '.join(arguments)}: {errors.decode().strip()}")


async def remove_old() -> None:
    """What earlier runs left that were killed."""
    folder = pathlib.Path("/run/netns")
    for name in sorted(path.name for path in folder.glob(f"{PREFIX}-*")) if folder.is_dir() else []:
        owner = re.match(rf"{PREFIX}-(\d+)-", name)
        if owner and not pathlib.Path(f"/proc/{owner[1]}").exists():
            await ip("netns", "del", name)


class Network:
    """`count` hosts 10.77.0.1, 10.77.0.2, … on one switch, in a namespace of its own."""

    def __init__(self, count: int) -> None:
        self._base = f"{PREFIX}-{os.getpid()}-{next(numbers)}"
        self._switch = f"{self._base}-switch"
        self.count = count
        self._made: list[str] = []

    def host(self, number: int) -> str:
        return f"10.77.0.{number + 1}"

    def within(self, number: int) -> list[str]:
        """A command that runs another one on that host."""
        return ["ip", "netns", "exec", f"{self._base}-{number}"]

    async def __aenter__(self) -> Network:
        if os.geteuid() != 0:
            raise NotPossible("network namespaces need root")
        if shutil.which("ip") is None:
            raise NotPossible("there is no `ip`; on Debian: apt-get install iproute2")
        await remove_old()
        try:
            await self._make()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _make(self) -> None:
        await self._namespace(self._switch)
        for bridge in ("whole", "apart"):
            await ip("-n", self._switch, "link", "add", bridge, "type", "bridge")
            await ip("-n", self._switch, "link", "set", bridge, "up")
        for number in range(self.count):
            name = f"{self._base}-{number}"
            await self._namespace(name)
            await ip("-n", self._switch, "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            await ip("-n", self._switch, "link", "set", f"port{number}", "master", "whole", "up")
            await ip("-n", name, "addr", "add", f"{self.host(number)}/24", "dev", "eth0")
            await ip("-n", name, "link", "set", "eth0", "up")

    async def _namespace(self, name: str) -> None:
        await ip("netns", "add", name)
        self._made.append(name)
        await ip("-n", name, "link", "set", "lo", "up")

    async def __aexit__(self, *_: object) -> None:
        for name in self._made:
            await ip("netns", "del", name)
        self._made.clear()

    async def split(self, apart: list[int]) -> None:
        """These hosts hear each other only, and nobody hears them: packets are lost without a word."""
        for number in apart:
            await ip("-n", self._switch, "link", "set", f"port{number}", "master", "apart")

    async def join(self) -> None:
        for number in range(self.count):
            await ip("-n", self._switch, "link", "set", f"port{number}", "master", "whole")

    async def blackhole(self, number: int, other: int, *, add: bool = True) -> None:
        """What the one host sends to the other ends in nothing; the other way stays."""
        verb = "add" if add else "del"
        await ip("-n", f"{self._base}-{number}", "route", verb, "blackhole", f"{self.host(other)}/32")
