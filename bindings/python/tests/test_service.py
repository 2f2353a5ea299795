"""The services of examples/python/service as their users run them: three
workers behind one ring, and the load script that counts the queries."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

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
