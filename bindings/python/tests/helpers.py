"""Rings, gates, threads and programs for the tests."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import kamacache


@contextlib.contextmanager
def ring(count: int, define: Callable[[int, kamacache.Node], None]) -> Iterator[list[kamacache.Node]]:
    """Nodes of one ring in this process; `define` makes each one's groups."""
    nodes = [kamacache.Node("127.0.0.1:0") for _ in range(count)]
    with contextlib.ExitStack() as stack:
        for index, node in enumerate(nodes):
            define(index, node)
            stack.enter_context(node)
        addresses = [node.address for node in nodes]
        for node in nodes:
            node.set_peers(addresses)
        yield nodes


def keys_owned_by(owner: kamacache.Node, prefix: str = "key") -> Iterator[str]:
    """Keys that this node owns, without end."""
    keys = (f"{prefix}-{number}" for number in itertools.count())
    return (key for key in keys if owner.owner(key) == owner.address)


def key_owned_by(owner: kamacache.Node, prefix: str = "key") -> str:
    return next(keys_owned_by(owner, prefix))


class Gate:
    """A getter that tells when it runs and waits to be let go."""

    def __init__(self, value: bytes = b"value") -> None:
        self.value = value
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.calls: list[str] = []

    def __call__(self, key: str) -> bytes:
        self.calls.append(key)
        self.entered.release()
        assert self.open.wait(20), "nobody opened the gate"
        return self.value

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=10), "the getter was not called"


def run_threads(count: int, work: Callable[[int], object]) -> list[object]:
    """What `work` returned, or raised, in each of so many threads."""
    results: list[object] = [None] * count

    def one(index: int) -> None:
        try:
            results[index] = work(index)
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=one, args=(index,), daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a call hangs"
    return results


def run_program(program: str, *, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program], capture_output=True, text=True, timeout=timeout
    )
