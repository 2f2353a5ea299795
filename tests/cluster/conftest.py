"""Fixtures of the cluster tests, and where they find examples/demo/cluster.py."""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples/demo"))

from ring import THREE, Ring, running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    """One ring for the tests that harm no node."""
    with running(tmp_path_factory.mktemp("ring"), THREE) as ring:
        yield ring


@pytest.fixture
def ring(shared: Ring) -> Ring:
    shared.new_loads()
    return shared


@pytest.fixture
def make_ring(tmp_path: pathlib.Path) -> Iterator[Callable[..., Ring]]:
    """A ring for one test that does harm."""
    with contextlib.ExitStack() as stack:
        yield lambda languages=THREE: stack.enter_context(running(tmp_path, languages))
