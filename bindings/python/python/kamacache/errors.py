"""The exceptions of kamacache. Each is a KamaCacheError and, where Python has
a word for it, the built-in exception of that meaning too.

Codes and names are the same in every language and on the wire.
"""

from __future__ import annotations

from typing import ClassVar


class KamaCacheError(Exception):
    """Why a call failed.

    code: the stable number; name: the stable name, as "NOT_FOUND".
    app_code: the getter's own integer code, from whichever node it ran on.
    peer: the address of the node where it happened, when not this one.
    """

    code: ClassVar[int] = 0
    name: ClassVar[str] = ""

    def __init__(
        self,
        message: str = "",
        *,
        app_code: int | None = None,
        peer: str | None = None,
    ) -> None:
        super().__init__(message)
        self.app_code = app_code
        self.peer = peer

    def __str__(self) -> str:
        # KeyError would show the repr of the message.
        return str(self.args[0]) if self.args else ""


class InvalidArgument(KamaCacheError, ValueError):
    """A key, name, address, option or argument breaks a rule; nothing was stored."""

    code = 1
    name = "INVALID_ARGUMENT"


class NotFound(KamaCacheError, KeyError):
    """The getter said that the key does not exist. A getter may raise it."""

    code = 2
    name = "NOT_FOUND"


class GetterError(KamaCacheError):
    """A getter failed on another node, or returned what is not a value.

    A getter of this process has its own exception raised, the very object. A
    getter may raise this one to give its failure an app_code.
    """

    code = 3
    name = "GETTER_FAILED"


class DeadlineExceeded(KamaCacheError, TimeoutError):
    """The caller's own timeout passed; what it waited for goes on."""

    code = 4
    name = "DEADLINE_EXCEEDED"


class Cancelled(KamaCacheError):
    """The caller left."""

    code = 5
    name = "CANCELLED"


class Closed(KamaCacheError):
    """The node was closed, or is not started yet."""

    code = 6
    name = "CLOSED"


class Unavailable(KamaCacheError, ConnectionError):
    """The owner could not be reached; a write may have been applied."""

    code = 7
    name = "UNAVAILABLE"


class Overloaded(KamaCacheError):
    """A limit on concurrent work was reached."""

    code = 8
    name = "OVERLOADED"


class ReentrantLoad(KamaCacheError, RuntimeError):
    """A getter asked for the very key it is loading."""

    code = 9
    name = "REENTRANT_LOAD"


class AlreadyExists(KamaCacheError):
    """The node has a group of that name already."""

    code = 10
    name = "ALREADY_EXISTS"


class TooLarge(KamaCacheError, ValueError):
    """A value is above the limit of its group; the old entry is gone."""

    code = 11
    name = "TOO_LARGE"


class UnknownGroup(KamaCacheError, LookupError):
    """The owner has no group of that name."""

    code = 12
    name = "UNKNOWN_GROUP"


class WouldDeadlock(KamaCacheError, RuntimeError):
    """A blocking call on a thread whose event loop it would wait for."""

    code = 13
    name = "WOULD_DEADLOCK"


class Forked(KamaCacheError):
    """The process was forked after the node started: start a new node in the child."""

    code = 14
    name = "FORKED"


class Panicked(KamaCacheError):
    """A getter panicked or tried to end its thread."""

    code = 15
    name = "PANICKED"


class Unauthenticated(KamaCacheError, PermissionError):
    """The peer does not belong to this cluster."""

    code = 16
    name = "UNAUTHENTICATED"


class Internal(KamaCacheError):
    """A bug of kamacache, or a resource of the system that failed."""

    code = 17
    name = "INTERNAL"
