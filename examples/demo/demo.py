#!/usr/bin/env python3
"""The demo: three nodes, in Python, Node.js and C, form one ring over a SQLite
file. It plays the quick start with curl, says whose getter ran, and counts what
it claims: every node writes one JSON line per getter call to one file.

It exits 0 only if every claim was observed. `make demo` runs it, after building
the three programs; PORT1, PORT2, PORT3 and HTTP_PORT change the ports, KEEP=1
leaves the cluster up, and `--stop` stops such a cluster.
"""

from __future__ import annotations

import json
import os
import pathlib
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from cluster import ROOT, STOP, Failed, ScoresNode, loads, make_database, stop_all

WORK = ROOT / "target/demo"
DB, LOG, KEPT = WORK / "scores.db", WORK / "getter-calls.jsonl", WORK / "kept.json"
HOST = "127.0.0.1"
LANGUAGES = {1: "python", 2: "nodejs", 3: "c"}
NAMES = {"python": "Python", "nodejs": "Node.js", "c": "C"}
#: Keys to try until every node has run its getter; three nodes own a third each.
TRIES = 60


def main() -> int:
    if "--stop" in sys.argv:
        return stop_kept()
    for number in ENDINGS:
        signal.signal(number, _interrupt)
    try:
        ports = {name: int(os.environ.get(name, default)) for name, default in PORTS.items()}
    except ValueError as error:
        print(f"demo: a port is a number from 1 to 65535: {error}", file=sys.stderr)
        return 1
    if complaint := missing() or taken(ports):
        print(f"demo: {complaint}", file=sys.stderr)
        return 1
    show = Show(ports, keep=os.environ.get("KEEP", "") not in ("", "0"))
    try:
        show.play()
    except Failed as error:
        show.problems.append(str(error))
    except KeyboardInterrupt:
        show.problems.append("interrupted")
    finally:
        # Nobody interrupts the cleaning up.
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)
        show.end()
    return 1 if show.problems else 0


#: The variables that move the ports, and their defaults.
PORTS = {"PORT1": "8001", "PORT2": "8002", "PORT3": "8003", "HTTP_PORT": "9999"}
USED_BY = {"PORT1": "node 1, Python", "PORT2": "node 2, Node.js", "PORT3": "node 3, C", "HTTP_PORT": "the HTTP API"}


#: Signals that end the demo, with nothing left behind.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def taken(ports: dict[str, int]) -> str | None:
    """What to say when a port is not free."""
    for name, port in ports.items():
        if not 1 <= port <= 65535:
            return f"{name}={port} is no port: choose one from 1 to 65535"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                other = port + 100 if port <= 65435 else port - 100
                return (
                    f"port {port} ({USED_BY[name]}) cannot be used: {error.strerror}. "
                    f"Choose another: make demo {name}={other}"
                )
    twice = [port for port, uses in Counter(ports.values()).items() if uses > 1]
    return f"port {twice[0]} is given twice: {ports}" if twice else None


def missing() -> str | None:
    """What to say when something else is in the way."""
    if shutil.which("curl") is None:
        return "curl is missing: run make setup, or install it"
    if any(map(is_node, kept())):
        return "the cluster of an earlier `make demo KEEP=1` is still up: make demo-stop"
    return None


