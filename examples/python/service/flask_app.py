"""The same service with Flask and blocking calls, and the decorator `cached`:

    NODES=127.0.0.1:8001-8003 gunicorn --preload --workers 3 --config gunicorn_conf.py flask_app:app

With --preload this module is imported once, before the workers are forked. A
node opens nothing until it starts, and gunicorn_conf.py starts it in each worker.
"""

import os

import database
from flask import Flask, abort, request

import kamacache

NODES = os.environ.get("NODES", "127.0.0.1:8001-8003")
CACHED = os.environ.get("CACHE", "on") == "on"


def members(nodes: str) -> list[str]:
    """The addresses of a range."""
    host, _, ports = nodes.rpartition(":")
    first, last = ports.split("-")
    return [f"{host}:{port}" for port in range(int(first), int(last) + 1)]


node = kamacache.Node(NODES, peers=members(NODES))
pages = node.group("pages", None, max_bytes="64MiB")
app = Flask(__name__)


@pages.cached(ttl="10m")
def product(number: int) -> dict[str, object] | None:
    """Runs in the worker that owns the result, whichever worker called."""
    return database.product(number)


@app.get("/products/<int:number>")
def read(number: int) -> dict[str, object]:
    found = product(number) if CACHED else database.product(number)
    if found is None:
        abort(404, f"there is no product {number}")
    return found


@app.put("/products/<int:number>/price")
def write(number: int) -> str:
    database.set_price(number, float(request.args["price"]))  # the database first
    pages.delete(product.key(number))
    return ""


@app.get("/worker")
def worker() -> dict[str, object]:
    return {"pid": os.getpid(), "address": node.address}
