"""Two and three nodes in this process, over real connections."""

from __future__ import annotations

import asyncio
import threading
import urllib.request
from typing import Any

import kamacache
import pytest
from helpers import Gate, key_owned_by, keys_owned_by, ring, run_threads


class Counted:
    """Nodes whose getters count; `groups[i]` is node i's."""

    def __init__(self) -> None:
        self.groups: list[kamacache.Group[bytes]] = []
        self.calls: list[tuple[int, str]] = []

    def define(self, index: int, node: kamacache.Node) -> None:
        def load(key: str) -> bytes | None:
            self.calls.append((index, key))
            return None if key.startswith("nobody") else f"{key} from {index}".encode()

        self.groups.append(node.group("g", load, max_bytes="1MiB"))


def test_the_admin_http_tells_its_port() -> None:
    with kamacache.Node() as quiet, kamacache.Node(admin=":0") as node:
        assert quiet.admin_address is None
        assert node.admin_address
        with urllib.request.urlopen(f"http://{node.admin_address}/healthz", timeout=10) as answer:
            assert answer.status == 200


def test_s09_only_the_owner_runs_its_getter() -> None:
    counted = Counted()
    with ring(3, counted.define) as nodes:
        for owner in range(3):
            key = key_owned_by(nodes[owner])
            answers = run_threads(9, lambda index, key=key: counted.groups[index % 3].get(key))  # type: ignore[misc]
            assert answers == [f"{key} from {owner}".encode()] * 9
            assert [call for call in counted.calls if call[1] == key] == [(owner, key)]


def test_s17_set_and_delete_reach_the_owner() -> None:
    counted = Counted()
    with ring(2, counted.define) as nodes:
        here, there = counted.groups
        key = key_owned_by(nodes[1])
        here.set(key, b"set")
        assert there.peek(key) == b"set"
        assert here.peek(key) is None, "the writer keeps no copy"
        assert here.get(key) == there.get(key) == b"set"
        here.delete(key)
        assert there.peek(key) is None
        assert here.get(key) == f"{key} from 1".encode()


def test_s02_not_found_at_the_owner() -> None:
    counted = Counted()
    with ring(2, counted.define) as nodes:
        key = key_owned_by(nodes[1], "nobody")
        with pytest.raises(kamacache.NotFound, match=key):
            counted.groups[0].get(key)
        assert counted.groups[0].get(key, None) is None
        assert counted.calls == [(1, key)] * 2


def test_s13_a_getter_error_at_the_owner_keeps_message_code_and_place() -> None:
    calls: list[int] = []
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        def load(key: str) -> bytes:
            calls.append(index)
            if key.startswith("coded"):
                raise kamacache.GetterError("disk on fire", app_code=-7)
            raise OSError("disk gone")

        groups.append(node.group("g", load, max_bytes="1MiB"))

    with ring(2, define) as nodes:
        with pytest.raises(kamacache.GetterError) as caught:
            groups[0].get(key_owned_by(nodes[1], "coded"))
        assert "disk on fire" in str(caught.value)
        assert caught.value.app_code == -7
        assert caught.value.peer == nodes[1].address
        with pytest.raises(kamacache.GetterError, match="OSError: disk gone"):
            groups[0].get(key_owned_by(nodes[1]))
        assert calls == [1, 1], "the caller ran its own getter"


def test_getters_that_peers_ask_for_run_on_daemon_threads_of_python() -> None:
    threads: list[threading.Thread] = []
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        def load(key: str) -> bytes:
            threads.append(threading.current_thread())
            return b"v"

        groups.append(node.group("g", load, max_bytes="1MiB"))

    with ring(2, define) as nodes:
        for _, key in zip(range(50), keys_owned_by(nodes[1]), strict=False):
            groups[0].get(key)
    assert all(thread.daemon for thread in threads)
    assert len(set(threads)) <= 3, "threads are kept, not made for each load"


def test_getters_that_peers_ask_for_run_side_by_side() -> None:
    together = threading.Barrier(8, timeout=10)
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        def load(key: str) -> bytes:
            together.wait()
            return key.encode()

        groups.append(node.group("g", load, max_bytes="1MiB"))

    with ring(2, define) as nodes:
        keys = [key for _, key in zip(range(8), keys_owned_by(nodes[1]), strict=False)]
        assert run_threads(8, lambda index: groups[0].get(keys[index])) == [key.encode() for key in keys]


