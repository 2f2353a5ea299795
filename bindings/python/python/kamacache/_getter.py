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
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from . import _native
from ._codec import Dumps
from .errors import GetterError, InvalidArgument, KamaCacheError, NotFound

_INT64 = range(-(2**63), 2**63)


class Answers(Protocol):
    """What a group's loads go to: a Getter, or the Dispatch of cached functions."""

    @property
    def is_async(self) -> bool: ...
    def calls(
        self, loads: list[_native.Load], *, for_peer: bool = False
    ) -> list[tuple[Getter, list[_native.Load]]]: ...


#: Every getter by the number that loads carry. Weak: a group that is gone runs nothing.
registry: weakref.WeakValueDictionary[int, Answers] = weakref.WeakValueDictionary()


class LoadContext:
    """What a getter is told about its load, and may decide.

    key: the key to load.
    ttl: may be set: seconds, a timedelta or "10m"; None is the group's own,
    infinity never expires, 0 answers those who wait and keeps nothing.
    """

    __slots__ = ("_load", "key", "ttl")

    def __init__(self, key: str, load: _native.Load) -> None:
        self.key: str = key
        self.ttl: object = None
        self._load = load

    @property
    def deadline(self) -> float | None:
        """When the load is given up, on the clock of time.monotonic()."""
        left = self._load.time_left()
        return None if left is None else time.monotonic() + left


class Getter:
    """The functions of one group: of a key, of a list of keys, or both; all
    plain or all async.

    An interruption, such as KeyboardInterrupt or a cancelled task, leaves the
    loads unanswered: others inherit them.
    """

    __slots__ = ("__weakref__", "_dumps", "_many", "_one", "group", "is_async", "keeps_none")

    def __init__(
        self,
        group: str,
        one: Callable[..., Any] | None,
        many: Callable[..., Any] | None,
        dumps: Dumps | None,
        *,
        keeps_none: bool = False,
    ) -> None:
        for what, function in (("getter", one), ("load_many", many)):
            if function is not None and not callable(function):
                raise TypeError(f"the {what} of group {group!r} is a function, not {type(function).__name__}")
        self.group: str = group
        self._one = None if one is None else _with_ctx(one)
        self._many = many
        self._dumps = dumps
        self.keeps_none: bool = keeps_none  # None is a value, not "not found"
        kinds = {_is_async(function) for function in (one, many) if function is not None}
        if len(kinds) > 1:
            raise InvalidArgument(f"getter and load_many of group {group!r} are both def or both async def")
        self.is_async: bool = kinds.pop()

    @property
    def batches(self) -> bool:
        """Several keys go to one call."""
        return self._many is not None

    def calls(self, loads: list[_native.Load], *, for_peer: bool = False) -> list[tuple[Getter, list[_native.Load]]]:
        """Loads by the call that they make."""
        if self._many is not None:
            return [(self, loads)] if loads else []
        return [(self, [load]) for load in loads]

    def run(self, loads: list[_native.Load]) -> None:
        """One call of a plain function, on this thread."""
        call = _Call(self, loads)
        inside = _native.scope.set(call.scope)
        try:
            call.answer(self._call(call))
        except Exception as error:
            call.fail(error)
        finally:
            _native.scope.reset(inside)

    async def run_async(self, loads: list[_native.Load]) -> None:
        """One call of an async function; the body of a task of its own."""
        call = _Call(self, loads)
        _native.scope.set(call.scope)
        try:
            call.answer(await self._call(call))
        except Exception as error:
            call.fail(error)
        except BaseException:
            for load in loads:
                load.abandon()
            raise

    def _call(self, call: _Call) -> Any:
        if self._one is not None and (len(call.contexts) == 1 or self._many is None):
            return self._one(call.contexts[0])
        assert self._many is not None
        call.is_batch = True
        return self._many([ctx.key for ctx in call.contexts])

    def encode(self, key: str, value: object) -> Any:
        """The bytes of a value that a function returned."""
        data: object = value if self._dumps is None else self._dumps(value)
        if isinstance(data, bytes | bytearray | memoryview):
            return data
        if inspect.iscoroutine(data):
            data.close()
        raise GetterError(
            f"the getter of group {self.group!r} returned {type(data).__name__} for key {key[:64]!r}; "
            "it returns bytes, or None for not found"
        )


class _Call:
    """One call of a function and the loads that it answers."""

    __slots__ = ("contexts", "getter", "is_batch", "loads", "scope")

    def __init__(self, getter: Getter, loads: list[_native.Load]) -> None:
        self.getter = getter
        self.loads = loads
        self.contexts = [LoadContext(load.key or "", load) for load in loads]
        self.scope = loads[0].scope
        self.is_batch = False

    def answer(self, answer: Any) -> None:
        if not self.is_batch:
            return self._answer_one(self.loads[0], self.contexts[0], answer)
        if not isinstance(answer, Mapping):
            if inspect.iscoroutine(answer):
                answer.close()
            raise GetterError(
                f"load_many of group {self.getter.group!r} returned {type(answer).__name__}; "
                "it returns a dict of the keys that exist"
            )
        for load, ctx in zip(self.loads, self.contexts, strict=True):
            try:
                self._answer_one(load, ctx, answer.get(ctx.key))
            except Exception as error:
                _fail(load, error)

    def _answer_one(self, load: _native.Load, ctx: LoadContext, value: object) -> None:
        if value is None and not self.getter.keeps_none:
            load.not_found()
        else:
            load.complete(self.getter.encode(ctx.key, value), ctx.ttl)

    def fail(self, error: Exception) -> None:
        for load in self.loads:
            _fail(load, error)


def _fail(load: _native.Load, error: Exception) -> None:
    if isinstance(error, NotFound):
        return load.not_found()
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


class _Style(enum.Enum):
    KEY = 1
    KEY_CTX = 2
    KEY_CTX_KEYWORD = 3


def _with_ctx(function: Callable[..., Any]) -> Callable[[LoadContext], Any]:
    """The function as one of a context."""
    style = _style(function)
    if style is _Style.KEY:
        return lambda ctx: function(ctx.key)
    if style is _Style.KEY_CTX:
        return lambda ctx: function(ctx.key, ctx)
    return lambda ctx: function(ctx.key, ctx=ctx)


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
