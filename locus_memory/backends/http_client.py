"""Connections of the HTTP backend: one client per event loop, errors translated."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from locus_memory._version import __version__
from locus_memory.connection import HTTPConnection
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    CheckpointConflictError,
    CheckpointError,
    StateTooLargeError,
)
from locus_memory.loops import PerLoop
from locus_memory.wire import PROBLEM_TYPE, error_of

Auth = httpx.Auth | tuple[str, str]

_CONNECT_TIMEOUT_SECONDS = 5.0
_PROBE_TIMEOUT_SECONDS = 5.0
"""A read of `capabilities` before the first call blocks its event loop: not for long."""

_KEEP_ALIVE_SECONDS = 30.0
"""Shorter than the server's, so that an idle connection ends here and not under the next request."""

_CHUNK_BYTES: Final = 256 * 1024

_PASSING = (408, 425, 429)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?! )[ -~]*(?<! )")


class Client:
    """Sends requests; makes one httpx client per event loop.

    Proxies and CA files of the environment (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`) are honoured. Redirects are
    errors: following one would send credentials and conversations to a place that nobody configured.
    """

    def __init__(self, connection: HTTPConnection, auth: Auth | None) -> None:
        _require_usable(connection)
        self.connection = connection
        self.failures = 0
        """How often the service could not be reached: it may be another one since."""
        self._auth = auth
        self._tls: tuple[str | None, ssl.SSLContext] | None = None
        # The sockets of a client whose loop is gone close when it is collected: nothing else needs a release.
        self._loops: PerLoop[_Pool] = PerLoop(self._pool, lambda pool: pool.client.aclose(), lambda pool: None)

    @property
    def version(self) -> int:
        """How often the document has changed."""
        return self._loops.version

    @property
    def where(self) -> str:
        """Names the service in messages."""
        return f"checkpoint service {self.connection.base_url}"

    async def request(
        self,
        method: str,
        path: str,
        content: Body | bytes | None = None,
        content_type: str | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> httpx.Response:
        """Send a request to `path` below the base URL, and read the response, whatever its status.

        Raises:
            BackendUnavailableError: There is no response.
        """
        pool = await self._loops.current()
        headers = {"Content-Type": content_type} if content_type else {}
        if isinstance(content, Body):
            # Announced, so that the service can refuse it before it comes, and it is not sent in chunks.
            headers["Content-Length"] = str(content.size)
        async with pool.slots:
            with self._translated():
                return await pool.client.request(
                    method, self._url(path), content=content, headers=headers, params=params
                )

    def probe(self, path: str) -> httpx.Response:
        """Send one GET from code that cannot await; at most a few seconds."""
        options = self._options() | {"timeout": min(_PROBE_TIMEOUT_SECONDS, self.connection.timeout_seconds)}
        with self._translated(), httpx.Client(**options) as client:
            return client.get(self._url(path))

    def error(self, response: httpx.Response) -> CheckpointError:
        """Make the error that a response stands for which is no success."""
        status = response.status_code
        if response.headers.get("content-type", "").startswith(PROBLEM_TYPE):
            known = error_of(json_of(response, self.where), self.where)
            if known is not None:
                return known
        what = f"{self.where}: {status} {response.reason_phrase} to {response.request.method} {response.request.url}"
        if response.is_redirect:
            return BindingError(f"{what}: it redirects to {response.headers.get('location')}; write that URL instead")
        text = response.text[:200].strip()
        if status in (401, 403, 407):
            return AuthenticationError(f"{what}: check headers, auth and token: {text}")
        if status == httpx.codes.CONFLICT:
            return CheckpointConflictError(f"{what}: {text}")
        if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            return StateTooLargeError(f"{what}: {text}")
        if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in _PASSING:
            return BackendUnavailableError(f"{what}: {text}")
        return CheckpointError(f"{what}: {text}")

    def use(self, connection: HTTPConnection) -> None:
        """Go over to a document, if it is another one; each event loop does with its next request."""
        if connection != self.connection:
            _require_usable(connection)
            self.connection = connection
            self._loops.renew()

    async def close(self) -> None:
        """Close the running loop's connections."""
        await self._loops.close()

    def _pool(self) -> _Pool:
        return _Pool(httpx.AsyncClient(**self._options()), asyncio.Semaphore(self.connection.pool_max_size))

    def _url(self, path: str) -> str:
        return self.connection.base_url.rstrip("/") + path

    def _options(self) -> dict[str, Any]:
        connection = self.connection
        timeout = connection.timeout_seconds
        size = connection.pool_max_size
        return {
            "headers": {
                "User-Agent": f"locus-memory/{__version__}",
                **{name: value.get_secret_value() for name, value in connection.headers.items()},
            },
            "auth": self._auth,
            # Reading the system's certificates takes longer than a request; plain HTTP needs none of them.
            "verify": self._tls_context() if connection.base_url.startswith("https:") else False,
            "timeout": httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT_SECONDS), pool=None),
            "limits": httpx.Limits(
                max_connections=None, max_keepalive_connections=size, keepalive_expiry=_KEEP_ALIVE_SECONDS
            ),
            "follow_redirects": False,
        }

    def _tls_context(self) -> ssl.SSLContext:
        # Once, not once per event loop.
        if self._tls is None or self._tls[0] != self.connection.ca:
            ca = self.connection.ca
            try:
                context = ssl.create_default_context(cadata=ca) if ca else httpx.create_ssl_context()
            except ssl.SSLError as error:
                raise BindingError(f"{self.where}: ca: write certificates as PEM text: {error}") from error
            self._tls = (ca, context)
        return self._tls[1]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.TransportError, OSError) as error:
            self.failures += 1
            reason = str(error) or type(error).__name__
            raise BackendUnavailableError(f"{self.where}: {reason}") from error
        except httpx.HTTPError as error:
            raise CheckpointError(f"{self.where}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Pool:
    """The connections of one event loop.

    Attributes:
        client: Without a limit of its own: httpcore 1.0.9 never takes a place back from a request that was cancelled
            while it waited for one, so that a few calls that time out would use its pool up for good.
        slots: The limit.
    """

    client: httpx.AsyncClient
    slots: asyncio.Semaphore


class Body:
    """Parts of a request body, sent in pieces so that no piece holds the event loop up; can be sent again."""

    def __init__(self, *parts: bytes) -> None:
        self.size = sum(map(len, parts))
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.size <= _CHUNK_BYTES:
            yield b"".join(self._parts)
            return
        for part in self._parts:
            if len(part) <= _CHUNK_BYTES:
                yield part
                continue
            view = memoryview(part)
            for start in range(0, len(view), _CHUNK_BYTES):
                yield bytes(view[start : start + _CHUNK_BYTES])


def json_of(response: httpx.Response, where: str) -> Any:
    """Return the JSON value of a response.

    Raises:
        BackendUnavailableError: It has none: something else answers in place of the service.
    """
    try:
        return response.json()
    except ValueError as error:
        kind = response.headers.get("content-type", "no content type")
        raise BackendUnavailableError(
            f"{where}: answered {response.request.method} {response.request.url} with {kind} in place of JSON: "
            "check the base URL, and what stands before the service"
        ) from error


def _require_usable(connection: HTTPConnection) -> None:
    try:
        parts = urlsplit(connection.base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    except ValueError:
        usable = False
    if not usable:
        raise BindingError("base_url: write http:// or https://, a host, and a path without query or fragment")
    if parts.username or parts.password:
        # Nothing of the URL in the message, since it holds the password.
        raise BindingError("base_url: write credentials as headers or auth, since URLs end up in logs")
    for name, value in connection.headers.items():
        # Checked here, since the libraries below quote the value, a token, in their errors.
        if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value.get_secret_value())):
            raise BindingError(
                f"headers: {name!r} is no header that can be sent: write visible ASCII characters, no line break"
            )
