"""Functions whose results the ring keeps: the same keys in Python and Node.js,
and the owner's function answers for both."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import kamacache
import pytest

PROGRAM = pathlib.Path(__file__).with_name("functions.mjs")
ARGUMENTS: list[tuple[Any, Any]] = [
    (1, "en"),
    (-7, "é\n\"\\\u007f\u0001😀"),
    (2**53 - 1, None),
    (True, ["a", [1, {"b": 2, "a": 1}]]),
    (0.1, 1e-05),
    (1.5e-07, 5e-324),
    (123456.789, {"😀": 1, "\ufffd": 2, "": 3}),
]

Ask = Callable[..., Any]


@pytest.fixture
def nodejs() -> Iterator[tuple[str, Ask]]:
    """The address of the node in Node.js, and how to ask it."""
    pipe = subprocess.PIPE
    with subprocess.Popen(["node", str(PROGRAM)], stdin=pipe, stdout=pipe, text=True) as program:
        assert program.stdin is not None and program.stdout is not None
        stdin, stdout = program.stdin, program.stdout

        def ask(**command: Any) -> Any:
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()
            return json.loads(stdout.readline())

        yield json.loads(stdout.readline()), ask
        stdin.close()
        assert program.wait(10) == 0


def test_a_call_has_one_key_and_one_result_in_both_languages(nodejs: tuple[str, Ask]) -> None:
    address, ask = nodejs
    with kamacache.Node("127.0.0.1:0") as node:
        group = node.group("functions", None, max_bytes="1MiB")

        @group.cached(name="profile", codec="json")
        def profile(user_id: Any, lang: Any) -> Any:
            return {"by": "python", "user_id": user_id, "lang": lang}

        for arguments in ARGUMENTS:
            assert ask(key=arguments) == profile.key(*arguments)
        ask(peers=[node.address, address])
        node.set_peers([node.address, address])
        owners = set()
        for number in range(20):
            result = profile(number, "en")
            owner = "python" if node.owner(profile.key(number, "en")) == node.address else "nodejs"
            assert result == {"by": owner, "user_id": number, "lang": "en"}
            assert ask(call=[number, "en"]) == result
            owners.add(owner)
        assert owners == {"python", "nodejs"}
