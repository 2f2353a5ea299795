"""What the processes wrote down, read back. Pure. Used by checks.py."""

from __future__ import annotations

import bisect
import dataclasses
import json
import math
import pathlib
from collections import defaultdict
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, slots=True)
class Op:
    """One operation or getter call. Times in microseconds of the monotonic clock."""

    process: int
    slot: int
    op: str
    key: int
    at: int
    took: int
    outcome: str
    #: What a get returned, a load read, a write wrote; -1: nothing.
    version: int

    @property
    def end(self) -> int:
        return self.at + self.took

    @property
    def ok(self) -> bool:
        return self.outcome == "OK"

    @property
    def is_write(self) -> bool:
        return self.op in ("set", "delete")

    def __str__(self) -> str:
        return f"{self.op} k{self.key} at node {self.slot}: {self.outcome}, version {self.version}, {self.took / 1e6:.3f} s"


def read(path: pathlib.Path, process: int, slot: int) -> list[Op]:
    """A killed process may have left half a line at the end, which says nothing."""
    ops = []
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            ops.append(Op(process, slot, **json.loads(line)))
    return ops


def p99(ops: Iterable[Op]) -> float:
    """Milliseconds; NaN without operations."""
    took = sorted(op.took for op in ops)
    return took[math.ceil(len(took) * 0.99) - 1] / 1000 if took else math.nan


class Writes:
    """The acknowledged writes of each key. A key has one writer, so that versions and times go up together."""

    def __init__(self, ops: Iterable[Op]) -> None:
        self._by_key: dict[int, list[Op]] = defaultdict(list)
        #: Versions that an acknowledged write or a delete made. Who wrote another one was refused or killed.
        self._certain: set[tuple[int, int]] = set()
        for op in sorted((op for op in ops if op.is_write), key=lambda op: op.version):
            if op.ok:
                self._by_key[op.key].append(op)
            if op.ok or op.op == "delete":
                self._certain.add((op.key, op.version))

    def overtaken_by(self, get: Op) -> Op | None:
        """The first write that was acknowledged before the get began, and whose version the get should have had.

        A value whose set was not acknowledged may be applied at any time, so that it proves nothing.
        """
        writes = self._by_key.get(get.key, [])
        if get.version > 1 and (get.key, get.version) not in self._certain:
            return None
        newer = bisect.bisect_right(writes, get.version, key=lambda write: write.version)
        if newer < len(writes) and writes[newer].end < get.at:
            return writes[newer]
        return None
