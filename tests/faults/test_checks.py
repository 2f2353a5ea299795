"""The checks see what they are for: a record that keeps the contract has no
complaints, and each break of it has one."""

from __future__ import annotations

import dataclasses
import pathlib

import checks
import pytest
from checks import FALLBACK_TTL, LEASE, SECOND, Down, Facts
from records import Op, p99, read
from ring import Held

#: Three nodes; k0 is owned by node 0, k1 by node 1.
ADDRESSES = {0: "a:1", 1: "b:1", 2: "c:1"}
OWNERS = ["a:1", "b:1"]


def op(kind: str, key: int, slot: int, at: float, version: int = 1, outcome: str = "OK", took: int = 1000) -> Op:
    """`at` in seconds."""
    return Op(slot, slot, kind, key, int(at * SECOND), took, outcome, version)


def facts(*ops: Op, down: Down | None = None, versions: tuple[int, int] = (1, 1)) -> Facts:
    return Facts(sorted(ops, key=lambda op: op.at), OWNERS, ADDRESSES, [down] if down else [], versions)


def down(cold: bool = False) -> Down:
    """The owner of k1, from 10 s to 13 s."""
    return Down("b:1", 10 * SECOND, 13 * SECOND, cold=cold)


# ---- getter calls ----


def test_a_load_after_each_delete_is_no_extra_call() -> None:
    deletes = [op("delete", 0, 1, 1, 2), op("delete", 0, 1, 2, 3)]
    loads = [op("load", 0, 0, 1.5, 2), op("load", 0, 0, 2.5, 3)]
    calls = checks.steady_calls(facts(*deletes, *loads, versions=(3, 1)))
    assert (calls.extra, calls.wrong) == (0, [])


def test_a_load_for_nothing_is_wrong() -> None:
    calls = checks.steady_calls(facts(op("load", 0, 0, 1)))
    assert calls.extra == 1 and "k0 was loaded 1 times by its owner" in calls.wrong[0]


def test_the_write_of_a_process_that_was_killed_may_have_been_a_delete() -> None:
    assert checks.steady_calls(facts(op("load", 0, 0, 1, 2), versions=(2, 1))).wrong == []


def test_an_owner_that_comes_back_empty_may_load_once() -> None:
    one, two = op("load", 1, 1, 14), op("load", 1, 1, 15)
    assert checks.steady_calls(facts(one, down=down(cold=True))).wrong == []
    assert checks.steady_calls(facts(one, two, down=down(cold=True))).wrong != []
    assert checks.steady_calls(facts(one, down=down())).wrong != []


def test_another_node_loads_only_for_an_owner_that_is_down() -> None:
    for at, well in ((9.0, True), (10.5, False), (15.0, False), (16.0, True)):
        wrong = checks.steady_calls(facts(op("load", 1, 0, at), down=down())).wrong
        assert ("was well" in "".join(wrong)) == well, at


def test_who_stood_still_could_not_probe_meanwhile() -> None:
    late = facts(op("load", 1, 0, 18.5), down=down())
    assert checks.steady_calls(late).wrong != []
    for slot, well in ((0, False), (1, True)):
        asleep = dataclasses.replace(late, stood_still=[(slot, 12 * SECOND, 18 * SECOND)])
        assert ("was well" in "".join(checks.steady_calls(asleep).wrong)) == well, slot


def test_not_for_an_owner_that_others_cannot_reach() -> None:
    seen = dataclasses.replace(down(), seen_by=frozenset([7]))
    assert checks.steady_calls(facts(op("load", 1, 0, 11), down=seen)).wrong != []


def test_a_fallback_is_kept_for_its_time_unless_a_write_failed() -> None:
    first, early, late = op("load", 1, 0, 10.5), op("load", 1, 0, 11.5), op("load", 1, 0, 12.6)
    failed = op("set", 1, 0, 11, 2, "UNAVAILABLE")
    assert "twice within 1.000 s" in checks.steady_calls(facts(first, early, down=down())).wrong[0]
    assert checks.steady_calls(facts(first, late, down=down())).wrong == []
    assert checks.steady_calls(facts(first, failed, early, down=down())).wrong == []


