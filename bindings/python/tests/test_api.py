"""Every public name, used as meant."""

from __future__ import annotations

import asyncio
import datetime
import math
import pickle

import kamacache
import pytest

SCORES = {"Tom": b"630", "Jack": b"589", "empty": b""}


def open_scores(node: kamacache.Node) -> tuple[kamacache.Group[bytes], list[str]]:
    calls: list[str] = []

    def load(key: str) -> bytes | None:
        calls.append(key)
        return SCORES.get(key)

    return node.group("scores", load, max_bytes="64MiB", ttl=600), calls


def test_s09_a_miss_loads_once_and_then_hits(node: kamacache.Node) -> None:
    scores, calls = open_scores(node)
    assert scores.peek("Tom") is None
    assert [scores.get("Tom") for _ in range(3)] == [b"630"] * 3
    assert scores.peek("Tom") == b"630"
    assert calls == ["Tom"]
    assert scores.get("empty") == b""


def test_s02_not_found_and_default(node: kamacache.Node) -> None:
    scores, calls = open_scores(node)
    with pytest.raises(kamacache.NotFound) as caught:
        scores.get("nobody")
    assert isinstance(caught.value, KeyError)
    assert "nobody" in str(caught.value)
    assert scores.get("nobody", None) is None
    assert scores.get("nobody", default=b"0") == b"0"
    assert calls == ["nobody"] * 3


def test_default_covers_not_found_only(node: kamacache.Node) -> None:
    @node.group("failing", max_bytes="1MiB")
    def failing(key: str) -> bytes:
        raise LookupError("the disk is gone")

    with pytest.raises(LookupError, match="the disk is gone"):
        failing.get("k", default=b"0")
    with pytest.raises(kamacache.InvalidArgument):
        failing.get("", default=b"0")


def test_s17_set_and_delete(node: kamacache.Node) -> None:
    scores, calls = open_scores(node)
    scores.set("Tom", b"1")
    assert scores.get("Tom") == b"1"
    scores.set("Tom", bytearray(b"2"), ttl=30, timeout=1)  # type: ignore[arg-type]
    assert scores.get("Tom") == b"2"
    scores.set("Tom", memoryview(b"xyz")[1:2])  # type: ignore[arg-type]
    assert scores.get("Tom") == b"y"
    assert calls == []
    scores.delete("Tom")
    scores.delete("Tom", timeout="2s")
    assert scores.peek("Tom") is None
    assert scores.get("Tom") == b"630"


def test_a_group_without_getter(node: kamacache.Node) -> None:
    pages = node.group("pages", None, max_bytes=1 << 20)
    with pytest.raises(kamacache.NotFound):
        pages.get("k")
    assert pages.get("k", None) is None
    pages.set("k", b"v")
    assert pages.get("k") == b"v"


@pytest.mark.parametrize("ttl", [None, math.inf, 30, 0.5, "10m", datetime.timedelta(minutes=1), 10**400], ids=str)
def test_s23_ttls_that_keep(node: kamacache.Node, ttl: kamacache.Duration | None) -> None:
    group = node.group("g", None, max_bytes="1MiB")
    group.set("k", b"v", ttl=ttl)
    assert group.peek("k") == b"v"


def test_s23_a_ttl_of_zero_keeps_nothing(node: kamacache.Node) -> None:
    group = node.group("g", None, max_bytes="1MiB")
    group.set("k", b"old")
    group.set("k", b"new", ttl=0)
    assert group.peek("k") is None


async def test_the_async_twins() -> None:
    async with kamacache.Node() as node:
        calls: list[str] = []

        @node.group("scores", max_bytes="64MiB")
        async def scores(key: str) -> bytes | None:
            calls.append(key)
            await asyncio.sleep(0)
            return SCORES.get(key)

        assert await scores.aget("Tom") == b"630"
        assert await scores.aget("Tom", timeout=1.0) == b"630"
        with pytest.raises(kamacache.NotFound):
            await scores.aget("nobody")
        assert await scores.aget("nobody", None) is None
        await scores.aset("Jack", b"1", ttl=30, timeout="1s")
        assert scores.peek("Jack") == b"1"
        await scores.adelete("Jack")
        assert scores.peek("Jack") is None
        assert calls == ["Tom", "nobody", "nobody"]


def test_start_and_close() -> None:
    node = kamacache.Node()
    scores, _ = open_scores(node)
    with pytest.raises(kamacache.Closed, match="not started"):
        scores.get("Tom")
    with pytest.raises(kamacache.Closed, match="not started"):
        node.members()
    node.start()
    node.start()
    assert scores.get("Tom") == b"630"
    assert node.close() is True
    assert node.close(drain=1.0) is True
    for call in (
        lambda: scores.get("Tom"),
        lambda: scores.set("Tom", b""),
        lambda: scores.delete("Tom"),
        lambda: node.group("more", None, max_bytes="1MiB"),
        node.start,
    ):
        with pytest.raises(kamacache.Closed, match="closed"):
            call()
    assert scores.peek("Tom") is None


