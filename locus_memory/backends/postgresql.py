"""PostgreSQL: one statement and one round trip for each save and each load."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Unpack

from pydantic import JsonValue, SecretStr

from locus_memory.adapter import AdapterOptions, StorageBackendAdapter
from locus_memory.checkpointer import UNCHECKED, CheckpointerCapabilities, Unchecked
from locus_memory.connection import PostgreSQLConnection
from locus_memory.drivers import require
from locus_memory.errors import CheckpointConflictError
from locus_memory.storage import CheckpointSummary, NewCheckpoint, SearchHit, StorageBackend, StoredCheckpoint

_CAPABILITIES = CheckpointerCapabilities(
    search=True,
    metadata_query=True,
    vacuum=True,
    branching=True,
    list_threads=True,
    list_with_metadata=True,
    persistent_checkpoint_ids=True,
)

_VACUUM_THREADS = 500
"""Threads locked at once by `vacuum`: saves to them wait for the batch."""


class PostgreSQLBackend(StorageBackend):
    """Stores checkpoints in a schema of a PostgreSQL database, version 14 or later.

    Tables that do not exist are created on first use, unless the connection says that they are provisioned.

    Args:
        connection: The document, or a function that returns it as it is now; then changed logins and hosts are
            picked up when the old ones stop working.
    """

    factory = "postgresql_checkpointer"

    def __init__(self, connection: PostgreSQLConnection | Callable[[], PostgreSQLConnection]) -> None:
        require("psycopg", "postgresql")
        from locus_memory.backends.postgresql_client import Clients

        self._source = connection if callable(connection) else lambda: connection
        self._clients = Clients(self._source())

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        return _CAPABILITIES

    async def put(
        self, checkpoint: NewCheckpoint, *, expected_checkpoint_id: str | Unchecked | None = UNCHECKED
    ) -> None:
        parameters: dict[str, Any] = {
            "thread_id": _store_text(checkpoint.thread_id),
            "namespace": _store_text(checkpoint.namespace),
            "checkpoint_id": _store_text(checkpoint.checkpoint_id),
            "parent_id": None if checkpoint.parent_id is None else _store_text(checkpoint.parent_id),
            "metadata": _store_json(checkpoint.metadata),
            "payload": checkpoint.payload,
        }
        if expected_checkpoint_id is UNCHECKED:
            statement = "put"
        elif expected_checkpoint_id is None:
            statement = "put_first"
        else:
            statement = "put_next"
            parameters["expected"] = _store_text(expected_checkpoint_id)
        async with self._clients.client() as client:
            written = await client.execute(statement, parameters)
        if written == 0:
            raise CheckpointConflictError(
                f"thread {checkpoint.thread_id!r}: the latest checkpoint is not {expected_checkpoint_id!r} as expected"
            )

    async def get(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> StoredCheckpoint | None:
        statement = "get_latest" if checkpoint_id is None else "get_one"
        async with self._clients.client() as client:
            rows = await client.fetch(statement, _key(thread_id, checkpoint_id, namespace))
        return StoredCheckpoint(_summary(rows[0]), rows[0][6]) if rows else None

    async def get_summary(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> CheckpointSummary | None:
        if checkpoint_id is None:
            latest = await self.list_checkpoints(thread_id, 1, namespace=namespace)
            return latest[0] if latest else None
        found = await self._summaries("summary_one", _key(thread_id, checkpoint_id, namespace))
        return found[0] if found else None

    async def list_checkpoints(self, thread_id: str, limit: int, *, namespace: str = "") -> list[CheckpointSummary]:
        return await self._summaries("list_checkpoints", _key(thread_id, None, namespace) | {"limit": limit})

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> bool:
        key = _key(thread_id, checkpoint_id, namespace)
        async with self._clients.client() as client:
            # The thread's row is locked before the statements that read it take their snapshots.
            counts = await client.transaction(
                (name, key) for name in ("lock_thread", "delete_checkpoint", "delete_if_empty", "step_back")
            )
        return counts[1] > 0

    async def delete_thread(self, thread_id: str) -> bool:
        async with self._clients.client() as client:
            return await client.execute("delete_thread", {"thread_id": _store_text(thread_id)}) > 0

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        source, destination = _store_text(source_thread_id), _store_text(dest_thread_id)
        async with self._clients.client() as client:
            if await client.insert("copy_thread", {"source": source, "destination": destination}):
                return True
            if not (await client.fetch("thread_exists", {"thread_id": source}))[0][0]:
                return False
        raise CheckpointConflictError(f"thread {dest_thread_id!r} exists already: delete it first")

    async def list_threads(self, limit: int, pattern: str = "*") -> list[str]:
        like = "%".join(_escape_like(_store_text(part)) for part in pattern.split("*"))
        async with self._clients.client() as client:
            rows = await client.fetch("list_threads", {"pattern": like, "limit": limit})
        return [_load_text(row[0]) for row in rows]

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        return await self._summaries("list_latest", {"limit": limit})

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int) -> list[CheckpointSummary]:
        parameters = {
            "key": _store_text(key),
            "value": _store_json(value),
            "equal": _store_json({key: value}),
            "listed": _store_json({key: [value]}),
            "limit": limit,
        }
        return await self._summaries("query_by_metadata", parameters)

    async def search(self, terms: list[str], limit: int, text_of: Callable[[bytes], str]) -> list[SearchHit]:
        from locus_memory.backends.postgresql_search import index_changed_threads, query_text

        async with self._clients.client() as client:
            await index_changed_threads(client, text_of)
            rows = await client.fetch("search", {"query": query_text(terms), "limit": limit})
        return [SearchHit(_summary(row), float(row[6])) for row in rows]

    async def vacuum(self, before: datetime) -> int:
        deleted = 0
        async with self._clients.client() as client:
            while count := await client.vacuum_batch(before, _VACUUM_THREADS):
                deleted += count
        return deleted

    @property
    def connection_version(self) -> int:
        return self._clients.version

    async def refresh(self) -> None:
        # The source may be a file on a slow volume.
        self._clients.use(await asyncio.to_thread(self._source))

    async def close(self) -> None:
        await self._clients.close()

    def __repr__(self) -> str:
        connection = self._clients.connection
        return f"PostgreSQLBackend({connection.host}:{connection.port}/{connection.database}, {connection.schema_name})"

    async def _summaries(self, statement: str, parameters: Mapping[str, Any]) -> list[CheckpointSummary]:
        async with self._clients.client() as client:
            return [_summary(row) for row in await client.fetch(statement, parameters)]


def postgresql_checkpointer(
    dsn: str | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    database: str | None = None,
    user: str | None = None,
    password: str | None = None,
    schema: str = "public",
    schema_name: str | None = None,
    ssl_mode: str | None = None,
    ca: str | None = None,
    pool_max_size: int = 10,
    tables: Literal["auto", "provisioned"] = "auto",
    **options: Unpack[AdapterOptions],
) -> StorageBackendAdapter:
    """Make a checkpointer on PostgreSQL.

    Args:
        dsn: libpq connection string or URL; the other arguments override its parts.
        host: Host name, address, or directory of a Unix socket.
        port: 1 to 65535.
        database: Name of the database.
        user: Login.
        password: Its password.
        schema: Schema of the tables; created if missing and permitted. `schema_name` is accepted as well.
        schema_name: Another name of `schema`.
        ssl_mode: libpq's sslmode.
        ca: Certificates that sign the server's, PEM text.
        pool_max_size: Connections per event loop, at least 1.
        tables: `provisioned` to never run DDL.
        options: `state_type`, `retry`, `compression`, `encryption_key`; see `locus_memory.adapter.AdapterOptions`.

    Raises:
        MissingDriverError: psycopg is not installed.
        BindingError: The connection string cannot be understood.
    """
    connection = _connection_from_dsn(dsn) if dsn else PostgreSQLConnection()
    overrides = {
        "host": host,
        "port": port,
        "database": database,
        "username": user,
        "password": None if password is None else SecretStr(password),
        "schema": schema_name or schema,
        "ssl_mode": ssl_mode,
        "ca": ca,
        "pool_max_size": pool_max_size,
        "tables": tables,
    }
    fields = connection.model_dump(by_alias=True) | {k: v for k, v in overrides.items() if v is not None}
    return from_connection(lambda: PostgreSQLConnection.model_validate(fields), **options)


def from_connection(
    source: Callable[[], PostgreSQLConnection], **options: Unpack[AdapterOptions]
) -> StorageBackendAdapter:
    """Make a checkpointer from a binding; `source` returns its document as it is now."""
    return StorageBackendAdapter(PostgreSQLBackend(source), **options)


def _connection_from_dsn(dsn: str) -> PostgreSQLConnection:
    require("psycopg", "postgresql")
    from locus_memory.backends.postgresql_client import parse_dsn

    return parse_dsn(dsn)


def _key(thread_id: str, checkpoint_id: str | None, namespace: str) -> dict[str, Any]:
    key = {"thread_id": _store_text(thread_id), "namespace": _store_text(namespace)}
    return key if checkpoint_id is None else key | {"checkpoint_id": _store_text(checkpoint_id)}


def _summary(row: Iterable[Any]) -> CheckpointSummary:
    thread_id, checkpoint_id, metadata, created_at, namespace, parent_id, *_ = row
    return CheckpointSummary(
        thread_id=_load_text(thread_id),
        checkpoint_id=_load_text(checkpoint_id),
        metadata=_load_json(metadata),
        created_at=created_at.astimezone(UTC),
        namespace=_load_text(namespace),
        parent_id=None if parent_id is None else _load_text(parent_id),
    )


# PostgreSQL's text and jsonb refuse U+0000. U+0001 serves as the escape character: injective, and the order of
# ids stays that of their bytes.
def _store_text(text: str) -> str:
    if "\x00" in text or "\x01" in text:
        return text.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
    return text


def _load_text(text: str) -> str:
    return text.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01") if "\x01" in text else text


def _store_json(value: JsonValue | Mapping[str, JsonValue]) -> str:
    if value == {}:
        return "{}"
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    if "\\u0000" in text or "\\u0001" in text:
        return json.dumps(_map_strings(value, _store_text), ensure_ascii=True, allow_nan=False)
    return text


def _load_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    loaded: dict[str, JsonValue] = _map_strings(value, _load_text)
    return loaded


def _map_strings(value: Any, convert: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return convert(value)
    if isinstance(value, list):
        return [_map_strings(item, convert) for item in value]
    if isinstance(value, dict):
        return {convert(key): _map_strings(item, convert) for key, item in value.items()}
    return value


def _escape_like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
