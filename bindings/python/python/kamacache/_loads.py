"""Where a node's getters run when not on their caller's thread or loop: a pool
of daemon threads for plain functions, and for async ones the loop that the
node was started in, or a loop of our own.

Threads hold the native queue and nothing of the node or its groups.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
import weakref
from collections.abc import Callable

from . import _loop, _native
from ._getter import Getter, describe, registry

#: Every thread that was started here and has not ended; joined at exit.
threads: set[threading.Thread] = set()


def start_thread(target: Callable[[], object], name: str) -> None:
    """Starts a daemon thread that is joined at exit."""

    def run() -> None:
        try:
            target()
        finally:
            threads.discard(threading.current_thread())

    thread = threading.Thread(target=run, name=name, daemon=True)
    threads.add(thread)
    try:
        thread.start()
    except BaseException:
        threads.discard(thread)
        raise


class Loads:
    """The threads and loops of one node."""

    def __init__(self, queue: _native.LoadQueue) -> None:
        self._crew = Crew(queue)

    def start(self) -> None:
        """One thread waits from now on, so that a peer's load finds somebody."""
        self._crew.grow()

    def set_home(self, door: _loop.Door) -> None:
        """Async getters run in the loop of this door while it lives."""
        self._crew.home = weakref.ref(door)

    def run_plain(self, loads: list[_native.Load]) -> None:
        """One call of a plain getter on the pool, with a copy of this context."""
        self._crew.queue.push(loads, contextvars.copy_context())

    def run_async(self, getter: Getter, loads: list[_native.Load]) -> None:
        """One call of an async getter for a caller that blocks, with a copy of
        its context."""
        self._crew.run_async(getter, loads, contextvars.copy_context())

    def stop(self) -> None:
        """Ends the threads; a getter that still runs is left alone."""
        self._crew.queue.close()
        self._crew.background.stop()


class Crew:
    """The threads of the pool, which says when another is to start: one is
    always idle, beside those that run getters or wait inside them."""

    def __init__(self, queue: _native.LoadQueue) -> None:
        self.queue = queue
        self.background = Background()
        self.home: weakref.ref[_loop.Door] | None = None
        self._names = itertools.count(1)

    def run_async(self, getter: Getter, loads: list[_native.Load], context: contextvars.Context) -> None:
        """One call of an async getter: in the loop of the start, or in our own."""
        home = self.home() if self.home is not None else None
        if home is None or not home.submit(getter, loads, context):
            self.background.submit(getter, loads, context)

    def grow(self) -> None:
        if not self.queue.wants_thread():
            return
        try:
            start_thread(self._serve, f"kamacache-getter-{next(self._names)}")
        except RuntimeError:  # the system has no more; loads wait for the others
            self.queue.lost_thread()

    def _serve(self) -> None:
        while (job := self.queue.next()) is not None:
            self.grow()
            self._run(*job)
            del job

    def _run(self, loads: list[_native.Load], context: contextvars.Context | None) -> None:
        answers = registry.get(loads[0].getter) if loads else None
        if answers is None:
            return
        for_peer = context is None
        for getter, call in answers.calls(loads, for_peer=for_peer):
            self._run_one(getter, call, contextvars.Context() if context is None else context.copy())

    def _run_one(self, getter: Getter, loads: list[_native.Load], context: contextvars.Context) -> None:
        if getter.is_async:
            return self.run_async(getter, loads, context)
        try:
            context.run(getter.run, loads)
        except BaseException as error:  # as SystemExit: it must not end a waiter
            for load in loads:
                load.panic(f"the getter of group {getter.group!r} was interrupted by {describe(error)}")


class Background:
    """An event loop in a thread of its own, started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopped = False

    def submit(self, getter: Getter, loads: list[_native.Load], context: contextvars.Context) -> None:
        with self._lock:
            if self._stopped:
                return
            if self._loop is None:
                self._start()
            assert self._loop is not None
            self._loop.call_soon_threadsafe(_run_here, getter, loads, context=context)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._loop is not None and self._stop is not None:
                self._loop.call_soon_threadsafe(self._stop.set)
                self._loop = None

    def _start(self) -> None:
        ready = threading.Event()

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            ready.set()
            await self._stop.wait()

        start_thread(lambda: asyncio.run(main()), "kamacache-loop")
        ready.wait()


def _run_here(getter: Getter, loads: list[_native.Load]) -> None:
    _loop.current().run(getter, loads)