async def test_async_getters_that_peers_ask_for_run_in_the_loop_of_the_start() -> None:
    here = asyncio.get_running_loop()
    loops: list[Any] = []

    async with kamacache.Node("127.0.0.1:0") as first, kamacache.Node("127.0.0.1:0") as second:
        addresses = [first.address, second.address]
        first.set_peers(addresses)
        second.set_peers(addresses)

        async def load(key: str) -> bytes:
            loops.append(asyncio.get_running_loop())
            await asyncio.sleep(0)
            return key.encode()

        asking = first.group("g", load, max_bytes="1MiB")
        second.group("g", load, max_bytes="1MiB")
        keys = [key for _, key in zip(range(100), keys_owned_by(second), strict=False)]
        assert await asyncio.gather(*map(asking.aget, keys)) == [key.encode() for key in keys]
        assert loops == [here] * 100
        await asking.aset(keys[0], b"set")
        assert await asking.aget(keys[0]) == b"set"
        await asking.adelete(keys[0])
        assert await asking.aget(keys[0]) == keys[0].encode()


def test_async_getters_that_peers_ask_for_run_without_any_loop_of_the_program() -> None:
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        async def load(key: str) -> bytes:
            await asyncio.sleep(0)
            return key.encode()

        groups.append(node.group("g", load, max_bytes="1MiB"))

    with ring(2, define) as nodes:
        key = key_owned_by(nodes[1])
        assert groups[0].get(key) == key.encode()


def test_async_getters_survive_the_loop_of_the_start() -> None:
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        async def load(key: str) -> bytes:
            return key.encode()

        groups.append(node.group("g", load, max_bytes="1MiB"))
        asyncio.run(node.astart())

    with ring(2, define) as nodes:
        key = key_owned_by(nodes[1])
        assert groups[0].get(key) == key.encode()
        assert groups[1].get(key + "x") == (key + "x").encode()


def test_s08b_a_group_that_the_owner_does_not_have() -> None:
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        if index == 0:
            groups.append(node.group("g", lambda key: b"mine", max_bytes="1MiB"))

    with ring(2, define) as nodes:
        key = key_owned_by(nodes[1])
        assert groups[0].get(key) == b"mine", "a Get falls back"
        with pytest.raises(kamacache.UnknownGroup, match="g"):
            groups[0].set(key, b"v")
        with pytest.raises(kamacache.UnknownGroup, match="g"):
            groups[0].delete(key)


def test_s25_an_owner_that_is_gone_is_replaced_by_the_own_getter() -> None:
    counted = Counted()
    with ring(2, counted.define) as nodes:
        key = key_owned_by(nodes[1])
        nodes[1].close(0)  # without a goodbye
        assert counted.groups[0].get(key) == f"{key} from 0".encode()
        with pytest.raises(kamacache.Unavailable) as caught:
            counted.groups[0].set(key, b"v")
        assert isinstance(caught.value, ConnectionError)


def test_s14_waiters_of_a_slow_owner_return_at_their_deadline() -> None:
    gates = [Gate(), Gate()]
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        groups.append(node.group("g", gates[index], max_bytes="1MiB"))

    with ring(2, define) as nodes:
        key = key_owned_by(nodes[1])
        with pytest.raises(kamacache.DeadlineExceeded):
            groups[0].get(key, timeout=0.2)
        gates[1].open.set()
        assert groups[0].get(key, timeout=10) == b"value"
        assert gates[0].calls == [], "slowness is no reason to load elsewhere"


def test_set_peers_moves_the_ring() -> None:
    counted = Counted()
    with ring(2, counted.define) as nodes:
        assert nodes[0].members() == sorted(node.address for node in nodes)
        key = key_owned_by(nodes[1])
        assert nodes[0].owner(key) == nodes[1].owner(key) == nodes[1].address
        nodes[0].set_peers([nodes[0].address])
        assert nodes[0].owner(key) == nodes[0].address
        assert counted.groups[0].get(key) == f"{key} from 0".encode()
