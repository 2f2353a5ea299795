"""A ring of scores nodes, each node a process of its own, on free ports."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from cluster import ScoresNode, loads, make_database, stop_all

#: The languages of the ring that most tests use.
THREE = ("python", "nodejs", "c")


class Ring:
    """Nodes that list each other. `scores` is what their getters read."""

    def __init__(self, folder: pathlib.Path, languages: tuple[str, ...]) -> None:
        self._db, self._log = folder / "scores.db", folder / "getter-calls.jsonl"
        self._log.write_text("")
        self.scores = make_database(self._db, players=1000)
        self.nodes: dict[str, ScoresNode] = {}
        self._counted = 0
        self._fresh = iter(self.scores)
        for language in languages:
            self.nodes[language] = ScoresNode(language, self._db, self._log)

    def connect(self) -> None:
        """Waits for every node, then tells each the addresses of all."""
        for node in self.nodes.values():
            node.ready()
        everyone = ",".join(node.address for node in self.nodes.values())
        for node in self.nodes.values():
            node.do(f"peers {everyone}")

    def join(self, language: str) -> ScoresNode:
        """One more node."""
        self.nodes[language] = ScoresNode(language, self._db, self._log)
        self.connect()
        return self.nodes[language]

    def key_owned_by(self, language: str) -> str:
        """A key of the data source that no test has used yet, and that this node owns."""
        node = self.nodes[language]
        return next(key for key in self._fresh if node.owner(key) == node.address)

    def new_loads(self) -> list[tuple[str, str]]:
        """(language of the node, key) of each getter call since the last look."""
        calls = loads(self._log)[self._counted :]
        self._counted += len(calls)
        return [(call["node"], call["key"]) for call in calls]


@contextlib.contextmanager
def running(folder: pathlib.Path, languages: tuple[str, ...]) -> Iterator[Ring]:
    ring = Ring(folder, languages)
    try:
        ring.connect()
        yield ring
    finally:
        stop_all(ring.nodes.values())
