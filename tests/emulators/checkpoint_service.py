"""A checkpoint service as somebody else would have written it: six routes, states as JSON, in memory.

It owes nothing to this library: its routes are those that locus-sdk's `HTTPCheckpointer` calls.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class CheckpointService(ThreadingHTTPServer):
    """Keeps what it is sent.

    Attributes:
        threads: by thread id, then by checkpoint id in the order of writes: the bodies.
        requests: method and path of each request, as they came.
        token: what `Authorization` must be, if anything.
        lost: answer like a proxy that has lost the service.
        renames: give each checkpoint an id of its own.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.threads: dict[str, dict[str, dict[str, Any]]] = {}
        self.requests: list[str] = []
        self.token: str | None = None
        self.lost = False
        self.renames = False

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.server_port}/api"

    @contextmanager
    def running(self) -> Iterator["CheckpointService"]:
        """Serve, and stop at the end."""
        thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for head and body
    disable_nagle_algorithm = True
    server: CheckpointService

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(f"{self.command} {self.path}")
        if self.server.lost:
            self._answer(404, "default backend - 404", "text/plain")
            return
        if self.server.token and self.headers.get("Authorization") != self.server.token:
            self._answer(401, {"error": "who are you?"})
            return
        parts = urlsplit(self.path)
        match [unquote(segment) for segment in parts.path.split("/")]:
            case ["", "api", "health"]:
                self._answer(200, {"ok": True})
            case ["", "api", "threads", thread, "checkpoints", *checkpoint]:
                with self.server.lock:
                    self._serve(thread, *checkpoint, body=body, query=parse_qs(parts.query))
            case _:
                self._answer(404, {"error": "no such route"})

    def _serve(self, thread: str, checkpoint: str | None = None, *, body: bytes, query: dict[str, list[str]]) -> None:
        stored = self.server.threads.get(thread, {})
        if self.command == "POST":
            self._save(thread, json.loads(body))
        elif self.command == "DELETE":
            found = stored.pop(checkpoint, None) if checkpoint else self.server.threads.pop(thread, None)
            self._answer(200 if found else 404, {"deleted": bool(found)})
        elif checkpoint is None:
            newest_first = [{"checkpoint_id": name} for name in reversed(stored)]
            self._answer(200, {"checkpoints": newest_first[: int(query.get("limit", ["10"])[0])]})
        elif checkpoint in stored:
            self._answer(200, stored[checkpoint])
        else:
            self._answer(404, {"error": "no such checkpoint"})

    def _save(self, thread: str, body: dict[str, Any]) -> None:
        if self.server.renames:
            body["checkpoint_id"] = f"own-{len(self.server.requests)}"
        stored = self.server.threads.setdefault(thread, {})
        stored.pop(body["checkpoint_id"], None)
        stored[body["checkpoint_id"]] = body
        self._answer(201, {"checkpoint_id": body["checkpoint_id"]})

    def _answer(self, status: int, value: Any, content_type: str = "application/json") -> None:
        body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
