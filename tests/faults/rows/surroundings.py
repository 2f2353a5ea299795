"""Rows about what is around a node: lists of members, disks, clocks."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator

from case import Case
from network import NotPossible
from ring import ROOT

from rows import again, row


#: Each list is looked at twice a second.
LOOKED = 0.8


@row("discovery", "discovery that is gone or talks nonsense")
async def discovery(case: Case) -> None:
    ring = case.ring
    lists = []
    for slot, language in enumerate(case.size.trio):
        path = case.folder / f"members-{slot}"
        path.write_text("")
        lists.append(path)
        await ring.add(language, slot, discovery=path.as_uri())
    right = "\n".join(ring.addresses) + "\n"
    tell(lists, right)
    await ring.agree()
    await case.begin()
    members = await ring.workers[0].members()
    many = "".join(f"127.0.0.1:{port}\n" for port in range(20_000, 30_000))
    outages: dict[str, str | bytes | None] = {
        "gone": None,
        "empty": "",
        "garbage": os.urandom(5000) + b"\xff\xfe\n",
        "malformed": right + "nonsense\n:::\n",
        "far away": right + "10.0.0.1:1\n",
        "too many": right + many,
        "ten thousand times the same": right * (10_000 // len(ring.live)),
    }
    async with case.fault():
        for name, text in outages.items():
            tell(lists, text)
            await case.last(LOOKED)
            for worker in ring.workers:
                if (now := await worker.members()) != members:
                    case.wrong(f"{worker} has members {now} while discovery is {name}")
        # Each leaves out another one: all of them answer, so that nothing changes within remove_grace.
        for path, address in zip(lists, ring.addresses[1:] + ring.addresses[:1], strict=True):
            tell([path], right.replace(address + "\n", ""))
        await case.last(LOOKED)
        tell(lists, right)
    await ring.agree(members)
    case.out.notes.append(f"{len(outages) + 1} kinds")
    await case.end()


def tell(lists: list[pathlib.Path], text: str | bytes | None) -> None:
    """Replaces the lists as a configuration tool does."""
    for path in lists:
        if text is None:
            path.unlink()
            continue
        new = path.with_suffix(".new")
        new.write_bytes(text.encode() if isinstance(text, str) else text)
        new.replace(path)


@contextlib.contextmanager
def full_disk(folder: pathlib.Path) -> Iterator[Callable[[str], pathlib.Path]]:
    """Files on a disk without a byte left; without root, a device that is always full."""
    if os.geteuid() != 0:
        yield lambda name: pathlib.Path("/dev/full")
        return
    disk = folder / "full"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotPossible(f"a full disk cannot be made: {error}") from None
    try:
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        yield lambda name: disk / name
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@row("disk-full", "a full disk for logs, and kill -9", sizes=("full",))
async def disk_full(case: Case) -> None:
    ring = case.ring
    with full_disk(case.folder) as path:
        for slot, language in enumerate(case.size.trio):
            await ring.add(language, slot, log=path(f"{slot}.log"))
        await ring.connect()
        await case.begin()
        victim = case.pick()
        async with case.fault():
            case.is_down(victim, cold=True)
            await victim.end(signal.SIGKILL)
            await case.last(case.size.during)
            await again(case, victim)
        await case.end()


@row("clock", "wall clocks that jump by an hour, a day, ten years")
async def clock(case: Case) -> None:
    offset = case.folder / "clock"
    offset.write_bytes(struct.pack("<q", 0))
    environment = {"FAULT_CLOCK": str(offset), "LD_PRELOAD": str(ROOT / "target/faults/clock.so")}
    ring = case.ring
    for language in case.size.trio:
        await ring.add(language, environment=environment)
    await ring.connect()
    await case.begin()
    jumps = (3600, -86400, 10 * 365 * 86400, 0)
    async with case.fault():
        for jump in jumps:
            with offset.open("r+b") as file:
                file.write(struct.pack("<q", jump))
            await case.last(case.size.during / len(jumps))
    await case.end()
