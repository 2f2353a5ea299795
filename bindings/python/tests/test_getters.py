"""Getters: their forms, what they may answer, and where their failures go."""

from __future__ import annotations

import asyncio
import functools
import gc
import math
import threading
import time
import weakref
from typing import Any

import kamacache
import pytest
from helpers import run_threads


def plain(key: str) -> bytes:
    return b"plain"


def positional_ctx(key: str, ctx: kamacache.LoadContext) -> bytes:
    return f"{ctx.key}".encode()


def second_positional(key: str, anything: kamacache.LoadContext) -> bytes:
    return f"{anything.key}".encode()


def keyword_ctx(key: str, *, ctx: kamacache.LoadContext) -> bytes:
    return f"{ctx.key}".encode()


def optional_ctx(key: str, ctx: kamacache.LoadContext | None = None) -> bytes:
    assert ctx is not None
    return f"{ctx.key}".encode()


def second_default(key: str, table: str = "scores") -> bytes:
    return table.encode()


class Callable:
    def __call__(self, key: str) -> bytes:
        return b"object"


class AsyncCallable:
    async def __call__(self, key: str, ctx: kamacache.LoadContext) -> bytes:
        return f"{ctx.key}".encode()


async def coroutine_function(key: str) -> bytes:
    await asyncio.sleep(0)
    return b"async"


FORMS: list[tuple[Any, bytes]] = [
    (plain, b"plain"),
    (positional_ctx, b"k"),
    (second_positional, b"k"),
    (keyword_ctx, b"k"),
    (optional_ctx, b"k"),
    (second_default, b"scores"),
    (Callable(), b"object"),
    (AsyncCallable(), b"k"),
    (coroutine_function, b"async"),
    (functools.partial(second_default, table="t"), b"t"),
    (functools.partial(coroutine_function), b"async"),
    ({"k": b"dict"}.get, b"dict"),
    (str.encode, b"k"),
]


@pytest.mark.parametrize(("getter", "value"), FORMS, ids=lambda form: getattr(form, "__name__", type(form).__name__))
def test_forms_of_getters(node: kamacache.Node, getter: Any, value: bytes) -> None:
    assert node.group("sync", getter, max_bytes="1MiB").get("k") == value

    async def main() -> bytes:
        return await node.group("async", getter, max_bytes="1MiB").aget("k")

    assert asyncio.run(main()) == value


def test_ctx_sets_the_ttl_and_tells_the_deadline(node: kamacache.Node) -> None:
    deadlines: list[float | None] = []

    @node.group("g", max_bytes="1MiB", load_timeout=7)
    def group(key: str, ctx: kamacache.LoadContext) -> bytes:
        assert ctx.key == key
        assert ctx.ttl is None
        deadlines.append(ctx.deadline)
        ctx.ttl = {"never": 0, "always": math.inf, "text": "10m"}[key]
        return b"v"

    before = time.monotonic()
    for key in ("never", "always", "text"):
        assert group.get(key) == b"v"
    assert group.peek("never") is None
    assert group.peek("always") == group.peek("text") == b"v"
    assert all(deadline is not None and 6 < deadline - before < 8 for deadline in deadlines)


def test_a_ttl_that_breaks_the_rule_fails_the_load(node: kamacache.Node) -> None:
    @node.group("g", max_bytes="1MiB")
    def group(key: str, ctx: kamacache.LoadContext) -> bytes:
        ctx.ttl = -1
        return b"v"

    with pytest.raises(kamacache.InvalidArgument, match="ttl"):
        group.get("k")
    assert group.peek("k") is None


class DiskError(Exception):
    pass


def test_s12_the_original_exception_comes_back(node: kamacache.Node) -> None:
    raised: list[DiskError] = []

    def fail() -> bytes:
        raised.append(DiskError("disk on fire"))
        raise raised[-1]

    @node.group("plain", max_bytes="1MiB")
    def group(key: str) -> bytes:
        return fail()

    @node.group("async", max_bytes="1MiB")
    async def agroup(key: str) -> bytes:
        return fail()

    for one in (group, agroup):
        with pytest.raises(DiskError) as caught:
            one.get("k")
        assert caught.value is raised[-1]
        assert caught.traceback[-1].name == "fail"
        assert one.stats().entries == 0
    assert len(raised) == 2


def test_s12_an_exception_shared_by_waiters_keeps_its_traceback(node: kamacache.Node) -> None:
    error = DiskError("disk on fire")
    everyone = threading.Event()

    @node.group("g", max_bytes="1MiB")
    def group(key: str) -> bytes:
        assert everyone.wait(10)
        raise error

    def ask(index: int) -> bytes:
        if index == 49:
            while group.stats().gets < 49:
                time.sleep(0)
            everyone.set()
        return group.get("k")

    answers = run_threads(50, ask)
    assert [answer for answer in answers if answer is not error] == []
    depth, step = 0, error.__traceback__
    while step is not None:
        depth, step = depth + 1, step.tb_next
    assert depth < 50, "the traceback grows with every waiter"


