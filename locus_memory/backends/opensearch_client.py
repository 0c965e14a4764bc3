"""Connections of the OpenSearch backend: one client per event loop, errors translated.

opensearch-py chooses the host and remembers dead ones. The connections themselves are made here: its own ones read
answers as text on the event loop, write states into logs, and time out on their own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import re
import ssl
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import yarl
from opensearchpy import AsyncConnection, AsyncTransport, TransportError
from opensearchpy.exceptions import ConnectionError as ServerConnectionError
from opensearchpy.serializer import Serializer
from pydantic_core import from_json

from locus_memory.backends.opensearch_errors import INDEX_EXISTS, INDEX_MISSING, Refusal
from locus_memory.backends.opensearch_layout import LARGE_BYTES, LAYOUT_VERSION, index_body
from locus_memory.connection import OpenSearchConnection
from locus_memory.errors import BackendUnavailableError, BindingError, CheckpointError, SchemaError
from locus_memory.loops import PerLoop

_CONNECT_TIMEOUT_SECONDS = 5
_CONNECTIONS = 32
"""At once, per event loop."""

_DEFAULT_MAX_CONTENT_BYTES = 100 * 1024 * 1024

_NO_INDEX_NAME = re.compile(r'[A-Z\\/*?"<>|\s,#:]|^[-_+]|^\.{1,2}$|^$')


class Client:
    """Sends requests to the cluster; makes one transport per event loop."""

    def __init__(self, connection: OpenSearchConnection) -> None:
        _check(connection)
        self.connection = connection
        self._loops: PerLoop[_Loop] = PerLoop(lambda: _Loop(self.connection), _Loop.close, _Loop.abandon)
        self._prepared: OpenSearchConnection | None = None

    @property
    def version(self) -> int:
        """How often the document has changed."""
        return self._loops.version

    @property
    def where(self) -> str:
        """Server and index, for messages."""
        return f"OpenSearch at {self.connection.hosts[0]}, index {self.connection.index_name!r}"

    def use(self, connection: OpenSearchConnection) -> None:
        """Go over to a document, if it is another one; each event loop does with its next request."""
        if connection != self.connection:
            _check(connection)
            self.connection = connection
            self._loops.renew()

    async def close(self) -> None:
        """Close the running loop's connections."""
        await self._loops.close()

    async def ask(self, method: str, operation: str, body: Any = None, **parameters: str) -> dict[str, Any] | Refusal:
        """Send a request about the index; return the answer, or why the server refuses.

        Args:
            method: Of HTTP.
            operation: What follows the name of the index in the path.
            body: Bytes, or something to be written as JSON.
            parameters: Of the query.
        """
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return await self.send(method, f"/{quote(self.connection.index_name, safe='')}{operation}", content, parameters)

    async def look(self, path: str, **parameters: str) -> dict[str, Any] | Refusal:
        """Get something that need not be about the index; return the answer, or why the server refuses."""
        return await self.send("GET", path, None, parameters)

    async def send(
        self, method: str, path: str, content: bytes | None, parameters: Mapping[str, str]
    ) -> dict[str, Any] | Refusal:
        """Send a request to whatever path; return the answer, or why the server refuses."""
        transport = (await self._loops.current()).transport
        try:
            raw: bytes = await transport.perform_request(method, path, params=parameters, body=content)
        except ServerConnectionError as error:
            raise BackendUnavailableError(f"{self.where}: {error.error}{_hint(content)}") from error
        except TransportError as error:
            return Refusal.of_answer(error)
        try:
            answer = await asyncio.to_thread(from_json, raw) if len(raw) > LARGE_BYTES else from_json(raw or b"{}")
        except ValueError as error:
            raise BackendUnavailableError(f"{self.where}: the answer is no JSON; is it OpenSearch?") from error
        return _checked_shards(answer, self.where)

    async def call(self, method: str, operation: str, body: Any = None, **parameters: str) -> dict[str, Any]:
        """Send a request whose every refusal is an error."""
        answer = await self.ask(method, operation, body, **parameters)
        if isinstance(answer, Refusal):
            raise self.error(answer)
        return answer

    def error(self, refusal: Refusal) -> CheckpointError:
        """Make the error to raise for a refusal."""
        return refusal.translated(self.where, self.connection.username or "anonymous")

    async def prepare(self) -> None:
        """Create the index if need be, once, before the first write: writing would create one without our mapping.

        Raises:
            SchemaError: The index is of another kind or version, or missing although it is provisioned.
        """
        connection = self.connection
        if self._prepared == connection:
            return
        found = await self.ask("GET", "/_mapping")
        if isinstance(found, Refusal) and found.kind == INDEX_MISSING and connection.tables != "provisioned":
            created = await self.ask("PUT", "", index_body())
            # Another process may have been faster.
            if isinstance(created, Refusal) and created.kind != INDEX_EXISTS:
                raise self.error(created)
            found = await self.ask("GET", "/_mapping")
        if isinstance(found, Refusal):
            raise self.error(found)
        self._check_mappings(found)
        self._prepared = connection

    def forget_index(self) -> None:
        """Look at the index again before the next write: somebody may have deleted it."""
        self._prepared = None

    def _check_mappings(self, indexes: Mapping[str, Any]) -> None:
        for index in indexes.values():
            meta = index.get("mappings", {}).get("_meta", {}).get("locus_memory", {})
            if meta.get("version") != LAYOUT_VERSION:
                raise SchemaError(
                    f"{self.where}: the index has layout {meta.get('version')!r}, this locus-memory knows "
                    f"{LAYOUT_VERSION}. Another program made it, or it was deleted while in use and the server made it "
                    "anew: use another index_name, or delete the index if nothing in it is needed"
                )


