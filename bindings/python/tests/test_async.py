"""asyncio: one getter call for all, cancellation, several loops, contexts."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from typing import Any

import kamacache
import pytest
import uvloop
from helpers import Gate, key_owned_by, keys_owned_by, ring, run_threads
from kamacache import _loop


async def test_s09_ten_thousand_concurrent_agets_make_one_getter_call(node: kamacache.Node) -> None:
    calls: list[str] = []
    release = asyncio.Event()

    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        calls.append(key)
        await release.wait()
        return b"630"

    tasks = [asyncio.create_task(group.aget("Tom", timeout=60)) for _ in range(10_000)]
    while group.stats().gets < 10_000:
        await asyncio.sleep(0)
    release.set()
    assert set(await asyncio.gather(*tasks)) == {b"630"}
    assert calls == ["Tom"]
    stats = group.stats()
    assert (stats.loaded, stats.load_joined, stats.loads) == (1, 9_999, 1)


async def test_s09_ten_thousand_keys_come_in_batches(node: kamacache.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    drain = _loop.Door._drain

    def counted(door: _loop.Door) -> None:
        waiting = len(door._futures)
        drain(door)
        batches.append(waiting - len(door._futures))

    monkeypatch.setattr(_loop.Door, "_drain", counted)

    @node.group("g", max_bytes="64MiB")
    async def group(key: str) -> bytes:
        await asyncio.sleep(0)
        return key.encode()

    keys = [f"key-{number}" for number in range(10_000)]
    assert await asyncio.gather(*(group.aget(key, timeout=60) for key in keys)) == [key.encode() for key in keys]
    assert group.stats().loads == 10_000
    assert sum(batches) == 10_000
    assert len(batches) < 1_000, f"the loop was woken {len(batches)} times"


async def test_s09_agets_of_a_plain_getter_make_one_call(node: kamacache.Node) -> None:
    gate = Gate()
    group = node.group("g", gate, max_bytes="1MiB")
    tasks = [asyncio.create_task(group.aget("Tom")) for _ in range(100)]
    while group.stats().gets < 100:
        await asyncio.sleep(0)
    gate.open.set()
    assert set(await asyncio.gather(*tasks)) == {b"value"}
    assert gate.calls == ["Tom"]


async def test_plain_getters_of_several_keys_run_side_by_side(node: kamacache.Node) -> None:
    together = threading.Barrier(8, timeout=10)

    def load(key: str) -> bytes:
        together.wait()
        return key.encode()

    group = node.group("g", load, max_bytes="1MiB")
    assert await asyncio.gather(*(group.aget(str(n)) for n in range(8))) == [b"%d" % n for n in range(8)]


async def test_s10_cancelling_a_caller_leaves_the_load_to_the_others(node: kamacache.Node) -> None:
    calls = 0
    release = asyncio.Event()

    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        nonlocal calls
        calls += 1
        await release.wait()
        return b"v"

    first = asyncio.create_task(group.aget("k"))
    others = [asyncio.create_task(group.aget("k")) for _ in range(3)]
    while group.stats().gets < 4:
        await asyncio.sleep(0)
    first.cancel()
    others[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(asyncio.CancelledError):
        await others[0]
    assert await until(lambda: group.stats().failed == 2)
    release.set()
    assert await others[1] == await others[2] == b"v"
    assert calls == 1
    stats = group.stats()
    assert (stats.failed, stats.in_progress, stats.loaded + stats.load_joined) == (2, 0, 2)


async def test_s10_cancelling_every_caller_fills_the_cache_all_the_same(node: kamacache.Node) -> None:
    release = asyncio.Event()

    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        await release.wait()
        return b"v"

    task = asyncio.create_task(group.aget("k"))
    while group.stats().gets < 1:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert await until(lambda: group.peek("k") == b"v")


async def test_s10_a_load_that_is_cancelled_itself_is_inherited(node: kamacache.Node) -> None:
    running: list[asyncio.Task[Any] | None] = []
    release = asyncio.Event()

    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        running.append(asyncio.current_task())
        if len(running) == 1:
            await release.wait()
        return b"second"

    waiting = [asyncio.create_task(group.aget("k")) for _ in range(2)]
    while not running:
        await asyncio.sleep(0)
    assert running[0] is not None
    running[0].cancel()
    assert await asyncio.gather(*waiting) == [b"second"] * 2
    assert len(running) == 2


async def until(condition: Any, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0)
    return True


LANGUAGE = contextvars.ContextVar("language", default="none")


async def test_getters_see_their_callers_context(node: kamacache.Node) -> None:
    @node.group("async", max_bytes="1MiB")
    async def agroup(key: str) -> bytes:
        return LANGUAGE.get().encode()

    group = node.group("plain", lambda key: LANGUAGE.get().encode(), max_bytes="1MiB")
    LANGUAGE.set("de")
    assert await agroup.aget("k") == b"de"
    assert await group.aget("k") == b"de"

    def blocking() -> tuple[bytes, bytes]:
        LANGUAGE.set("fr")
        return group.get("thread"), agroup.get("thread")

    assert await asyncio.to_thread(blocking) == (b"fr", b"fr")
    assert LANGUAGE.get() == "de"


def test_several_loops_share_one_load(node: kamacache.Node) -> None:
    together = threading.Barrier(4, timeout=10)
    calls: list[str] = []

    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        calls.append(key)
        while group.stats().gets < 400:
            await asyncio.sleep(0.001)
        return b"v"

    async def main() -> set[bytes]:
        together.wait()
        return set(await asyncio.gather(*(group.aget("k") for _ in range(100))))

    assert run_threads(4, lambda _: asyncio.run(main())) == [{b"v"}] * 4
    assert calls == ["k"]


def test_one_loop_after_another(node: kamacache.Node) -> None:
    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        await asyncio.sleep(0)
        return key.encode()

    for number in range(20):
        assert asyncio.run(group.aget(str(number))) == b"%d" % number


def test_a_loop_that_ends_in_the_middle_of_a_load_leaves_it_to_the_others(node: kamacache.Node) -> None:
    started = threading.Event()
    calls: list[str] = []

    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        calls.append(threading.current_thread().name)
        if len(calls) == 1:
            started.set()
            await asyncio.sleep(60)
        return b"second"

    async def leader() -> None:
        task = asyncio.create_task(group.aget("k"))
        await asyncio.to_thread(started.wait)
        while group.stats().gets < 2:
            await asyncio.sleep(0.001)
        task.cancel()

    answers: list[object] = []

    def wait() -> None:
        started.wait()
        answers.append(group.get("k", timeout=10))

    waiter = threading.Thread(target=wait)
    waiter.start()
    asyncio.run(leader())
    waiter.join(10)
    assert answers == [b"second"]
    assert len(calls) == 2


def test_a_loop_closed_with_a_load_pending_gives_the_load_back(node: kamacache.Node) -> None:
    calls: list[str] = []

    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        calls.append(key)
        if len(calls) == 1:
            await asyncio.sleep(60)
        return b"second"

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    task = loop.create_task(group.aget("k"))
    loop.run_until_complete(asyncio.sleep(0.01))
    assert calls == ["k"]
    loop.close()
    del task
    gc.collect()
    assert group.get("k", timeout=10) == b"second"


class NoReader(asyncio.SelectorEventLoop):
    """A loop that cannot watch file descriptors, as the proactor of Windows."""

    def add_reader(self, *args: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError


def test_a_loop_that_cannot_watch_descriptors(node: kamacache.Node) -> None:
    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        await asyncio.sleep(0)
        return key.encode()

    async def main() -> list[bytes]:
        return await asyncio.gather(*(group.aget(str(number)) for number in range(500)))

    with asyncio.Runner(loop_factory=NoReader) as runner:
        for _ in range(2):
            assert runner.run(main()) == [b"%d" % number for number in range(500)]


async def test_s13_blocking_calls_of_async_getters_would_deadlock_in_their_loop(node: kamacache.Node) -> None:
    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        return b"v"

    with pytest.raises(kamacache.WouldDeadlock, match="aget"):
        group.get("k")
    assert await group.aget("k") == b"v"
    assert group.get("k") == b"v", "a hit never waits"
    assert group.stats().in_progress == 0


async def test_an_async_getter_for_a_blocking_caller_runs_in_the_loop_of_the_start() -> None:
    here = asyncio.get_running_loop()
    loops: list[object] = []

    async with kamacache.Node() as node:

        @node.group("g", max_bytes="1MiB")
        async def group(key: str) -> bytes:
            loops.append(asyncio.get_running_loop())
            return b"v"

        assert await asyncio.to_thread(group.get, "k") == b"v"
        assert loops == [here]


def test_an_async_getter_for_a_blocking_caller_without_any_loop(node: kamacache.Node) -> None:
    threads: list[str] = []

    @node.group("g", max_bytes="1MiB")
    async def group(key: str) -> bytes:
        await asyncio.sleep(0)
        threads.append(threading.current_thread().name)
        return key.encode()

    assert run_threads(8, lambda index: group.get(str(index))) == [b"%d" % index for index in range(8)]
    assert len(set(threads)) == 1
    assert threading.current_thread().name not in threads


async def test_s09_blocking_callers_and_tasks_join_one_load(node: kamacache.Node) -> None:
    gate = Gate()
    group = node.group("g", gate, max_bytes="1MiB")
    thread = asyncio.create_task(asyncio.to_thread(group.get, "k"))
    await asyncio.to_thread(gate.wait_entered)
    tasks = [asyncio.create_task(group.aget("k")) for _ in range(5)]
    while group.stats().gets < 6:
        await asyncio.sleep(0)
    gate.open.set()
    assert await asyncio.gather(thread, *tasks) == [b"value"] * 6
    assert gate.calls == ["k"]


def test_hits_make_no_future(node: kamacache.Node) -> None:
    group = node.group("g", lambda key: b"v", max_bytes="1MiB")
    group.get("k")
    coroutine = group.aget("k")
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == b"v"


def test_uvloop() -> None:
    """Local and remote gets, async getters that peers ask for, writes, a close in the middle."""

    async def main() -> None:
        groups: list[kamacache.Group[bytes]] = []
        never = asyncio.Event()

        def define(index: int, node: kamacache.Node) -> None:
            @node.group("g", max_bytes="64MiB")
            async def group(key: str) -> bytes:
                if key.startswith("hang"):
                    await never.wait()
                await asyncio.sleep(0)
                return f"{key} from {index}".encode()

            groups.append(group)

        with ring(2, define) as nodes:
            for owner, node in enumerate(nodes):
                keys = [key for key, _ in zip(keys_owned_by(node), range(300), strict=False)]
                values = [f"{key} from {owner}".encode() for key in keys]
                for group in groups:
                    assert await asyncio.gather(*map(group.aget, keys)) == values
            await groups[0].aset(key := key_owned_by(nodes[1], "set"), b"v")
            assert await groups[1].aget(key) == b"v"
            hanging = [asyncio.create_task(groups[0].aget(f"hang-{number}")) for number in range(20)]
            while groups[0].stats().in_progress < 20:
                await asyncio.sleep(0)
            hanging[0].cancel()
            await nodes[0].aclose(0)
            ended = await asyncio.gather(*hanging, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError)
            assert {type(error) for error in ended[1:]} == {kamacache.Closed}

    uvloop.run(main())
