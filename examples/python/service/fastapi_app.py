"""A FastAPI service whose workers share one cache:

    NODES=127.0.0.1:8001-8003 uvicorn fastapi_app:app --workers 3

Each worker is a node of the ring: it takes the first free port of the range,
and the members are all of them. A product is read from the database once,
whichever workers are asked for it.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import database
from fastapi import FastAPI, HTTPException

import kamacache

NODES = os.environ.get("NODES", "127.0.0.1:8001-8003")
CACHED = os.environ.get("CACHE", "on") == "on"


def members(nodes: str) -> list[str]:
    """The addresses of a range."""
    host, _, ports = nodes.rpartition(":")
    first, last = ports.split("-")
    return [f"{host}:{port}" for port in range(int(first), int(last) + 1)]


node = kamacache.Node(NODES, peers=members(NODES))


@node.group("products", max_bytes="64MiB", ttl="10m", codec="json")
def products(key: str) -> dict[str, object] | None:
    """A plain function: it runs on a thread, so that SQLite blocks no event loop."""
    return database.product(int(key))


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with node:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/products/{number}")
async def read(number: int) -> Any:
    found = await products.aget(str(number), None) if CACHED else database.product(number)
    if found is None:
        raise HTTPException(404, f"there is no product {number}")
    return found


@app.put("/products/{number}/price")
async def write(number: int, price: float) -> None:
    database.set_price(number, price)  # the database first
    await products.adelete(str(number))


@app.get("/worker")
async def worker() -> dict[str, object]:
    return {"pid": os.getpid(), "address": node.address}
