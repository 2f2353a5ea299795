"""The tests run against the installed wheel, never against the source tree."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import kamacache
import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "python"

if pathlib.Path(kamacache.__file__).is_relative_to(SOURCE):
    raise pytest.UsageError(f"kamacache was imported from {SOURCE}; install the built wheel and run again")


@pytest.fixture
def node() -> Iterator[kamacache.Node]:
    """A started single instance."""
    with kamacache.Node() as node:
        yield node


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One folder for all runs: most of their time goes into the standard library's types."""
    return str(tmp_path_factory.mktemp("mypy-cache"))
