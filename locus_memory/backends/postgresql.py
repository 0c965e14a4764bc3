"""PostgreSQL: one statement and one round trip for each save and each load."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Unpack

from pydantic import JsonValue

from locus_memory.adapter import AdapterOptions, StorageBackendAdapter
from locus_memory.backends.postgresql_history import part_parameters, parts_of, write_parameters, writes_of
from locus_memory.backends.postgresql_text import escape_like, load_json, load_text, store_json, store_text
from locus_memory.checkpointer import UNCHECKED, CheckpointerCapabilities, Unchecked
from locus_memory.connection import PostgreSQLConnection
from locus_memory.diagnosis import Diagnosis
from locus_memory.drivers import require
from locus_memory.errors import CheckpointConflictError, CorruptCheckpointError, MissingPartsError
from locus_memory.following import FollowsDocument
from locus_memory.storage import (
    CheckpointSummary,
    NewCheckpoint,
    PendingWrite,
    SearchHit,
    StorageBackend,
    StoredCheckpoint,
)

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


class PostgreSQLBackend(FollowsDocument[PostgreSQLConnection], StorageBackend):
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

        self._clients = self._follow(connection, Clients)

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        return _CAPABILITIES

    async def put(
        self, checkpoint: NewCheckpoint, *, expected_checkpoint_id: str | Unchecked | None = UNCHECKED
    ) -> None:
        parameters: dict[str, Any] = {
            "thread_id": store_text(checkpoint.thread_id),
            "namespace": store_text(checkpoint.namespace),
            "checkpoint_id": store_text(checkpoint.checkpoint_id),
            "parent_id": None if checkpoint.parent_id is None else store_text(checkpoint.parent_id),
            "metadata": store_json(checkpoint.metadata),
            "payload": checkpoint.payload,
            "created_at": checkpoint.created_at,
        }
        if expected_checkpoint_id is UNCHECKED:
            statement = "put"
        elif expected_checkpoint_id is None:
            statement = "put_first"
        else:
            statement = "put_next"
            parameters["expected"] = store_text(expected_checkpoint_id)
        if checkpoint.part_names:
            written = await self._put_with_parts(f"{statement}_with_parts", parameters, checkpoint)
        else:
            async with self._clients.client() as client:
                written = await client.execute(statement, parameters)
        if written == 0:
            raise CheckpointConflictError(
                f"thread {checkpoint.thread_id!r}: the latest checkpoint is not {expected_checkpoint_id!r} as expected"
            )

    async def _put_with_parts(self, statement: str, parameters: dict[str, Any], checkpoint: NewCheckpoint) -> int:
        async with self._clients.client() as client:
            written = await client.execute_with_parts(statement, parameters | part_parameters(checkpoint))
        if written is None:
            where = f"thread {checkpoint.thread_id!r}, checkpoint {checkpoint.checkpoint_id!r}"
            raise MissingPartsError(f"{where}: a part that it needs is not there any more")
        return written

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None = None, *, namespace: str = ""
    ) -> list[StoredCheckpoint]:
        key = _key(thread_id, None, namespace)
        async with self._clients.client() as client:
            if checkpoint_ids is None:
                return [_complete(row) for row in await client.fetch("get_complete_latest", key)]
            ids = [store_text(checkpoint_id) for checkpoint_id in checkpoint_ids]
            rows = await client.fetch("get_complete", key | {"checkpoint_ids": ids})
        found = {row[1]: row for row in rows}
        return [_complete(found[checkpoint_id]) for checkpoint_id in ids if checkpoint_id in found]

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], *, namespace: str = ""
    ) -> None:
        parameters = _key(thread_id, checkpoint_id, namespace) | write_parameters(writes)
        async with self._clients.client() as client:
            # None inserted: they are there already, or the thread is not.
            if not await client.execute("put_writes", parameters):
                await client.execute("put_first_writes", parameters)

    async def get_writes(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> list[PendingWrite]:
        async with self._clients.client() as client:
            return list(writes_of(await client.fetch("get_writes", _key(thread_id, checkpoint_id, namespace))))

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
                (name, key)
                for name in (
                    "lock_thread",
                    "delete_checkpoint",
                    "delete_writes",
                    "delete_unused_parts",
                    "delete_if_empty",
                    "step_back",
                )
            )
        return counts[1] > 0

    async def delete_thread(self, thread_id: str) -> bool:
        async with self._clients.client() as client:
            return await client.execute("delete_thread", {"thread_id": store_text(thread_id)}) > 0

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        source, destination = store_text(source_thread_id), store_text(dest_thread_id)
        async with self._clients.client() as client:
            if await client.insert("copy_thread", {"source": source, "destination": destination}):
                return True
            if not (await client.fetch("thread_exists", {"thread_id": source}))[0][0]:
                return False
        raise CheckpointConflictError(f"thread {dest_thread_id!r} exists already: delete it first")

    async def list_threads(self, limit: int, pattern: str = "*") -> list[str]:
        like = "%".join(escape_like(store_text(part)) for part in pattern.split("*"))
        async with self._clients.client() as client:
            rows = await client.fetch("list_threads", {"pattern": like, "limit": limit})
        return [load_text(row[0]) for row in rows]

    @property
    def transfers(self) -> bool:
        return True

    async def list_threads_after(self, thread_id: str | None, limit: int) -> list[str]:
        # No stored text is empty, so that all of them come behind the empty one.
        parameters = {"after": store_text(thread_id or ""), "limit": limit}
        async with self._clients.client() as client:
            return [load_text(row[0]) for row in await client.fetch("list_threads_after", parameters)]

    async def list_namespaces(self, thread_id: str) -> list[str]:
        async with self._clients.client() as client:
            rows = await client.fetch("list_namespaces", {"thread_id": store_text(thread_id)})
        return [load_text(row[0]) for row in rows]

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        return await self._summaries("list_latest", {"limit": limit})

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int) -> list[CheckpointSummary]:
        parameters = {
            "key": store_text(key),
            "value": store_json(value),
            "equal": store_json({key: value}),
            "listed": store_json({key: [value]}),
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

    async def diagnose(self) -> Diagnosis:
        from locus_memory.backends.postgresql_diagnosis import diagnose

        async with self._clients.bare_connection() as connection:
            return await diagnose(connection, self._clients.connection)

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
    connection = connection_of(
        dsn,
        host=host,
        port=port,
        database=database,
        username=user,
        password=password,
        schema=schema_name or schema,
        ssl_mode=ssl_mode,
        ca=ca,
        pool_max_size=pool_max_size,
        tables=tables,
    )
    return from_connection(lambda: connection, **options)


def from_connection(
    source: Callable[[], PostgreSQLConnection], **options: Unpack[AdapterOptions]
) -> StorageBackendAdapter:
    """Make a checkpointer from a binding; `source` returns its document as it is now."""
    return StorageBackendAdapter(PostgreSQLBackend(source), **options)


def connection_of(dsn: str | None, **overrides: Any) -> PostgreSQLConnection:
    """Make a document of a connection string, and of fields that override its parts where they are not None."""
    connection = PostgreSQLConnection()
    if dsn:
        require("psycopg", "postgresql")
        from locus_memory.backends.postgresql_client import parse_dsn

        connection = parse_dsn(dsn)
    given = {name: value for name, value in overrides.items() if value is not None}
    return PostgreSQLConnection.model_validate(connection.model_dump(by_alias=True) | given)


def _key(thread_id: str, checkpoint_id: str | None, namespace: str) -> dict[str, Any]:
    key = {"thread_id": store_text(thread_id), "namespace": store_text(namespace)}
    return key if checkpoint_id is None else key | {"checkpoint_id": store_text(checkpoint_id)}


def _complete(row: Sequence[Any]) -> StoredCheckpoint:
    summary, parts = _summary(row), parts_of(row[8], row[9])
    if len(parts) != row[7]:
        where = f"thread {summary.thread_id!r}, checkpoint {summary.checkpoint_id!r}"
        raise CorruptCheckpointError(f"{where}: {row[7] - len(parts)} of its {row[7]} parts are missing")
    writes = writes_of(list(zip(*row[10:], strict=True))) if row[10] else ()
    return StoredCheckpoint(summary, row[6], parts, writes)


def _summary(row: Iterable[Any]) -> CheckpointSummary:
    thread_id, checkpoint_id, metadata, created_at, namespace, parent_id, *_ = row
    return CheckpointSummary(
        thread_id=load_text(thread_id),
        checkpoint_id=load_text(checkpoint_id),
        metadata=load_json(metadata),
        created_at=created_at.astimezone(UTC),
        namespace=load_text(namespace),
        parent_id=None if parent_id is None else load_text(parent_id),
    )
