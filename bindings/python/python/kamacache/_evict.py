"""Evictions: a node's thread that tells listeners what left its groups."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Literal

from . import _native
from ._log import log

#: Why an entry left: the budget, its ttl, a newer value, a delete, a clear, or
#: another member that owns it now.
EvictReason = Literal["capacity", "expired", "replaced", "deleted", "cleared", "moved"]
OnEvict = Callable[[str, EvictReason], object]


class Listener:
    """A group's on_evict, held by the group."""

    __slots__ = ("__weakref__", "function", "group")

    def __init__(self, group: str, function: OnEvict) -> None:
        if not callable(function):
            raise TypeError(f"on_evict of group {group!r} is a function, not {type(function).__name__}")
        self.group: str = group
        self.function: OnEvict = function


#: Every listener by its group's number. Weak: a group that is gone tells nothing.
listeners: weakref.WeakValueDictionary[int, Listener] = weakref.WeakValueDictionary()


def report(queue: _native.EvictionQueue) -> None:
    """The body of the thread."""
    while (batch := queue.next()) is not None:
        evictions, lost = batch
        for number, key, reason in evictions:
            listener = listeners.get(number)
            if listener is not None:
                _tell(listener, key, reason)
            del listener
        if lost:
            log.warning("on_evict is too slow: %d evictions were not reported", lost)


def _tell(listener: Listener, key: str, reason: EvictReason) -> None:
    try:
        listener.function(key, reason)
    except Exception:
        log.exception("on_evict of group %r failed for key %r", listener.group, key)
