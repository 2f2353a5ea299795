"""Getter: a group's own function, and how it is called and answered for.

The one place where user code runs for a load: on the caller's thread, on a
pool thread, or in a task. No native frame lies under it, so that a thread may
end inside a getter when the interpreter does.
"""

from __future__ import annotations

import enum
import inspect
import time
import weakref
from collections.abc import Callable
from typing import Any

from . import _native
from ._codec import Dumps
from .errors import GetterError, KamaCacheError, NotFound

_INT64 = range(-(2**63), 2**63)

#: Every getter by the number that loads carry. Weak: a group that is gone runs nothing.
registry: weakref.WeakValueDictionary[int, Getter] = weakref.WeakValueDictionary()


class LoadContext:
    """What a getter is told about its load, and may decide.

    key: the key to load.
    ttl: may be set: seconds, a timedelta or "10m"; None is the group's own,
    infinity never expires, 0 answers those who wait and keeps nothing.
    """

    __slots__ = ("_load", "key", "ttl")

    def __init__(self, key: str, load: _native.Load) -> None:
        self.key = key
        self.ttl: object = None
        self._load = load

    @property
    def deadline(self) -> float | None:
        """When the load is given up, on the clock of time.monotonic()."""
        left = self._load.time_left()
        return None if left is None else time.monotonic() + left


class _Style(enum.Enum):
    KEY = 1
    KEY_CTX = 2
    KEY_CTX_KEYWORD = 3


class Getter:
    """A function, sync or async, of one group."""

    __slots__ = ("__weakref__", "dumps", "function", "group", "is_async", "style")

    def __init__(self, group: str, function: Callable[..., Any], dumps: Dumps | None) -> None:
        if not callable(function):
            kind = type(function).__name__
            raise TypeError(f"the getter of group {group!r} is a function of a key, not {kind}")
        self.group = group
        self.function = function
        self.dumps = dumps
        self.is_async = _is_async(function)
        self.style = _style(function)

    def run(self, load: _native.Load) -> None:
        """Calls a plain function on this thread. An interruption, such as
        KeyboardInterrupt, leaves the load unanswered."""
        key = load.key
        if key is None:
            return
        ctx = LoadContext(key, load)
        inside = _native.scope.set(load.scope)
        try:
            self._answer(load, ctx, self._call(ctx))
        except NotFound:
            load.not_found()
        except Exception as error:
            _fail(load, error)
        finally:
            _native.scope.reset(inside)

    async def run_async(self, load: _native.Load) -> None:
        """Awaits an async function; the body of a task of its own. A cancelled
        task gives the duty back."""
        key = load.key
        if key is None:
            return
        ctx = LoadContext(key, load)
        _native.scope.set(load.scope)
        try:
            self._answer(load, ctx, await self._call(ctx))
        except NotFound:
            load.not_found()
        except Exception as error:
            _fail(load, error)
        except BaseException:
            load.abandon()
            raise

    def _call(self, ctx: LoadContext) -> Any:
        if self.style is _Style.KEY:
            return self.function(ctx.key)
        if self.style is _Style.KEY_CTX:
            return self.function(ctx.key, ctx)
        return self.function(ctx.key, ctx=ctx)

    def _answer(self, load: _native.Load, ctx: LoadContext, value: object) -> None:
        if value is None:
            return load.not_found()
        data: object = value if self.dumps is None else self.dumps(value)
        if not isinstance(data, bytes | bytearray | memoryview):
            if inspect.iscoroutine(data):
                data.close()
            raise GetterError(
                f"the getter of group {self.group!r} returned {type(data).__name__} for key "
                f"{ctx.key[:64]!r}; it returns bytes, or None for not found"
            )
        load.complete(data, ctx.ttl)


def _fail(load: _native.Load, error: Exception) -> None:
    code = error.app_code if isinstance(error, KamaCacheError) else None
    load.fail(error, describe(error), code if isinstance(code, int) and code in _INT64 else None)


def describe(error: BaseException) -> str:
    """What is told to other nodes about an exception."""
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be shown)"
    if not isinstance(error, GetterError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text.encode("utf-8", "replace").decode()


def _is_async(function: Callable[..., Any]) -> bool:
    called = getattr(function, "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _style(function: Callable[..., Any]) -> _Style:
    try:
        signature = inspect.signature(function)
    except ValueError:  # a builtin that does not tell
        return _Style.KEY
    style = _style_of(signature)
    try:
        if style is _Style.KEY:
            signature.bind("key")
        elif style is _Style.KEY_CTX:
            signature.bind("key", "ctx")
        else:
            signature.bind("key", ctx="ctx")
    except TypeError as error:
        raise TypeError(f"a getter takes (key) or (key, ctx), not {signature}: {error}") from None
    return style


def _style_of(signature: inspect.Signature) -> _Style:
    ctx = signature.parameters.get("ctx")
    if ctx is not None and ctx.kind is not ctx.POSITIONAL_ONLY:
        return _Style.KEY_CTX_KEYWORD
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in positional and parameter.default is parameter.empty
    ]
    return _Style.KEY_CTX if len(required) > 1 else _Style.KEY