def test_a_node_closed_before_it_started_stays_closed() -> None:
    node = kamacache.Node()
    assert node.close() is True
    with pytest.raises(kamacache.Closed):
        node.start()


async def test_astart_and_aclose() -> None:
    node = kamacache.Node()
    scores, _ = open_scores(node)
    await node.astart()
    assert await scores.aget("Tom") == b"630"
    assert await node.aclose() is True
    assert await node.aclose(drain="1s") is True
    with pytest.raises(kamacache.Closed):
        await scores.aget("Tom")


def test_groups_of_a_started_node_open_at_once(node: kamacache.Node) -> None:
    scores, _ = open_scores(node)
    assert scores.get("Jack") == b"589"
    assert scores.name == "scores"
    assert repr(scores) == "<kamacache.Group 'scores'>"
    with pytest.raises(kamacache.AlreadyExists, match="scores"):
        open_scores(node)


def test_two_groups_of_one_name_are_refused_before_the_start() -> None:
    node = kamacache.Node()
    open_scores(node)
    with pytest.raises(kamacache.AlreadyExists, match="scores"):
        open_scores(node)


def test_a_node_without_network(node: kamacache.Node) -> None:
    assert node.address == ""
    assert node.members() == []
    assert node.owner("Tom") == ""


def test_s04_a_node_with_a_network() -> None:
    with kamacache.Node("127.0.0.1:0") as node:
        host, _, port = node.address.rpartition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0
        assert node.members() == [node.address]
        assert node.owner("Tom") == node.address


def test_stats(node: kamacache.Node) -> None:
    scores, _ = open_scores(node)
    assert scores.stats().hit_ratio == 0.0
    scores.get("Tom")
    for _ in range(3):
        scores.get("Tom")
    stats = scores.stats()
    assert (stats.gets, stats.hits, stats.loaded, stats.loads, stats.entries) == (4, 3, 1, 1, 1)
    assert stats.max_bytes == 64 << 20
    assert stats.bytes > 0
    assert stats.hit_ratio == 0.75
    with pytest.raises(AttributeError):
        stats.gets = 0  # type: ignore[misc]


async def test_s11_a_timeout_ends_the_wait_of_those_who_do_not_run_the_getter() -> None:
    release = asyncio.Event()
    async with kamacache.Node(default_timeout=0.05) as node:

        @node.group("slow", max_bytes="1MiB")
        async def slow(key: str) -> bytes:
            await release.wait()
            return b"late"

        with pytest.raises(kamacache.DeadlineExceeded) as caught:
            await slow.aget("k")
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(kamacache.DeadlineExceeded):
            await slow.aget("k", timeout=0.02)
        waiting = asyncio.create_task(slow.aget("k", timeout=math.inf))
        await asyncio.sleep(0)
        release.set()
        assert await waiting == b"late"
        assert slow.peek("k") == b"late"


KINDS = {
    "InvalidArgument": (1, "INVALID_ARGUMENT", ValueError),
    "NotFound": (2, "NOT_FOUND", KeyError),
    "GetterError": (3, "GETTER_FAILED", Exception),
    "DeadlineExceeded": (4, "DEADLINE_EXCEEDED", TimeoutError),
    "Cancelled": (5, "CANCELLED", Exception),
    "Closed": (6, "CLOSED", Exception),
    "Unavailable": (7, "UNAVAILABLE", ConnectionError),
    "Overloaded": (8, "OVERLOADED", Exception),
    "ReentrantLoad": (9, "REENTRANT_LOAD", RuntimeError),
    "AlreadyExists": (10, "ALREADY_EXISTS", Exception),
    "TooLarge": (11, "TOO_LARGE", ValueError),
    "UnknownGroup": (12, "UNKNOWN_GROUP", LookupError),
    "WouldDeadlock": (13, "WOULD_DEADLOCK", RuntimeError),
    "Forked": (14, "FORKED", Exception),
    "Panicked": (15, "PANICKED", Exception),
    "Unauthenticated": (16, "UNAUTHENTICATED", PermissionError),
    "Internal": (17, "INTERNAL", Exception),
}


@pytest.mark.parametrize("class_name", KINDS)
def test_s03_every_kind_is_an_exception(class_name: str) -> None:
    code, name, builtin = KINDS[class_name]
    kind = getattr(kamacache, class_name)
    assert kind is getattr(kamacache.errors, class_name)
    assert issubclass(kind, kamacache.KamaCacheError)
    assert issubclass(kind, builtin)
    error = kind("why", app_code=-7, peer="127.0.0.1:1")
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert (one.code, one.name, str(one), one.app_code, one.peer) == (code, name, "why", -7, "127.0.0.1:1")
    assert str(kind()) == ""


def test_s03_there_is_no_other_kind() -> None:
    own = {name for name, value in vars(kamacache.errors).items() if isinstance(value, type)}
    assert own == {*KINDS, "KamaCacheError"}


def test_all_names_are_there() -> None:
    assert {"Node", "Group", "Stats", "LoadContext", "errors", *KINDS, "KamaCacheError"} <= set(kamacache.__all__)
    assert all(hasattr(kamacache, name) for name in kamacache.__all__)