async def test_s12_the_original_exception_comes_back_to_every_task(node: kamacache.Node) -> None:
    error = DiskError("disk on fire")

    @node.group("plain", max_bytes="1MiB")
    def group(key: str) -> bytes:
        raise error

    @node.group("async", max_bytes="1MiB")
    async def agroup(key: str) -> bytes:
        await asyncio.sleep(0)
        raise error

    for one in (group, agroup):
        answers = await asyncio.gather(*(one.aget("k") for _ in range(10)), return_exceptions=True)
        assert all(answer is error for answer in answers)


GARBAGE: list[Any] = ["text", 5, ["b"], object(), {}, 1.5, True]


@pytest.mark.parametrize("value", GARBAGE, ids=repr)
async def test_s12_getters_that_return_garbage(node: kamacache.Node, value: Any) -> None:
    @node.group("plain", max_bytes="1MiB")
    def group(key: str) -> Any:
        return value

    @node.group("async", max_bytes="1MiB")
    async def agroup(key: str) -> Any:
        return value

    with pytest.raises(kamacache.GetterError, match=f"returned {type(value).__name__}"):
        group.get("k")
    for one in (group, agroup):
        with pytest.raises(kamacache.GetterError, match=f"returned {type(value).__name__}"):
            await one.aget("k")
        assert one.stats().entries == 0


def test_s12_a_plain_function_that_returns_a_coroutine(node: kamacache.Node) -> None:
    group = node.group("g", lambda key: coroutine_function(key), max_bytes="1MiB")
    with pytest.raises(kamacache.GetterError, match="coroutine"):
        group.get("k")


class Shy(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("error", [Shy(), DiskError("a\ud800b"), StopIteration(3), StopAsyncIteration()], ids=repr)
async def test_exceptions_that_are_hard_to_carry(node: kamacache.Node, error: Exception) -> None:
    @node.group("g", max_bytes="1MiB")
    def group(key: str) -> bytes:
        raise error

    with pytest.raises(type(error)) as caught:
        group.get("k")
    assert caught.value is error
    with pytest.raises((type(error), RuntimeError)) as caught:
        await group.aget("k")
    assert caught.value is error or caught.value.__cause__ is error


@pytest.mark.parametrize("answer", [None, kamacache.NotFound(), kamacache.NotFound("no such score")], ids=repr)
async def test_s02_the_ways_to_say_not_found(node: kamacache.Node, answer: kamacache.NotFound | None) -> None:
    @node.group("g", max_bytes="1MiB")
    def group(key: str) -> bytes | None:
        if answer is not None:
            raise answer
        return None

    with pytest.raises(kamacache.NotFound):
        group.get("k")
    with pytest.raises(kamacache.NotFound):
        await group.aget("k")
    assert await group.aget("k", b"0") == b"0"
    assert group.stats().not_found == 3


def test_codecs(node: kamacache.Node) -> None:
    data: dict[str, Any] = {"Tom": {"score": 630, "name": "Tom ✓"}, "none": None}
    json_group = node.group("json", lambda key: data.get(key), max_bytes="1MiB", codec="json")
    assert json_group.get("Tom") == json_group.peek("Tom") == data["Tom"]
    assert json_group.get("none", "absent") == "absent"
    json_group.set("list", [1, None])
    assert json_group.get("list") == [1, None]

    text = node.group("str", lambda key: key + "é", max_bytes="1MiB", codec="str")
    assert text.get("k") == "ké"
    with pytest.raises(TypeError, match="str"):
        text.set("k", b"bytes")  # type: ignore[arg-type]

    pickled = node.group("pickle", lambda key: {1, 2}, max_bytes="1MiB", codec="pickle")
    assert pickled.get("k") == {1, 2}

    pair = node.group("pair", lambda key: 7, max_bytes="1MiB", codec=(lambda n: b"%d" % n, int))
    assert pair.get("k") == pair.peek("k") == 7


async def test_codecs_in_asyncio(node: kamacache.Node) -> None:
    @node.group("json", max_bytes="1MiB", codec="json")
    async def group(key: str) -> Any:
        return {"key": key}

    assert await group.aget("a") == await group.aget("a") == {"key": "a"}
    await group.aset("b", 5)
    assert group.peek("b") == 5


def test_a_value_that_its_codec_refuses_fails_the_load(node: kamacache.Node) -> None:
    group = node.group("json", lambda key: {1, 2}, max_bytes="1MiB", codec="json")
    with pytest.raises(TypeError, match="set"):
        group.get("k")


def test_a_closed_node_lets_go_of_its_getters() -> None:
    class Source:
        def load(self, key: str) -> bytes:
            return b"v"

    source = Source()
    gone = weakref.ref(source)
    node = kamacache.Node()
    group = node.group("g", source.load, max_bytes="1MiB")
    with node:
        assert group.get("k") == b"v"
    del source, group, node
    gc.collect()
    assert gone() is None


def test_a_node_that_was_forgotten_open_is_collected() -> None:
    node = kamacache.Node()
    group = node.group("g", plain, max_bytes="1MiB")
    node.start()
    assert group.get("k") == b"plain"
    gone = weakref.ref(node)
    del node, group
    gc.collect()
    assert gone() is None
