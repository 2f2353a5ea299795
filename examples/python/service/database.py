"""The database of both services: products in SQLite. Queries are counted in a
file, a byte each, so that the load script can compare."""

import os
import sqlite3
import threading

DB = os.environ.get("DB", "products.db")
COUNT = os.environ.get("QUERY_COUNT", "queries.count")

_per_thread = threading.local()  # SQLite wants a connection for each thread


def create(products: int) -> None:
    with sqlite3.connect(DB) as connection:
        connection.execute("CREATE TABLE products(id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL NOT NULL)")
        rows = [(number, f"product {number}", number * 1.25) for number in range(products)]
        connection.executemany("INSERT INTO products VALUES (?, ?, ?)", rows)


def product(number: int) -> dict[str, object] | None:
    row = _connection().execute("SELECT name, price FROM products WHERE id = ?", (number,)).fetchone()
    return None if row is None else {"id": number, "name": row[0], "price": row[1]}


def set_price(number: int, price: float) -> None:
    with _connection() as connection:
        connection.execute("UPDATE products SET price = ? WHERE id = ?", (price, number))


def _connection() -> sqlite3.Connection:
    if not hasattr(_per_thread, "connection"):
        _per_thread.connection = sqlite3.connect(DB)
        count = os.open(COUNT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        # SQLite itself tells of every statement that it runs.
        _per_thread.connection.set_trace_callback(lambda sql: os.write(count, b".") if "SELECT" in sql else None)
    connection: sqlite3.Connection = _per_thread.connection
    return connection
