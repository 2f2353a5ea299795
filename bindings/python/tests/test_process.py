"""Signals, fork and the end of the interpreter, in interpreters of their own."""

from __future__ import annotations

import textwrap
import time

import pytest
from helpers import run_program

PRELUDE = """
import asyncio, os, signal, sys, threading, time
import kamacache

# What runs in the background of a shell begins with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt_when(condition):
    # Ctrl-C as soon as the condition holds; the time it was sent.
    sent = []
    def run():
        while not condition():
            time.sleep(0.001)
        time.sleep(0.05)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=run, daemon=True).start()
    return sent

def expect_interrupt(sent, call):
    try:
        call()
    except KeyboardInterrupt:
        took = time.monotonic() - sent[0]
        assert took < 0.3, f"Ctrl-C took {took:.3f} s"
    else:
        raise AssertionError("no KeyboardInterrupt")
"""


def run(program: str, *, code: int = 0, timeout: float = 20) -> str:
    done = run_program(PRELUDE + textwrap.dedent(program), timeout=timeout)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    if code == 0:
        assert done.stderr == ""
    return done.stdout


# ---- signals ----


def test_s10_ctrl_c_ends_a_blocking_wait() -> None:
    run("""
        release = threading.Event()
        def load(key):
            if key == "slow":
                release.wait()
            return b"v"
        with kamacache.Node() as node:
            group = node.group("g", load, max_bytes="1MiB")
            leader = threading.Thread(target=group.get, args=("slow",))
            leader.start()
            sent = interrupt_when(lambda: group.stats().gets == 2)
            expect_interrupt(sent, lambda: group.get("slow", timeout=30))
            assert group.get("other") == b"v"
            assert group.stats().failed == 1
            release.set()
            leader.join()
            assert group.get("slow") == b"v"
    """)


def test_s10_ctrl_c_in_an_inline_getter_leaves_the_load_to_a_waiter() -> None:
    run("""
        calls = []
        def load(key):
            calls.append(threading.current_thread())
            if len(calls) == 1:
                time.sleep(30)
            return b"second"
        with kamacache.Node() as node:
            group = node.group("g", load, max_bytes="1MiB")
            answers = []
            def wait():
                while not calls:
                    time.sleep(0.001)
                answers.append(group.get("k", timeout=20))
            waiter = threading.Thread(target=wait)
            waiter.start()
            sent = interrupt_when(lambda: group.stats().gets == 2)
            expect_interrupt(sent, lambda: group.get("k"))
            waiter.join(10)
            assert answers == [b"second"]
            assert len(calls) == 2 and calls[1].name.startswith("kamacache-getter"), calls
            assert group.stats().load_errors == 0
    """)


def test_s10_ctrl_c_in_an_inline_getter_without_waiters_ends_the_load() -> None:
    run("""
        slow = [True]
        def load(key):
            if slow.pop() if slow else False:
                time.sleep(30)
            return b"second"
        with kamacache.Node() as node:
            group = node.group("g", load, max_bytes="1MiB")
            sent = interrupt_when(lambda: not slow)
            expect_interrupt(sent, lambda: group.get("k"))
            assert group.peek("k") is None
            assert group.get("k") == b"second"
    """)


def test_system_exit_in_a_getter() -> None:
    run(
        """
        with kamacache.Node() as node:
            group = node.group("g", lambda key: sys.exit(7), max_bytes="1MiB")
            async def elsewhere():
                try:
                    await group.aget("pool")
                except kamacache.Panicked as error:
                    assert "SystemExit" in str(error), error
                else:
                    os._exit(1)
            asyncio.run(elsewhere())
            group.get("inline")
        """,
        code=7,
    )


def test_ctrl_c_ends_a_get_a_set_and_a_close() -> None:
    run("""
        release = threading.Event()
        def load(key):
            release.wait()
            return b"v"
        with kamacache.Node("127.0.0.1:0") as here, kamacache.Node("127.0.0.1:0") as there:
            groups = [node.group("g", load, max_bytes="1MiB") for node in (here, there)]
            peers = [here.address, there.address]
            here.set_peers(peers)
            there.set_peers(peers)
            key = next(key for key in map(str, range(1000)) if here.owner(key) == there.address)
            sent = interrupt_when(lambda: groups[0].stats().gets == 1)
            expect_interrupt(sent, lambda: groups[0].get(key, timeout=30))
            sent = interrupt_when(lambda: True)
            expect_interrupt(sent, lambda: there.close(30))
            release.set()
    """)


