"""Starts a service of three workers without and with the cache, asks it for
products as users would (a few of them often, most of them seldom), and compares
how many queries the database saw.

    python load.py [fastapi|flask] [--requests N] [--products N]

Fails if, with the cache, the database saw more than 1.05 queries for each
product that was asked for.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

HERE = pathlib.Path(__file__).resolve().parent
WORKERS = 3
CLIENTS = 8
PATIENCE = 60.0  # seconds until the service must be up, or have answered


def command(service: str, port: int) -> list[str]:
    if service == "fastapi":
        return ["uvicorn", "fastapi_app:app", "--workers", str(WORKERS), "--port", str(port), "--log-level", "warning"]
    bind = f"--bind=127.0.0.1:{port}"
    return ["gunicorn", "--preload", f"--workers={WORKERS}", bind, "--config=gunicorn_conf.py", "--log-level=warning", "flask_app:app"]  # fmt: skip


def free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        first = random.randrange(20_000, 32_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


def get(connection: http.client.HTTPConnection, path: str) -> tuple[int, object]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@contextlib.contextmanager
def running(service: str, environment: dict[str, str]) -> Iterator[int]:
    """The service, once each of its workers has answered; its port."""
    port = free_ports(1 + WORKERS)
    environment = {**os.environ, **environment, "NODES": f"127.0.0.1:{port + 1}-{port + WORKERS}"}
    process = subprocess.Popen(
        [sys.executable, "-m", *command(service, port)], cwd=HERE, env=environment, start_new_session=True
    )
    try:
        wait_for_workers(process, port)
        yield port
        process.terminate()
        if process.wait(PATIENCE) not in (0, -signal.SIGTERM):
            sys.exit(f"load: the service ended with {process.returncode}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_workers(process: "subprocess.Popen[bytes]", port: int) -> None:
    seen: set[str] = set()
    until = time.monotonic() + PATIENCE
    while len(seen) < WORKERS:
        if process.poll() is not None or time.monotonic() > until:
            sys.exit(f"load: the service is not up; workers seen: {len(seen)}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            seen.add(str(get(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "/worker")))


def ask(port: int, numbers: list[int]) -> None:
    """All requests, from several clients, each request over a connection of its
    own, so that any worker may get it."""
    failures: list[str] = []

    def client(share: list[int]) -> None:
        for number in share:
            status, body = get(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE), f"/products/{number}")
            if (status, body) != (200, {"id": number, "name": f"product {number}", "price": number * 1.25}):
                failures.append(f"product {number}: {status} {body}")

    clients = [threading.Thread(target=client, args=(numbers[start::CLIENTS],)) for start in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    if failures:
        sys.exit(f"load: {len(failures)} wrong answers; the first: {failures[0]}")


def queries(service: str, numbers: list[int], products: int, *, cache: str) -> int:
    """How many queries the database saw."""
    with tempfile.TemporaryDirectory() as folder:
        count = pathlib.Path(folder, "queries.count")
        environment = {"DB": str(pathlib.Path(folder, "products.db")), "QUERY_COUNT": str(count), "CACHE": cache}
        create = f"import database; database.create({products})"
        subprocess.run([sys.executable, "-c", create], cwd=HERE, env={**os.environ, **environment}, check=True)
        with running(service, environment) as port:
            begun = time.monotonic()
            ask(port, numbers)
            took = time.monotonic() - begun
        seen = count.stat().st_size
    print(f"{service}, cache {cache:>3}: {len(numbers)} requests, {seen} queries, {took:.1f} s", flush=True)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("service", nargs="?", choices=["fastapi", "flask"], default="fastapi")
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--products", type=int, default=500)
    options = parser.parse_args()
    weights = [1 / (rank + 1) for rank in range(options.products)]  # Zipf's law
    numbers = random.Random(1).choices(range(options.products), weights, k=options.requests)
    distinct = len(set(numbers))

    without = queries(options.service, numbers, options.products, cache="off")
    with_cache = queries(options.service, numbers, options.products, cache="on")
    print(f"{distinct} distinct products: {without} queries without kamacache, {with_cache} with it")
    if without != len(numbers):
        sys.exit(f"load: without the cache each request is a query, but {without} were counted")
    if with_cache > 1.05 * distinct:
        sys.exit(f"load: more than 1.05 queries for each of the {distinct} products")


if __name__ == "__main__":
    main()
