"""group.cached: functions whose results the ring keeps."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import kamacache
import pytest
from helpers import ring


@pytest.fixture
def pages(node: kamacache.Node) -> kamacache.Group[bytes]:
    return node.group("pages", None, max_bytes="4MiB")


def test_a_bare_decorator_replaces_lru_cache(pages: kamacache.Group[bytes]) -> None:
    calls: list[Any] = []

    @pages.cached
    def profile(user_id: int, lang: str = "en", *, deep: bool = False) -> dict[str, Any]:
        """What profile does."""
        calls.append((user_id, lang, deep))
        return {"id": user_id, "lang": lang, "deep": deep}

    for _ in range(2):
        assert profile(1) == profile(1, "en") == profile(lang="en", user_id=1) == {"id": 1, "lang": "en", "deep": False}
        assert profile(1, "de", deep=True) == {"id": 1, "lang": "de", "deep": True}
    assert calls == [(1, "en", False), (1, "de", True)]
    assert profile.__doc__ == "What profile does."
    assert profile.__name__ == "profile"
    with pytest.raises(TypeError):
        profile()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        profile(1, nonsense=2)  # type: ignore[call-arg]


def test_keys_are_the_qualified_name_and_canonical_json(pages: kamacache.Group[bytes]) -> None:
    @pages.cached
    def profile(user_id: int, lang: str = "en") -> str:
        return lang

    name = profile.__qualname__
    assert profile.key(1) == profile.key(lang="en", user_id=1) == name + ':{"lang":"en","user_id":1}'
    assert profile.key(1, "é:") == name + ':{"lang":"é:","user_id":1}'
    profile(1)
    assert pages.peek(profile.key(1)) == b'"en"'
    pages.delete(profile.key(1))
    assert pages.peek(profile.key(1)) is None


def test_arguments_of_different_types_make_different_keys(pages: kamacache.Group[bytes]) -> None:
    @pages.cached(name="kind")
    def kind(value: Any) -> str:
        return repr(value)

    values = [1, 1.0, True, "1", None, [1], {"a": 1}, "", "null", 10**30, 0.1, [1.0], {"a": {"b": [None]}}]
    for _ in range(2):
        assert [kind(value) for value in values] == [repr(value) for value in values]


@pytest.mark.parametrize(
    "value", [(1, 2), {1: 2}, {1}, b"bytes", object(), float("nan"), float("inf"), [(1,)], {"a": (1,)}], ids=repr
)
def test_arguments_that_make_no_key(pages: kamacache.Group[bytes], value: Any) -> None:
    calls: list[Any] = []

    @pages.cached
    def function(value: Any) -> int:
        calls.append(value)
        return 1

    with pytest.raises(TypeError, match="make no key"):
        function(value)
    assert calls == []


def test_every_kind_of_parameter(pages: kamacache.Group[bytes]) -> None:
    @pages.cached
    def function(a: int, /, b: int, *rest: int, c: int = 3, **more: int) -> list[Any]:
        return [a, b, list(rest), c, more]

    for _ in range(2):
        assert function(1, 2) == [1, 2, [], 3, {}]
        assert function(1, 2, 4, 5, c=6, d=7) == [1, 2, [4, 5], 6, {"d": 7}]


def test_none_is_a_result(pages: kamacache.Group[bytes]) -> None:
    calls: list[int] = []

    @pages.cached
    def nothing(number: int) -> None:
        calls.append(number)

    nothing(1)
    nothing(1)
    assert calls == [1]


def test_codecs_and_ttl(node: kamacache.Node, pages: kamacache.Group[bytes]) -> None:
    @pages.cached(codec="bytes", ttl=60)
    def raw(key: str) -> bytes | None:
        return None if key == "nobody" else key.encode()

    @pages.cached(codec="pickle")
    def pickled(number: int) -> set[int]:
        return {number}

    @pages.cached(ttl=0)
    def never_kept(number: int) -> int:
        return number

    assert raw("a") == b"a"
    with pytest.raises(kamacache.NotFound):
        raw("nobody")
    assert pickled(1) == {1}
    assert never_kept(1) == 1
    assert pages.peek(never_kept.key(1)) is None
    words = node.group("words", None, max_bytes="1MiB", codec="str")

    @words.cached
    def word(number: int) -> str:
        return f"word {number}"

    assert word(1) == "word 1"
    assert words.peek(word.key(1)) == "word 1"
    with pytest.raises(kamacache.InvalidArgument, match="codec"):
        pages.cached(codec="yaml")(word)  # type: ignore[call-overload]


async def test_s09_async_functions(pages: kamacache.Group[bytes]) -> None:
    calls: list[int] = []

    @pages.cached(codec="json", ttl=60)
    async def profile(user_id: int) -> dict[str, int]:
        calls.append(user_id)
        await asyncio.sleep(0)
        return {"id": user_id}

    assert inspect.iscoroutinefunction(profile)
    answers = await asyncio.gather(*(profile(7) for _ in range(100)))
    assert answers == [{"id": 7}] * 100
    assert calls == [7]


async def test_plain_and_async_functions_of_one_group(pages: kamacache.Group[bytes]) -> None:
    threads: list[threading.Thread] = []

    @pages.cached
    def plain(number: int) -> int:
        threads.append(threading.current_thread())
        return number

    @pages.cached
    async def awaited(number: int) -> int:
        threads.append(threading.current_thread())
        return -number

    assert await awaited(1) == -1
    assert plain(1) == 1
    assert await asyncio.to_thread(plain, 2) == 2
    assert threads[0] is threads[1] is threading.current_thread()
    with pytest.raises(kamacache.WouldDeadlock):
        pages.get(awaited.key(2))
    assert await pages.aget(plain.key(3)) == b"3"


def test_exceptions_of_functions_come_back(pages: kamacache.Group[bytes]) -> None:
    error = OSError("disk on fire")

    @pages.cached
    def function(number: int) -> int:
        raise error

    with pytest.raises(OSError, match="disk on fire") as caught:
        function(1)
    assert caught.value is error


def test_results_that_are_not_json_fail_the_call(pages: kamacache.Group[bytes]) -> None:
    @pages.cached
    def function(number: int) -> Any:
        return {1, 2}

    with pytest.raises(TypeError, match="set"):
        function(1)


def test_s16_recursion_is_fine_and_reentrancy_is_not(pages: kamacache.Group[bytes]) -> None:
    @pages.cached
    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(40) == 102334155

    @pages.cached
    def loop(n: int) -> int:
        return loop(n)

    with pytest.raises(kamacache.ReentrantLoad):
        loop(1)


def test_keys_of_no_function_are_not_found(pages: kamacache.Group[bytes]) -> None:
    @pages.cached
    def function(number: int) -> int:
        return number

    with pytest.raises(kamacache.NotFound):
        pages.get("something else")
    pages.set("something else", b"v")
    assert pages.get("something else") == b"v"
    for key in (function.key(1)[:-1], function.key(1).replace("number", "other"), function.__qualname__ + ":"):
        with pytest.raises((ValueError, TypeError, KeyError)):
            pages.get(key)


def test_names_that_are_ambiguous(pages: kamacache.Group[bytes]) -> None:
    pages.cached(name="user")(lambda: 1)
    for again in ("user", "user:1"):
        with pytest.raises(kamacache.AlreadyExists, match="user"):
            pages.cached(name=again)(lambda: 2)
    pages.cached(name="users")(lambda: 3)


def test_a_group_with_a_getter_caches_no_functions(node: kamacache.Node) -> None:
    group = node.group("g", lambda key: b"v", max_bytes="1MiB")
    with pytest.raises(kamacache.InvalidArgument, match="getter"):
        group.cached(lambda: 1)


@pytest.mark.parametrize("thing", [7, "name", None], ids=repr)
def test_things_that_are_no_function(pages: kamacache.Group[bytes], thing: Any) -> None:
    with pytest.raises(TypeError, match="function"):
        pages.cached(thing)


def test_templates(pages: kamacache.Group[bytes]) -> None:
    calls: list[Any] = []

    @pages.cached(key="user:{user_id}:{lang}/{ratio}?{deep}")
    def profile(user_id: int, lang: str, deep: bool, ratio: float = 0.5) -> list[Any]:
        calls.append((user_id, lang, deep, ratio))
        return [user_id, lang, deep, ratio]

    assert profile.key(1, "en", True) == "user:1:en/0.5?true"
    assert profile.key(-1, "a:b/ü %", False, 1e-7) == "user:-1:a%3Ab%2F%C3%BC%20%25/1e-07?false"
    samples = [(1, "en", True, 0.5), (-1, "a:b/ü %?", False, 1e300), (0, "", True, -0.0), (10**30, "\n", False, 1.0)]
    for _ in range(2):
        for sample in samples:
            user_id, lang, deep, ratio = sample
            assert profile(user_id, lang, deep, ratio) == list(sample)
    assert calls == samples
    assert pages.get("user:1:en/0.5?true") == b'[1,"en",true,0.5]'


TEMPLATES: list[tuple[str, Any]] = [
    ("user:{a}", lambda a: 1),
    ("user:{a}{b}", None),
    ("user:{a}-{b}", None),
    ("user:{a}x{b}", None),
    ("user:{a}", None),
    ("user:{a}:{b}:{c}", None),
    ("user:{a}:{a}:{b}", None),
    ("{a}:{b}", None),
    ("user:{a!r}:{b}", None),
    ("user:{a:>5}:{b}", None),
    ("user:{a.real}:{b}", None),
    ("user:{}:{b}", None),
    ("user:{a", None),
]


def two(a: int, b: str) -> int:
    return a


@pytest.mark.parametrize(("template", "function"), TEMPLATES, ids=lambda value: str(value)[:20])
def test_templates_that_cannot_be_read_back(pages: kamacache.Group[bytes], template: str, function: Any) -> None:
    with pytest.raises(ValueError, match=r"template|expected '}'"):
        pages.cached(key=template)(function or two)


def test_annotations_that_a_template_cannot_read(pages: kamacache.Group[bytes]) -> None:
    def listed(a: list[int]) -> int:
        return 1

    def optional(a: int | None) -> int:
        return 1

    def rest(*a: int) -> int:
        return 1

    for function in (listed, optional, rest):
        with pytest.raises(ValueError, match="annotated"):
            pages.cached(key="user:{a}")(function)


@pytest.mark.parametrize("arguments", [("1", "en"), (True, "en"), (1.0, "en"), (1, 2), (None, "en")], ids=repr)
def test_template_arguments_of_the_wrong_type(pages: kamacache.Group[bytes], arguments: Any) -> None:
    function = pages.cached(key="user:{a}:{b}")(two)
    with pytest.raises(TypeError, match="template"):
        function(*arguments)


def test_s09_the_owner_runs_its_function_of_that_name() -> None:
    calls: list[tuple[int, int]] = []
    functions: list[Any] = []

    def define(index: int, node: kamacache.Node) -> None:
        pages = node.group("pages", None, max_bytes="1MiB")

        @pages.cached(name="square")
        def square(number: int) -> int:
            calls.append((index, number))
            return number * number

        functions.append(square)

    with ring(2, define) as nodes:
        for number in range(20):
            assert functions[0](number) == functions[1](number) == number * number
        owners = [nodes[0].owner(functions[0].key(number)) for number in range(20)]
        assert calls == [
            (0 if owner == nodes[0].address else 1, number) for number, owner in zip(range(20), owners, strict=True)
        ]
        assert {index for index, _ in calls} == {0, 1}


def test_s08b_an_owner_without_the_function_leaves_it_to_the_caller() -> None:
    calls: list[int] = []
    functions: list[Any] = []
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        pages = node.group("pages", None, max_bytes="1MiB")
        groups.append(pages)

        def square(number: int) -> int:
            calls.append(index)
            return number * number

        functions.append(pages.cached(name=f"square{index}")(square))

    with ring(2, define) as nodes:
        number = next(n for n in range(100) if nodes[0].owner(functions[0].key(n)) == nodes[1].address)
        assert functions[0](number) == number * number
        assert calls == [0]


async def test_async_functions_over_a_ring() -> None:
    here = asyncio.get_running_loop()
    loops: list[object] = []
    functions: list[Any] = []
    async with kamacache.Node("127.0.0.1:0") as one, kamacache.Node("127.0.0.1:0") as two:
        for node in (one, two):
            node.set_peers([one.address, two.address])
            pages = node.group("pages", None, max_bytes="1MiB")

            @pages.cached(name="square")
            async def square(number: int) -> int:
                loops.append(asyncio.get_running_loop())
                return number * number

            functions.append(square)
        assert await asyncio.gather(*(functions[0](n) for n in range(50))) == [n * n for n in range(50)]
    assert loops == [here] * 50


def test_functions_cached_before_the_start() -> None:
    node = kamacache.Node()
    pages = node.group("pages", None, max_bytes="1MiB")

    @pages.cached
    def double(number: int) -> int:
        return 2 * number

    with pytest.raises(kamacache.Closed, match="not started"):
        double(1)
    with node:
        assert double(1) == 2
    with pytest.raises(kamacache.Closed):
        double(1)