class _Loop:
    """What belongs to one event loop."""

    def __init__(self, connection: OpenSearchConnection) -> None:
        headers = {}
        if connection.username is not None:
            password = connection.password.get_secret_value() if connection.password else ""
            token = base64.b64encode(f"{connection.username}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        self.session = aiohttp.ClientSession(
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=_ssl_context(connection) or True),
            # Waiting for an answer is the caller's, within its deadline.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_SECONDS),
        )
        self.transport = AsyncTransport(
            [_host(url) for url in connection.hosts],
            connection_class=_Connection,
            session=self.session,
            serializer=_Raw(),
            serializers={"text/plain": _Raw(), "text/html": _Raw()},
            max_retries=0,
        )

    async def close(self) -> None:
        await self.session.close()

    def abandon(self) -> None:
        # The loop is gone, so nothing in here waits; the sockets close when they are collected.
        with contextlib.suppress(StopIteration):
            self.session.close().send(None)


class _Raw(Serializer):
    """Leaves bodies as they are."""

    mimetype = "application/json"

    def dumps(self, data: Any) -> Any:
        return data

    def loads(self, s: Any) -> Any:
        return s


class _Connection(AsyncConnection):
    """One host, on the session of its event loop."""

    def __init__(self, *, session: aiohttp.ClientSession, **options: Any) -> None:
        super().__init__(**options)
        self._session = session

    async def perform_request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
        ignore: Collection[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        target = f"{self.host}{self.url_prefix}{url}" + (f"?{urlencode(params)}" if params else "")
        # A file is sent piece by piece; bytes would be copied as a whole on the event loop.
        data = io.BytesIO(body) if body is not None and len(body) > LARGE_BYTES else body
        try:
            async with self._session.request(
                method, yarl.URL(target, encoded=True), data=data, headers=self.headers, allow_redirects=False
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise ServerConnectionError("N/A", str(error) or type(error).__name__, error) from error
        if not 200 <= response.status < 300:
            raise TransportError(response.status, raw.decode(errors="replace"))
        # Without the content type: whatever the answer is, it is read as it came.
        return response.status, {}, raw

    async def close(self) -> None:
        """Do nothing: the session is shared."""


def _host(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 9200
    return {
        "host": parts.hostname,
        "port": parts.port or default,
        "use_ssl": parts.scheme == "https",
        "url_prefix": parts.path,
    }


def _ssl_context(connection: OpenSearchConnection) -> ssl.SSLContext | None:
    """Return what https hosts are checked by; None where there are none: reading all certificates takes its time."""
    if not any(url.startswith("https:") for url in connection.hosts):
        return None
    try:
        context = ssl.create_default_context(cadata=connection.ca)
    except (ssl.SSLError, ValueError) as error:
        raise BindingError(f"ca: write certificates as PEM text: {error}") from None
    if not connection.verify_certs:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _check(connection: OpenSearchConnection) -> None:
    for url in connection.hosts:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
        except ValueError:
            valid = False
        # Not shown: it may hold a password.
        if not valid or "@" in parts.netloc or parts.query or parts.fragment:
            raise BindingError("hosts: write URLs such as https://search:9200, with user name and password apart")
    if ":" in (connection.username or ""):
        raise BindingError("username: HTTP's basic authentication has no colon in it")
    name = connection.index_name
    if _NO_INDEX_NAME.search(name) or len(name.encode()) > 255:
        raise BindingError(
            f"index_name: {name!r} is none: write up to 255 bytes in lower case, starting with none of - _ +, "
            'without blanks and \\ / * ? " < > | , # :'
        )


def is_unreached(error: BackendUnavailableError) -> bool:
    """Tell whether no connection came about, so that the server knows nothing of the request."""
    return isinstance(_cause(error), aiohttp.ClientConnectorError)


def is_untrusted(error: BackendUnavailableError) -> bool:
    """Tell whether TLS failed: the certificate is not trusted, or one side does not speak it."""
    return isinstance(_cause(error), (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError))


def _cause(error: BackendUnavailableError) -> object:
    return error.__cause__.info if isinstance(error.__cause__, ServerConnectionError) else None


def _checked_shards(answer: dict[str, Any], where: str) -> dict[str, Any]:
    # A search or refresh that reached only some shards still answers 200; a part is not the answer.
    shards = answer.get("_shards")
    if answer.get("timed_out") or (isinstance(shards, dict) and shards.get("failed")):
        raise BackendUnavailableError(f"{where}: only some shards answered")
    return answer


def _hint(content: bytes | None) -> str:
    # A server that refuses a large request may close the connection before its answer is read.
    if content is None or len(content) <= _DEFAULT_MAX_CONTENT_BYTES:
        return ""
    return f"; the request has {len(content):,} bytes, and http.max_content_length is 100mb by default"
