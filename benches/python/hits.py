"""A hit of group.get beside the caches that a Python program would use instead:
20-byte keys, 128-byte values, requests by Zipf's law made before the clock starts."""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import cachebox
import cachetools
import kamacache
import measure
import moka_py
import theine

SIZES = {"1k": 1_000, "100k": 100_000}
REQUESTS = 50_000
VALUE = b"v" * 128
#: What is asked of the ratio to these peers.
BARS = {"functools.lru_cache": {"AtMost": 1.6}, "cachetools.LRUCache.get": {"AtMost": 0.8}}


def rows() -> Iterator[dict[str, Any]]:
    for name, size in SIZES.items():
        keys = [f"{number:020}" for number in range(size)]
        weights = list(itertools.accumulate(1 / (rank + 1) ** 0.99 for rank in range(size)))
        shuffled = random.Random(7).sample(keys, size)  # the popular ones lie anywhere
        requests = random.Random(8).choices(shuffled, cum_weights=weights, k=REQUESTS)
        with kamacache.Node() as node:
            ours = block(group(node, "ours", keys).get, requests)
            yield measure.row(f"hit, {name} keys", "itself (noise floor)", ours, block(group(node, "b", keys).get, requests))
            for peer_name, get in peers(keys).items():
                yield measure.row(f"hit, {name} keys", peer_name, ours, block(get, requests), BARS.get(peer_name))


def group(node: kamacache.Node, name: str, keys: list[str]) -> kamacache.Group[bytes]:
    made = node.group(name, lambda key: bytes(VALUE), max_bytes="256MiB")
    for key in keys:
        made.get(key)
    assert all(made.peek(key) == VALUE for key in keys)
    return made


def block(get: Callable[[str], Any], requests: list[str]) -> measure.Block:
    """Nanoseconds a request."""

    def run() -> float:
        begun = time.perf_counter_ns()
        for key in requests:
            get(key)
        return (time.perf_counter_ns() - begun) / len(requests)

    return run


def peers(keys: list[str]) -> dict[str, Callable[[str], Any]]:
    @functools.lru_cache(maxsize=len(keys))
    def lru(key: str) -> bytes:
        return bytes(VALUE)

    of_cachetools: Any = cachetools.LRUCache(len(keys))
    of_cachebox: Any = cachebox.LRUCache(len(keys))
    of_theine: Any = theine.Cache(len(keys) * 2)
    of_moka: Any = moka_py.Moka(len(keys) * 2)
    for key in keys:
        lru(key)
        of_cachetools[key] = of_cachebox[key] = bytes(VALUE)
        of_theine.set(key, bytes(VALUE))
        of_moka.set(key, bytes(VALUE))
    return {
        "functools.lru_cache": lru,
        "cachetools.LRUCache.get": of_cachetools.get,
        "cachebox.LRUCache.get": of_cachebox.get,
        "theine.Cache.get": of_theine.get,
        "moka_py.Moka.get": of_moka.get,
    }
