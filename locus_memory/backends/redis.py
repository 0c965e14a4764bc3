"""Redis and Valkey, alone, below Sentinels, or as a Cluster: one script and one round trip for each save and load.

A save is as durable as the server's configuration makes it: see `appendfsync`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Unpack

from pydantic import JsonValue

from locus_memory.adapter import AdapterOptions, StorageBackendAdapter
from locus_memory.backends import redis_history as history
from locus_memory.backends import redis_listing as listing
from locus_memory.backends import redis_scripts as scripts
from locus_memory.backends.redis_copy import CrossSlotCopy
from locus_memory.backends.redis_diagnosis import diagnose
from locus_memory.backends.redis_keys import KeyLayout, decode, encode
from locus_memory.backends.redis_listing import PAGE
from locus_memory.backends.redis_lua import Script
from locus_memory.checkpointer import UNCHECKED, CheckpointerCapabilities, Unchecked
from locus_memory.connection import RedisConnection
from locus_memory.diagnosis import Diagnosis
from locus_memory.drivers import require
from locus_memory.errors import BindingError, CheckpointConflictError, CorruptCheckpointError, MissingPartsError
from locus_memory.following import FollowsDocument
from locus_memory.storage import CheckpointSummary, NewCheckpoint, PendingWrite, StorageBackend, StoredCheckpoint
from locus_memory.urls import parse_url

if TYPE_CHECKING:
    from locus_memory.backends.redis_client import Client

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RedisBackend(FollowsDocument[RedisConnection], StorageBackend):
    """Stores checkpoints below a key prefix of Redis 6.2 or later, or of Valkey.

    With a time to live, a thread expires as a whole, counted from its last write.

    Args:
        connection: The document, or a function that returns it as it is now; then changed logins and hosts are
            picked up when the old ones stop working.
        url: Instead of `connection`; see `locus_memory.urls`.
    """

    factory = "redis_checkpointer"

    def __init__(
        self,
        connection: RedisConnection | Callable[[], RedisConnection] | None = None,
        *,
        url: str | None = None,
    ) -> None:
        require("redis", "redis")
        from locus_memory.backends.redis_client import Client

        if connection is None:
            connection = _from_url(url or "redis://localhost:6379/0")
        self._client: Client = self._follow(connection, Client)

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        return CheckpointerCapabilities(
            metadata_query=True,
            vacuum=True,
            branching=True,
            ttl=self._client.connection.ttl_seconds is not None,
            list_threads=True,
            list_with_metadata=True,
            persistent_checkpoint_ids=True,
        )

    async def put(
        self, checkpoint: NewCheckpoint, *, expected_checkpoint_id: str | Unchecked | None = UNCHECKED
    ) -> None:
        mode, expected = "any", ""
        if expected_checkpoint_id is None:
            mode = "first"
        elif isinstance(expected_checkpoint_id, str):
            mode, expected = "next", expected_checkpoint_id
        space = self._client.spaces.of(checkpoint.thread_id)
        indexes = _index_keys(space, checkpoint.metadata)
        written = await self._client.run(
            scripts.PUT_WITH_PARTS if checkpoint.part_names else scripts.PUT,
            space.prefix,
            checkpoint.thread_id,
            encode(checkpoint.thread_id),
            encode(checkpoint.namespace),
            checkpoint.checkpoint_id,
            checkpoint.payload,
            json.dumps([checkpoint.parent_id, checkpoint.metadata], separators=(",", ":")),
            encode(checkpoint.checkpoint_id),
            self._ttl_milliseconds(),
            mode,
            expected,
            "" if checkpoint.created_at is None else _microsecond(checkpoint.created_at),
            len(indexes),
            *indexes,
            *(history.part_arguments(checkpoint) if checkpoint.part_names else ()),
        )
        if written < 0:
            where = f"thread {checkpoint.thread_id!r}, checkpoint {checkpoint.checkpoint_id!r}"
            raise MissingPartsError(f"{where}: a part that it needs is not there any more")
        if not written:
            raise CheckpointConflictError(
                f"thread {checkpoint.thread_id!r}: the latest checkpoint is not {expected_checkpoint_id!r} as expected"
            )

    async def get(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> StoredCheckpoint | None:
        found = await self._get(thread_id, checkpoint_id, namespace, with_payload=True)
        if found is None:
            return None
        summary, payload = found
        if payload is None:
            raise _incomplete(thread_id, summary.checkpoint_id)
        return StoredCheckpoint(summary, payload)

    async def get_summary(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> CheckpointSummary | None:
        found = await self._get(thread_id, checkpoint_id, namespace, with_payload=False)
        return found and found[0]

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None = None, *, namespace: str = ""
    ) -> list[StoredCheckpoint]:
        if checkpoint_ids is None:
            return await self._get_complete(thread_id, namespace)
        found: list[StoredCheckpoint] = []
        for start in range(0, len(checkpoint_ids), history.BATCH):
            batch = checkpoint_ids[start : start + history.BATCH]
            found += await self._get_complete(thread_id, namespace, *batch)
        return found

    async def _get_complete(self, thread_id: str, namespace: str, *ids: str) -> list[StoredCheckpoint]:
        ttl = self._ttl_after_read()
        tag = encode(thread_id)
        rows, held = await self._run(history.GET_COMPLETE, thread_id, thread_id, tag, encode(namespace), ttl, *ids)
        parts = history.parts_of(held)
        return [_complete(thread_id, namespace, row, parts) for row in rows]

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], *, namespace: str = ""
    ) -> None:
        if writes:
            await self._run(
                history.PUT_WRITES,
                thread_id,
                thread_id,
                encode(thread_id),
                encode(namespace),
                checkpoint_id,
                self._ttl_milliseconds(),
                *history.write_arguments(writes),
            )

    async def get_writes(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> list[PendingWrite]:
        rows = await self._run(history.GET_WRITES, thread_id, encode(thread_id), encode(namespace), checkpoint_id)
        return list(history.writes_of(rows))

    async def list_checkpoints(self, thread_id: str, limit: int, *, namespace: str = "") -> list[CheckpointSummary]:
        rows = await self._run(scripts.LIST_CHECKPOINTS, thread_id, encode(thread_id), encode(namespace), limit)
        return [_summary(thread_id, checkpoint_id, text, namespace) for checkpoint_id, text in rows]

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> bool:
        removed = await self._run(
            scripts.DELETE_CHECKPOINT, thread_id, thread_id, encode(thread_id), encode(namespace), checkpoint_id
        )
        return bool(removed)

    async def delete_thread(self, thread_id: str) -> bool:
        return bool(await self._run(scripts.DELETE_THREAD, thread_id, thread_id, encode(thread_id)))

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        spaces = self._client.spaces
        source, dest = spaces.of(source_thread_id), spaces.of(dest_thread_id)
        if source == dest:
            copied = await self._client.run(
                scripts.COPY_THREAD,
                source.prefix,
                encode(source_thread_id),
                dest_thread_id,
                encode(dest_thread_id),
                self._ttl_milliseconds(),
            )
        else:
            copy = CrossSlotCopy(self._client.run, (source, source_thread_id), (dest, dest_thread_id))
            copied = await copy.run(self._ttl_milliseconds())
        if copied < 0:
            raise CheckpointConflictError(f"thread {dest_thread_id!r} exists already: delete it first")
        return bool(copied)

    async def list_threads(self, limit: int, pattern: str = "*") -> list[str]:
        literals = pattern.split("*")
        prefix, matching = literals[0], re.compile(".*".join(map(re.escape, literals)), re.DOTALL)
        found: list[str] = []
        # A pattern may match few, so that pages as short as the limit would be many.
        count = PAGE if len(literals) > 1 and literals[1:] != [""] else limit
        async for thread in listing.in_order(self._client, scripts.LIST_THREADS, prefix, count, lambda row: row):
            thread_id = thread.decode()
            if not thread_id.startswith(prefix):
                break
            if matching.fullmatch(thread_id):
                found.append(thread_id)
                if len(found) == limit:
                    break
        return found

    @property
    def transfers(self) -> bool:
        return True

    async def list_threads_after(self, thread_id: str | None, limit: int) -> list[str]:
        # The least text that comes behind an id is the id and a zero byte.
        start = "" if thread_id is None else f"{thread_id}\0"
        found: list[str] = []
        async for thread in listing.in_order(self._client, scripts.LIST_THREADS, start, limit, lambda row: row):
            found.append(thread.decode())
            if len(found) == limit:
                break
        return found

    async def list_namespaces(self, thread_id: str) -> list[str]:
        found = await self._run(scripts.LIST_NAMESPACES, thread_id, encode(thread_id))
        return sorted((decode(namespace.decode()) for namespace in found), key=str.encode)

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        found: list[CheckpointSummary] = []
        async for row in listing.in_order(self._client, scripts.LIST_LATEST, "", limit, lambda row: row[0]):
            found.append(_summary(row[0].decode(), row[1], row[2]))
            if len(found) == limit:
                break
        return found

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int) -> list[CheckpointSummary]:
        rows = await listing.newest_with(self._client, key, value, limit)
        return [_summary(thread.decode(), checkpoint_id, text) for thread, checkpoint_id, text in rows]

    async def vacuum(self, before: datetime) -> int:
        microsecond = _microsecond(before)
        deleted = 0
        for space in self._client.spaces.all:
            start: bytes | None = b"-"
            while start is not None:
                removed, last = await self._client.run(scripts.VACUUM, space.prefix, start, PAGE, microsecond)
                deleted += removed
                start = None if last is None else b"(" + last
        return deleted

    async def diagnose(self) -> Diagnosis:
        return await diagnose(self._client.ask, self._client.connection)

    def __repr__(self) -> str:
        connection = self._client.connection
        return f"RedisBackend({connection.addresses[0]}/{connection.database}, {connection.key_prefix!r})"

    async def _run(self, script: Script, thread_id: str, *arguments: str | bytes | int) -> Any:
        """Run a script on the key space of a thread."""
        return await self._client.run(script, self._client.spaces.of(thread_id).prefix, *arguments)

    def _ttl_milliseconds(self) -> int:
        return (self._client.connection.ttl_seconds or 0) * 1000

    def _ttl_after_read(self) -> int:
        return self._ttl_milliseconds() if self._client.connection.refresh_ttl_on_read else 0

    async def _get(
        self, thread_id: str, checkpoint_id: str | None, namespace: str, *, with_payload: bool
    ) -> tuple[CheckpointSummary, bytes | None] | None:
        ttl = self._ttl_after_read()
        wanted = [] if checkpoint_id is None else [checkpoint_id]
        found = await self._run(
            scripts.GET, thread_id, thread_id, encode(thread_id), encode(namespace), int(with_payload), ttl, *wanted
        )
        if found is None:
            return None
        return _summary(thread_id, found[0], found[1], namespace), found[2] if with_payload else None


def redis_checkpointer(
    url: str = "redis://localhost:6379/0",
    *,
    ttl_seconds: int | None = None,
    key_prefix: str | None = None,
    refresh_ttl_on_read: bool | None = None,
    ca: str | None = None,
    pool_max_size: int | None = None,
    wait_replicas: int | None = None,
    sentinel_username: str | None = None,
    sentinel_password: str | None = None,
    tables: Literal["auto", "provisioned"] = "auto",
    **options: Unpack[AdapterOptions],
) -> StorageBackendAdapter:
    """Make a checkpointer on Redis or Valkey.

    Args:
        url: `redis://`, `redis+sentinel://`, `redis+cluster://` or, with TLS, `rediss…`; see `locus_memory.urls`.
            Other arguments override its parts.
        ttl_seconds: A thread expires this long after its last write; above 0.
        key_prefix: Every key starts with this; `locus:` by default.
        refresh_ttl_on_read: Loading a thread postpones its expiry.
        ca: Certificates that sign the server's, PEM text.
        pool_max_size: Connections per event loop and server, at least 1.
        wait_replicas: A write returns when this many replicas have it in memory, at least 0.
        sentinel_username: Login at the Sentinels where it is not the servers', with `sentinel_password`.
        tables: Accepted for symmetry with other backends; Redis has nothing to create.
        options: `state_type`, `retry`, `compression`, `encryption_key`; see `locus_memory.adapter.AdapterOptions`.

    Raises:
        MissingDriverError: redis-py is not installed.
        BindingError: The URL cannot be understood.
    """
    overrides = {
        "ttl_seconds": ttl_seconds,
        "key_prefix": key_prefix,
        "refresh_ttl_on_read": refresh_ttl_on_read,
        "ca": ca,
        "pool_max_size": pool_max_size,
        "wait_replicas": wait_replicas,
        "sentinel_username": sentinel_username,
        "sentinel_password": sentinel_password,
        "tables": tables,
    }
    fields = _from_url(url).model_dump() | {key: value for key, value in overrides.items() if value is not None}
    connection = RedisConnection.model_validate(fields)
    return from_connection(lambda: connection, **options)


def from_connection(source: Callable[[], RedisConnection], **options: Unpack[AdapterOptions]) -> StorageBackendAdapter:
    """Make a checkpointer from a binding; `source` returns its document as it is now."""
    return StorageBackendAdapter(RedisBackend(source), **options)


def _from_url(url: str) -> RedisConnection:
    connection = parse_url(url)
    if not isinstance(connection, RedisConnection):
        raise BindingError("url: write redis://, redis+sentinel:// or redis+cluster://, or rediss for redis with TLS")
    return connection


def _index_keys(space: KeyLayout, metadata: Mapping[str, JsonValue]) -> list[str]:
    keys: dict[str, None] = {}
    for field, value in metadata.items():
        keys[space.metadata(field, value)] = None
        for item in value if isinstance(value, list) else ():
            keys[space.metadata(field, item)] = None
    return list(keys)


def _microsecond(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _complete(thread_id: str, namespace: str, row: Sequence[Any], parts: Mapping[bytes, bytes]) -> StoredCheckpoint:
    checkpoint_id, text, payload, names, writes = row
    summary = _summary(thread_id, checkpoint_id, text, namespace)
    if payload is None or not all(name in parts for name in names):
        raise _incomplete(thread_id, summary.checkpoint_id)
    own = {name.decode(): parts[name] for name in names}
    return StoredCheckpoint(summary, payload, own, history.writes_of(writes))


def _summary(thread_id: str, checkpoint_id: bytes, text: bytes | None, namespace: str = "") -> CheckpointSummary:
    name = checkpoint_id.decode()
    if text is None:
        raise _incomplete(thread_id, name)
    digits = text.index(b"[")
    parent_id, metadata = json.loads(text[digits:])
    created_at = _EPOCH + timedelta(microseconds=int(text[:digits]))
    return CheckpointSummary(thread_id, name, metadata, created_at, namespace, parent_id)


def _incomplete(thread_id: str, checkpoint_id: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"thread {thread_id!r}, checkpoint {checkpoint_id!r}: part of it is missing. The server may have evicted "
        "it: set maxmemory-policy to noeviction, or to a volatile-* policy when threads have a time to live"
    )
