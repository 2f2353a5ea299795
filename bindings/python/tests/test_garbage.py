"""Bad input: each call refuses it at once, names the value and the rule, and
stores nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import kamacache
import pytest

GARBAGE_KEYS = [b"bytes", 7, None, object(), ["Tom"], bytearray(b"k"), 1.5, str]


@pytest.fixture
def group(node: kamacache.Node) -> kamacache.Group[bytes]:
    return node.group("g", lambda key: b"v", max_bytes="1MiB", max_value_bytes=1000)


@pytest.mark.parametrize("key", GARBAGE_KEYS, ids=repr)
async def test_keys_that_are_no_str(node: kamacache.Node, group: kamacache.Group[bytes], key: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: group.get(key),
        lambda: group.peek(key),
        lambda: group.delete(key),
        lambda: group.set(key, b"v"),
        lambda: node.owner(key),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="a key is a str"):
            call()
    for coroutine in (group.aget(key), group.adelete(key), group.aset(key, b"v")):
        with pytest.raises(TypeError, match="a key is a str"):
            await coroutine
    assert group.stats().entries == 0


@pytest.mark.parametrize("key", ["", "k" * 4097, "é" * 2049, "a\ud800b", "\udfff"], ids=lambda key: ascii(key)[:12])
async def test_s01_keys_that_break_the_rule(node: kamacache.Node, group: kamacache.Group[bytes], key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: group.get(key),
        lambda: group.delete(key),
        lambda: group.set(key, b"v"),
        lambda: node.owner(key),
    ]
    for call in calls:
        with pytest.raises(kamacache.InvalidArgument, match="key"):
            call()
    for coroutine in (group.aget(key), group.adelete(key), group.aset(key, b"v")):
        with pytest.raises(kamacache.InvalidArgument, match="key"):
            await coroutine
    assert group.peek(key) is None
    assert group.stats().entries == 0


@pytest.mark.parametrize("value", ["text", 5, None, [1, 2], object()], ids=repr)
async def test_values_that_are_no_bytes(group: kamacache.Group[bytes], value: Any) -> None:
    with pytest.raises(TypeError, match="a value is bytes, not"):
        group.set("k", value)
    with pytest.raises(TypeError, match="a value is bytes, not"):
        await group.aset("k", value)
    assert group.peek("k") is None


async def test_s01_values_above_the_limit(group: kamacache.Group[bytes]) -> None:
    group.set("k", b"x" * 1000)
    with pytest.raises(kamacache.TooLarge, match=r"1001.*1000"):
        group.set("k", b"x" * 1001)
    assert group.peek("k") is None
    with pytest.raises(kamacache.TooLarge, match=r"1001.*1000"):
        await group.aset("k", b"x" * 1001)


BAD_DURATIONS = [
    (-1, kamacache.InvalidArgument),
    (-0.001, kamacache.InvalidArgument),
    (math.nan, kamacache.InvalidArgument),
    (-math.inf, kamacache.InvalidArgument),
    (-(10**400), kamacache.InvalidArgument),
    ("soon", kamacache.InvalidArgument),
    ("10 fortnights", kamacache.InvalidArgument),
    ("", kamacache.InvalidArgument),
    ("\ud800", kamacache.InvalidArgument),
    (b"10s", TypeError),
    (True, TypeError),
    ([], TypeError),
    (1j, TypeError),
]


@pytest.mark.parametrize(("duration", "kind"), BAD_DURATIONS, ids=lambda value: ascii(value)[:20])
async def test_durations(group: kamacache.Group[bytes], duration: Any, kind: type[Exception]) -> None:
    calls: list[Callable[[], object]] = [
        lambda: group.get("k", timeout=duration),
        lambda: group.set("k", b"v", ttl=duration),
        lambda: group.set("k", b"v", timeout=duration),
        lambda: group.delete("k", timeout=duration),
        lambda: kamacache.Node(default_timeout=duration),
        lambda: kamacache.Node(drain=duration),
        lambda: kamacache.Node().group("g", None, max_bytes="1MiB", ttl=duration),
        lambda: kamacache.Node().group("g", None, max_bytes="1MiB", load_timeout=duration),
        lambda: kamacache.Node().close(duration),
    ]
    for call in calls:
        with pytest.raises(kind):
            call()
    other = kamacache.Node()
    for coroutine in (group.aget("k", timeout=duration), group.aset("k", b"v", ttl=duration), other.aclose(duration)):
        with pytest.raises(kind):
            await coroutine
    assert group.stats().entries == 0


@pytest.mark.parametrize(
    ("size", "kind", "says"),
    [
        (0, kamacache.InvalidArgument, "max_bytes"),
        (65535, kamacache.InvalidArgument, "65535.*65536"),
        (-1, kamacache.InvalidArgument, "-1"),
        (2**64, kamacache.InvalidArgument, "18446744073709551616"),
        ("many", kamacache.InvalidArgument, "many"),
        ("-64MiB", kamacache.InvalidArgument, "-64MiB"),
        (64.0, TypeError, "float"),
        (None, TypeError, "NoneType"),
        (True, TypeError, "bool"),
    ],
)
def test_s01_budgets(node: kamacache.Node, size: Any, kind: type[Exception], says: str) -> None:
    for one in (node, kamacache.Node()):
        with pytest.raises(kind, match=says):
            one.group("g", None, max_bytes=size)
    with pytest.raises(TypeError, match="max_bytes"):
        node.group("g", None)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 256, "a/b", "\ud800"], ids=lambda name: ascii(name)[:12])
def test_s01_group_names_are_refused_at_the_call(name: str) -> None:
    with pytest.raises(kamacache.InvalidArgument, match="name"):
        kamacache.Node().group(name, None, max_bytes="1MiB")


@pytest.mark.parametrize("name", [None, 7, b"g"], ids=repr)
def test_group_names_that_are_no_str(name: Any) -> None:
    with pytest.raises(TypeError, match="name"):
        kamacache.Node().group(name, None, max_bytes="1MiB")


@pytest.mark.parametrize(
    "option",
    [
        {"policy": "random"},
        {"codec": "yaml"},
        {"codec": (len,)},
        {"codec": None},
        {"max_value_bytes": 0},
        {"max_value_bytes": "2GiB"},
    ],
    ids=repr,
)
def test_group_options_that_break_a_rule(option: dict[str, Any]) -> None:
    with pytest.raises(kamacache.InvalidArgument, match=next(iter(option))):
        kamacache.Node().group("g", None, max_bytes="1MiB", **option)


def test_getters_that_are_no_function(node: kamacache.Node) -> None:
    bad: list[Any] = [7, "load", b"", object(), lambda: b"", lambda a, b, c: b"", lambda *, key: b""]
    for getter in bad:
        with pytest.raises(TypeError, match="getter"):
            node.group("g", getter, max_bytes="1MiB")
        with pytest.raises(TypeError, match="getter"):
            node.group("g", max_bytes="1MiB")(getter)
    assert node.group("g", None, max_bytes="1MiB").name == "g"


@pytest.mark.parametrize("peers", [7, None, "127.0.0.1:1", [7], [None]], ids=repr)
def test_member_lists_of_the_wrong_type(peers: Any) -> None:
    with pytest.raises(TypeError):
        kamacache.Node("127.0.0.1:0", peers=peers)
    with kamacache.Node("127.0.0.1:0") as node:
        with pytest.raises(TypeError):
            node.set_peers(peers)
        assert node.members() == [node.address]


@pytest.mark.parametrize("peers", [[""], ["127.0.0.1"], ["127.0.0.1:0"], ["127.0.0.1:1"], ["10.0.0.1:1"], []], ids=repr)
def test_s04_member_lists_that_break_a_rule(peers: list[str]) -> None:
    with kamacache.Node("127.0.0.1:0") as node:
        with pytest.raises(kamacache.InvalidArgument):
            node.set_peers(peers)
        assert node.members() == [node.address]


@pytest.mark.parametrize(
    "arguments",
    [{"listen": 7}, {"advertise": b""}, {"io_threads": "2"}, {"getter_threads": -1}, {"tls": 5}, {"cluster": 1}],
    ids=repr,
)
def test_node_options_of_the_wrong_type(arguments: dict[str, Any]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        kamacache.Node(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"listen": "nonsense"}, {"listen": "127.0.0.1:65536"}, {"io_threads": 0}, {"peers": ["127.0.0.1:8001"]}],
    ids=repr,
)
def test_s04_node_options_that_break_a_rule(arguments: dict[str, Any]) -> None:
    with pytest.raises(kamacache.InvalidArgument):
        kamacache.Node(**arguments).start()


def test_s04_a_taken_port_is_named() -> None:
    with kamacache.Node("127.0.0.1:0") as first, pytest.raises(kamacache.Unavailable, match=first.address):
        kamacache.Node(first.address).start()


def test_arguments_that_do_not_exist(group: kamacache.Group[bytes]) -> None:
    anything: Any = group
    with pytest.raises(TypeError):
        anything.get()
    with pytest.raises(TypeError):
        anything.get("k", ttl=3)
    with pytest.raises(TypeError):
        anything.set("k")
    with pytest.raises(TypeError):
        kamacache.Node(lissten="127.0.0.1:0")  # type: ignore[call-arg]
