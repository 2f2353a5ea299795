"""The services of examples/python/service as their users run them: three
workers behind one ring, and the load script that counts the queries."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

SERVICE = pathlib.Path(__file__).resolve().parents[3] / "examples" / "python" / "service"


@pytest.mark.parametrize("service", ["fastapi", "flask"])
def test_three_workers_read_each_product_once(service: str) -> None:
    """flask runs under gunicorn --preload: its node is defined before the fork (S44)."""
    command = [sys.executable, str(SERVICE / "load.py"), service, "--requests", "800", "--products", "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.search(r"(\d+) distinct products: (\d+) queries without kamacache, (\d+) with it", done.stdout)
    assert said is not None, done.stdout
    distinct, without, with_cache = map(int, said.groups())
    assert without == 800
    assert distinct <= with_cache <= 1.05 * distinct


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("load", SERVICE / "load.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_worker_that_is_replaced_takes_the_place_of_the_old_one(tmp_path: pathlib.Path) -> None:
    """Prefork workers share one listen range."""
    load = load_script()
    environment = {"DB": str(tmp_path / "db"), "QUERY_COUNT": str(tmp_path / "count"), "CACHE": "on"}
    create = "import database; database.create(50)"
    subprocess.run([sys.executable, "-c", create], cwd=SERVICE, env={**os.environ, **environment}, check=True)
    with load.running("flask", environment) as port:

        def workers(count: int) -> dict[int, str]:
            """The addresses of that many living workers, by process."""
            seen: dict[int, str] = {}
            until = time.monotonic() + 60
            while len(seen) < count:
                assert time.monotonic() < until, seen
                with contextlib.suppress(OSError, http.client.HTTPException):
                    _, worker = load.get(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "/worker")
                    seen[worker["pid"]] = worker["address"]
                seen.pop(killed, None)
            return seen

        killed = 0
        before = workers(3)
        killed = next(iter(before))
        os.kill(killed, signal.SIGKILL)
        after = workers(3)
        assert set(after) - set(before), "gunicorn has replaced it"
        assert sorted(after.values()) == sorted(before.values())
        load.ask(port, list(range(50)))
