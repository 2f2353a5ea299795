"""What the core tells reaches logging.getLogger("kamacache"), on a thread of ours."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator

import kamacache
import pytest
from helpers import key_owned_by, ring, run_program


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.queue: queue.Queue[logging.LogRecord] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.queue.put(record)

    def next(self, part: str) -> logging.LogRecord:
        """The next record whose text has this part."""
        while part not in (record := self.queue.get(timeout=20)).getMessage():
            pass
        return record


@pytest.fixture
def records() -> Iterator[Records]:
    logger, handler = logging.getLogger("kamacache"), Records()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_a_node_tells_where_it_started(records: Records) -> None:
    with kamacache.Node("127.0.0.1:0") as node:
        record = records.next(node.address)
    assert (record.levelno, record.name) == (logging.INFO, "kamacache")
    assert record.threadName == "kamacache-log", "the threads of the core never enter the interpreter"


def test_a_warning_of_the_core(records: Records) -> None:
    """A peer without the group."""
    groups: list[kamacache.Group[bytes]] = []

    def define(index: int, node: kamacache.Node) -> None:
        if index == 0:
            groups.append(node.group("only-here", lambda key: b"here", max_bytes="1MiB"))

    with ring(2, define) as nodes:
        assert groups[0].get(key_owned_by(nodes[1])) == b"here"
        record = records.next("no group of this name")
        assert record.levelno == logging.WARNING
        assert "only-here" in record.getMessage()
        assert nodes[1].address in record.getMessage()
        assert record.threadName == "kamacache-log"


def test_the_level_of_the_logger_rules(records: Records) -> None:
    logger = logging.getLogger("kamacache")
    logger.setLevel(logging.WARNING)
    with kamacache.Node("127.0.0.1:0") as quiet:
        pass
    logger.setLevel(logging.INFO)
    with kamacache.Node("127.0.0.1:0") as loud:
        seen = records.next(loud.address)
    assert "node started" in seen.getMessage()
    told = list(records.queue.queue)
    assert not any("node started" in record.getMessage() and quiet.address in record.getMessage() for record in told)


def test_records_that_wait_are_told_before_the_end_and_in_a_child() -> None:
    done = run_program("""
import logging, os, sys
import kamacache
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(process)d %(name)s %(message)s")
first = kamacache.Node("127.0.0.1:0")
first.start()
parent = os.getpid()
child = os.fork()
second = kamacache.Node("127.0.0.1:0")
second.start()
if child:
    os.waitpid(child, 0)
else:
    parent = os.getpid()
sys.stdout.write(f"expected {parent} {second.address}\\n")
sys.stdout.flush()
""")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    expected = [line.split()[1:] for line in lines if line.startswith("expected")]
    assert len(expected) == 2
    for process, address in expected:
        assert any(line.startswith(f"{process} kamacache node started") and address in line for line in lines), lines
