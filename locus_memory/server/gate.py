"""What every request passes before the application sees it: token, size, time; and the access log."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from locus_memory.server.settings import Limits
from locus_memory.server.store import ServedStore
from locus_memory.server.tokens import Tokens
from locus_memory.wire import PROBLEM_TYPE, problem

_ACCESS = logging.getLogger("locus_memory.access")

OPEN_PATHS = frozenset({"/health", "/healthz", "/readyz"})
"""Answered without a token: they tell nothing but whether the server works."""

_DRAIN_SECONDS = 5.0

_SETTLING_TURNS = 4
"""Turns of the event loop in which the end of a connection, where it is waiting to be read, gets noticed."""


class _Refused(Exception):  # noqa: N818 - a decision, no fault
    def __init__(self, status: int, code: str, detail: str, **headers: str) -> None:
        self.status, self.code, self.detail, self.headers = status, code, detail, headers


class _Gone(Exception):  # noqa: N818 - nobody is there to be told of an error
    """The client has closed the connection."""


class Gate:
    """An ASGI application before the application.

    It refuses requests without a valid token before it reads their body, takes the body in, bounded in size and time,
    and only then calls the application, which it cancels when the client goes away: what a client has given up must not
    be written after what the client writes next.

    Args:
        app: The application; `scope["path"]` is the path as it was sent, still encoded, and `request.state` has the
            `store` and the `limits`.
        store: What is served; closed at the end.
        limits: Bounds.
        tokens: None to let everybody in.
    """

    def __init__(self, app: ASGIApp, store: ServedStore, limits: Limits, tokens: Tokens | None) -> None:
        self._app = app
        self._store = store
        self._limits = limits
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        scope["state"] = {"store": self._store, "limits": self._limits}
        # Decoded before it is taken apart, %2F in an id would be a slash of the route.
        scope["path"] = scope["raw_path"].decode("ascii")
        exchange = _Exchange(scope, send)
        try:
            self._admit(scope, exchange)
            body = await self._body(exchange, receive)
            await _until_gone(self._app, scope, body, receive, exchange)
        except _Refused as refusal:
            await self._drain(exchange, receive)
            await exchange.refuse(refusal)
        except _Gone:
            exchange.status = 499  # as nginx logs it
        finally:
            exchange.log()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._store.checkpointer.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _admit(self, scope: Scope, exchange: _Exchange) -> None:
        if self._tokens is not None and scope["path"] not in OPEN_PATHS:
            authorization = exchange.header(b"authorization")
            if not self._tokens.accept(authorization):
                why = "the token is not valid" if authorization else "send Authorization: Bearer <token>"
                raise _Refused(401, "unauthenticated", why, **{"www-authenticate": "Bearer"})
        announced = exchange.header(b"content-length")
        if announced.isdigit() and int(announced) > self._limits.max_body_bytes:
            raise self._too_large()

    async def _body(self, exchange: _Exchange, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self._limits.transfer_timeout):
                while exchange.incoming:
                    chunks.append(await exchange.take(receive))
                    if exchange.received > self._limits.max_body_bytes:
                        raise self._too_large()
                return b"".join(chunks) if len(chunks) > 1 else chunks[0]
        except TimeoutError:
            detail = f"the request was not complete within {self._limits.transfer_timeout:g} s"
            raise _Refused(408, "request_timeout", detail) from None

    async def _drain(self, exchange: _Exchange, receive: Receive) -> None:
        """Read what the client still sends, within bounds: a connection closed under it would hide the answer."""
        with suppress(TimeoutError, _Gone):
            async with asyncio.timeout(min(self._limits.transfer_timeout, _DRAIN_SECONDS)):
                while exchange.incoming and exchange.received <= 2 * self._limits.max_body_bytes:
                    await exchange.take(receive)

    def _too_large(self) -> _Refused:
        return _Refused(
            413,
            "state_too_large",
            f"the request is larger than {self._limits.max_body_bytes:,} bytes (--max-body-bytes)",
        )


class _Exchange:
    """One request and its answer, as far as they are counted, timed and logged."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._begin = time.monotonic()
        self.incoming = True
        self.received = 0
        self.sent = 0
        self.status: int | None = None
        self.complete = False

    def header(self, name: bytes) -> str:
        """Return a header of the request, or an empty text."""
        return next((value.decode("latin-1") for key, value in self._scope["headers"] if key == name), "")

    async def take(self, receive: Receive) -> bytes:
        """Take a piece of the request's body in; `incoming` tells whether there is more."""
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        piece: bytes = message.get("body", b"")
        self.received += len(piece)
        self.incoming = bool(message.get("more_body"))
        return piece

    async def send(self, message: Message) -> None:
        """Send a piece of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.sent += len(message.get("body", b""))
        self.complete = message["type"] == "http.response.body" and not message.get("more_body")
        await self._send(message)

    async def refuse(self, refusal: _Refused) -> None:
        """Answer with a problem, and close the connection."""
        body = json.dumps(problem(refusal.status, refusal.code, refusal.detail)).encode()
        headers = refusal.headers | {"content-type": PROBLEM_TYPE, "content-length": str(len(body))}
        headers["connection"] = "close"
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    def log(self) -> None:
        """Write one line: the route, never the ids in it, nor any header."""
        entry: dict[str, Any] = {
            "method": self._scope["method"],
            "route": getattr(self._scope.get("route"), "path", None),
            "status": self.status,
            "milliseconds": round((time.monotonic() - self._begin) * 1000, 1),
            "received": self.received,
            "sent": self.sent,
            "client": (self._scope.get("client") or ("",))[0],
        }
        quiet = self.status == 200 and self._scope["path"] in OPEN_PATHS
        _ACCESS.log(logging.DEBUG if quiet else logging.INFO, "%s", json.dumps(entry))


async def _until_gone(app: ASGIApp, scope: Scope, body: bytes, receive: Receive, exchange: _Exchange) -> None:
    """Call the application; give up when the client does."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        # Nobody in the application asks for more than the body.
        return pending.pop() if pending else await asyncio.get_running_loop().create_future()

    leaving = asyncio.ensure_future(receive())
    try:
        # After a pause of the machine both the request and its client's farewell are there to be read.
        for _ in range(_SETTLING_TURNS):
            await asyncio.sleep(0)
        if leaving.done():
            raise _Gone
        working = asyncio.ensure_future(app(scope, replay, exchange.send))
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not (working.done() or exchange.complete):
                raise _Gone
            await working
        finally:
            if not working.done():
                working.cancel()
                await asyncio.wait((working,))
    finally:
        leaving.cancel()
