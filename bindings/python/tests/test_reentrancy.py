"""S16: a getter that asks for the very key it is loading is refused, wherever
it asks from; other keys are fine."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import kamacache
import pytest
from helpers import key_owned_by, ring


def test_s16_inline(node: kamacache.Node) -> None:
    @node.group("g", max_bytes="1MiB")
    def group(key: str) -> bytes:
        if key == "other":
            return b"fine"
        with pytest.raises(kamacache.ReentrantLoad, match=key):
            group.get(key)
        return group.get("other")

    assert group.get("k") == b"fine"
    assert group.get("fresh") == b"fine"


def test_s16_the_error_reaches_the_caller_who_does_not_catch_it(node: kamacache.Node) -> None:
    @node.group("g", max_bytes="1MiB")
    def group(key: str) -> bytes:
        return group.get(key)

    with pytest.raises(kamacache.ReentrantLoad) as caught:
        group.get("k")
    assert isinstance(caught.value, RuntimeError)


async def test_s16_in_tasks(node: kamacache.Node) -> None:
    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        if key == "other":
            return b"fine"
        with pytest.raises(kamacache.ReentrantLoad, match=key):
            await group.aget(key)
        with pytest.raises(kamacache.ReentrantLoad, match=key):
            await asyncio.create_task(group.aget(key))
        return await group.aget("other")

    assert await group.aget("k") == b"fine"
    assert await asyncio.gather(*(group.aget(str(n)) for n in range(5))) == [b"fine"] * 5


async def test_s16_on_the_pool(node: kamacache.Node) -> None:
    @node.group("g", max_bytes="1MiB")
    def group(key: str) -> bytes:
        if key == "other":
            return b"fine"
        with pytest.raises(kamacache.ReentrantLoad, match=key):
            group.get(key)
        return group.get("other")

    assert await group.aget("k") == b"fine"


def test_s16_through_a_thread_that_has_the_context(node: kamacache.Node) -> None:
    @node.group("g", max_bytes="1MiB")
    def group(key: str) -> bytes:
        raised: list[BaseException] = []

        def ask() -> None:
            try:
                group.get(key)
            except kamacache.ReentrantLoad as error:
                raised.append(error)

        thread = threading.Thread(target=contextvars.copy_context().run, args=(ask,))
        thread.start()
        thread.join(10)
        assert len(raised) == 1
        return b"fine"

    assert group.get("k") == b"fine"


def test_s16_a_plain_getter_inside_an_async_one(node: kamacache.Node) -> None:
    plain = node.group("plain", lambda key: outer_again(key), max_bytes="1MiB")

    def outer_again(key: str) -> bytes:
        with pytest.raises(kamacache.ReentrantLoad):
            plain.get(key)
        return b"inner"

    @node.group("outer", max_bytes="1MiB")
    async def outer(key: str) -> bytes:
        return plain.get(key)

    assert asyncio.run(outer.aget("k")) == b"inner"


def test_s16_at_the_owner_for_a_peer() -> None:
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        def load(key: str) -> bytes:
            with pytest.raises(kamacache.ReentrantLoad):
                groups[index].get(key)
            return b"%d" % index

        groups.append(node.group("g", load, max_bytes="1MiB"))

    with ring(2, define) as nodes:
        assert groups[0].get(key_owned_by(nodes[1])) == b"1"


def test_s16_two_nodes_of_one_process_do_not_take_each_other_for_themselves(node: kamacache.Node) -> None:
    with kamacache.Node() as behind:
        source = behind.group("g", lambda key: b"behind", max_bytes="1MiB")
        front = node.group("g", source.get, max_bytes="1MiB")
        assert front.get("k") == b"behind"
