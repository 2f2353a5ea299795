"""Door: how one event loop hears of results and loads, in batches.

Native threads fill the door's queue; the loop drains it when its file
descriptor is readable. Only the loop's own registration holds a door, so that
a door ends with its loop, and loads meant for it go elsewhere.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from typing import Any

from . import _native
from ._getter import Getter, registry

_doors: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Door]] = weakref.WeakKeyDictionary()


def current() -> Door:
    """The door of the running loop."""
    loop = asyncio.get_running_loop()
    reference = _doors.get(loop)
    door = reference() if reference is not None else None
    if door is None:
        door = Door(loop)
        _doors[loop] = weakref.ref(door)
    return door


class Door:
    """Futures and tasks of one loop; used in its thread, `submit` apart."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.completions: _native.Completions = _native.Completions()
        self._loop = weakref.ref(loop)
        self._futures: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # An empty context: the loop would keep that of the first caller.
        contextvars.Context().run(self._listen, loop)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        fd = self.completions.fileno()
        try:
            if fd is not None:
                return loop.add_reader(fd, self._drain)
        except NotImplementedError:
            pass  # as the proactor loop of Windows
        thread = threading.Thread(target=_relay, args=(self, loop), name="kamacache-relay", daemon=True)
        thread.start()

    async def result(self, ident: int) -> Any:
        """The answer that will come under this number. A caller that is
        cancelled leaves the wait only."""
        future = self._expect(ident)
        try:
            return await future
        finally:
            self._forget(ident)

    async def results(self, idents: list[int]) -> list[Any]:
        """All their answers; an exception stands for the answer it replaces."""
        futures = [self._expect(ident) for ident in idents]
        try:
            return [await _settled(future) for future in futures]
        finally:
            for ident in idents:
                self._forget(ident)

    def _expect(self, ident: int) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self._futures[ident] = future
        return future

    def _forget(self, ident: int) -> None:
        if self._futures.pop(ident, None) is not None:
            self.completions.forget(ident)

    def run(self, getter: Getter, loads: list[_native.Load]) -> None:
        """One call of an async getter in a task of its own, with a copy of this
        context."""
        task = asyncio.get_running_loop().create_task(getter.run_async(loads))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def submit(self, getter: Getter, loads: list[_native.Load], context: contextvars.Context) -> bool:
        """The same from another thread; False when the loop does not run."""
        loop = self._loop()
        if loop is None or not loop.is_running():
            return False
        try:
            loop.call_soon_threadsafe(self.run, getter, loads, context=context)
        except RuntimeError:  # closed in the meantime
            return False
        return True

    def _drain(self) -> None:
        for ident, answer in self.completions.drain():
            if ident is None:
                self._run_for_peer(answer)
                continue
            future = self._futures.pop(ident, None)
            if future is not None and not future.done():
                _finish(future, answer)

    def _run_for_peer(self, loads: list[_native.Load]) -> None:
        answers = registry.get(loads[0].getter)
        if answers is not None:
            for getter, call in answers.calls(loads, for_peer=True):
                self.run(getter, call)


async def _settled(future: asyncio.Future[Any]) -> Any:
    try:
        return await future
    except Exception as error:
        return error


def _finish(future: asyncio.Future[Any], answer: object) -> None:
    if isinstance(answer, StopIteration):  # no future takes it
        failure = RuntimeError("the getter raised StopIteration")
        failure.__cause__ = answer
        future.set_exception(failure)
    elif isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _relay(door: Door, loop: asyncio.AbstractEventLoop) -> None:
    """Wakes a loop that cannot watch a file descriptor: one call for whatever
    has come since the last."""
    drained = threading.Event()

    def drain() -> None:
        door._drain()
        drained.set()

    while door.completions.wait():
        drained.clear()
        try:
            loop.call_soon_threadsafe(drain)
        except RuntimeError:  # the loop is closed
            return door.completions.close()
        drained.wait()
