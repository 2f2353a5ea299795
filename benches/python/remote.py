"""aget of keys that another process owns, beside a unary call of grpc.aio with
a key and a value of the same size: operations a second with 1, 64 and 1,000 in
flight. The servers are processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import kamacache
import measure

VALUE = b"v" * 128
KEYS = 200_000  # so many that no copy of one is kept here
BLOCKS = {1: 600, 64: 6_000, 1_000: 10_000}  # operations in one block
METHOD = "/bench.Echo/Get"


def rows() -> Iterator[dict[str, Any]]:
    loop = asyncio.new_event_loop()
    with contextlib.closing(loop), contextlib.ExitStack() as stack:
        node_address, grpc_address = (stack.enter_context(server(kind)) for kind in ("node", "grpc"))
        node = kamacache.Node("127.0.0.1:0", peers=())
        loop.run_until_complete(node.astart())
        node.set_peers([node.address, node_address])
        group = node.group("g", None, max_bytes="64MiB")
        keys = itertools.cycle(key for key in map("{:020}".format, range(KEYS)) if node.owner(key) == node_address)
        channel = loop.run_until_complete(dial(grpc_address))
        call: Any = channel.unary_unary(METHOD)
        for flying, count in BLOCKS.items():
            ours = block(loop, lambda: group.aget(next(keys)), flying, count)
            peer = block(loop, lambda: call(next(keys).encode()), flying, count)
            yield measure.row(f"remote aget, {flying} in flight, ops/s", "grpc.aio unary", ours, peer, pairs=20)
        assert group.stats().hot_hits == 0, "copies were measured"
        loop.run_until_complete(channel.close())
        loop.run_until_complete(node.aclose())


async def dial(address: str) -> Any:
    channel = grpc.aio.insecure_channel(address)
    await channel.channel_ready()
    return channel


def block(
    loop: asyncio.AbstractEventLoop, call: Callable[[], Awaitable[bytes]], flying: int, count: int
) -> measure.Block:
    """Operations a second, so many of them at any time."""

    async def worker(calls: Iterator[None]) -> None:
        for _ in calls:
            assert len(await call()) == len(VALUE)

    async def all_of_them() -> None:
        calls = itertools.repeat(None, count)
        await asyncio.gather(*(worker(calls) for _ in range(flying)))

    def run() -> float:
        begun = time.perf_counter()
        loop.run_until_complete(all_of_them())
        return count / (time.perf_counter() - begun)

    return run


@contextlib.contextmanager
def server(kind: str) -> Iterator[str]:
    """The address of a server process, which ends when its stdin does."""
    command = [sys.executable, __file__, kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


@contextlib.asynccontextmanager
async def serving_node() -> AsyncIterator[str]:
    async with kamacache.Node("127.0.0.1:0") as node:
        group = node.group("g", lambda key: VALUE, max_bytes="256MiB")
        for key in map("{:020}".format, range(KEYS)):
            group.get(key)
        yield node.address


@contextlib.asynccontextmanager
async def serving_grpc() -> AsyncIterator[str]:
    async def answer(request: bytes, context: object) -> bytes:
        return VALUE

    server: Any = grpc.aio.server()
    handlers = {"Get": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def serve(kind: str) -> None:
    async with serving_node() if kind == "node" else serving_grpc() as address:
        print(address, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
