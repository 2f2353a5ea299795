"""group.cached: functions whose results are kept by the ring.

A group that was made without a getter has a Dispatch once a function is
cached: it finds the function by the beginning of a key and calls it with the
arguments that the key holds. The owner of a key runs *its* function of that
name; a peer's key for a name that is not here is refused, so that the peer
runs its own.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from . import _codec, _native
from ._duration import Duration
from ._getter import Getter, LoadContext
from ._keys import JsonKeys, Keys, TemplateKeys
from .errors import AlreadyExists

if TYPE_CHECKING:
    from ._group import Group


P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Cached(Protocol[P, R_co]):
    """A function whose results are kept by the ring."""

    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of a call's result, for set, delete and peek of the group."""
        ...


class Dispatch:
    """The functions of a group, by the beginning of their keys. No beginning is
    that of another."""

    def __init__(self, group: str) -> None:
        self.group: str = group
        self.is_async = False  # its loads go to a thread, which asks the function
        self.batches = False
        self._functions: dict[str, Getter] = {}
        self._lock = threading.Lock()

    def add(self, prefix: str, getter: Getter) -> None:
        with self._lock:
            for known in self._functions:
                if known.startswith(prefix) or prefix.startswith(known):
                    raise AlreadyExists(
                        f"group {self.group!r} has a cached function whose keys begin with {known!r} already, so "
                        f"{prefix!r} would be ambiguous; pass another name or key"
                    )
            self._functions[prefix] = getter

    def calls(self, loads: list[_native.Load], *, for_peer: bool = False) -> list[tuple[Getter, list[_native.Load]]]:
        """Loads by the function that answers them."""
        found = [(self._find(load.key or ""), load) for load in loads]
        for getter, load in found:
            if getter is None and for_peer:
                load.refuse(
                    f"group {self.group!r} has no cached function for key {(load.key or '')[:64]!r} on this node"
                )
            elif getter is None:
                load.not_found()
        return [(getter, [load]) for getter, load in found if getter is not None]

    def _find(self, key: str) -> Getter | None:
        functions = self._functions
        return next((functions[prefix] for prefix in functions if key.startswith(prefix)), None)


def cache(
    group: Group[Any],
    dispatch: Dispatch,
    function: Callable[..., Any],
    *,
    key: str | None,
    name: str | None,
    codec: _codec.Codec,
    ttl: Duration | None,
) -> Callable[..., Any]:
    """The function that asks the cache first."""
    if not callable(function):
        raise TypeError(f"cached takes a function, not {type(function).__name__}")
    signature = inspect.signature(function)
    keys: Keys
    if key is not None:
        keys = TemplateKeys(key, function)
    else:
        keys = JsonKeys(name if name is not None else function.__qualname__)
    dumps, loads = _codec.functions(codec)
    load = _loader(function, signature, keys, ttl)
    dispatch.add(keys.prefix, Getter(group.name, load, None, dumps, keeps_none=dumps is not None))
    results = group._with_codec((dumps, loads))

    def write(*args: Any, **kwargs: Any) -> str:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return keys.write(bound)

    # Types are part of the memory's keys, so that 1, 1.0 and True stay apart;
    # other containers are told by write itself.
    remembered = functools.lru_cache(maxsize=1024, typed=True)(write)

    def key_of(*args: Any, **kwargs: Any) -> str:
        """The key of a call's result, for set, delete and peek of the group."""
        if all(type(value) in _SCALARS for value in (*args, *kwargs.values())):
            return remembered(*args, **kwargs)
        return write(*args, **kwargs)

    async def aget(*args: Any, **kwargs: Any) -> Any:
        return await results.aget(key_of(*args, **kwargs))

    def get(*args: Any, **kwargs: Any) -> Any:
        return results.get(key_of(*args, **kwargs))

    chosen: Callable[..., Any] = aget if inspect.iscoroutinefunction(function) else get
    wrapper = functools.wraps(function)(chosen)
    wrapper.__dict__["key"] = key_of
    return wrapper


_SCALARS = frozenset((str, int, float, bool, type(None)))


def _loader(
    function: Callable[..., Any], signature: inspect.Signature, keys: Keys, ttl: Duration | None
) -> Callable[..., Any]:
    """The getter that calls the function with the arguments of a key."""

    def bind(key: str, ctx: LoadContext) -> inspect.BoundArguments:
        ctx.ttl = ttl
        return inspect.BoundArguments(signature, keys.read(key))

    if inspect.iscoroutinefunction(function):

        async def aload(key: str, ctx: LoadContext) -> Any:
            bound = bind(key, ctx)
            return await function(*bound.args, **bound.kwargs)

        return aload

    def load(key: str, ctx: LoadContext) -> Any:
        bound = bind(key, ctx)
        return function(*bound.args, **bound.kwargs)

    return load
