"""Group: get, set, delete and their asyncio twins.

A hit is one native call. A miss gives a ticket: this file says where the
getter runs and then waits, in the thread or in the loop.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, ParamSpec, Self, TypeVar, overload

from . import _cached, _loop, _native
from ._cached import Cached
from ._codec import Codec, Dumps
from ._codec import Loads as Decode
from ._duration import Duration
from ._evict import Listener
from ._getter import Answers, registry
from ._loads import Loads
from ._stats import Latency, Stats
from .errors import InvalidArgument, NotFound, WouldDeadlock

V = TypeVar("V")
D = TypeVar("D")
P = ParamSpec("P")
R = TypeVar("R")


class Missing(enum.Enum):
    """The type of an argument that was not given, where None means something."""

    MISSING = enum.auto()


MISSING: Final = Missing.MISSING
_Missing = Literal[Missing.MISSING]


class Group(_native.Hits, Generic[V]):
    """A namespace of one node with its own byte budget and getter. Made by
    Node.group; safe to use from any thread and any event loop."""

    __slots__ = (
        "__weakref__", "_begin", "_decode", "_encode", "_getter", "_listener", "_loads", "_native", "_node", "_number",
        "name",
    )  # fmt: skip

    #: The group's name.
    name: str

    def __new__(
        cls,
        name: str,
        node: object,
        native: _native.Group,
        number: int,
        getter: Answers | None,
        loads: Loads,
        codec: tuple[Dumps | None, Decode | None],
        listener: Listener | None = None,
    ) -> Self:
        return super().__new__(cls, native, codec[1] is None)

    def __init__(
        self,
        name: str,
        node: object,
        native: _native.Group,
        number: int,
        getter: Answers | None,
        loads: Loads,
        codec: tuple[Dumps | None, Decode | None],
        listener: Listener | None = None,
    ) -> None:
        self.name = name
        self._node = node  # a group keeps its node open
        self._native = native
        self._begin = native.begin
        self._number = number
        self._getter = getter
        self._loads = loads
        self._listener = listener
        self._encode, self._decode = codec

    if TYPE_CHECKING:  # inherited: a hit is answered there, all else by _get

        @overload  # type: ignore[override]
        def get(self, key: str, *, timeout: Duration | None = None) -> V: ...
        @overload
        def get(self, key: str, default: D, *, timeout: Duration | None = None) -> V | D: ...
        def get(self, key: str, default: Any = MISSING, *, timeout: Duration | None = None) -> Any:
            """The value of a key: from this node's memory, from its owner, or from
            the getter. Blocks for at most `timeout` (the node's default_timeout);
            a getter that this very call runs is not cut short.

            default: returned instead of raising NotFound; it covers nothing else.
            Raises NotFound, DeadlineExceeded, what the getter of this process
            raised, GetterError from another node, InvalidArgument, ReentrantLoad,
            Closed; WouldDeadlock in a running event loop if the getter is async.
            """

    def _get(self, key: str, default: Any = MISSING, *, timeout: Duration | None = None) -> Any:
        try:
            answer: Any = self._begin(key, timeout)
            if type(answer) is not bytes:
                answer = self._miss(answer)
        except NotFound:
            if default is MISSING:
                raise
            return default
        return answer if self._decode is None else self._decode(answer)

    @overload
    async def aget(self, key: str, *, timeout: Duration | None = None) -> V: ...
    @overload
    async def aget(self, key: str, default: D, *, timeout: Duration | None = None) -> V | D: ...
    async def aget(self, key: str, default: D | _Missing = MISSING, *, timeout: Duration | None = None) -> V | D:
        """get for asyncio: never blocks the loop. Cancelling it leaves the wait;
        the load goes on."""
        try:
            answer: Any = self._begin(key, timeout)
            if type(answer) is not bytes:
                answer = await self._miss_async(answer)
        except NotFound:
            if default is MISSING:
                raise
            return default
        value: Any = answer if self._decode is None else self._decode(answer)
        return value  # type: ignore[no-any-return]

    def set(self, key: str, value: V, *, ttl: Duration | None = None, timeout: Duration | None = None) -> None:
        """Stores a value at the key's owner; returns when the owner has it.

        ttl: None is the group's, infinity never expires, 0 keeps nothing.
        Raises TooLarge (the old entry is gone), Unavailable or DeadlineExceeded
        (the owner may have applied it), InvalidArgument, UnknownGroup, Closed.
        """
        self._native.set(key, self._to_bytes(value), ttl, timeout, None)

    async def aset(self, key: str, value: V, *, ttl: Duration | None = None, timeout: Duration | None = None) -> None:
        """set for asyncio. A call that is cancelled may have been applied."""
        door = _loop.current()
        ident = self._native.set(key, self._to_bytes(value), ttl, timeout, door.completions)
        if ident is not None:
            await door.result(ident)

    def delete(self, key: str, *, timeout: Duration | None = None) -> None:
        """Drops a key at its owner; loads of it on their way are not kept.
        Deleting an absent key is fine. Raises as set, TooLarge apart."""
        self._native.delete(key, timeout, None)

    async def adelete(self, key: str, *, timeout: Duration | None = None) -> None:
        """delete for asyncio. A call that is cancelled may have been applied."""
        door = _loop.current()
        ident = self._native.delete(key, timeout, door.completions)
        if ident is not None:
            await door.result(ident)

    @overload
    def get_many(self, keys: Iterable[str], *, timeout: Duration | None = None) -> dict[str, V]: ...
    @overload
    def get_many(
        self, keys: Iterable[str], *, timeout: Duration | None = None, return_errors: Literal[True]
    ) -> dict[str, V | Exception]: ...
    @overload
    def get_many(
        self, keys: Iterable[str], *, timeout: Duration | None = None, return_errors: bool
    ) -> dict[str, V] | dict[str, V | Exception]: ...
    def get_many(
        self, keys: Iterable[str], *, timeout: Duration | None = None, return_errors: bool = False
    ) -> dict[str, Any]:
        """The values of those keys that exist: one pass over this node's
        memory, one message to each other owner, one call of load_many (or one
        of the getter for each key, in this thread) for what is loaded here.

        return_errors: the exceptions of keys that failed stand in the result;
        otherwise the first of them is raised when all have ended.
        """
        wanted = _distinct(keys)
        begun = self._native.begin_many(wanted, timeout)
        tickets = [one for one in begun if isinstance(one, _native.Ticket)]
        if tickets:
            answers = iter(self._miss_many(tickets))
            begun = [next(answers) if isinstance(one, _native.Ticket) else one for one in begun]
        return self._found(wanted, begun, return_errors)

    @overload
    async def aget_many(self, keys: Iterable[str], *, timeout: Duration | None = None) -> dict[str, V]: ...
    @overload
    async def aget_many(
        self, keys: Iterable[str], *, timeout: Duration | None = None, return_errors: Literal[True]
    ) -> dict[str, V | Exception]: ...
    @overload
    async def aget_many(
        self, keys: Iterable[str], *, timeout: Duration | None = None, return_errors: bool
    ) -> dict[str, V] | dict[str, V | Exception]: ...
    async def aget_many(
        self, keys: Iterable[str], *, timeout: Duration | None = None, return_errors: bool = False
    ) -> dict[str, Any]:
        """get_many for asyncio; getters of several keys run side by side."""
        wanted = _distinct(keys)
        begun = self._native.begin_many(wanted, timeout)
        tickets = [one for one in begun if isinstance(one, _native.Ticket)]
        if tickets:
            answers = iter(await self._miss_many_async(tickets))
            begun = [next(answers) if isinstance(one, _native.Ticket) else one for one in begun]
        return self._found(wanted, begun, return_errors)

    def set_many(
        self, values: Mapping[str, V], *, ttl: Duration | None = None, timeout: Duration | None = None
    ) -> None:
        """Stores many values. Raises the first failure when all have ended: the
        others are stored all the same."""
        self._native.set_many(self._entries(values), ttl, timeout, None)

    async def aset_many(
        self, values: Mapping[str, V], *, ttl: Duration | None = None, timeout: Duration | None = None
    ) -> None:
        """set_many for asyncio."""
        door = _loop.current()
        ident = self._native.set_many(self._entries(values), ttl, timeout, door.completions)
        if ident is not None:
            await door.result(ident)

    def clear(self, *, timeout: Duration | None = None) -> None:
        """Drops every key on every member of the ring. Raises Unavailable,
        naming the members that did not acknowledge."""
        self._native.clear(timeout, None)

    async def aclear(self, *, timeout: Duration | None = None) -> None:
        """clear for asyncio."""
        door = _loop.current()
        ident = self._native.clear(timeout, door.completions)
        if ident is not None:
            await door.result(ident)

    def peek(self, key: str) -> V | None:
        """The value if it is in this node's memory now, else None. Never
        blocks, loads or asks anybody."""
        data: Any = self._native.peek(key)
        value: V | None = data if data is None or self._decode is None else self._decode(data)
        return value

    def view(self, key: str, *, timeout: Duration | None = None) -> memoryview:
        """The bytes of a key as a read-only memoryview: of the cached value
        itself, without a copy, if it is in this node's memory. Blocks and
        raises as get; the codec plays no part. The memory stays in use while
        somebody holds the view."""
        answer = self._native.begin_view(key, timeout)
        return answer if isinstance(answer, memoryview) else memoryview(self._miss(answer))

    @overload
    def cached(self, function: Callable[P, R], /) -> Cached[P, R]: ...
    @overload
    def cached(
        self,
        *,
        key: str | None = None,
        name: str | None = None,
        codec: Codec | None = None,
        ttl: Duration | None = None,
    ) -> Callable[[Callable[P, R]], Cached[P, R]]: ...
    def cached(
        self,
        function: Any = MISSING,
        *,
        key: str | None = None,
        name: str | None = None,
        codec: Codec | None = None,
        ttl: Duration | None = None,
    ) -> Any:
        """A decorator: the results of a def or async def are kept by the ring,
        and the owner of a result's key runs its function of that name. For a
        group without a getter.

        The key is `name` (the function's qualified name), ":" and the arguments
        as JSON; or `key`, a template that names every parameter, as
        "user:{user_id}:{lang}", whose parameters are annotated as str, int,
        float or bool. codec: how results become bytes; the group's own, or
        "json" when that is "bytes". ttl: as for set.

        The new function has a method `key` that gives the key of a call, for
        delete. Raises ValueError for a template that cannot be
        read back, AlreadyExists for keys that begin as another function's.
        """

        def decorate(decorated: Any) -> Any:
            chosen = codec
            if chosen is None:
                chosen = (self._encode, self._decode) if self._encode and self._decode else "json"
            dispatch = self._dispatch()
            return _cached.cache(self, dispatch, decorated, key=key, name=name, codec=chosen, ttl=ttl)

        return decorate if function is MISSING else decorate(function)

    def stats(self) -> Stats:
        """Counters and sizes of this group on this node."""
        return Stats(*self._native.stats())

    def latency(self) -> dict[Literal["hit", "load", "fetch"], Latency]:
        """How long hits (one in 1,024 is measured), getter calls and fetches
        from other owners took on this node."""
        hit, load, fetch = self._native.latency()
        return {"hit": Latency(*hit), "load": Latency(*load), "fetch": Latency(*fetch)}

    def __repr__(self) -> str:
        return f"<kamacache.Group {self.name!r}>"

    def _dispatch(self) -> _cached.Dispatch:
        if isinstance(self._getter, _cached.Dispatch):
            return self._getter
        if self._getter is not None:
            raise InvalidArgument(f"group {self.name!r} has a getter; cached is for a group made with None instead")
        dispatch = registry[self._number] = _cached.Dispatch(self.name)
        self._getter = dispatch
        self._native.serve_functions()
        return dispatch

    def _with_codec(self, codec: tuple[Dumps | None, Decode | None]) -> Group[Any]:
        """This group with other values."""
        return Group(self.name, self._node, self._native, self._number, self._getter, self._loads, codec)

    def _to_bytes(self, value: Any) -> Any:
        return value if self._encode is None else self._encode(value)

    def _entries(self, values: Mapping[str, V]) -> list[tuple[str, Any]]:
        if not isinstance(values, Mapping):
            raise TypeError(f"values is a dict of keys and values, not {type(values).__name__}")
        return [(key, self._to_bytes(value)) for key, value in values.items()]

    def _found(self, keys: list[str], answers: Sequence[Any], return_errors: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, answer in zip(keys, answers, strict=True):
            if not isinstance(answer, Exception):
                found[key] = answer if self._decode is None else self._decode(answer)
            elif isinstance(answer, NotFound):
                continue
            elif return_errors:
                found[key] = answer
            else:
                raise answer
        return found

    # A miss: run the getter for what this caller leads, then wait.

    def _miss(self, ticket: _native.Ticket) -> bytes:
        loads: list[_native.Load] = []
        try:
            self._lead([ticket], loads)
            return ticket.wait()
        except BaseException:
            _leave(ticket, loads)
            raise

    def _miss_many(self, tickets: list[_native.Ticket]) -> list[bytes | Exception]:
        loads: list[_native.Load] = []
        waits = _native.Waits(tickets)
        try:
            self._lead(tickets, loads)
            return waits.wait()
        except BaseException:
            _leave(waits, loads)
            raise

    def _lead(self, tickets: list[_native.Ticket], loads: list[_native.Load]) -> None:
        """Runs the getter for those tickets that lead; `loads` are for the
        caller to abandon if it is interrupted."""
        getter = self._getter
        if getter is None:
            return
        if getter.is_async:
            _refuse_in_a_loop(self.name)
        loads += [load for load in [ticket.load() for ticket in tickets] if load is not None]
        for one, call in getter.calls(loads):
            if one.is_async:
                _refuse_in_a_loop(self.name)
                self._loads.run_async(one, call)
            else:
                one.run(call)

    async def _miss_async(self, ticket: _native.Ticket) -> Any:
        door = self._lead_async([ticket])
        answer = ticket.notify(door.completions)
        return await door.result(answer) if isinstance(answer, int) else answer

    async def _miss_many_async(self, tickets: list[_native.Ticket]) -> list[bytes | Exception]:
        door = self._lead_async(tickets)
        answers: list[Any] = []
        for ticket in tickets:
            try:
                answers.append(ticket.notify(door.completions))
            except Exception as error:
                answers.append(error)
        late = iter(await door.results([answer for answer in answers if isinstance(answer, int)]))
        return [next(late) if isinstance(answer, int) else answer for answer in answers]

    def _lead_async(self, tickets: list[_native.Ticket]) -> _loop.Door:
        door = _loop.current()
        getter = self._getter
        if getter is not None:
            loads = [load for load in [ticket.load() for ticket in tickets] if load is not None]
            for one, call in getter.calls(loads):
                if one.is_async:
                    door.run(one, call)
                else:
                    self._loads.run_plain(call)
        return door


def _leave(waits: _native.Ticket | _native.Waits, loads: list[_native.Load]) -> None:
    """An interrupted leader leaves its waits first: others inherit its loads."""
    waits.leave()
    for load in loads:
        load.abandon()


def _distinct(keys: Iterable[str]) -> list[str]:
    if isinstance(keys, str):
        raise TypeError(f"keys is a list of keys, not one str; write [{keys!r}]")
    return list(dict.fromkeys(keys))


def _refuse_in_a_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WouldDeadlock(
        f"group {name!r} has an async getter, and get() would block the event loop that runs here; use await aget()"
    )
