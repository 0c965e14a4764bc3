"""OpenSearch: full-text search over conversations; point operations by id, in real time.

A search sees a write only after the next refresh of the index, whereas reading by id sees it at once. So saving,
loading, listing and deleting go by ids alone, and no save waits for a refresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Unpack

from pydantic import JsonValue, SecretStr, ValidationError

from locus_memory.adapter import AdapterOptions, StorageBackendAdapter
from locus_memory.backends.opensearch_copies import Copies
from locus_memory.backends.opensearch_diagnosis import diagnose
from locus_memory.backends.opensearch_history import History
from locus_memory.backends.opensearch_layout import LARGE_BYTES, decode_payload, summary_of
from locus_memory.backends.opensearch_manifest import Entry, Manifest
from locus_memory.backends.opensearch_queries import Queries
from locus_memory.backends.opensearch_retention import Retention
from locus_memory.backends.opensearch_saves import Saves
from locus_memory.backends.opensearch_threads import Threads
from locus_memory.checkpointer import UNCHECKED, CheckpointerCapabilities, Unchecked
from locus_memory.connection import OpenSearchConnection, describe
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

_WITHOUT_PAYLOAD = ("payload", "packed_terms", "tokens")

_CAPABILITIES = CheckpointerCapabilities(
    search=True,
    metadata_query=True,
    vacuum=True,
    branching=True,
    list_threads=True,
    list_with_metadata=True,
    persistent_checkpoint_ids=True,
)


class OpenSearchBackend(FollowsDocument[OpenSearchConnection], StorageBackend):
    """Stores checkpoints in an index of OpenSearch 2 or later.

    An index that does not exist is created before the first write, unless the connection says that it is provisioned.

    Args:
        connection: The document, or a function that returns it as it is now; then changed logins and hosts are
            picked up when the old ones stop working.
    """

    factory = "opensearch_checkpointer"

    def __init__(self, connection: OpenSearchConnection | Callable[[], OpenSearchConnection]) -> None:
        require("opensearchpy", "opensearch")
        require("aiohttp", "opensearch")
        from locus_memory.backends.opensearch_client import Client

        self._client = self._follow(connection, Client)
        self._threads = Threads(self._client)
        self._saves = Saves(self._client, self._threads)
        self._history = History(self._client, self._threads)
        self._copies = Copies(self._client, self._threads)
        self._queries = Queries(self._client, self._threads)
        self._retention = Retention(self._threads, self._queries)

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        return _CAPABILITIES

    async def put(
        self, checkpoint: NewCheckpoint, *, expected_checkpoint_id: str | Unchecked | None = UNCHECKED
    ) -> None:
        await self._saves.put(checkpoint, expected_checkpoint_id)

    async def get(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> StoredCheckpoint | None:
        found = await self._threads.resolve(thread_id, _one(checkpoint_id, namespace), ["packed_terms", "tokens"])
        if not found:
            return None
        [(entry, source)] = found
        if entry.size > LARGE_BYTES:
            return StoredCheckpoint(summary_of(source), await asyncio.to_thread(decode_payload, source))
        return StoredCheckpoint(summary_of(source), decode_payload(source))

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None = None, *, namespace: str = ""
    ) -> list[StoredCheckpoint]:
        return await self._history.get_complete(thread_id, checkpoint_ids, namespace)

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], *, namespace: str = ""
    ) -> None:
        await self._history.put_writes(thread_id, checkpoint_id, writes, namespace)

    async def get_writes(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> list[PendingWrite]:
        return await self._history.get_writes(thread_id, checkpoint_id, namespace)

    async def get_summary(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> CheckpointSummary | None:
        found = await self._summaries(thread_id, _one(checkpoint_id, namespace))
        return found[0] if found else None

    async def list_checkpoints(self, thread_id: str, limit: int, *, namespace: str = "") -> list[CheckpointSummary]:
        return await self._summaries(thread_id, lambda manifest: manifest.newest(limit, namespace))

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> bool:
        return await self._saves.delete_checkpoint(thread_id, checkpoint_id, namespace)

    async def delete_thread(self, thread_id: str) -> bool:
        return await self._threads.delete(thread_id)

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        return await self._copies.copy_thread(source_thread_id, dest_thread_id)

    async def list_threads(self, limit: int, pattern: str = "*") -> list[str]:
        return await self._queries.list_threads(limit, pattern)

    @property
    def transfers(self) -> bool:
        return True

    async def list_threads_after(self, thread_id: str | None, limit: int) -> list[str]:
        return await self._queries.list_threads_after(thread_id, limit)

    async def list_namespaces(self, thread_id: str) -> list[str]:
        thread, _ = await self._threads.read(thread_id)
        return sorted(thread.manifest.namespaces, key=str.encode)

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        return await self._queries.list_latest(limit)

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int) -> list[CheckpointSummary]:
        return await self._queries.query_by_metadata(key, value, limit)

    async def search(self, terms: list[str], limit: int, text_of: Callable[[bytes], str]) -> list[SearchHit]:
        return await self._queries.search(terms, limit)

    async def vacuum(self, before: datetime) -> int:
        return sum([deleted async for deleted in self._retention.expire(before)])

    async def diagnose(self) -> Diagnosis:
        return await diagnose(self._client)

    def __repr__(self) -> str:
        connection = self._client.connection
        return f"OpenSearchBackend({connection.hosts[0]}, {connection.index_name!r})"

    async def _summaries(self, thread_id: str, pick: Callable[[Manifest], Sequence[Entry]]) -> list[CheckpointSummary]:
        found = await self._threads.resolve(thread_id, pick, _WITHOUT_PAYLOAD)
        return [summary_of(source) for _, source in found]


def opensearch_checkpointer(
    hosts: str | Sequence[str | Mapping[str, Any]] = "http://localhost:9200",
    index_name: str = "locus-checkpoints",
    *,
    username: str | None = None,
    password: str | None = None,
    use_ssl: bool | None = None,
    verify_certs: bool = True,
    ca_certs: str | None = None,
    tables: Literal["auto", "provisioned"] = "auto",
    **options: Unpack[AdapterOptions],
) -> StorageBackendAdapter:
    """Make a checkpointer on OpenSearch.

    Args:
        hosts: One or several nodes of one cluster: URLs, `host:port`, or `{"host": …, "port": …}`. When one cannot be
            reached, the next is tried.
        index_name: Index of all checkpoints.
        username: Login, for HTTP's basic authentication.
        password: Its password.
        use_ssl: Whether hosts without a scheme are reached over TLS; by default where a certificate is given.
        verify_certs: Verify the server's certificate and name. Turn it off in experiments only.
        ca_certs: Certificates that sign the server's: a file, or PEM text. The system's by default.
        tables: `provisioned` to never create the index.
        options: `state_type`, `retry`, `compression`, `encryption_key`; see `locus_memory.adapter.AdapterOptions`.

    Raises:
        MissingDriverError: opensearch-py or aiohttp is not installed.
        BindingError: A host, the index name or the certificates cannot be used.
    """
    scheme = "https" if (ca_certs is not None if use_ssl is None else use_ssl) else "http"
    nodes = [hosts] if isinstance(hosts, str) else list(hosts)
    try:
        connection = OpenSearchConnection(
            hosts=tuple(_url(node, scheme) for node in nodes),
            index_name=index_name,
            username=username,
            password=None if password is None else SecretStr(password),
            verify_certs=verify_certs,
            ca=_certificates(ca_certs),
            tables=tables,
        )
    except ValidationError as error:
        raise BindingError(f"opensearch_checkpointer: {describe(error)}") from None
    return from_connection(lambda: connection, **options)


def from_connection(
    source: Callable[[], OpenSearchConnection], **options: Unpack[AdapterOptions]
) -> StorageBackendAdapter:
    """Make a checkpointer from a binding; `source` returns its document as it is now."""
    return StorageBackendAdapter(OpenSearchBackend(source), **options)


def _one(checkpoint_id: str | None, namespace: str) -> Callable[[Manifest], Sequence[Entry]]:
    def pick(manifest: Manifest) -> Sequence[Entry]:
        entry = manifest.find(checkpoint_id, namespace)
        return () if entry is None else (entry,)

    return pick


def _url(node: str | Mapping[str, Any], scheme: str) -> str:
    if isinstance(node, str):
        return node if "://" in node else f"{scheme}://{node}"
    unknown = set(node) - {"host", "port", "scheme", "use_ssl"}
    if unknown or "host" not in node:
        raise BindingError("hosts: write URLs, host:port, or {'host': …, 'port': …}")
    scheme = node.get("scheme") or ("https" if node.get("use_ssl", scheme == "https") else "http")
    host = f"[{node['host']}]" if ":" in node["host"] else node["host"]
    return f"{scheme}://{host}:{node.get('port', 9200)}"


def _certificates(ca_certs: str | None) -> str | None:
    if ca_certs is None or "-----BEGIN" in ca_certs:
        return ca_certs
    try:
        return Path(ca_certs).read_text()
    except (OSError, ValueError) as error:
        raise BindingError(f"ca_certs: write PEM text or the name of a file of it: {error}") from None
