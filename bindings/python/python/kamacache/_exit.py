"""The end of the interpreter: nodes that are still open are closed, and no
thread of ours is left on its way into a dying interpreter (S45)."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
import weakref
from typing import TYPE_CHECKING

from . import _loads, _log, _native
from .errors import KamaCacheError

if TYPE_CHECKING:
    from ._node import Node

#: How long the exit of the process may take for our sake, in seconds.
_DRAIN = 0.5
_JOIN = 0.5

#: Nodes that were started and not closed.
nodes: weakref.WeakSet[Node] = weakref.WeakSet()


def _at_exit() -> None:
    for node in list(nodes):
        # It may be inherited through a fork, or closed by another thread just now.
        with contextlib.suppress(KamaCacheError):
            node.close(_DRAIN)
    _log.stop()
    until = time.monotonic() + _JOIN
    for thread in list(_loads.threads):
        thread.join(max(0.0, until - time.monotonic()))
    _native.end_waits()


def _in_child() -> None:
    """A child has none of its parent's threads."""
    _loads.threads.clear()
    nodes.clear()
    _log.forget()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
