"""The threads of plain getters: those that wait inside a getter do not count,
and no group keeps the others waiting."""

from __future__ import annotations

import threading

import kamacache
from helpers import Gate, key_owned_by, keys_owned_by, ring, run_threads

CALLERS = 120


def test_s16_getters_that_get_keys_of_another_node_do_not_starve() -> None:
    """Every caller's key is loaded at the other node, whose getter asks for a
    key of this one: more getters wait than there are threads."""
    groups: list[kamacache.Group[bytes]] = []
    inside = threading.Semaphore(0)
    all_inside = threading.Event()

    def define(index: int, node: kamacache.Node) -> None:
        def load(key: str) -> bytes:
            if not key.startswith("outer:"):
                return key.encode()
            inside.release()
            assert all_inside.wait(20), "the other getters do not run"
            return groups[index].get(key.split(":", 2)[2])

        groups.append(node.group("g", load, max_bytes="1MiB"))

    with ring(2, define) as nodes:
        outer = []
        for index, other in ((0, 1), (1, 0)):
            inner = keys_owned_by(nodes[index], "inner")
            for number in range(CALLERS // 2):
                wanted = f"outer:{number}-{index}:{next(inner)}"
                while nodes[0].owner(wanted) != nodes[other].address:
                    wanted = f"outer:{number}-{index}:{next(inner)}"
                outer.append((index, wanted))

        def open_when_full() -> None:
            # As many as the pools have threads: the others wait for their turn.
            for _ in range(2 * 16):
                inside.acquire()
            all_inside.set()

        threading.Thread(target=open_when_full, daemon=True).start()
        answers = run_threads(CALLERS, lambda n: groups[outer[n][0]].get(outer[n][1], timeout=15))
        assert answers == [key.split(":", 2)[2].encode() for _, key in outer]


def test_a_slow_group_keeps_no_other_waiting() -> None:
    """A group that fills all threads of its owner, and one that asks there too."""
    gate = Gate()
    slow: list[kamacache.Group[bytes]] = []
    quick: list[kamacache.Group[bytes]] = []

    def define(_: int, node: kamacache.Node) -> None:
        slow.append(node.group("slow", gate, max_bytes="1MiB"))
        quick.append(node.group("quick", lambda key: key.encode(), max_bytes="1MiB"))

    with ring(2, define) as nodes:
        keys = keys_owned_by(nodes[1])
        wanted = [next(keys) for _ in range(40)]
        callers = threading.Thread(target=lambda: run_threads(40, lambda n: slow[0].get(wanted[n], timeout=15)))
        callers.start()
        for _ in range(16):
            gate.wait_entered()
        key = key_owned_by(nodes[1], "quick")
        assert quick[0].get(key, timeout=10) == key.encode(), "while nothing of the other group ends"
        assert len(gate.calls) == 16
        gate.open.set()
        callers.join(20)
        assert not callers.is_alive()