def test_ctrl_c_in_asyncio() -> None:
    run(
        """
        async def main():
            async with kamacache.Node(drain=0) as node:
                @node.group("g", max_bytes="1MiB")
                async def group(key):
                    await asyncio.sleep(30)
                global sent
                sent = interrupt_when(lambda: group.stats().gets == 1)
                await group.aget("k", timeout=30)
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            assert time.monotonic() - sent[0] < 1
            sys.exit(5)
        """,
        code=5,
    )


def test_s46_no_signal_goes_to_library_threads_and_none_is_handled_by_us() -> None:
    output = run("""
        before = [signal.getsignal(number) for number in signal.valid_signals()]
        with kamacache.Node("127.0.0.1:0") as node:
            group = node.group("g", lambda key: b"v", max_bytes="1MiB")
            group.get("k")
            assert before == [signal.getsignal(number) for number in signal.valid_signals()]
            for thread in os.listdir("/proc/self/task"):
                status = open(f"/proc/self/task/{thread}/status").read().split("\\n")
                fields = dict(line.split(":\\t", 1) for line in status if ":\\t" in line)
                if fields["Name"] == "kamacache":
                    blocked = int(fields["SigBlk"], 16)
                    assert blocked & (1 << (signal.SIGINT - 1)) and blocked & (1 << (signal.SIGTERM - 1)), fields
                    print("looked at one")
    """)
    assert "looked at one" in output


# ---- the end of the interpreter ----

LIVE = """
def load(key):
    if key.startswith("slow"):
        time.sleep(60)
    return b"v"

async def aload(key):
    if key.startswith("slow"):
        await asyncio.sleep(60)
    return b"v"

node = kamacache.Node("127.0.0.1:0")
group = node.group("g", load, max_bytes="1MiB")
agroup = node.group("a", aload, max_bytes="1MiB")
node.start()

def daemon(call, *args):
    def run():
        try:
            call(*args)
        except kamacache.Closed:
            pass
    threading.Thread(target=run, daemon=True).start()
"""

PENDING = {
    "nothing": "",
    "hits": "group.get('k'); agroup.get('k')",
    "inline getter": "daemon(group.get, 'slow')",
    "waiting threads": "for _ in range(20): daemon(group.get, 'slow', None)",
    "async getter": "for _ in range(20): daemon(agroup.get, 'slow')",
    "pool": "daemon(asyncio.run, group.aget('slow'))",
    "a loop in a thread": "daemon(asyncio.run, agroup.aget('slow'))",
    "busy threads": """
def busy(number):
    for count in range(10**9):
        group.get(f"{number}-{count}")
        agroup.get(f"{number}-{count}")
for number in range(4): daemon(busy, number)
""",
    "closed": "node.close()",
    "forgotten": "del node, group, agroup",
}


@pytest.mark.parametrize("pending", PENDING)
@pytest.mark.parametrize("code", [0, 7])
def test_s45_exit_with_a_live_node(pending: str, code: int) -> None:
    program = f"{LIVE}\n{PENDING[pending]}\ntime.sleep(0.1)\nprint(time.monotonic(), flush=True)\nsys.exit({code})"
    done = run_program(PRELUDE + program)
    assert (done.returncode, done.stderr) == (code, ""), pending
    took = time.monotonic() - float(done.stdout)
    assert took < 2, f"the exit took {took:.2f} s"


