"""The code on the package page runs and type-checks as it stands."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest
from helpers import run_program

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[2])
def test_a_block_runs(block: str) -> None:
    done = run_program(block)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[2])
def test_a_block_is_typed(block: str, tmp_path: pathlib.Path, mypy_cache: str) -> None:
    path = tmp_path / "block.py"
    path.write_text(block)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", mypy_cache, str(path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert checked.returncode == 0, checked.stdout
