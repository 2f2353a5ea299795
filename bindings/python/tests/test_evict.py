"""on_evict, and views of values."""

from __future__ import annotations

import gc
import logging
import queue
import threading
import weakref

import kamacache
import pytest

Events = queue.Queue[tuple[str, str]]


def take(events: Events, count: int) -> list[tuple[str, str]]:
    return [events.get(timeout=10) for _ in range(count)]


def test_reasons(node: kamacache.Node) -> None:
    events: Events = queue.Queue()
    group = node.group("g", None, max_bytes="64KiB", on_evict=lambda key, reason: events.put((key, reason)))
    group.set("a", b"1")
    group.set("a", b"2")
    group.delete("a")
    group.set("b", b"1")
    group.clear()
    assert take(events, 3) == [("a", "replaced"), ("a", "deleted"), ("b", "cleared")]
    for number in range(40):
        group.set(f"big-{number}", bytes(4000))
    assert {reason for _, reason in take(events, 20)} == {"capacity"}


def test_listeners_run_on_a_thread_of_their_own_and_may_call_the_group(node: kamacache.Node) -> None:
    seen: queue.Queue[tuple[bytes | None, str]] = queue.Queue()

    def listen(key: str, reason: str) -> None:
        if reason == "deleted":
            group.set(key, b"again")
            seen.put((group.get(key, None), threading.current_thread().name))

    group = node.group("g", None, max_bytes="1MiB", on_evict=listen)
    group.set("k", b"v")
    group.delete("k")
    assert seen.get(timeout=10) == (b"again", "kamacache-evict")


def test_a_listener_that_fails_is_logged_and_called_again(
    node: kamacache.Node, caplog: pytest.LogCaptureFixture
) -> None:
    called = threading.Semaphore(0)

    def listen(key: str, reason: str) -> None:
        called.release()
        raise OSError("no room")

    group = node.group("g", None, max_bytes="1MiB", on_evict=listen)
    with caplog.at_level(logging.ERROR, logger="kamacache"):
        for _ in range(2):
            group.set("k", b"v")
            group.delete("k")
        assert called.acquire(timeout=10)
        assert called.acquire(timeout=10)
        node.close()
    assert "on_evict of group 'g' failed for key 'k'" in caplog.text


def test_groups_defined_before_the_start(caplog: pytest.LogCaptureFixture) -> None:
    events: Events = queue.Queue()
    node = kamacache.Node()
    group = node.group("g", None, max_bytes="1MiB", on_evict=lambda key, reason: events.put((key, reason)))
    with node:
        group.set("k", b"v")
        group.delete("k")
        assert take(events, 1) == [("k", "deleted")]


def test_listeners_that_are_no_function() -> None:
    with pytest.raises(TypeError, match="on_evict"):
        kamacache.Node().group("g", None, max_bytes="1MiB", on_evict=7)  # type: ignore[call-overload]


def test_view_shows_the_cached_value_without_a_copy(node: kamacache.Node) -> None:
    value = bytes(range(256)) * 40
    group = node.group("g", lambda key: value, max_bytes="1MiB")
    loaded = group.view("k")
    assert loaded == value
    first, second = group.view("k"), group.view("k", timeout=1)
    assert first == second == value
    assert first.readonly
    assert first.nbytes == len(value)
    with pytest.raises(TypeError):
        first[0] = 1
    assert group.stats().hits == 2
    group.delete("k")
    node.close()
    gc.collect()
    assert first == value, "the bytes live as long as the view"
    assert bytes(first[10:20]) == value[10:20]


def test_view_raises_as_get(node: kamacache.Node) -> None:
    group = node.group("g", lambda key: None, max_bytes="1MiB", codec="json")
    with pytest.raises(kamacache.NotFound):
        group.view("k")
    with pytest.raises(kamacache.InvalidArgument):
        group.view("")
    with pytest.raises(TypeError):
        group.view(b"k")  # type: ignore[arg-type]
    group.set("k", [1, 2])
    assert bytes(group.view("k")) == b"[1,2]"
    group.set("empty", "")
    assert bytes(group.view("empty")) == b'""'


def test_a_forgotten_group_lets_go_of_its_listener() -> None:
    class Listener:
        def __call__(self, key: str, reason: str) -> None: ...

    listener = Listener()
    gone = weakref.ref(listener)
    node = kamacache.Node()
    group = node.group("g", None, max_bytes="1MiB", on_evict=listener)
    node.start()
    group.set("k", b"v")
    del listener, group, node
    gc.collect()
    assert gone() is None
