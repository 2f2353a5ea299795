"""Group: get, set, delete and their asyncio twins.

A hit is one native call. A miss gives a ticket: this file says where the
getter runs and then waits, in the thread or in the loop.
"""

from __future__ import annotations

import asyncio
import enum
from typing import Any, Final, Generic, Literal, TypeVar, overload

from . import _loop, _native
from ._codec import Dumps
from ._codec import Loads as Decode
from ._duration import Duration
from ._getter import Getter
from ._loads import Loads
from ._stats import Stats
from .errors import NotFound, WouldDeadlock

V = TypeVar("V")
D = TypeVar("D")


class Missing(enum.Enum):
    """The type of an argument that was not given, where None means something."""

    MISSING = enum.auto()


MISSING: Final = Missing.MISSING
_Missing = Literal[Missing.MISSING]


class Group(Generic[V]):
    """A namespace of one node with its own byte budget and getter. Made by
    Node.group; safe to use from any thread and any event loop."""

    __slots__ = ("__weakref__", "_begin", "_decode", "_encode", "_getter", "_loads", "_native", "_node", "name")

    #: The group's name.
    name: str

    def __init__(
        self,
        name: str,
        node: object,
        native: _native.Group,
        getter: Getter | None,
        loads: Loads,
        codec: tuple[Dumps | None, Decode | None],
    ) -> None:
        self.name = name
        self._node = node  # a group keeps its node open
        self._native = native
        self._begin = native.begin
        self._getter = getter
        self._loads = loads
        self._encode, self._decode = codec

    @overload
    def get(self, key: str, *, timeout: Duration | None = None) -> V: ...
    @overload
    def get(self, key: str, default: D, *, timeout: Duration | None = None) -> V | D: ...
    def get(self, key: str, default: D | _Missing = MISSING, *, timeout: Duration | None = None) -> V | D:
        """The value of a key: from this node's memory, from its owner, or from
        the getter. Blocks for at most `timeout` (the node's default_timeout);
        a getter that this very call runs is not cut short.

        default: returned instead of raising NotFound; it covers nothing else.
        Raises NotFound, DeadlineExceeded, what the getter of this process
        raised, GetterError from another node, InvalidArgument, ReentrantLoad,
        Closed; WouldDeadlock in a running event loop if the getter is async.
        """
        try:
            answer: Any = self._begin(key, timeout)
            if type(answer) is not bytes:
                answer = self._miss(answer)
        except NotFound:
            if default is MISSING:
                raise
            return default
        value: V = answer if self._decode is None else self._decode(answer)
        return value

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
        value: V = answer if self._decode is None else self._decode(answer)
        return value

    def set(
        self, key: str, value: V, *, ttl: Duration | None = None, timeout: Duration | None = None
    ) -> None:
        """Stores a value at the key's owner; returns when the owner has it.

        ttl: None is the group's, infinity never expires, 0 keeps nothing.
        Raises TooLarge (the old entry is gone), Unavailable or DeadlineExceeded
        (the owner may have applied it), InvalidArgument, UnknownGroup, Closed.
        """
        self._native.set(key, self._to_bytes(value), ttl, timeout)

    async def aset(
        self, key: str, value: V, *, ttl: Duration | None = None, timeout: Duration | None = None
    ) -> None:
        """set for asyncio. A call that is cancelled may have been applied."""
        door = _loop.current()
        ident = self._native.start_set(key, self._to_bytes(value), ttl, timeout, door.completions)
        if ident is not None:
            await door.result(ident)

    def delete(self, key: str, *, timeout: Duration | None = None) -> None:
        """Drops a key at its owner; loads of it on their way are not kept.
        Deleting an absent key is fine. Raises as set, TooLarge apart."""
        self._native.delete(key, timeout)

    async def adelete(self, key: str, *, timeout: Duration | None = None) -> None:
        """delete for asyncio. A call that is cancelled may have been applied."""
        door = _loop.current()
        ident = self._native.start_delete(key, timeout, door.completions)
        if ident is not None:
            await door.result(ident)

    def peek(self, key: str) -> V | None:
        """The value if it is in this node's memory now, else None. Never
        blocks, loads or asks anybody."""
        data: Any = self._native.peek(key)
        value: V | None = data if data is None or self._decode is None else self._decode(data)
        return value

    def stats(self) -> Stats:
        """Counters and sizes of this group on this node."""
        return Stats(*self._native.stats())

    def __repr__(self) -> str:
        return f"<kamacache.Group {self.name!r}>"

    def _to_bytes(self, value: Any) -> Any:
        return value if self._encode is None else self._encode(value)

    def _miss(self, ticket: _native.Ticket) -> bytes:
        getter = self._getter
        if getter is not None and getter.is_async:
            _refuse_in_a_loop(self.name)
        load = None
        try:
            load = ticket.load()
            if load is not None and getter is not None:
                if getter.is_async:
                    self._loads.run_async(getter, load)
                else:
                    getter.run(load)
            return ticket.wait()
        except BaseException:
            # An interrupted leader leaves first: another waiter inherits the load.
            ticket.leave()
            if load is not None:
                load.abandon()
            raise

    async def _miss_async(self, ticket: _native.Ticket) -> Any:
        door = _loop.current()
        getter = self._getter
        load = ticket.load()
        if load is not None and getter is not None:
            if getter.is_async:
                door.run(getter, load)
            else:
                self._loads.run_plain(load)
        answer = ticket.notify(door.completions)
        return await door.result(answer) if isinstance(answer, int) else answer


def _refuse_in_a_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WouldDeadlock(
        f"group {name!r} has an async getter, and get() would block the event loop that runs here; use await aget()"
    )
