"""What the core tells, through logging.getLogger("kamacache"): a thread of ours
takes the records, since the threads of the core never enter the interpreter."""

from __future__ import annotations

import logging
import threading

from . import _loads, _native

log = logging.getLogger("kamacache")

_lock = threading.Lock()
_queue: _native.LogQueue | None = None


def start() -> None:
    """Called when a node starts: listens, from the logger's level of this moment on."""
    global _queue
    with _lock:
        if _queue is None:
            queue = _queue = _native.LogQueue()
            _loads.start_thread(lambda: _report(queue), "kamacache-log")
        _queue.set_level(min(max(log.getEffectiveLevel(), 0), 255))


def stop() -> None:
    """Called at exit: the thread tells what waits, and ends."""
    if _queue is not None:
        _queue.close()


def forget() -> None:
    """Called in the child of a fork, which has none of its parent's threads."""
    global _lock, _queue
    _lock = threading.Lock()
    _queue = None


def _report(queue: _native.LogQueue) -> None:
    while (record := queue.next()) is not None:
        (level, text), lost = record
        if lost:
            log.warning("%d records were dropped: the handlers of the logger kamacache are too slow", lost)
        log.log(level, "%s", text)
