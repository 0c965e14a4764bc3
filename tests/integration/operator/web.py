"""A web server that answers what a test tells it to."""

import json
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.servers.tls import CertificateAuthority


@dataclass(frozen=True)
class Answer:
    """What a path answers; a `body` that is no text is JSON."""

    status: int = 200
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)


class Web(ThreadingHTTPServer):
    """Answers by path, and 404 elsewhere.

    Attributes:
        answers: By path.
        bodies: JSON of the requests, by path, in their order.
        hangs: Answer nothing at all.
    """

    daemon_threads = True

    def __init__(self, answers: dict[str, Answer], authority: CertificateAuthority | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.bodies: list[tuple[str, Any]] = []
        self.ended = threading.Event()
        self.hangs = False
        self.scheme = "http"
        if authority is not None:
            self.scheme = "https"
            self._encrypt(authority)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    @contextmanager
    def running(self) -> Iterator["Web"]:
        """Serve, and stop at the end."""
        thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.ended.set()
            self.shutdown()
            self.server_close()
            thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that hang up."""

    def _encrypt(self, authority: CertificateAuthority) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as directory:
            certificate, key = authority.issue_server().write(Path(directory), "server")
            context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.bodies.append((self.path, json.loads(self.rfile.read(length))))
        self._answer()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def _answer(self) -> None:
        if self.server.hangs:
            self.server.ended.wait()
            return
        answer = self.server.answers.get(self.path, Answer(404))
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        self.send_response_only(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())
