"""The webhook's HTTPS server: small and quiet."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler
from cryptography import x509

from locus_operator.injection.known_stores import Snapshot
from locus_operator.telemetry import WebhookMetrics
from locus_operator.webhook.review import NotAReviewError, outcome_of, review

PATH: Final = "/mutate"
"""For pods that ask for stores."""
PATH_SELECTED: Final = "/mutate/selected"
"""For the pods of namespaces that have opted in: only the API server knows the namespace's labels."""
MAX_REQUEST_BYTES: Final = 8 * 1024 * 1024
"""The API server takes objects of at most 3 MB; a review holds up to two of them."""
SHUTDOWN_SECONDS: Final = 10.0
"""How long requests that have begun may take after SIGTERM; the API server itself waits less."""
_FILES_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


class Stores(Protocol):
    """Where the server learns about stores."""

    @property
    def snapshot(self) -> Snapshot:
        """The stores as they are known now."""

    @property
    def not_ready(self) -> str:
        """Why they are not known yet; empty once they have been."""


class NoStores:
    """Without a cluster every store has the defaults, and none selects pods."""

    snapshot: Snapshot = MappingProxyType({})
    not_ready = ""


async def serve(
    host: str,
    port: int,
    certificate: Path,
    key: Path,
    stores: Stores | None = None,
    *,
    metrics: WebhookMetrics | None = None,
    listening: asyncio.Event | None = None,
    stop: asyncio.Event,
    farewell: float = 0,
) -> None:
    """Serve admission reviews until `stop` is set, and then as long as somebody may still send any.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        certificate: PEM certificate chain.
        key: PEM private key.
        stores: What is known about stores; nothing by default.
        metrics: What is counted.
        listening: Set once requests are taken.
        stop: Ends the server.
        farewell: Seconds for which it goes on after `stop`, while it sends its callers elsewhere. Then it finishes
            the requests that have begun.

    It waits for files that are not there yet: the controller may be about to make them.

    Raises:
        OSError: The port is taken, or a file cannot be read.
        ssl.SSLError: Certificate and key are none, or do not belong together.
        ValueError: The certificate cannot be understood.
    """
    await _until_present(certificate, key, stop)
    if stop.is_set():
        return
    files = CertificateFiles(certificate, key)
    context = files.server_context()
    stores, metrics, requests = stores or NoStores(), metrics or WebhookMetrics(), _Requests(stop)
    metrics.serves(files.validity)
    app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[requests.count])
    app.add_routes(_routes(stores, metrics, stop))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=context)
        await site.start()
        if listening is not None:
            listening.set()
        _log.info("webhook is serving on port %d", port)
        await stop.wait()
        _log.info("webhook is stopping")
        await asyncio.sleep(farewell)
        await site.stop()
        # aiohttp's own shutdown waits for handlers too, but reads nothing more for them.
        await requests.finished(SHUTDOWN_SECONDS)
    finally:
        await runner.cleanup()


class _Requests:
    """The requests that are being handled.

    Args:
        stop: Once it is set, each answer is the last one of its connection.
    """

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._running = 0
        self._none_left = asyncio.Event()

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._running += 1
        try:
            response = await handler(request)
            if self._stop.is_set():
                # A connection that is closed while nobody uses it may lose the request that is just being sent.
                response.force_close()
            return response
        finally:
            self._running -= 1
            if not self._running:
                self._none_left.set()

    async def finished(self, timeout: float) -> None:
        if self._running:
            self._none_left.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._none_left.wait()


def _routes(stores: Stores, metrics: WebhookMetrics, stop: asyncio.Event) -> list[web.RouteDef]:
    async def mutate(request: web.Request) -> web.Response:
        return await _mutate(request, stores.snapshot, metrics, selects=False)

    async def mutate_selected(request: web.Request) -> web.Response:
        return await _mutate(request, stores.snapshot, metrics, selects=True)

    async def readyz(_: web.Request) -> web.Response:
        reason = "stopping" if stop.is_set() else stores.not_ready
        if reason:
            raise web.HTTPServiceUnavailable(text=reason)
        return web.Response(text="ok")

    return [
        web.post(PATH, mutate),
        web.post(PATH_SELECTED, mutate_selected),
        web.get("/healthz", _healthz),
        web.get("/readyz", readyz),
    ]


async def _mutate(request: web.Request, snapshot: Snapshot, metrics: WebhookMetrics, *, selects: bool) -> web.Response:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send Content-Type: application/json")
    try:
        document = json.loads(await request.read())
    except ValueError:
        raise web.HTTPBadRequest(text="the body is no JSON") from None
    begin = time.perf_counter()
    try:
        answer = review(document, snapshot, selects=selects)
    except NotAReviewError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    metrics.reviewed(outcome_of(answer), time.perf_counter() - begin)
    return web.json_response(answer)


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def missing_files(*files: Path) -> str:
    """Say which files are not there yet; empty when all are."""
    missing = [str(file) for file in files if not file.exists()]
    return f"waiting for the webhook's certificate: there is no {', no '.join(missing)}" if missing else ""


async def _until_present(certificate: Path, key: Path, stop: asyncio.Event) -> None:
    if reason := missing_files(certificate, key):
        _log.warning("%s", reason)
    while missing_files(certificate, key) and not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(_FILES_SECONDS):
                await stop.wait()


class CertificateFiles:
    """Certificate and key in files that somebody replaces, such as cert-manager, months before they expire.

    Args:
        certificate: PEM certificate chain.
        key: PEM private key.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._version = self._look()
        self._context, self._validity = self._load(), self._read_validity()

    def server_context(self) -> ssl.SSLContext:
        """Return a context whose every handshake uses the files as they are then."""
        context = self._load()
        context.sni_callback = self._choose
        return context

    def validity(self) -> tuple[float, float]:
        """Return from when to when the certificate is valid that the next handshake uses, as POSIX times."""
        self._refresh()
        return self._validity

    def _choose(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        self._refresh()
        connection.context = self._context

    def _refresh(self) -> None:
        try:
            if (version := self._look()) != self._version:
                self._context, self._validity = self._load(), self._read_validity()
                self._version = version
                _log.info("webhook certificate was replaced")
        except (OSError, ValueError) as error:
            # One of the two is there already, the other not yet: the next handshake looks again.
            _log.warning("webhook certificate is kept, the new one cannot be used: %s", type(error).__name__)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._files)
        return context

    def _read_validity(self) -> tuple[float, float]:
        certificate = x509.load_pem_x509_certificate(self._files[0].read_bytes())
        return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        stats = (file.stat() for file in self._files)
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)