def test_calls_while_members_change() -> None:
    ops = [op("load", 0, 0, 1), op("load", 0, 1, 2), op("delete", 0, 0, 1.5, 2)]
    assert checks.moving_calls(facts(*ops, versions=(2, 1))) == 1


# ---- staleness ----


def stale(get: Op, write: Op, outage: Down | None = None) -> list[str]:
    case = facts(get, write, down=outage)
    return checks.staleness(case, checks.steady_limit(case)).wrong


@pytest.mark.parametrize(("slot", "after", "wrong"), [(0, 0.01, True), (2, 0.9, False), (2, 1.1, True)])
def test_the_owner_sees_a_write_at_once_and_others_within_a_lease(slot: int, after: float, wrong: bool) -> None:
    write = op("set", 0, 1, 5, 2)
    assert bool(stale(op("get", 0, slot, 5.001 + after), write)) == wrong


def test_the_writer_sees_its_write_at_once() -> None:
    assert stale(op("get", 0, 1, 5.01), op("set", 0, 1, 5, 2)) != []
    assert stale(op("get", 0, 1, 5.01, 2), op("set", 0, 1, 5, 2)) == []
    assert stale(op("get", 0, 1, 5.0005), op("set", 0, 1, 5, 2)) == [], "it began before the acknowledgement"


def test_a_write_that_was_not_acknowledged_proves_nothing() -> None:
    assert stale(op("get", 0, 1, 9), op("set", 0, 1, 5, 2, "UNAVAILABLE")) == []
    late = [op("set", 0, 1, 4, 2, "UNAVAILABLE"), op("set", 0, 1, 5, 3), op("get", 0, 1, 9, 2)]
    case = facts(*late)
    assert checks.staleness(case, checks.steady_limit(case)).wrong == []


def test_a_copy_of_a_suspect_owners_key_has_more_time() -> None:
    assert LEASE < 1.5 * SECOND < FALLBACK_TTL
    write, get = op("set", 1, 0, 12, 2), op("get", 1, 2, 13.501)
    assert stale(get, write) != []
    assert stale(get, write, down()) == []


# ---- the others ----


def test_counters() -> None:
    stats = dict.fromkeys([*checks.OUTCOMES, *checks.PEER_OUTCOMES, "gets", "peer_gets", "loads", "stuck_loads"], 0)
    get = op("get", 0, 0, 1)
    assert checks.counters("it", stats, []) == []
    assert checks.counters("it", {**stats, "gets": 1, "hits": 1}, [get]) == []
    assert len(checks.counters("it", stats, [get])) == 1
    assert len(checks.counters("it", {**stats, "gets": 1}, [get])) == 1
    assert len(checks.counters("it", {**stats, "peer_gets": 1}, [])) == 1
    assert len(checks.counters("it", {**stats, "loads": 1}, [])) == 1


def test_leaks() -> None:
    before = Held(20, 8, 50 << 20)
    assert checks.leaked("it", before, before, 0) == []
    assert checks.leaked("it", before, dataclasses.replace(before, threads=9), 0) == []
    assert checks.leaked("it", before, dataclasses.replace(before, files=22), 1) == []
    for more in (Held(21, 8, 0), Held(20, 10, 0), Held(20, 8, 70 << 20)):
        assert len(checks.leaked("it", before, more, 0)) == 1


def test_failed_gets() -> None:
    bad = op("get", 0, 0, 1, outcome="DEADLINE_EXCEEDED")
    assert checks.failed_gets([bad], [], lambda op: False) == [bad]
    assert checks.failed_gets([bad], [], lambda op: True) == []


def test_what_a_node_did_not_understand_of_its_peers_is_named() -> None:
    metrics = dict.fromkeys(checks.MISUNDERSTOOD, 0.0)
    assert checks.misunderstood("python node 0", metrics) == []
    for name in checks.MISUNDERSTOOD:
        assert checks.misunderstood("python node 0", metrics | {name: 2.0}) == [f"python node 0: {name} is 2, not 0"]


def test_half_a_line_says_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "ops"
    line = '{"op":"get","key":1,"at":2,"took":3,"outcome":"OK","version":4}\n'
    path.write_text(line + line[:20])
    assert read(path, 0, 0) == [Op(0, 0, "get", 1, 2, 3, "OK", 4)]
    assert p99(read(path, 0, 0)) == 0.003
