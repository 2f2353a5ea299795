"""docs/contract.md is whole and true: every statement has a state, and every
test that it names is there.
"""

from __future__ import annotations

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTRACT = (ROOT / "docs/contract.md").read_text()
STATEMENTS = re.findall(r"^\*\*(S\d+\w?)\*\* (.*)\n(.*)$", CONTRACT, re.MULTILINE)
STATES = ("**Holds**", "**In part**", "**Not yet**", "**Not yet.**", "**Not yet proved**")


def words_of_the_repository() -> set[str]:
    """The words of all files that git knows or would add: a name of a test is one of them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.rs", "*.py", "*.c", "*.mjs"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    words = {word for file in files if file.exists() for word in re.findall(r"\w+", file.read_text())}
    return words | {file.name for file in files}


def test_every_statement_is_there_once_and_in_order() -> None:
    expected = [f"S{n}" for n in range(1, 47)]
    expected[8:8] = ["S8a", "S8b"]
    assert [number for number, _, _ in STATEMENTS] == expected


def test_every_statement_has_a_state_and_names_its_tests() -> None:
    for number, _, state in STATEMENTS:
        assert state.startswith(STATES), f"{number}: {state}"
        if state.startswith("**Holds**"):
            assert "`" in state, f"{number} holds, but no test is named"


def test_the_named_tests_exist() -> None:
    there = words_of_the_repository()
    named = {
        name
        for _, _, state in STATEMENTS
        for name in re.findall(r"`((?:test_|s\d\d)\w+|\w+\.test\.mjs)`", state)
    }
    assert len(named) > 80
    assert named - there == set()
