"""A node of the scores ring: scores come from a SQLite file and are cached by
every node of the ring together, whatever language a node is written in.

    python scores.py --listen 127.0.0.1:8001 --peers 127.0.0.1:8001,127.0.0.1:8002 \\
        --db scores.db --log getter.log --http 127.0.0.1:9999 --admin :9001

Without --listen it is a single instance. Commands come on stdin (console.py),
HTTP requests at --http (http_api.py), what the node does is told at --admin.
"""

import argparse
import asyncio
import json
import os
import signal
import sqlite3
import sys
import threading
import time

import console
import http_api

import kamacache


def open_scores(node: kamacache.Node, db: str, log: str) -> kamacache.Group[str]:
    """The whole cache: a group with a budget and a getter."""
    per_thread = threading.local()  # the getter runs on several threads; SQLite wants a connection for each
    log_file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    @node.group("scores", max_bytes="64MiB", codec="str")
    def scores(name: str) -> str | None:
        """Runs only on the node that owns the name, once for all who ask at the same time."""
        if not hasattr(per_thread, "db"):
            per_thread.db = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
        row = per_thread.db.execute("SELECT score FROM scores WHERE name = ?", (name,)).fetchone()
        line = {"node": "python", "address": node.address, "key": name, "time_ms": int(time.time() * 1000)}
        os.write(log_file, json.dumps(line).encode() + b"\n")  # one write, so that lines of several threads stay whole
        return None if row is None else str(row[0])  # None: not found

    return scores


async def serve(options: argparse.Namespace) -> None:
    node = kamacache.Node(options.listen, peers=options.peers.split(",") if options.peers else (), admin=options.admin)
    scores = open_scores(node, options.db, options.log)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with node:  # closing waits for running getters
        with http_api.serving(options.http, scores):
            print(json.dumps({"ready": True, "address": node.address}), flush=True)
            commands = asyncio.create_task(console.run(node, scores, stop))
            await stop.wait()
            commands.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description="A node of the scores ring.")
    parser.add_argument("--listen", metavar="ADDR", help="where to serve peers; left out: a single instance")
    parser.add_argument("--peers", metavar="A,B,C", help="all members of the ring, this node among them")
    parser.add_argument("--db", metavar="FILE", required=True, help="the SQLite file with the scores")
    parser.add_argument("--log", metavar="FILE", required=True, help="gets one JSON line for each getter call")
    parser.add_argument("--admin", metavar="ADDR", help="where metrics and health are told")
    parser.add_argument("--http", metavar="ADDR", help="where to answer GET /api?key=NAME")
    try:
        asyncio.run(serve(parser.parse_args()))
    except (kamacache.KamaCacheError, OSError) as error:
        sys.exit(f"scores: cannot start: {error}")


if __name__ == "__main__":
    main()
