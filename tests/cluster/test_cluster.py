"""Nodes of different languages in one ring: what each promises alone must hold
between them. Each node is a process; a test names the node that owns its key.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from ring import THREE, Ring

PAIRS = list(itertools.product(THREE, THREE))


def other_than(*languages: str) -> str:
    return next(language for language in THREE if language not in languages)


def test_s05_every_language_names_the_same_owner(ring: Ring) -> None:
    owners = {
        language: [node.owner(key) for key in itertools.islice(ring.scores, 200)]
        for language, node in ring.nodes.items()
    }
    assert owners["python"] == owners["nodejs"] == owners["c"]
    assert set(owners["c"]) == {node.address for node in ring.nodes.values()}


@pytest.mark.parametrize("owner", THREE)
def test_s09_a_key_is_loaded_by_its_owner_alone(ring: Ring, owner: str) -> None:
    key = ring.key_owned_by(owner)
    for node in ring.nodes.values():
        assert node.get(key) == ring.scores[key]
    assert ring.new_loads() == [(owner, key)]


@pytest.mark.parametrize("owner", THREE)
def test_s09_a_hundred_gets_on_three_nodes_make_one_getter_call(ring: Ring, owner: str) -> None:
    key = ring.key_owned_by(owner)
    shares = dict(zip(ring.nodes.values(), (34, 33, 33), strict=True))
    for node, share in shares.items():
        node.send(f"burst {share} {key}")
    for node, share in shares.items():
        assert node.answer() == {"ok": True, "n": share, "values": [ring.scores[key]]}
    assert ring.new_loads() == [(owner, key)]


@pytest.mark.parametrize(("writer", "reader"), PAIRS)
def test_s17_set_in_one_language_get_in_another(ring: Ring, writer: str, reader: str) -> None:
    for owner in THREE:
        key = ring.key_owned_by(owner)
        value = f"{writer} → {reader} über {owner}"
        ring.nodes[writer].do(f"set {key} {value}")
        assert ring.nodes[reader].get(key) == value
    assert ring.new_loads() == []


@pytest.mark.parametrize(("deleter", "reader"), PAIRS)
def test_s20_delete_in_one_language_load_anew_in_another(ring: Ring, deleter: str, reader: str) -> None:
    owner = other_than(deleter)
    key = ring.key_owned_by(owner)
    ring.nodes[reader].do(f"set {key} stale")
    ring.nodes[deleter].do(f"delete {key}")
    assert ring.nodes[reader].get(key) == ring.scores[key]
    assert ring.new_loads() == [(owner, key)]


@pytest.mark.parametrize(("asked", "owner"), PAIRS)
def test_s03_not_found_is_the_same_error_everywhere(ring: Ring, asked: str, owner: str) -> None:
    node = ring.nodes[owner]
    key = next(key for key in map("nobody{}".format, itertools.count()) if node.owner(key) == node.address)
    reply = ring.nodes[asked].ask(f"get {key}")
    assert (reply["ok"], reply["code"]) == (False, "NOT_FOUND")
    assert key in reply["message"]
    # Not found is not cached: whoever asks next asks the getter again.
    assert ring.new_loads() == [(owner, key)]


@pytest.mark.parametrize("language", THREE)
def test_s01_a_bad_key_is_refused_where_it_is_asked(ring: Ring, language: str) -> None:
    node = ring.nodes[language]
    for command in ("get {}", "set {} x", "delete {}", "owner {}"):
        reply = node.ask(command.format("k" * 4097))
        assert (reply["ok"], reply["code"]) == (False, "INVALID_ARGUMENT"), command
        assert "owner" in command or "4096" in reply["message"], reply
    assert ring.new_loads() == []


@pytest.mark.parametrize("writer", THREE)
def test_s01_a_value_above_the_limit_is_refused_by_name(ring: Ring, writer: str) -> None:
    # An eighth of 64 MiB is the largest value that these groups keep.
    owner = other_than(writer)
    key = ring.key_owned_by(owner)
    reply = ring.nodes[writer].ask(f"set {key} " + "x" * (8 * 1024 * 1024 + 1))
    assert (reply["ok"], reply["code"]) == (False, "TOO_LARGE")
    assert str(8 * 1024 * 1024) in reply["message"]
    assert ring.nodes[owner].do(f"peek {key}")["value"] is None


@pytest.mark.parametrize("language", THREE)
def test_a_list_of_peers_without_the_node_itself_is_refused(ring: Ring, language: str) -> None:
    node = ring.nodes[language]
    before = node.do("members")["members"]
    reply = node.ask("peers 127.0.0.1:1")
    assert (reply["ok"], reply["code"]) == (False, "INVALID_ARGUMENT")
    assert node.address in reply["message"]
    assert node.do("members")["members"] == before


@pytest.mark.parametrize("language", THREE)
def test_stats_tell_who_loaded_and_who_fetched(ring: Ring, language: str) -> None:
    node, key = ring.nodes[language], ring.key_owned_by(other_than(language))
    before = node.do("stats")["stats"]
    node.get(key)
    after = node.do("stats")["stats"]
    grown = {field: after[field] - before[field] for field in ("gets", "fetches", "loads")}
    assert grown == {"gets": 1, "fetches": 1, "loads": 0}


# ---- nodes that come and go: a ring of their own for each ----


@pytest.mark.parametrize("victim", THREE)
def test_s25_gets_go_on_after_kill_9_of_an_owner(make_ring: Callable[..., Ring], victim: str) -> None:
    ring = make_ring()
    known, cold = ring.key_owned_by(victim), ring.key_owned_by(victim)
    survivors = {language: node for language, node in ring.nodes.items() if language != victim}
    for node in survivors.values():
        assert node.get(known) == ring.scores[known]
    ring.new_loads()

    ring.nodes[victim].kill()

    for node in survivors.values():
        assert node.get(known) == ring.scores[known]
        assert node.get(cold) == ring.scores[cold]
    # At most one call by each survivor, in place of the owner.
    calls = ring.new_loads()
    assert len(calls) == len(set(calls)) and {language for language, _ in calls} == set(survivors)
    # A write has nowhere to go, and says so.
    reply = next(iter(survivors.values())).ask(f"set {known} 1")
    assert (reply["ok"], reply["code"]) == (False, "UNAVAILABLE")


def test_a_node_of_another_language_joins(make_ring: Callable[..., Ring]) -> None:
    ring = make_ring()
    newcomer = ring.join("rust")
    key = ring.key_owned_by("rust")
    for node in ring.nodes.values():
        assert node.get(key) == ring.scores[key]
    assert ring.new_loads() == [("rust", key)]
    newcomer.do(f"set {key} 7")
    assert {node.get(key) for node in ring.nodes.values()} == {"7"}
    for language in THREE:
        key = ring.key_owned_by(language)
        assert newcomer.get(key) == ring.scores[key]
        assert ring.new_loads() == [(language, key)]


@pytest.mark.parametrize("language", (*THREE, "rust"))
def test_s37_sigterm_ends_with_0(make_ring: Callable[..., Ring], language: str) -> None:
    node = make_ring((language,)).nodes[language]
    assert node.get("Tom") == "630"
    assert node.terminate() == 0


@pytest.mark.parametrize("language", (*THREE, "rust"))
def test_quit_ends_with_0(make_ring: Callable[..., Ring], language: str) -> None:
    node = make_ring((language,)).nodes[language]
    assert node.ask("quit") == {"ok": True}
    assert node.process.wait(10) == 0