class Show:
    """The acts, in order, and what was observed."""

    def __init__(self, ports: dict[str, int], keep: bool) -> None:
        self.addresses = {number: f"{HOST}:{ports[f'PORT{number}']}" for number in LANGUAGES}
        self.http = f"{HOST}:{ports['HTTP_PORT']}"
        self.keep = keep
        self.nodes: dict[int, ScoresNode] = {}
        self.problems: list[str] = []
        self.observed = 0
        #: Getter calls accounted for so far, by node number.
        self.seen: Counter[int] = Counter()
        self.started = time.monotonic()

    def play(self) -> None:
        WORK.mkdir(parents=True, exist_ok=True)
        LOG.write_text("")
        self.scores = make_database(DB)
        self.start()
        self.quick_start()
        self.every_node()
        self.unknown_key()
        self.write()
        self.stampede()
        self.owner_dies()
        self.recount()
        if self.keep:
            self.revive()

    # ---- the acts ----

    def start(self) -> None:
        title(f"Three nodes, one ring, over {DB.relative_to(ROOT)} ({len(self.scores)} rows)")
        for number in LANGUAGES:
            self.nodes[number] = self.launch(number)
        for number, node in self.nodes.items():
            node.ready()
            print(f"  node {number}  {NAMES[node.language]:8} {node.address}  pid {node.pid}")
        print(f"  HTTP API of node 1 on http://{self.http}")
        members = [sorted(node.do("members")["members"]) for node in self.nodes.values()]
        self.check(
            all(view == sorted(self.addresses.values()) for view in members),
            "each node lists the same three members",
            f"the members are {members}",
        )

    def launch(self, number: int) -> ScoresNode:
        return ScoresNode(
            LANGUAGES[number],
            DB,
            LOG,
            listen=self.addresses[number],
            peers=self.addresses.values(),
            http=self.http if number == 1 else None,
            outlives=self.keep,
        )

    def quick_start(self) -> None:
        title("A key is loaded once")
        self.get("Tom", calls=1)
        self.get("Tom", calls=0)

    def every_node(self) -> None:
        title("Each key has one owner; only the owner's getter runs")
        more = (key for key in self.scores if key.startswith("player"))
        keys = ["Peter", "Jack", "Sam", *(next(more) for _ in range(TRIES))]
        for tried, key in enumerate(keys):
            if tried >= 3 and len(self.seen) == len(LANGUAGES):
                break
            self.get(key, calls=1)
        self.check(
            set(self.seen) == set(LANGUAGES),
            "each of the three nodes has run its getter: " + tally(self.seen),
            f"after {len(keys)} keys the getter calls are {tally(self.seen)}",
        )

    def unknown_key(self) -> None:
        title("A key that the data source does not have")
        status, body, ran = self.curl("/api?key=Nobody")
        self.check(
            status == 404 and "Nobody" in body and len(ran) == 1,
            f"404 with the message, after one getter call ({where(ran)})",
            f"status {status}, body {body!r}, getter calls {where(ran)}",
        )
        status, body, ran = self.curl("/api")
        self.check(
            status == 400 and "key" in body and not ran,
            "no key at all: 400 with the message, no getter call",
            f"status {status}, body {body!r}, getter calls {where(ran)}",
        )

    def write(self) -> None:
        title("A write through one node is read through the others")
        with sqlite3.connect(DB) as database:
            database.execute("UPDATE scores SET score = 590 WHERE name = 'Jack'")
        database.close()
        self.scores["Jack"] = "590"
        print("  the data source first: UPDATE scores SET score = 590 WHERE name = 'Jack'")
        self.nodes[3].do("set Jack 590")
        print("  then node 3 (C): set Jack 590")
        self.get("Jack", calls=0)
        value = self.nodes[2].get("Jack")
        self.check(value == "590", f"node 2 (Node.js): get Jack -> {value}", f"node 2 says Jack is {value}, not 590")
        self.check(not self.new_loads(), "and no getter ran", "a getter ran")

    def stampede(self) -> None:
        title("300 gets of one cold key at once, 100 on each node")
        key = "player4999"
        for node in self.nodes.values():
            node.send(f"burst 100 {key}")
        replies = [node.answer() for node in self.nodes.values()]
        ran = self.new_loads()
        self.check(
            all(reply.get("values") == [self.scores[key]] for reply in replies) and len(ran) == 1,
            f"all 300 got {self.scores[key]}, after one getter call ({where(ran)})",
            f"replies {replies}, getter calls {where(ran)}",
        )

    def owner_dies(self) -> None:
        title("The owner of a key is killed")
        key = next(key for key in self.scores if self.nodes[1].owner(key) == self.addresses[2])
        victim = self.nodes[2]
        victim.kill()
        self.check(not victim.running(), f"kill -9 of node 2 (Node.js), owner of {key}", "node 2 lives on")
        begun = time.monotonic()
        status, body, ran = self.curl(f"/api?key={key}")
        taken_ms = (time.monotonic() - begun) * 1000
        self.check(
            status == 200 and body == self.scores[key] and set(ran) <= {1, 3} and len(ran) == 1,
            f"the next get succeeds in {taken_ms:.0f} ms: {body}, read by a node that lives ({where(ran)})",
            f"status {status}, body {body!r}, not {self.scores[key]}; getter calls {where(ran)}",
        )

    def revive(self) -> None:
        title("The killed node comes back")
        self.nodes[2] = self.launch(2)
        self.nodes[2].ready()
        value = self.nodes[2].get("Tom")
        self.check(value == self.scores["Tom"], f"node 2 (Node.js): get Tom -> {value}", f"node 2 says Tom is {value}")

    def recount(self) -> None:
        title("The account")
        lines = loads(LOG)
        by_node = Counter(self.number(line) for line in lines)
        self.check(
            by_node == self.seen,
            f"{len(lines)} getter calls in all: {tally(by_node)}",
            f"{LOG.name} has {tally(by_node)}, but {tally(self.seen)} were seen",
        )
        print(f"  count them yourself: {LOG.relative_to(ROOT)}, one JSON line for each")

    # ---- asking and counting ----

    def get(self, key: str, calls: int) -> None:
        status, body, ran = self.curl(f"/api?key={key}")
        whose = f"getter ran on {where(ran)}" if ran else "no getter call in the whole cluster"
        owner = self.nodes[1].owner(key)
        self.check(
            status == 200 and body == self.scores[key] and len(ran) == calls
            and all(self.addresses[number] == owner for number in ran),
            f"{key} = {body}; {whose}",
            f"{key}: status {status}, body {body!r}, not {self.scores[key]}; getter calls: {where(ran)}, not {calls}; owner {owner}",
        )

    def curl(self, path: str) -> tuple[int, str, list[int]]:
        """The status, the body, and on which nodes a getter ran meanwhile."""
        url = f"http://{self.http}{path}"
        print(f"  $ curl '{url}'")
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "10", "--write-out", "\n%{http_code}", url],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise Failed(f"curl {url}: {done.stderr.strip()}")
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body.strip(), self.new_loads()

    def new_loads(self) -> list[int]:
        """The numbers of the nodes whose getters ran since the last look."""
        ran = [self.number(line) for line in loads(LOG)[self.seen.total() :]]
        self.seen.update(ran)
        return ran

    def number(self, line: dict[str, Any]) -> int:
        return next(number for number, address in self.addresses.items() if address == line["address"])

    def check(self, ok: bool, observed: str, otherwise: str) -> None:
        print(f"  {'ok' if ok else 'NOT OBSERVED'}: {observed if ok else otherwise}", flush=True)
        if ok:
            self.observed += 1
        else:
            self.problems.append(otherwise)

    # ---- the end ----

    def end(self) -> None:
        if self.keep and not self.problems:
            self.leave_up()
        else:
            self.stop()
        seconds = time.monotonic() - self.started
        print()
        for problem in self.problems:
            print(f"demo: not observed: {problem}")
        verdict = "FAILED" if self.problems else "passed"
        print(f"demo {verdict}: {self.observed} observations, {len(self.problems)} missing, {seconds:.1f} s")

    def stop(self) -> None:
        codes = {}
        for number, node in self.nodes.items():
            if node.running() and not self.problems:
                try:
                    codes[number] = node.terminate()
                except Failed as error:
                    self.problems.append(str(error))
        stop_all(self.nodes.values())
        if codes:
            self.check(set(codes.values()) == {0}, f"SIGTERM: nodes {list(codes)} exit with 0", f"exit codes {codes}")
        for number, node in self.nodes.items():
            if self.problems and (said := node.complaints()):
                print(f"  node {number} ({NAMES[node.language]}) wrote:\n    " + said.replace("\n", "\n    "))

    def leave_up(self) -> None:
        title("The cluster stays up")
        KEPT.write_text(json.dumps([node.pid for node in self.nodes.values()]))
        pids = " ".join(str(node.pid) for node in self.nodes.values())
        print(f"""  Play with it:
    curl 'http://{self.http}/api?key=Sam'
    tail -f {LOG.relative_to(ROOT)}          # one line for each getter call
    sqlite3 {DB.relative_to(ROOT)} "SELECT name FROM scores LIMIT 20"   # more keys
    kill -9 PID                              # and ask on: {pids}
  Stop it: make demo-stop, or kill {pids}""")


