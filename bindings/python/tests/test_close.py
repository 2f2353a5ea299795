"""S37: closing with calls pending. Waiters get Closed, running getters are
waited for, nothing hangs."""

from __future__ import annotations

import asyncio
import threading
import time

import kamacache
import pytest
from helpers import Gate, key_owned_by, ring, run_threads


def wait_for_gets(group: kamacache.Group[bytes], count: int) -> None:
    deadline = time.monotonic() + 10
    while group.stats().gets < count:
        assert time.monotonic() < deadline, "the gets did not begin"
        time.sleep(0)


def test_s37_close_waits_for_a_running_getter() -> None:
    gate = Gate()
    node = kamacache.Node()
    group = node.group("g", gate, max_bytes="1MiB")
    node.start()
    answers: list[object] = []
    closing = threading.Thread(target=lambda: answers.append(node.close(10)))
    getting = threading.Thread(target=lambda: group.get("k", None))
    getting.start()
    gate.wait_entered()
    closing.start()
    closing.join(0.1)
    assert closing.is_alive(), "close does not wait for the getter"
    gate.open.set()
    closing.join(10)
    getting.join(10)
    assert answers == [True]


def test_s37_a_getter_that_still_runs_is_told() -> None:
    gate = Gate()
    node = kamacache.Node(drain=0.05)
    group = node.group("g", gate, max_bytes="1MiB")
    node.start()
    leader = threading.Thread(target=lambda: run_threads(1, lambda _: group.get("k")))
    leader.start()
    gate.wait_entered()
    assert node.close() is False
    assert node.close(drain=0) is False
    gate.open.set()
    leader.join(10)
    assert node.close() is True


def test_s37_waiters_get_closed_within_a_second() -> None:
    gate = Gate()
    node = kamacache.Node()
    group = node.group("g", gate, max_bytes="1MiB")
    node.start()
    leader = threading.Thread(target=lambda: run_threads(1, lambda _: group.get("k")))
    leader.start()
    gate.wait_entered()

    def wait(index: int) -> object:
        if index == 8:
            wait_for_gets(group, 9)
            return node.close(0)
        return group.get("k", timeout=30)

    before = time.monotonic()
    answers = run_threads(9, wait)
    assert time.monotonic() - before < 2
    assert answers[8] is False
    assert all(isinstance(answer, kamacache.Closed) for answer in answers[:8])
    gate.open.set()
    leader.join(10)


async def test_s37_tasks_get_closed() -> None:
    node = kamacache.Node()

    @node.group("async", max_bytes="1MiB")
    async def agroup(key: str) -> bytes:
        await asyncio.sleep(60)
        return b"late"

    gate = Gate()
    group = node.group("plain", gate, max_bytes="1MiB")
    await node.astart()
    tasks = [asyncio.create_task(one.aget("k", timeout=60)) for one in (agroup, group) for _ in range(50)]
    while agroup.stats().gets + group.stats().gets < 100:
        await asyncio.sleep(0)
    assert await node.aclose(0) is False
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, kamacache.Closed) for answer in answers)
    gate.open.set()


async def test_s37_aclose_lets_getters_of_its_own_loop_end() -> None:
    release = asyncio.Event()
    node = kamacache.Node()

    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        await release.wait()
        return b"v"

    await node.astart()
    task = asyncio.create_task(group.aget("k", None))
    while group.stats().gets < 1:
        await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.05, release.set)
    assert await node.aclose(10) is True
    with pytest.raises(kamacache.Closed):
        await task


def test_s37_close_while_peers_ask() -> None:
    gates = [Gate(), Gate()]
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        groups.append(node.group("g", gates[index], max_bytes="1MiB"))

    with ring(2, define) as nodes:
        key = key_owned_by(nodes[1])
        gates[0].open.set()
        asking = threading.Thread(target=lambda: run_threads(1, lambda _: groups[0].get(key, timeout=10)))
        asking.start()
        gates[1].wait_entered()
        assert nodes[1].close(0) is False
        gates[1].open.set()
        asking.join(10)
        assert not asking.is_alive()


def test_s37_close_under_full_load() -> None:
    node = kamacache.Node("127.0.0.1:0")
    group = node.group("g", lambda key: key.encode(), max_bytes="1MiB")

    @node.group("async", max_bytes="1MiB")
    async def agroup(key: str) -> bytes:
        await asyncio.sleep(0)
        return key.encode()

    node.start()
    ready = threading.Barrier(9, timeout=10)

    def blocking(index: int) -> str:
        ready.wait()
        for number in range(10**6):
            key = f"{index}-{number}"
            group.set(key, b"v")
            group.get(key)
            agroup.get(key)
        return "never closed"

    async def tasks(index: int) -> str:
        ready.wait()
        for number in range(10**6):
            await asyncio.gather(*(one.aget(f"{index}-{number}") for one in (group, agroup)))
        return "never closed"

    def work(index: int) -> object:
        if index == 8:
            ready.wait()
            wait_for_gets(group, 100)
            return node.close(5)
        return blocking(index) if index % 2 else asyncio.run(tasks(index))

    *answers, closed = run_threads(9, work)
    assert closed is True
    assert [type(answer) for answer in answers] == [kamacache.Closed] * 8
