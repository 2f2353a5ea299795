"""A TCP proxy in front of one node, so that the way to it can be made slow or
end in nothing; and a peer that takes connections and never answers.

Invariant: bytes arrive in order or not at all. Used by rows/.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

#: Bytes that are taken at a time, and how many go out at once when the way drips.
TAKEN, DROPS = 65536, 64


class Proxy:
    """Listens on 127.0.0.1; its node is behind it, on the same port of 127.0.0.2."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.port: int = listener.getsockname()[1]
        self.address, self.behind = f"127.0.0.1:{self.port}", f"127.0.0.2:{self.port}"
        #: Seconds that bytes take to pass.
        self.delay = 0.0
        #: Seconds between two drops; None: the way does not drip.
        self.drip: float | None = None
        #: Set: bytes pass. Cleared: they end here, and connections stay open.
        self.open = asyncio.Event()
        self.open.set()
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls) -> Proxy:
        proxy = cls(two_ports())
        proxy._server = await asyncio.start_server(proxy._carry, sock=proxy._listener)
        return proxy

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        await self.open.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.2", self.port)
        except OSError:
            writer.close()
            return
        both = asyncio.gather(self._one_way(reader, far_writer), self._one_way(far_reader, writer))
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await both
        for end in (writer, far_writer):
            end.close()

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes bytes as they come, and lets each go when its time has come."""
        loop = asyncio.get_running_loop()
        way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def take() -> None:
            while data := await reader.read(TAKEN):
                await way.put((loop.time() + self.delay, data))
            await way.put((0, b""))

        taking = asyncio.create_task(take())
        try:
            while True:
                due, data = await way.get()
                if not data:
                    writer.write_eof()
                    return
                await asyncio.sleep(max(0, due - loop.time()))
                for piece in self._pieces(data):
                    await self.open.wait()
                    writer.write(piece)
                    await writer.drain()
                    if self.drip is not None:
                        await asyncio.sleep(self.drip)
        finally:
            taking.cancel()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        size = len(data) if self.drip is None else DROPS
        return (data[start : start + size] for start in range(0, len(data), size))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        carrying = list(self._carrying)
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)


def two_ports() -> socket.socket:
    """A listener on 127.0.0.1 whose port is free on 127.0.0.2 too."""
    while True:
        listener = socket.create_server(("127.0.0.1", 0))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.2", listener.getsockname()[1]))
            return listener
        listener.close()


@contextlib.contextmanager
def silent_peer() -> Iterator[str]:
    """The address of somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        taken: list[socket.socket] = []
        loop = asyncio.get_running_loop()
        listener.setblocking(False)

        def take() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    taken.append(listener.accept()[0])

        loop.add_reader(listener, take)
        try:
            yield "{}:{}".format(*listener.getsockname())
        finally:
            loop.remove_reader(listener)
            for connection in taken:
                connection.close()
