"""A distributed read-through cache inside your process.

Open a Node, create Groups with a byte budget and a getter that loads a missing
key from the real data source, then call get, set and delete. Nodes with the
same list of members form a ring, whatever language they are written in: each
key has one owner, and only the owner runs the getter.

    import kamacache

    node = kamacache.Node()

    @node.group("scores", max_bytes="64MiB")
    def scores(key):
        return database.load(key)          # bytes, or None: not found

    with node:
        scores.get("Tom")                  # await scores.aget("Tom") in asyncio
"""

from . import errors
from ._duration import Duration
from ._getter import LoadContext
from ._group import Group
from ._native import __version__
from ._node import Node
from ._stats import Latency, Stats
from .errors import (
    AlreadyExists,
    Cancelled,
    Closed,
    DeadlineExceeded,
    Forked,
    GetterError,
    Internal,
    InvalidArgument,
    KamaCacheError,
    NotFound,
    Overloaded,
    Panicked,
    ReentrantLoad,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownGroup,
    WouldDeadlock,
)

__all__ = [
    "AlreadyExists",
    "Cancelled",
    "Closed",
    "DeadlineExceeded",
    "Duration",
    "Forked",
    "GetterError",
    "Group",
    "Internal",
    "InvalidArgument",
    "KamaCacheError",
    "Latency",
    "LoadContext",
    "Node",
    "NotFound",
    "Overloaded",
    "Panicked",
    "ReentrantLoad",
    "Stats",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnknownGroup",
    "WouldDeadlock",
    "__version__",
    "errors",
]
