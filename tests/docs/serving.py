"""The `kamacache` command as tests run it: to its end, or as a node of a process
of its own. Used by the tests of the guide and of deploy/.

Invariant: whoever starts a node stops it, nothing waits without a deadline, and
no option leaks in from the environment.
"""

from __future__ import annotations

import json
import os
import pathlib
import select
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROFILE = os.environ.get("PROFILE", "dev")
#: As `cargo test` or `cargo build -p kamacache-cli` leaves it.
KAMACACHE = ROOT / "target" / ("debug" if PROFILE == "dev" else PROFILE) / "kamacache"
#: Longer than anything here takes; only a hang gets so far.
LONG = 30.0


def environment(variables: Mapping[str, str] = {}) -> dict[str, str]:
    """This process's, without options of kamacache, and with the command in PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KAMACACHE_")}
    kept["PATH"] = f"{KAMACACHE.parent}:{kept['PATH']}"
    return kept | dict(variables)


def run(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    return subprocess.run(
        [str(KAMACACHE), *args], env=environment(variables), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=LONG,
    )  # fmt: skip


def until(what: str, so: Callable[[], bool]) -> None:
    """Looks until it is so."""
    end = time.monotonic() + LONG
    while not so():
        assert time.monotonic() < end, f"never {what}"
        time.sleep(0.02)


def http(address: str, path: str) -> tuple[int, str]:
    """A GET: status and body; 0 when nobody listens."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}{path}", timeout=LONG) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except OSError:
        return 0, ""


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    """What a node says when it is ready; nothing if it does not get so far."""
    assert process.stdout is not None
    heard, _, _ = select.select([process.stdout], [], [], LONG)
    return process.stdout.readline() if heard else b""


class Serve:
    """A node; `with` it, or `kill` it."""

    def __init__(self, args: list[str], variables: Mapping[str, str] = {}, cwd: pathlib.Path | None = None) -> None:
        self._stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [str(KAMACACHE), "--json", *args], env=environment(variables), cwd=cwd,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._stderr,
        )  # fmt: skip
        line = first_line(self.process)
        if not line:
            self.kill()
            raise AssertionError(f"{args} is not ready; it said: {self.logged()}")
        ready: dict[str, Any] = json.loads(line)
        self.address: str = ready["address"]
        self.admin: str = ready.get("admin") or ""

    def members(self) -> list[str]:
        _, body = http(self.admin, "/debug/members")
        return [member["address"] for member in json.loads(body)["members"]]

    def logged(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LONG)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LONG)

    def __enter__(self) -> Serve:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
