"""The HTTP API of the example: GET /api?key=Tom answers with the score."""

import contextlib
import http.server
import threading
import urllib.parse
from collections.abc import Iterator

import kamacache


@contextlib.contextmanager
def serving(address: str | None, scores: kamacache.Group[str]) -> Iterator[None]:
    """Serves at `address` ("127.0.0.1:9999") while the block runs; None: nothing."""
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    try:
        server = http.server.ThreadingHTTPServer((host.strip("[]"), int(port)), handler(scores))
    except (OSError, ValueError, OverflowError) as error:
        raise OSError(f"cannot serve HTTP at {address}: {error}") from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def handler(scores: kamacache.Group[str]) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        """Each request has a thread of its own, where a blocking get is fine."""

        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            key = urllib.parse.parse_qs(url.query).get("key", [""])[0]
            if url.path != "/api":
                self.reply(404, f"no such page {url.path}; try /api?key=Tom")
            elif not key:
                self.reply(400, "parameter key is missing or empty; write /api?key=Tom")
            else:
                self.reply(*look_up(key))

        def reply(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Stdout and stderr belong to the console."""

    def look_up(key: str) -> tuple[int, str]:
        try:
            return 200, scores.get(key)
        except kamacache.NotFound as error:
            return 404, str(error)
        except kamacache.InvalidArgument as error:
            return 400, str(error)
        except kamacache.KamaCacheError as error:
            return 502, f"{error.name}: {error}"
        except Exception as error:  # the getter's own, as sqlite3.OperationalError
            return 502, f"GETTER_FAILED: {error}"

    return Handler
