"""A checkpoint service over HTTP: `locus-memory serve` with all it can do, or any service with the six basic routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import JsonValue

from locus_memory.adapter import AdapterOptions, StorageBackendAdapter
from locus_memory.checkpointer import UNCHECKED, CheckpointerCapabilities, Unchecked
from locus_memory.connection import HTTPConnection
from locus_memory.diagnosis import Diagnosis
from locus_memory.drivers import require
from locus_memory.errors import BindingError
from locus_memory.following import FollowsDocument
from locus_memory.storage import (
    CheckpointSummary,
    NewCheckpoint,
    PendingWrite,
    SearchHit,
    StorageBackend,
    StoredCheckpoint,
)
from locus_memory.urls import parse_url
from locus_memory.wire import HISTORY, TRANSFERS, lacking

if TYPE_CHECKING:
    from locus_memory.backends.http_client import Auth, Client
    from locus_memory.backends.http_operations import Operations
    from locus_memory.backends.http_service import Service

NO_SUCH_ROUTE = (404, 405)
"""What a service answers for a route that it does not have."""


class HTTPBackend(FollowsDocument[HTTPConnection], StorageBackend):
    """Stores checkpoints at a service over HTTP.

    What the service can do is asked with the first call, and again after the connection was lost or has changed.
    `capabilities` is no coroutine: read before any call, it sends that one request itself and blocks for as long,
    at most a few seconds.

    Args:
        connection: The document, or a function that returns it as it is now; then changed tokens and hosts are
            picked up when the old ones stop working.
        auth: For httpx, beside the document's headers: a user name and a password, or an `httpx.Auth`.
    """

    factory = "HTTPCheckpointer"

    def __init__(self, connection: HTTPConnection | Callable[[], HTTPConnection], *, auth: Auth | None = None) -> None:
        require("httpx", "http")
        from locus_memory.backends.http_client import Client
        from locus_memory.backends.http_service import described

        self._client: Client = self._follow(connection, lambda document: Client(document, auth))
        self._described = described
        self._known: Service | None = None

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        return self._known_service().capabilities

    @property
    def deletes_single_checkpoints(self) -> bool:
        return self._known_service().deletes_single_checkpoints

    async def discover(self) -> None:
        await self._service()

    async def put(
        self, checkpoint: NewCheckpoint, *, expected_checkpoint_id: str | Unchecked | None = UNCHECKED
    ) -> None:
        if checkpoint.part_names:
            await self._operations(HISTORY)
        if checkpoint.created_at is not None:
            await self._operations(TRANSFERS)
        await (await self._service()).speaks.put(checkpoint, expected_checkpoint_id)

    async def get(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> StoredCheckpoint | None:
        return await (await self._service()).speaks.get(thread_id, checkpoint_id, namespace)

    async def get_summary(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> CheckpointSummary | None:
        return await (await self._service()).speaks.get_summary(thread_id, checkpoint_id, namespace)

    async def list_checkpoints(self, thread_id: str, limit: int, *, namespace: str = "") -> list[CheckpointSummary]:
        return await (await self._service()).speaks.list_checkpoints(thread_id, limit, namespace)

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> bool:
        return await (await self._service()).speaks.delete_checkpoint(thread_id, checkpoint_id, namespace)

    async def delete_thread(self, thread_id: str) -> bool:
        return await (await self._service()).speaks.delete_thread(thread_id)

    @property
    def keeps_history(self) -> bool:
        return HISTORY in self._known_service().extras

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None = None, *, namespace: str = ""
    ) -> list[StoredCheckpoint]:
        return await (await self._operations(HISTORY)).get_complete(thread_id, checkpoint_ids, namespace)

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], *, namespace: str = ""
    ) -> None:
        await (await self._operations(HISTORY)).put_writes(thread_id, checkpoint_id, writes, namespace)

    async def get_writes(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> list[PendingWrite]:
        return await (await self._operations(HISTORY)).get_writes(thread_id, checkpoint_id, namespace)

    @property
    def transfers(self) -> bool:
        return TRANSFERS in self._known_service().extras

    async def list_threads_after(self, thread_id: str | None, limit: int) -> list[str]:
        return await (await self._operations(TRANSFERS)).list_threads_after(thread_id, limit)

    async def list_namespaces(self, thread_id: str) -> list[str]:
        return await (await self._operations(TRANSFERS)).list_namespaces(thread_id)

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        return await (await self._operations("branching")).copy_thread(source_thread_id, dest_thread_id)

    async def list_threads(self, limit: int, pattern: str = "*") -> list[str]:
        return await (await self._operations("list_threads")).list_threads(limit, pattern)

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        return await (await self._operations("list_with_metadata")).list_latest(limit)

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int) -> list[CheckpointSummary]:
        return await (await self._operations("metadata_query")).query_by_metadata(key, value, limit)

    async def search(self, terms: list[str], limit: int, text_of: Callable[[bytes], str]) -> list[SearchHit]:
        return await (await self._operations("search")).search(terms, limit)

    async def vacuum(self, before: datetime) -> int:
        return await (await self._operations("vacuum")).vacuum(before)

    async def diagnose(self) -> Diagnosis:
        from locus_memory.backends.http_diagnosis import service_diagnosis

        return service_diagnosis(self._client.connection.base_url, await self._service())

    def __repr__(self) -> str:
        return f"HTTPBackend({self._client.connection.base_url!r})"

    async def _operations(self, capability: str) -> Operations:
        service = await self._service()
        # What else it does not have, it says itself, by the same error.
        if service.operations is None or (capability in (HISTORY, TRANSFERS) and capability not in service.extras):
            raise lacking(self._client.where, capability)
        return service.operations

    async def _service(self) -> Service:
        learnt_at = self._moment()
        if self._known is None or self._known.learnt_at != learnt_at:
            answer = await self._client.request("GET", "/capabilities")
            health = await self._client.request("GET", "/health") if answer.status_code in NO_SUCH_ROUTE else None
            self._known = self._described(self._client, answer, health, self._known, learnt_at)
        return self._known

    def _known_service(self) -> Service:
        # What was learnt before an outage is the best answer until the next call has asked again.
        if self._known is None:
            learnt_at = self._moment()
            answer = self._client.probe("/capabilities")
            health = self._client.probe("/health") if answer.status_code in NO_SUCH_ROUTE else None
            self._known = self._described(self._client, answer, health, None, learnt_at)
        return self._known

    def _moment(self) -> tuple[int, int]:
        return self._client.version, self._client.failures


class HTTPCheckpointer(StorageBackendAdapter):
    """A checkpointer at a service over HTTP.

    Args:
        base_url: `https://` or `http://` URL below which the service is; a login in it becomes a header. See
            `locus_memory.urls`.
        headers: Sent with each request, a token for example.
        auth: User name and password, or an `httpx.Auth`.
        timeout: Seconds for each wait within a request: to connect, and for the next piece of the answer; above 0,
            10 by default. The deadline of a whole call is `retry`'s.
        ca: Certificates that sign the server's, PEM text.
        pool_max_size: Connections per event loop, at least 1.
        options: `state_type`, `retry`, `compression`, `encryption_key`; see `locus_memory.adapter.AdapterOptions`.

    Raises:
        MissingDriverError: httpx is not installed.
        BindingError: The URL or a header cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        timeout: float | None = None,
        *,
        ca: str | None = None,
        pool_max_size: int | None = None,
        **options: Unpack[AdapterOptions],
    ) -> None:
        connection = parse_url(base_url)
        if not isinstance(connection, HTTPConnection):
            raise BindingError("base_url: write https:// or http://")
        overrides: dict[str, Any] = {"timeout_seconds": timeout, "ca": ca, "pool_max_size": pool_max_size}
        given = {name: value for name, value in overrides.items() if value is not None}
        merged = connection.model_dump() | given | {"headers": {**connection.headers, **(headers or {})}}
        super().__init__(HTTPBackend(HTTPConnection.model_validate(merged), auth=auth), **options)


def from_connection(source: Callable[[], HTTPConnection], **options: Unpack[AdapterOptions]) -> StorageBackendAdapter:
    """Make a checkpointer from a binding; `source` returns its document as it is now."""
    return StorageBackendAdapter(HTTPBackend(source), **options)
