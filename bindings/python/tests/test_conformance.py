"""The behaviour rows that every language runs, through the Python API."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import kamacache
import pytest

ROWS = pathlib.Path(__file__).resolve().parents[3] / "tests" / "conformance"


class GetterFailure(Exception):
    """What the getter of a row raises; local callers get the object itself."""


def rows() -> list[Any]:
    found = [
        pytest.param(row, id=f"{path.stem}-{row['name']}")
        for path in sorted(ROWS.glob("*.json"))
        for row in json.loads(path.read_text())
    ]
    assert found, f"no conformance rows in {ROWS}"
    return found


@pytest.mark.parametrize("row", rows())
def test_row(row: dict[str, Any]) -> None:
    Row(row).run()


class Row:
    """One row: a node, a group, and the steps on it."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = dict(row)
        self.loads = 0
        self.steps: list[dict[str, Any]] = self.take("steps", [])
        self.group_options: dict[str, Any] = options(self.take("group", {}))
        self.group_options.setdefault("max_bytes", 1 << 20)
        self.name: str = self.group_options.pop("name", "g")
        self.data: dict[str, str] = self.take("data", {})
        self.failing: dict[str, str] = self.take("failing", {})
        self.has_getter: bool = self.take("getter", True)

    def take(self, field: str, default: Any) -> Any:
        return self.row.pop(field, default)

    def run(self) -> None:
        node_options = options(self.take("node", {}))
        start_error = self.take("start_error", None)
        group_error = self.take("group_error", None)
        for known in ("name", "says"):
            self.take(known, None)
        assert not self.row, f"unknown fields {sorted(self.row)}"
        if start_error is not None:
            with pytest.raises(kamacache.KamaCacheError) as caught:
                kamacache.Node(**node_options).start()
            return check_error(start_error, caught.value)
        with kamacache.Node(**node_options) as self.node:
            if group_error is not None:
                with pytest.raises(kamacache.KamaCacheError) as caught:
                    self.open()
                return check_error(group_error, caught.value)
            self.group = self.open()
            for step in self.steps:
                self.step(dict(step))

    def open(self) -> kamacache.Group[bytes]:
        getter = self.load if self.has_getter else None
        return self.node.group(self.name, getter, **self.group_options)

    def load(self, key: str) -> bytes | None:
        self.loads += 1
        if key in self.failing:
            raise GetterFailure(self.failing[key])
        return self.data[key].encode() if key in self.data else None

    def step(self, step: dict[str, Any]) -> None:
        op = getattr(self, "op_" + step.pop("op"))
        expectations = ("value", "absent", "count", "code", "contains")
        expected = {field: step.pop(field) for field in expectations if field in step}
        for field in [field for field in step if field.endswith("_repeat")]:
            text, times = step.pop(field)
            step[field.removesuffix("_repeat")] = text * times
        arguments = options(step)
        if "code" in expected:
            with pytest.raises((kamacache.KamaCacheError, GetterFailure)) as caught:
                op(**arguments)
            return check_error(expected, caught.value)
        answer = op(**arguments)
        if "value" in expected:
            assert answer == expected["value"]
        elif "count" in expected:
            assert answer == expected["count"]
        else:
            assert answer is None

    def op_get(self, key: str) -> str:
        return self.group.get(key).decode()

    def op_peek(self, key: str) -> str | None:
        value = self.group.peek(key)
        return None if value is None else value.decode()

    def op_set(self, key: str, put: str, **more: Any) -> None:
        self.group.set(key, put.encode(), **more)

    def op_delete(self, key: str) -> None:
        self.group.delete(key)

    def op_loads(self) -> int:
        return self.loads

    def op_stats(self, field: str) -> object:
        return getattr(self.group.stats(), field)

    def op_owner(self, key: str) -> str:
        return self.node.owner(key)

    def op_open_again(self) -> None:
        self.open()

    def op_close(self) -> None:
        assert self.node.close()


def options(given: dict[str, Any]) -> dict[str, Any]:
    """Names as Python has them: seconds instead of `_ms`."""
    return {name.removesuffix("_ms"): value / 1000 if name.endswith("_ms") else value for name, value in given.items()}


def check_error(expected: dict[str, Any], error: BaseException) -> None:
    name = error.name if isinstance(error, kamacache.KamaCacheError) else "GETTER_FAILED"
    assert name == expected["code"], error
    for part in expected.get("contains", []):
        assert part in str(error)