def test_s45_exit_by_an_exception_in_the_middle_of_asyncio() -> None:
    done = run_program(
        PRELUDE
        + LIVE
        + textwrap.dedent("""
            async def main():
                tasks = [asyncio.create_task(one.aget("slow")) for one in (group, agroup) for _ in range(10)]
                await asyncio.sleep(0.05)
                raise SystemError("on purpose")
            asyncio.run(main())
        """)
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("SystemError: on purpose"), done.stderr


def test_s45_exit_while_a_loop_still_runs_in_a_daemon_thread() -> None:
    before_exit = run(
        LIVE.replace("\n", "\n        ")
        + """
        async def main():
            await node.astart()
            while True:
                await asyncio.gather(group.aget("k"), agroup.aget(str(time.monotonic())))
        daemon(asyncio.run, main())
        time.sleep(0.2)
        print(time.monotonic(), flush=True)
        """
    )
    took = time.monotonic() - float(before_exit)
    assert took < 2, f"the exit took {took:.2f} s"


@pytest.mark.parametrize("delay", range(8))
def test_s45_exit_under_full_load(delay: int) -> None:
    """CPython ends daemon threads wherever they come back for the interpreter:
    in getters, in calls that fail, in waits."""
    run(
        f"""
        def load(key):
            return str(sum(range(200))).encode()

        async def aload(key):
            await asyncio.sleep(0)
            return b"v"

        node = kamacache.Node("127.0.0.1:0")
        group = node.group("g", load, max_bytes="1MiB")
        agroup = node.group("a", aload, max_bytes="1MiB")
        listened = node.group("l", None, max_bytes="1MiB", on_evict=lambda key, reason: None)
        node.start()

        def busy(name):
            number = 0
            while True:
                number += 1
                try:
                    group.get(f"{{name}}-{{number}}")
                    agroup.get(f"{{name}}-{{number}}", None)
                    listened.set("k", b"v")
                except kamacache.Closed:
                    pass  # and again

        async def tasks():
            while True:
                keys = [str(time.monotonic() + number) for number in range(20)]
                gets = [one.aget(key) for one in (group, agroup) for key in keys]
                await asyncio.gather(*gets, return_exceptions=True)

        for name in range(6):
            threading.Thread(target=busy, args=(name,), daemon=True).start()
        threading.Thread(target=lambda: asyncio.run(tasks()), daemon=True).start()
        time.sleep(0.05 + {delay} / 100)
        """
    )


# ---- fork ----


def test_s44_a_child_that_inherits_a_node_gets_forked() -> None:
    run("""
        def load(key):
            return key.encode()
        async def aload(key):
            return key.encode()
        node = kamacache.Node("127.0.0.1:0")
        group = node.group("g", load, max_bytes="1MiB")
        agroup = node.group("a", aload, max_bytes="1MiB")
        pending = node.group("p", lambda key: time.sleep(1) or b"v", max_bytes="1MiB")
        node.start()
        assert group.get("k") == agroup.get("k") == b"k"
        waiting = threading.Thread(target=pending.get, args=("k",))
        waiting.start()
        child = os.fork()
        if child == 0:
            def refused(call, *args):
                try:
                    call(*args)
                except kamacache.Forked as error:
                    assert "new node" in str(error)
                    return
                raise AssertionError(f"{call} was not refused")
            for one in (group, agroup):
                refused(one.get, "k")
                refused(one.get, "fresh")
                refused(one.peek, "k")
                refused(one.set, "k", b"v")
                refused(one.delete, "k")
                refused(one.stats)
                for coroutine in (one.aget("k"), one.aset("k", b"v"), one.adelete("k")):
                    refused(asyncio.run, coroutine)
            refused(node.close)
            refused(node.members)
            refused(node.owner, "k")
            refused(node.set_peers, [])
            refused(node.start)
            refused(lambda: node.address)
            refused(lambda: node.group("new", None, max_bytes="1MiB"))
            with kamacache.Node("127.0.0.1:0") as own:
                mine = own.group("g", load, max_bytes="1MiB")
                amine = own.group("a", aload, max_bytes="1MiB")
                assert mine.get("k") == amine.get("k") == b"k"
                assert asyncio.run(amine.aget("x")) == asyncio.run(mine.aget("x")) == b"x"
            del node, group, agroup, pending
            import gc; gc.collect()
            sys.exit(3)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 3, status
        waiting.join()
        assert group.get("after") == agroup.get("after") == b"after"
        assert node.close()
    """)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_s44_multiprocessing(method: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    script = tmp_path_factory.mktemp("mp") / "program.py"
    script.write_text(
        textwrap.dedent(f"""
        import multiprocessing
        import kamacache

        def load(key):
            return key.encode()

        def work(key):
            with kamacache.Node() as node:
                return node.group("g", load, max_bytes="1MiB").get(key)

        if __name__ == "__main__":
            with kamacache.Node() as node:
                group = node.group("g", load, max_bytes="1MiB")
                assert group.get("k") == b"k"
                with multiprocessing.get_context({method!r}).Pool(2) as pool:
                    assert pool.map(work, ["a", "b", "c"]) == [b"a", b"b", b"c"]
                assert group.get("l") == b"l"
        """)
    )
    done = run_program(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")
    assert (done.returncode, done.stderr) == (0, "")


def test_s44_a_child_keeps_neither_the_port_nor_the_connections() -> None:
    run("""
        import socket
        node = kamacache.Node("127.0.0.1:0")
        node.start()
        address = node.address
        host, port = address.split(":")
        client = socket.create_connection((host, int(port)))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)  # until the parent closes its end
            os._exit(0)
        os.close(read)
        node.close()
        client.settimeout(10)
        try:
            while client.recv(4096):
                pass
        except ConnectionResetError:
            pass  # closed all the same; TimeoutError means that it is open
        with kamacache.Node(address):
            pass
        assert os.waitpid(child, os.WNOHANG) == (0, 0)  # it was alive all the while
        os.close(write)
        assert os.waitpid(child, 0)[1] == 0
        print("ok")
    """)


def test_s44_a_node_defined_before_the_fork_starts_in_the_child() -> None:
    run("""
        node = kamacache.Node()
        group = node.group("g", lambda key: key.encode(), max_bytes="1MiB")
        child = os.fork()
        with node:
            assert group.get("k") == b"k"
            assert asyncio.run(group.aget("l")) == b"l"
        if child:
            _, status = os.waitpid(child, 0)
            assert status == 0, status
    """)


# ---- memory ----


def test_s39_misses_keep_nothing() -> None:
    run("""
        import gc, resource
        def load(key):
            return b"x" * 100
        async def aload(key):
            return b"x" * 100
        def rss():
            return int(open("/proc/self/statm").read().split()[1]) * 4096
        with kamacache.Node() as node:
            group = node.group("g", load, max_bytes="64KiB")
            agroup = node.group("a", aload, max_bytes="64KiB")
            def sync_round(name):
                for number in range(4000):
                    group.get(f"{name}-{number}")
            async def async_round(name):
                for start in range(0, 4000, 500):
                    await asyncio.gather(*(agroup.aget(f"{name}-{number}") for number in range(start, start + 500)))
            def round(name):
                sync_round(name)
                asyncio.run(async_round(name))
                gc.collect()
            for name in range(3):
                round(name)
            before = rss()
            for name in range(3, 6):
                round(name)
            grown = rss() - before
            assert grown < 2 << 20, f"grew by {grown} bytes"
    """)


def test_s39_a_million_operations_keep_nothing() -> None:
    run("""
        import gc, itertools
        def rss():
            return int(open("/proc/self/statm").read().split()[1]) * 4096
        with kamacache.Node("127.0.0.1:0") as here, kamacache.Node("127.0.0.1:0") as there:
            groups = [node.group("g", lambda key: b"x" * 100, max_bytes="128KiB") for node in (here, there)]
            for node in (here, there):
                node.set_peers([here.address, there.address])
            group = groups[0]
            own = [key for key in map(str, range(200)) if here.owner(key) == here.address][:50]
            async def agets(fresh):
                for _ in range(200):
                    await asyncio.gather(*map(group.aget, own))  # 10,000 operations
                for _ in range(4):
                    await asyncio.gather(*(group.aget(next(fresh)) for _ in range(500)))  # 2,000
            def round(fresh):
                for _ in range(3500):
                    for key in own:  # 175,000
                        group.get(key)
                for number in range(4000):  # 8,000
                    group.set(own[number % 50], b"y" * (number % 100))
                    group.peek(own[number % 50])
                for _ in range(100):  # 5,000
                    group.get_many([next(fresh) for _ in range(25)] + own[:25])
                for number in range(500):  # 2,000
                    group.delete(own[number % 50])
                    group.get(own[number % 50])
                    group.get(next(fresh))
                    bytes(group.view(next(fresh)))
                asyncio.run(agets(fresh))
                gc.collect()
            fresh = map("fresh-{}".format, itertools.count())
            round(fresh)
            before = rss()
            for _ in range(5):
                round(fresh)
            grown = rss() - before
            assert group.stats().gets > 1_000_000
            assert grown < 4 << 20, f"grew by {grown} bytes"
    """, timeout=120)