def stop_kept() -> int:
    """Stops what `KEEP=1` left up, and only that."""
    mine = [pid for pid in kept() if is_node(pid)]
    for pid in mine:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP
    for pid in mine:
        if not ended(pid, deadline):
            os.kill(pid, signal.SIGKILL)
    KEPT.unlink(missing_ok=True)
    print(f"demo: {len(mine)} nodes stopped" if mine else "demo: no cluster of `make demo KEEP=1` is up")
    return 0


def kept() -> list[int]:
    """The nodes that `KEEP=1` left up, if they still are."""
    return list(json.loads(KEPT.read_text())) if KEPT.exists() else []


def ended(pid: int, deadline: float) -> bool:
    """Waits for the end of a process that is not our child."""
    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([end], [], [], max(0.0, deadline - time.monotonic()))[0])
    finally:
        os.close(end)


def is_node(pid: int) -> bool:
    """Whether the process is a node of ours: numbers of processes are used again."""
    try:
        return str(DB).encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def title(text: str) -> None:
    print(f"\n{text}", flush=True)


def where(numbers: list[int]) -> str:
    return ", ".join(f"node {number}, {NAMES[LANGUAGES[number]]}" for number in numbers) or "none"


def tally(calls: Counter[int]) -> str:
    return ", ".join(f"{NAMES[LANGUAGES[number]]} {calls[number]}" for number in LANGUAGES)


if __name__ == "__main__":
    sys.exit(main())
