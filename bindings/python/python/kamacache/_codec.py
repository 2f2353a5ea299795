"""Codecs: how a group's values become bytes and come back.

Pickle runs code that is in the bytes: it is used only when it is named.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any, Literal

from .errors import InvalidArgument

CodecName = Literal["bytes", "str", "json", "pickle"]
Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]
Codec = CodecName | tuple[Callable[[Any], bytes], Callable[[bytes], Any]]


def functions(codec: object) -> tuple[Dumps | None, Loads | None]:
    """The pair (dumps, loads) of a codec; (None, None) for bytes as they are."""
    if isinstance(codec, tuple) and len(codec) == 2 and all(map(callable, codec)):
        return codec
    if isinstance(codec, str) and codec in _NAMED:
        return _NAMED[codec]
    names = ", ".join(map(repr, _NAMED))
    raise InvalidArgument(f"codec {codec!r} is none of {names} and no pair of callables (dumps, loads)")


def _str_dumps(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f'a value of a group with codec="str" is a str, not {type(value).__name__}')
    return value.encode()


def _json_dumps(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


_NAMED: dict[str, tuple[Dumps | None, Loads | None]] = {
    "bytes": (None, None),
    "str": (_str_dumps, bytes.decode),
    "json": (_json_dumps, json.loads),
    "pickle": (pickle.dumps, pickle.loads),
}
