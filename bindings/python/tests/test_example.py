"""examples/python/scores.py as its users run it: console, HTTP, a ring of
two, bad starts."""

from __future__ import annotations

import contextlib
import json
import pathlib
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

SCORES = pathlib.Path(__file__).resolve().parents[3] / "examples" / "python" / "scores.py"


@pytest.fixture
def files(tmp_path: pathlib.Path) -> list[str]:
    db = tmp_path / "scores.db"
    with contextlib.closing(sqlite3.connect(db)) as connection:
        connection.execute("CREATE TABLE scores(name TEXT PRIMARY KEY, score INTEGER)")
        connection.executemany("INSERT INTO scores VALUES (?, ?)", [("Tom", 630), ("Jack", 589), ("Sam", 567)])
        connection.commit()
    return ["--db", str(db), "--log", str(tmp_path / "log")]


class Program:
    """A running scores.py."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCORES), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ready = self.read()

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=10)
        return json.loads(line)

    def write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line: str) -> Any:
        self.write(line)
        return self.read()


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Program]:
    program = Program(*arguments)
    try:
        yield program
    finally:
        program.process.kill()
        program.process.communicate()


def getter_calls(files: list[str]) -> list[dict[str, Any]]:
    path = pathlib.Path(files[3])
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_the_console(files: list[str]) -> None:
    with running(*files) as program:
        assert program.ready == {"ready": True, "address": ""}
        assert program.ask("get Tom") == {"ok": True, "value": "630"}
        assert program.ask("burst 100 Jack") == {"ok": True, "n": 100, "values": ["589"]}
        assert program.ask("peek Sam") == {"ok": True, "value": None}
        assert program.ask("set Sam 1 or 2") == {"ok": True}
        assert program.ask("peek Sam") == {"ok": True, "value": "1 or 2"}
        assert program.ask("delete Sam") == {"ok": True}
        assert program.ask("get Sam") == {"ok": True, "value": "567"}
        missing = program.ask("get nobody")
        assert (missing["ok"], missing["code"]) == (False, "NOT_FOUND")
        assert "nobody" in missing["message"]
        assert program.ask("owner Tom") == {"ok": True, "owner": ""}
        assert program.ask("members") == {"ok": True, "members": []}
        assert program.ask("stats")["stats"]["loads"] == 4
        for wrong in ("", "dance", "get", "set Tom", "burst many Tom", "peers 127.0.0.1:1", "members now"):
            assert program.ask(wrong)["code"] == "INVALID_ARGUMENT", wrong
        calls = getter_calls(files)
        assert [(call["node"], call["address"], call["key"]) for call in calls] == [
            ("python", "", key) for key in ("Tom", "Jack", "Sam", "nobody")
        ]
        large = "x" * (4 << 20)
        assert program.ask(f"set large {large}") == {"ok": True}
        assert program.ask("peek large") == {"ok": True, "value": large}
        assert program.ask("quit") == {"ok": True}
        assert program.process.wait(10) == 0


def test_replies_keep_the_order_of_the_commands(files: list[str]) -> None:
    with running(*files) as program:
        for number in range(200):
            program.write(f"set key-{number} {number}")
            program.write(f"get key-{number}")
        for number in range(200):
            assert program.read() == {"ok": True}
            assert program.read() == {"ok": True, "value": str(number)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_close_the_node(files: list[str], number: signal.Signals) -> None:
    with running("--listen", "127.0.0.1:0", *files) as program:
        assert program.ask("get Tom") == {"ok": True, "value": "630"}
        program.process.send_signal(number)
        _, errors = program.process.communicate(timeout=10)
        assert (program.process.returncode, errors) == (0, "")


def test_the_node_serves_on_when_stdin_ends(files: list[str]) -> None:
    address = free_address()
    with running("--http", address, *files) as program:
        assert program.process.stdin is not None
        program.process.stdin.close()
        assert fetch(address, "/api?key=Tom") == (200, "630")
        program.process.stdin = None
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(10) == 0


def fetch(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_http_api(files: list[str]) -> None:
    address = free_address()
    with running("--http", address, *files) as program:
        assert fetch(address, "/api?key=Tom") == (200, "630")
        status, text = fetch(address, "/api?key=nobody")
        assert status == 404
        assert "nobody" in text
        for path in ("/api", "/api?key=", "/api?name=Tom"):
            status, text = fetch(address, path)
            assert status == 400
            assert "key" in text
        assert fetch(address, "/other")[0] == 404
        assert fetch(address, "/api?key=" + "k" * 5000)[0] == 400
        assert program.ask("stats")["stats"]["gets"] >= 2
        pathlib.Path(files[1]).unlink()
        status, text = fetch(address, "/api?key=Peter%20Pan")
        assert status == 502
        assert "GETTER_FAILED" in text
        assert "unable to open database file" in text


def test_a_ring_of_two(files: list[str]) -> None:
    with running("--listen", "127.0.0.1:0", *files) as one, running("--listen", "127.0.0.1:0", *files) as two:
        members = sorted([one.ready["address"], two.ready["address"]])
        for program in (one, two):
            assert program.ask("peers " + ",".join(members)) == {"ok": True}
            assert program.ask("members") == {"ok": True, "members": members}
        for name in ("Tom", "Jack", "Sam"):
            owner = one.ask(f"owner {name}")["owner"]
            assert one.ask(f"burst 20 {name}")["values"] == two.ask(f"burst 20 {name}")["values"]
            assert [call["address"] for call in getter_calls(files) if call["key"] == name] == [owner]
        assert one.ask("set Tom 1") == {"ok": True}
        assert two.ask("get Tom") == {"ok": True, "value": "1"}


def test_starts_that_fail(files: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        for arguments in (["--listen", taken], ["--http", taken], ["--listen", "nonsense"], ["--http", "nonsense"]):
            done = run(*arguments, *files)
            assert done.returncode == 1
            assert arguments[1] in done.stderr
            assert "Traceback" not in done.stderr
            assert done.stdout == ""
    assert run("--wrong").returncode == 2
    assert run().returncode == 2


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCORES), *arguments], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL
    )
