"""Scores nodes as child processes: how each language's program is started, what
it is asked over its console, and how it is stopped. Used by demo.py and by the
cluster tests.

Invariant: whoever starts a node stops it; nothing waits without a deadline, and
a node does not outlive the program that started it unless it is told to.
"""

from __future__ import annotations

import json
import pathlib
import queue
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]

#: The same program in each language, as `scripts/build nodes` leaves it.
PROGRAMS = {
    "python": [str(ROOT / ".venv/bin/python"), str(ROOT / "examples/python/scores.py")],
    "nodejs": ["node", str(ROOT / "examples/nodejs/scores.mjs")],
    "c": [str(ROOT / "target/nodes/scores")],
    "rust": [str(ROOT / "target/nodes/scores-rust")],
}

#: How long a node may take to start, to answer a command, to stop, in seconds.
START, ANSWER, STOP = 20.0, 20.0, 10.0


class Failed(Exception):
    """A node did not do what it was asked; the message says what it said."""


class ScoresNode:
    """One running scores node. Commands are answered in order."""

    def __init__(
        self,
        language: str,
        db: pathlib.Path,
        log: pathlib.Path,
        *,
        listen: str = "127.0.0.1:0",
        peers: Iterable[str] = (),
        http: str | None = None,
        outlives: bool = False,
    ) -> None:
        self.language = language
        flags = ["--listen", listen, "--db", str(db), "--log", str(log)]
        if peers := list(peers):
            flags += ["--peers", ",".join(peers)]
        if http:
            flags += ["--http", http]
        # A session of its own: Ctrl-C reaches us, and we stop the nodes. And if
        # we are killed outright, the kernel stops them.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") and not outlives else []
        self._stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            guard + PROGRAMS[language] + flags,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        self.pid = self.process.pid
        self.address = listen
        self._ready = False
        self._asked = ""
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _reply(self, what: str, seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise Failed(f"the {self.language} node did not answer {what!r} within {seconds:g} s") from None
        if line is None:
            self._lines.put(None)
            self.process.wait(STOP)
            raise Failed(
                f"the {self.language} node on {self.address} ended with code {self.process.returncode}"
                f" at {what!r}: {self.complaints() or 'it said nothing'}"
            )
        reply = json.loads(line)
        assert isinstance(reply, dict), reply
        return reply

    def ready(self) -> None:
        """Waits until the node serves."""
        if self._ready:
            return
        reply = self._reply("ready", START)
        if not reply.get("ready"):
            raise Failed(f"the {self.language} node said {reply} instead of being ready")
        self.address = reply["address"]
        self._ready = True

    def send(self, command: str) -> None:
        """Gives a command; `answer` takes its reply. So several nodes work at the same time."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is told by `answer`
        self._asked = command

    def answer(self) -> dict[str, Any]:
        return self._reply(self._asked, ANSWER)

    def ask(self, command: str) -> dict[str, Any]:
        """Gives a command and takes its reply."""
        self.send(command)
        return self.answer()

    def do(self, command: str) -> dict[str, Any]:
        """The same, and it must succeed."""
        reply = self.ask(command)
        if reply.get("ok") is not True:
            raise Failed(f"{command!r} at the {self.language} node: {reply}")
        return reply

    def get(self, key: str) -> str:
        value = self.do(f"get {key}")["value"]
        assert isinstance(value, str), value
        return value

    def owner(self, key: str) -> str:
        owner = self.do(f"owner {key}")["owner"]
        assert isinstance(owner, str), owner
        return owner

    def running(self) -> bool:
        return self.process.poll() is None

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            raise Failed(f"the {self.language} node did not stop within {STOP:g} s of SIGTERM") from None

    def kill(self) -> None:
        """kill -9, and waits for the end."""
        self.process.kill()
        self.process.wait(STOP)

    def complaints(self) -> str:
        """What it wrote on stderr."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()


def stop_all(nodes: Iterable[ScoresNode]) -> None:
    """Stops whatever still runs, gently first."""
    nodes = [node for node in nodes if node.running()]
    for node in nodes:
        node.process.send_signal(signal.SIGTERM)
    for node in nodes:
        try:
            node.process.wait(STOP)
        except subprocess.TimeoutExpired:
            node.kill()


def make_database(path: pathlib.Path, players: int = 5000) -> dict[str, str]:
    """The data source: four names of the quick start and `players` more. What
    it holds, as the getters answer."""
    scores = {"Tom": 630, "Jack": 589, "Sam": 567, "Peter": 999}
    scores |= {f"player{i:04}": i * 7919 % 1000 for i in range(players)}
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE scores (name TEXT PRIMARY KEY, score INTEGER)")
        database.executemany("INSERT INTO scores VALUES (?, ?)", scores.items())
    database.close()
    return {name: str(score) for name, score in scores.items()}


def loads(log: pathlib.Path) -> list[dict[str, Any]]:
    """The getter calls so far: one JSON line each, whichever node ran it."""
    return [json.loads(line) for line in log.read_text().splitlines()]
