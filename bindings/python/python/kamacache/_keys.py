"""Keys of cached functions: a call's arguments become a key, and the owner of
the key reads the arguments back.

Invariant: arguments that differ in value or type make different keys, and
reading a key back gives equal arguments of the same types.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import string
import typing
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote, unquote


class Keys(Protocol):
    """Writes and reads the keys of one function; each begins with `prefix`."""

    prefix: str

    def write(self, bound: inspect.BoundArguments) -> str: ...
    def read(self, key: str) -> dict[str, Any]: ...


class JsonKeys:
    """name:{"lang":"en","user_id":1}"""

    def __init__(self, name: str) -> None:
        self.prefix = name + ":"

    def write(self, bound: inspect.BoundArguments) -> str:
        arguments = dict(bound.arguments)
        try:
            text = json.dumps(arguments, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
        except (TypeError, ValueError) as error:
            raise TypeError(f"arguments {arguments!r} make no key: {error}") from None
        if not _same(json.loads(text), _lists(arguments, bound)):
            raise TypeError(
                f"arguments {arguments!r} make no key: only str, int, float, bool, None, lists and dicts with "
                "str keys come back as they were"
            )
        return self.prefix + text

    def read(self, key: str) -> dict[str, Any]:
        arguments: dict[str, Any] = json.loads(key.removeprefix(self.prefix))
        return arguments


def _lists(arguments: dict[str, Any], bound: inspect.BoundArguments) -> dict[str, Any]:
    """The tuple of *args is a list in JSON, and read back as one."""
    return {
        name: list(value) if bound.signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL else value
        for name, value in arguments.items()
    }


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


class TemplateKeys:
    """user:{user_id}:{lang}, each value percent-escaped."""

    def __init__(self, template: str, function: Callable[..., Any]) -> None:
        self.template = template
        kinds = _kinds(template, function)
        pattern = ""
        self.prefix = ""
        self._parts: list[tuple[str, str | None]] = []
        for literal, field, spec, conversion in string.Formatter().parse(template):
            if spec or conversion:
                raise ValueError(f"key template {template!r}: write {{{field}}} without a format")
            if self._parts and field is not None and not re.search(r"[^\w.~%-]", literal):
                raise ValueError(f"key template {template!r}: put ':' or another such character between its fields")
            self.prefix = self.prefix if self._parts else literal
            self._parts.append((literal, field))
            pattern += re.escape(literal) + (f"(?P<{field}>[\\w.~%-]*)" if field is not None else "")
        named = [field for _, field in self._parts if field is not None]
        if sorted(named) != sorted(kinds):
            raise ValueError(
                f"key template {template!r} names each parameter once: it has {named}, the function {list(kinds)}"
            )
        if not self.prefix:
            raise ValueError(f"key template {template!r} begins with text that tells the function, as 'user:'")
        self._kinds = kinds
        self._pattern = re.compile(pattern, re.ASCII)

    def write(self, bound: inspect.BoundArguments) -> str:
        return "".join(
            literal + ("" if field is None else self._write(field, bound.arguments[field]))
            for literal, field in self._parts
        )

    def _write(self, field: str, value: object) -> str:
        kind = self._kinds[field]
        if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
            raise TypeError(f"parameter {field} of key template {self.template!r} is {kind.__name__}, not {value!r}")
        text = str(value).lower() if kind is bool else str(value)
        return quote(text, safe="")

    def read(self, key: str) -> dict[str, Any]:
        match = self._pattern.fullmatch(key)
        if match is None:
            raise ValueError(f"key {key[:64]!r} does not fit the template {self.template!r}")
        return {name: self._read(name, unquote(text, errors="strict")) for name, text in match.groupdict().items()}

    def _read(self, field: str, text: str) -> Any:
        kind = self._kinds[field]
        if kind is not bool:
            return kind(text)
        if text not in ("true", "false"):
            raise ValueError(f"parameter {field} of key template {self.template!r} is true or false, not {text!r}")
        return text == "true"


def _kinds(template: str, function: Callable[..., Any]) -> dict[str, Callable[[str], Any] | type]:
    """The type of each parameter."""
    hints = typing.get_type_hints(function)
    kinds: dict[str, Callable[[str], Any] | type] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind = hints.get(name)
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if variadic or kind not in (str, int, float, bool):
            raise ValueError(
                f"key template {template!r}: parameter {name} is annotated as str, int, float or bool, "
                f"not {getattr(kind, '__name__', kind)}"
            )
        kinds[name] = kind
    return kinds
