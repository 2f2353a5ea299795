"""Node: this process in the cluster. It records groups and opens them when it
starts; the rules are the core's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypedDict, TypeVar, Unpack, overload

from . import _codec, _evict, _exit, _loads, _log, _loop, _native
from ._duration import Duration
from ._getter import Getter, LoadContext, registry
from ._group import MISSING, Group
from .errors import DeadlineExceeded

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


class _KeywordGetter(Protocol[V_co]):
    def __call__(self, key: str, /, *, ctx: LoadContext) -> V_co | Awaitable[V_co | None] | None: ...


#: A getter of values V: a function or coroutine function of (key) or (key, ctx).
GetterFunction = (
    Callable[[str], V | Awaitable[V | None] | None]
    | Callable[[str, LoadContext], V | Awaitable[V | None] | None]
    | _KeywordGetter[V]
)
#: A batch getter: a function of a list of keys to a dict of those that exist.
BatchGetter = Callable[[list[str]], Mapping[str, V | None] | Awaitable[Mapping[str, V | None]]]
Size = int | str


class _GroupOptions(TypedDict, total=False):
    ttl: Duration | None
    negative_ttl: Duration | None
    hot_ttl: Duration | None
    fallback_ttl: Duration | None
    stale_while_revalidate: Duration | None
    stale_if_error: Duration | None
    load_timeout: Duration | None
    max_concurrent_loads: int | None
    max_value_bytes: Size | None
    policy: str
    strict: bool
    on_evict: _evict.OnEvict | None


class Node:
    """This process in the cluster. Opens nothing until it starts.

        with Node("127.0.0.1:8001", peers=[...]) as node:    # or async with

    listen: where to serve peers, as "127.0.0.1:8001", port 0 for any free one,
        or a range "127.0.0.1:8001-8003"; None: a single instance, no network.
    peers: all members, this node among them. advertise: what peers dial, the
        listen address by default.
    discovery: where the members are found, in place of peers: "file:///PATH",
        "dns://NAME:PORT" or "etcd://HOST:2379/SERVICE".
    tls: PEM files {"ca": ..., "cert": ..., "key": ..., "name": ...} for the
        connections between peers, read again when they change; "name", which
        all certificates then carry, may be left out. admin: where the admin
        HTTP listens, as "127.0.0.1:9001", ":9001" or port 0; admin_hosts: names by
        which it may be asked, beside localhost, the advertised name and addresses.
    cluster_token: a secret that all members share, requests without it are
        refused; or several separated by blanks: all are admitted, the first is
        sent. cluster_token_file: a file of them, one a line, read again when it
        changes.
    default_timeout: how long a call waits; drain: how long close waits for
        running getters. Durations are seconds, timedeltas or "10m".
    io_threads: network threads, 1 by default; getter_threads: threads for plain
        getters that peers or event loops ask for, 16 by default.
    """

    def __init__(
        self,
        listen: str | None = None,
        *,
        peers: Iterable[str] = (),
        advertise: str | None = None,
        discovery: str | None = None,
        admin: str | None = None,
        admin_hosts: Iterable[str] = (),
        tls: Mapping[str, str] | None = None,
        cluster: str = "default",
        cluster_token: str | None = None,
        cluster_token_file: str | None = None,
        io_threads: int | None = None,
        getter_threads: int | None = None,
        default_timeout: Duration | None = 5,
        drain: Duration | None = 5,
    ) -> None:
        self._native = _native.Node(
            listen,
            peers=peers,
            advertise=advertise,
            discovery=discovery,
            admin=admin,
            admin_hosts=admin_hosts,
            tls=tls,
            cluster=cluster,
            cluster_token=cluster_token,
            cluster_token_file=cluster_token_file,
            io_threads=io_threads,
            getter_threads=getter_threads,
            default_timeout=default_timeout,
            drain=drain,
        )
        self._loads = _loads.Loads(self._native.loads())
        self._groups: list[Group[Any]] = []
        self._started = False
        self._listens = False
        self._reports = False

    # Without a getter argument: a decorator.
    @overload
    def group(
        self,
        name: str,
        /,
        *,
        max_bytes: Size,
        codec: Literal["bytes"] = "bytes",
        load_many: BatchGetter[bytes] | None = None,
        **options: Unpack[_GroupOptions],
    ) -> Callable[[GetterFunction[bytes]], Group[bytes]]: ...
    @overload
    def group(
        self,
        name: str,
        /,
        *,
        max_bytes: Size,
        codec: Literal["str"],
        load_many: BatchGetter[str] | None = None,
        **options: Unpack[_GroupOptions],
    ) -> Callable[[GetterFunction[str]], Group[str]]: ...
    @overload
    def group(
        self,
        name: str,
        /,
        *,
        max_bytes: Size,
        codec: Literal["json", "pickle"],
        load_many: BatchGetter[Any] | None = None,
        **options: Unpack[_GroupOptions],
    ) -> Callable[[GetterFunction[Any]], Group[Any]]: ...
    @overload
    def group(
        self,
        name: str,
        /,
        *,
        max_bytes: Size,
        codec: tuple[Callable[[V], bytes], Callable[[bytes], V]],
        load_many: BatchGetter[V] | None = None,
        **options: Unpack[_GroupOptions],
    ) -> Callable[[GetterFunction[V]], Group[V]]: ...
    @overload
    def group(
        self,
        name: str,
        getter: GetterFunction[bytes] | None,
        /,
        *,
        max_bytes: Size,
        codec: Literal["bytes"] = "bytes",
        load_many: BatchGetter[bytes] | None = None,
        **options: Unpack[_GroupOptions],
    ) -> Group[bytes]: ...
    @overload
    def group(
        self,
        name: str,
        getter: GetterFunction[str] | None,
        /,
        *,
        max_bytes: Size,
        codec: Literal["str"],
        load_many: BatchGetter[str] | None = None,
        **options: Unpack[_GroupOptions],
    ) -> Group[str]: ...
    @overload
    def group(
        self,
        name: str,
        getter: GetterFunction[Any] | None,
        /,
        *,
        max_bytes: Size,
        codec: Literal["json", "pickle"],
        load_many: BatchGetter[Any] | None = None,
        **options: Unpack[_GroupOptions],
    ) -> Group[Any]: ...
    @overload
    def group(
        self,
        name: str,
        getter: GetterFunction[V] | None,
        /,
        *,
        max_bytes: Size,
        codec: tuple[Callable[[V], bytes], Callable[[bytes], V]],
        load_many: BatchGetter[V] | None = None,
        **options: Unpack[_GroupOptions],
    ) -> Group[V]: ...
    def group(
        self,
        name: str,
        getter: Any = MISSING,
        /,
        *,
        max_bytes: Size,
        ttl: Duration | None = None,
        negative_ttl: Duration | None = None,
        hot_ttl: Duration | None = None,
        fallback_ttl: Duration | None = None,
        stale_while_revalidate: Duration | None = None,
        stale_if_error: Duration | None = None,
        load_timeout: Duration | None = None,
        max_concurrent_loads: int | None = None,
        max_value_bytes: Size | None = None,
        policy: str = "default",
        strict: bool = False,
        codec: _codec.Codec = "bytes",
        load_many: BatchGetter[Any] | None = None,
        on_evict: _evict.OnEvict | None = None,
    ) -> Any:
        """Makes a group: a namespace with a byte budget and a getter.

        getter: def or async def of (key) or (key, ctx), returning the value, or
        None (or raising NotFound) when the key does not exist. Left out, this
        is a decorator; None is a group without getter, where a miss is NotFound.

        max_bytes: the budget on this node, an int or "64MiB", 64 KiB at least.
        ttl: how long values are kept, for ever by default, shortened by 0-10 %.
        load_timeout: when a load is given up, 30 s by default.
        max_value_bytes: the largest value accepted, 16 MiB by default.
        negative_ttl: how long "not found" is remembered, not at all by default.
        stale_while_revalidate, stale_if_error: how long an expired value is
        served while it is refreshed, or when the refresh fails.
        max_concurrent_loads: getter calls at the same time on this node.
        codec: "bytes", "str", "json", "pickle", or a pair (dumps, loads).
        load_many: def or async def of a list of keys, returning a dict of those
        that exist; one call for the keys of a get_many. Without a getter it
        loads single keys too.
        on_evict: called with (key, reason) for each entry that left this node's
        memory, on a thread of its own, some time after; reason is "capacity",
        "expired", "replaced", "deleted", "cleared" or "moved".

        Raises InvalidArgument, AlreadyExists, Closed.
        """

        def define(function: Any) -> Group[Any]:
            dumps, decode = _codec.functions(codec)
            listener = None if on_evict is None else _evict.Listener(name, on_evict)
            wrapped = None
            if function is not None or load_many is not None:
                wrapped = Getter(name, function, load_many, dumps)
            native, number = self._native.group(
                name,
                None if wrapped is None else wrapped.is_async,
                wrapped is not None and wrapped.batches,
                listener is not None,
                max_bytes=max_bytes,
                ttl=ttl,
                negative_ttl=negative_ttl,
                hot_ttl=hot_ttl,
                fallback_ttl=fallback_ttl,
                stale_while_revalidate=stale_while_revalidate,
                stale_if_error=stale_if_error,
                load_timeout=load_timeout,
                max_concurrent_loads=max_concurrent_loads,
                max_value_bytes=max_value_bytes,
                policy=policy,
                strict=strict,
            )
            group: Group[Any] = Group(name, self, native, number, wrapped, self._loads, (dumps, decode), listener)
            if wrapped is not None:
                registry[number] = wrapped
            if listener is not None:
                _evict.listeners[number] = listener
                self._listens = True
                self._report()
            self._groups.append(group)
            return group

        return define if getter is MISSING else define(getter)

    def start(self) -> None:
        """Opens the node and its groups. No effect on an open node.

        Raises InvalidArgument for an option that breaks a rule, Unavailable for
        an address that is taken, Closed.
        """
        try:
            home = _loop.current()
        except RuntimeError:  # no loop runs in this thread
            home = None
        self._open(home)

    async def astart(self) -> None:
        """start for asyncio; async getters that peers ask for run in this loop."""
        home = _loop.current()
        await asyncio.to_thread(self._open, home)

    def _open(self, home: _loop.Door | None) -> None:
        _log.start()
        self._native.start()
        if home is not None:
            self._native.set_home(home.completions)
            self._loads.set_home(home)
        self._loads.start()
        self._started = True
        self._report()
        _exit.nodes.add(self)

    def _report(self) -> None:
        """Starts the thread that reports evictions, when somebody listens."""
        if self._started and self._listens and not self._reports:
            self._reports = True
            queue = self._native.evictions()
            _loads.start_thread(lambda: _evict.report(queue), "kamacache-evict")

    def close(self, drain: Duration | None = None) -> bool:
        """Closes the node: ends every wait with Closed, stops serving, and waits
        up to `drain` for running getters. False: a getter still ran then.
        Closing again is fine."""
        try:
            return self._native.close(drain)
        finally:
            self._ended()

    async def aclose(self, drain: Duration | None = None) -> bool:
        """close for asyncio."""
        door = _loop.current()
        try:
            ident = self._native.start_close(drain, door.completions)
            if ident is not None:
                await door.result(ident)
            return True
        except DeadlineExceeded:
            return False
        finally:
            self._native.close(0)
            self._ended()

    def _ended(self) -> None:
        self._loads.stop()
        _exit.nodes.discard(self)

    @property
    def address(self) -> str:
        """What peers dial, with the real port; empty without network."""
        return self._native.address

    @property
    def admin_address(self) -> str | None:
        """Where the admin HTTP listens, with the real port; None without one."""
        return self._native.admin_address

    def members(self) -> list[str]:
        """The members of the ring as this node sees it, sorted; empty without network."""
        return self._native.members()

    def owner(self, key: str) -> str:
        """The address of the member that owns a key; empty without network."""
        return self._native.owner(key)

    def set_peers(self, peers: Iterable[str]) -> None:
        """Replaces the list of members, this node among them. Raises
        InvalidArgument for a list that breaks a rule: the old one stays."""
        self._native.set_peers(peers)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.astart()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
