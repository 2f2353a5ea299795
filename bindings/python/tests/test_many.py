"""Many keys at once, clear, batch getters and latencies."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import kamacache
import pytest
from helpers import Gate, key_owned_by, keys_owned_by, ring, run_threads


class Source:
    """A data source that records its queries."""

    def __init__(self) -> None:
        self.one: list[str] = []
        self.many: list[list[str]] = []

    def load(self, key: str) -> bytes | None:
        self.one.append(key)
        if key.startswith("bad"):
            raise OSError(f"cannot read {key}")
        return None if key.startswith("no") else key.encode()

    def load_many(self, keys: list[str]) -> dict[str, bytes | None]:
        self.many.append(keys)
        return {key: key.encode() for key in keys if not key.startswith("no")}

    async def aload(self, key: str) -> bytes | None:
        await asyncio.sleep(0)
        return self.load(key)

    async def aload_many(self, keys: list[str]) -> dict[str, bytes | None]:
        await asyncio.sleep(0)
        return self.load_many(keys)


def test_get_many_gives_the_keys_that_exist(node: kamacache.Node) -> None:
    source = Source()
    group = node.group("g", source.load, max_bytes="1MiB")
    group.set("here", b"already")
    assert group.get_many(["a", "nobody", "here", "a"]) == {"a": b"a", "here": b"already"}
    assert source.one == ["a", "nobody"]
    assert group.get_many(iter(["a"])) == {"a": b"a"}
    assert group.get_many([]) == {}
    assert source.one == ["a", "nobody"]


async def test_aget_many(node: kamacache.Node) -> None:
    source = Source()
    for name, getter in (("plain", source.load), ("async", source.aload)):
        group = node.group(name, getter, max_bytes="1MiB")
        keys = [f"{name}-{number}" for number in range(300)]
        expected = {key: key.encode() for key in keys}
        assert await group.aget_many([*keys, "nobody"]) == expected
        assert await group.aget_many(keys) == expected
        assert await group.aget_many([]) == {}
    assert len(source.one) == 602


def test_get_many_of_an_async_getter(node: kamacache.Node) -> None:
    group = node.group("g", Source().aload, max_bytes="1MiB")
    assert group.get_many(["a", "b", "none"]) == {"a": b"a", "b": b"b"}

    async def inside() -> None:
        assert group.get_many(["a", "b"]) == {"a": b"a", "b": b"b"}, "hits never wait"
        with pytest.raises(kamacache.WouldDeadlock):
            group.get_many(["a", "c"])

    asyncio.run(inside())


async def test_errors_of_some_keys(node: kamacache.Node) -> None:
    source = Source()
    for name, getter in (("plain", source.load), ("async", source.aload)):
        group = node.group(name, getter, max_bytes="1MiB")
        keys = ["a", "bad-1", "", "x" * 5000, "nobody", "bad-2"]
        found = await group.aget_many(keys, return_errors=True)
        assert list(found) == ["a", "bad-1", "", "x" * 5000, "bad-2"]
        assert found["a"] == b"a"
        assert isinstance(found["bad-1"], OSError)
        assert isinstance(found[""], kamacache.InvalidArgument)
        assert isinstance(found["x" * 5000], kamacache.InvalidArgument)
        with pytest.raises(OSError, match="bad-2"):
            await group.aget_many(["b", "bad-2", "bad-1"])
        assert group.peek("b") == b"b", "the others were loaded all the same"
    sync = node.group("sync", source.load, max_bytes="1MiB")
    assert isinstance(sync.get_many(["a", "bad"], return_errors=True)["bad"], OSError)
    with pytest.raises(OSError, match="bad"):
        sync.get_many(["a", "bad"])


async def test_s05_batch_getters_load_all_keys_in_one_call(node: kamacache.Node) -> None:
    for name, one, many in (("plain", "load", "load_many"), ("async", "aload", "aload_many")):
        source = Source()
        getter: Any = getattr(source, one)
        batch: Any = getattr(source, many)
        group = node.group(name, getter, max_bytes="1MiB", load_many=batch)
        assert await group.aget_many(["a", "b", "nobody"]) == {"a": b"a", "b": b"b"}
        assert (source.one, source.many) == ([], [["a", "b", "nobody"]])
        assert await group.aget("single") == b"single"
        assert source.one == ["single"]
        assert await asyncio.to_thread(group.get_many, ["a", "c", "d"]) == {"a": b"a", "c": b"c", "d": b"d"}
        assert source.many[1:] == [["c", "d"]]


async def test_a_batch_getter_alone_loads_single_keys_too(node: kamacache.Node) -> None:
    source = Source()
    plain = node.group("plain", None, max_bytes="1MiB", load_many=source.load_many)
    assert plain.get("a") == b"a"
    assert await plain.aget("b") == b"b"
    awaited = node.group("async", None, max_bytes="1MiB", load_many=source.aload_many)
    assert await awaited.aget("c") == b"c"
    with pytest.raises(kamacache.NotFound):
        plain.get("nobody")
    assert source.many == [["a"], ["b"], ["c"], ["nobody"]]


@pytest.mark.parametrize("answer", [None, [b"a"], b"a", 7], ids=repr)
def test_s12_batch_getters_that_return_garbage(node: kamacache.Node, answer: Any) -> None:
    group = node.group("g", None, max_bytes="1MiB", load_many=lambda keys: answer)
    with pytest.raises(kamacache.GetterError, match="load_many"):
        group.get_many(["a", "b"])
    assert group.stats().entries == 0


def test_s12_a_bad_value_in_a_batch_fails_its_key_only(node: kamacache.Node) -> None:
    values: dict[str, Any] = {"a": b"a", "b": 5, "extra": b"ignored"}
    group = node.group("g", None, max_bytes="1MiB", load_many=lambda keys: values)
    found = group.get_many(["a", "b", "c"], return_errors=True)
    assert found["a"] == b"a"
    assert isinstance(found["b"], kamacache.GetterError)
    assert set(found) == {"a", "b"}
    assert group.peek("extra") is None


def test_batch_getters_that_are_refused(node: kamacache.Node) -> None:
    source = Source()
    with pytest.raises(TypeError, match="load_many"):
        node.group("g", None, max_bytes="1MiB", load_many=7)  # type: ignore[call-overload]
    with pytest.raises(kamacache.InvalidArgument, match="both"):
        node.group("g", source.load, max_bytes="1MiB", load_many=source.aload_many)
    with pytest.raises(kamacache.InvalidArgument, match="both"):
        node.group("g", source.aload, max_bytes="1MiB", load_many=source.load_many)


@pytest.mark.parametrize("keys", ["abc", 7, None, [7], [b"a"], ["a", None]], ids=repr)
async def test_keys_of_the_wrong_type(node: kamacache.Node, keys: Any) -> None:
    source = Source()
    group = node.group("g", source.load, max_bytes="1MiB")
    with pytest.raises(TypeError):
        group.get_many(keys)
    with pytest.raises(TypeError):
        await group.aget_many(keys)
    assert source.one == []
    assert group.stats().in_progress == 0


async def test_set_many(node: kamacache.Node) -> None:
    group = node.group("g", None, max_bytes="1MiB", max_value_bytes=1000)
    group.set_many({"a": b"1", "b": b"2"}, ttl=30)
    await group.aset_many({"c": b"3", "d": b"4"}, ttl="10m", timeout=1)
    assert group.get_many("abcd"[i] for i in range(4)) == {"a": b"1", "b": b"2", "c": b"3", "d": b"4"}
    group.set_many({})
    with pytest.raises(kamacache.TooLarge):
        group.set_many({"e": b"x" * 1001, "f": b"6"})
    assert group.peek("f") == b"6", "the others are stored all the same"
    for wrong in ([("a", b"1")], "ab", None):
        with pytest.raises(TypeError):
            group.set_many(wrong)  # type: ignore[arg-type]
    for values in ({"g": b"1", 7: b"2"}, {"g": b"1", "h": "text"}):
        with pytest.raises(TypeError):
            group.set_many(values)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await group.aset_many(values)  # type: ignore[arg-type]
    assert group.peek("g") is None
    words = node.group("words", None, max_bytes="1MiB", codec="str")
    words.set_many({"a": "eins"})
    assert words.get_many(["a"]) == {"a": "eins"}


async def test_s22_clear(node: kamacache.Node) -> None:
    group = node.group("g", None, max_bytes="1MiB")
    values = {str(number): b"v" for number in range(100)}
    group.set_many(values)
    group.clear()
    assert group.stats().entries == 0
    group.set_many(values)
    await group.aclear(timeout=1)
    assert group.stats().entries == 0


def test_s22_clear_reaches_every_member() -> None:
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        groups.append(node.group("g", Source().load, max_bytes="1MiB"))

    with ring(3, define) as nodes:
        keys = [next(keys_owned_by(node)) for node in nodes]
        assert groups[0].get_many(keys) == {key: key.encode() for key in keys}
        groups[1].clear()
        assert [group.peek(key) for group in groups for key in keys] == [None] * 9


def test_get_many_over_a_ring_asks_each_owner_once_for_all() -> None:
    sources = [Source(), Source(), Source()]
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        source = sources[index]
        groups.append(node.group("g", source.load, max_bytes="1MiB", load_many=source.load_many))

    with ring(3, define) as nodes:
        keys = [key for node in nodes for key, _ in zip(keys_owned_by(node), range(50), strict=False)]
        assert groups[0].get_many(keys) == {key: key.encode() for key in keys}
        for node, source in zip(nodes, sources, strict=True):
            loaded = [key for call in source.many for key in call] + source.one
            assert sorted(loaded) == sorted(key for key in keys if nodes[0].owner(key) == node.address)
            assert len(source.many) + len(source.one) < 50, "keys travel in batches"


async def test_async_batch_getters_that_peers_ask_for() -> None:
    async with kamacache.Node("127.0.0.1:0") as here, kamacache.Node("127.0.0.1:0") as there:
        for node in (here, there):
            node.set_peers([here.address, there.address])
        source = Source()
        asking = here.group("g", source.aload, max_bytes="1MiB", load_many=source.aload_many)
        there.group("g", source.aload, max_bytes="1MiB", load_many=source.aload_many)
        keys = [key for key, _ in zip(keys_owned_by(there), range(200), strict=False)]
        assert await asking.aget_many(keys) == {key: key.encode() for key in keys}
        assert sorted(source.one + [key for call in source.many for key in call]) == sorted(keys)


def test_s09_get_many_joins_loads_on_their_way(node: kamacache.Node) -> None:
    gate = Gate()
    group = node.group("g", gate, max_bytes="1MiB")
    first = threading.Thread(target=group.get, args=("k",))
    first.start()
    gate.wait_entered()
    gate.open.set()
    assert run_threads(4, lambda _: group.get_many(["k"])) == [{"k": b"value"}] * 4
    first.join(10)
    assert gate.calls == ["k"]


@pytest.mark.parametrize("slow", ["loaded by this thread", "loaded by another"])
def test_a_promoted_load_of_get_many_begins_at_once(node: kamacache.Node, slow: str) -> None:
    gate, inherited = Gate(), threading.Event()

    def load(key: str) -> bytes:
        if key == "slow":
            return gate(key)
        inherited.set()
        return b"inherited"

    group = node.group("g", load, max_bytes="1MiB")
    ticket: Any = group._native.begin("given up", 30)
    duty = ticket.load()
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(group.get_many(["slow", "given up"], timeout=30)))]
    if slow == "loaded by another":
        first = threading.Thread(target=group.get, args=("slow",))
        first.start()
        gate.wait_entered()
        threads.append(first)
    threads[0].start()
    deadline = time.monotonic() + 10
    while group.stats().in_progress < 2 + len(threads):
        assert time.monotonic() < deadline, group.stats()
        time.sleep(0.001)
    try:
        # The leader leaves; the batch inherits its load.
        ticket.leave()
        duty.abandon()
        assert inherited.wait(10), "the inherited load waits for the slow one"
        assert found == []
    finally:
        gate.open.set()
        for thread in threads:
            thread.join(20)
    assert found == [{"slow": b"value", "given up": b"inherited"}]


async def test_s10_a_cancelled_aget_many_leaves_every_wait(node: kamacache.Node) -> None:
    release = asyncio.Event()

    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        await release.wait()
        return key.encode()

    keys = [str(number) for number in range(50)]
    task = asyncio.create_task(group.aget_many(keys))
    while group.stats().in_progress < 50:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert group.stats().in_progress == 0
    release.set()
    assert await group.aget_many(keys) == {key: key.encode() for key in keys}


def many_at_another(nodes: list[kamacache.Node], count: int) -> list[str]:
    return list(itertools.islice(keys_owned_by(nodes[1]), count))


LARGE = b"7" * 60_000


def test_s09_s25_batches_of_large_values_of_another_owner() -> None:
    source = Source()
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        groups.append(node.group("g", source.load, max_bytes="64MiB"))

    with ring(2, define) as nodes:
        values = dict.fromkeys(many_at_another(nodes, 100), LARGE)
        groups[0].set_many(values)
        assert groups[1].stats().entries == 100
        assert groups[0].get_many(values) == values
        assert asyncio.run(groups[0].aget_many(values)) == values
        asyncio.run(groups[0].aset_many(values))
        assert groups[0].get_many(values) == values
        assert source.one == []
        assert groups[0].stats().fetch_errors == 0


def test_s24_a_batch_of_100_000_keys_of_another_owner() -> None:
    source = Source()
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        groups.append(node.group("g", source.load, max_bytes="256MiB"))

    with ring(2, define) as nodes:
        values = dict.fromkeys(many_at_another(nodes, 100_000), b"v")
        groups[1].set_many(values, timeout=60)
        for found in (
            groups[0].get_many(values, timeout=60, return_errors=True),
            asyncio.run(groups[0].aget_many(values, timeout=60, return_errors=True)),
        ):
            assert [error for error in found.values() if isinstance(error, Exception)][:3] == []
            assert found == values
        assert source.one == []


async def test_s09_s25_gets_of_large_values_side_by_side_beside_a_writer() -> None:
    source = Source()
    async with kamacache.Node("127.0.0.1:0") as here, kamacache.Node("127.0.0.1:0") as there:
        nodes = [here, there]
        for node in nodes:
            node.set_peers([here.address, there.address])
        asking, owner = [node.group("g", source.aload, max_bytes="64MiB") for node in nodes]
        written, *keys = many_at_another(nodes, 301)
        await owner.aset_many(dict.fromkeys(keys, LARGE))
        done, sets = asyncio.Event(), 0

        async def write() -> None:
            nonlocal sets
            while not done.is_set():
                await asking.aset(written, LARGE)
                sets += 1

        writer = asyncio.create_task(write())
        for _ in range(3):
            assert await asyncio.gather(*(asking.aget(key) for key in keys)) == [LARGE] * 300
        done.set()
        await writer
        assert sets > 0
        assert source.one == []


def test_s11_deadlines_of_get_many() -> None:
    gate = Gate()
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        groups.append(node.group("g", gate, max_bytes="1MiB"))

    with ring(2, define) as nodes:
        key = key_owned_by(nodes[1])
        with pytest.raises(kamacache.DeadlineExceeded):
            groups[0].get_many([key], timeout=0.1)
        found = groups[0].get_many([key], timeout=0.1, return_errors=True)
        assert isinstance(found[key], kamacache.DeadlineExceeded)
        gate.open.set()


def test_latency(node: kamacache.Node) -> None:
    group = node.group("g", Source().load, max_bytes="1MiB")
    assert {kind: latency.count for kind, latency in group.latency().items()} == {"hit": 0, "load": 0, "fetch": 0}
    for number in range(10):
        group.get(str(number))
    load = group.latency()["load"]
    assert load.count == 10
    assert 0 < load.p50_ns <= load.p99_ns <= load.max_ns <= load.sum_ns


def test_s02_negative_ttl(node: kamacache.Node) -> None:
    source = Source()
    group = node.group("g", source.load, max_bytes="1MiB", negative_ttl=60)
    calls: list[Callable[[], object]] = [lambda: group.get("nobody"), lambda: asyncio.run(group.aget("nobody"))]
    for call in calls:
        with pytest.raises(kamacache.NotFound):
            call()
    assert group.get_many(["nobody"]) == {}
    assert source.one == ["nobody"]


async def test_s15_max_concurrent_loads(node: kamacache.Node) -> None:
    running, most = 0, 0

    @node.group("g", max_bytes="1MiB", max_concurrent_loads=3)
    async def group(key: str) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return key.encode()

    assert len(await group.aget_many([str(number) for number in range(24)])) == 24
    assert most == 3
