"""Oracle Database 19c or later, Autonomous Database included: two round trips for a save, no LOB locators."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack

from pydantic import JsonValue, SecretStr, ValidationError

from locus_memory.adapter import AdapterOptions, StorageBackendAdapter
from locus_memory.arguments import MAX_ID_BYTES
from locus_memory.backends.oracle_schema import Names
from locus_memory.checkpointer import UNCHECKED, CheckpointerCapabilities, Unchecked
from locus_memory.connection import OracleConnection, describe
from locus_memory.drivers import require
from locus_memory.errors import BindingError, CheckpointConflictError, StateTooLargeError
from locus_memory.history import first_matching
from locus_memory.metadata import canonical
from locus_memory.storage import CheckpointSummary, NewCheckpoint, SearchHit, StorageBackend, StoredCheckpoint

if TYPE_CHECKING:
    from locus_memory.backends.oracle_client import Client

_CAPABILITIES = CheckpointerCapabilities(
    search=True,
    metadata_query=True,
    vacuum=True,
    branching=True,
    list_threads=True,
    list_with_metadata=True,
    persistent_checkpoint_ids=True,
)

MAX_PAYLOAD_BYTES: Final = 2**30 - 1
"""What python-oracledb binds to a column without a LOB locator
(https://python-oracledb.readthedocs.io/en/latest/user_guide/lob_data.html)."""

_VACUUM_THREADS = 200
"""Threads locked at once by `vacuum`: saves to them wait for the batch."""

_LIST_PAGE = 500


class OracleBackend(StorageBackend):
    """Stores checkpoints in tables of an Oracle database, 19c or later.

    Tables that do not exist are created on first use, unless the connection says that they are provisioned.

    Args:
        connection: The document, or a function that returns it as it is now; then changed logins and hosts are
            picked up when the old ones stop working.
    """

    factory = "oracle_checkpointer"

    def __init__(self, connection: OracleConnection | Callable[[], OracleConnection]) -> None:
        require("oracledb", "oracle")
        from locus_memory.backends.oracle_client import Clients

        self._source = connection if callable(connection) else lambda: connection
        self._clients = Clients(self._source())

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        return _CAPABILITIES

    async def put(
        self, checkpoint: NewCheckpoint, *, expected_checkpoint_id: str | Unchecked | None = UNCHECKED
    ) -> None:
        if len(checkpoint.payload) > MAX_PAYLOAD_BYTES:
            raise StateTooLargeError(
                f"thread {checkpoint.thread_id!r}: {len(checkpoint.payload):,} bytes; Oracle takes at most "
                f"{MAX_PAYLOAD_BYTES:,}"
            )
        key = _key(checkpoint.thread_id, checkpoint.checkpoint_id, checkpoint.namespace)
        async with self._clients.client() as client:
            if not await _point_at(client, checkpoint, key, expected_checkpoint_id):
                raise CheckpointConflictError(
                    f"thread {checkpoint.thread_id!r}: the latest checkpoint is not {expected_checkpoint_id!r} "
                    "as expected"
                )
            await _write(client, checkpoint, key)

    async def get(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> StoredCheckpoint | None:
        statement = "get_latest" if checkpoint_id is None else "get_one"
        async with self._clients.client() as client:
            rows = await client.fetch(statement, _key(thread_id, checkpoint_id, namespace))
        # An empty BLOB is bound, and stored, as NULL.
        return StoredCheckpoint(_summary(rows[0]), rows[0][6] or b"") if rows else None

    async def get_summary(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> CheckpointSummary | None:
        statement = "summary_latest" if checkpoint_id is None else "summary_one"
        found = await self._summaries(statement, _key(thread_id, checkpoint_id, namespace), 1)
        return found[0] if found else None

    async def list_checkpoints(self, thread_id: str, limit: int, *, namespace: str = "") -> list[CheckpointSummary]:
        parameters = _key(thread_id, None, namespace) | {"limit": limit}
        return await self._summaries("list_checkpoints", parameters, limit)

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> bool:
        key = _key(thread_id, checkpoint_id, namespace)
        thread = {"thread_key": key["thread_key"]}
        async with self._clients.client() as client:
            latest = await client.lock("lock_thread", thread)
            was_latest = [row[0] for row in latest] == [key["checkpoint_id"]]
            deleted = await client.execute("delete_checkpoint", key, commit=not was_latest)
            if was_latest:
                await client.execute("delete_if_empty", thread)
                await client.execute("repair_latest", thread, commit=True)
        return deleted > 0

    async def delete_thread(self, thread_id: str) -> bool:
        async with self._clients.client() as client:
            return await client.execute("delete_thread", {"thread_id": thread_id.encode()}, commit=True) > 0

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        source, destination = source_thread_id.encode(), dest_thread_id.encode()
        async with self._clients.client() as client:
            rows = await client.lock("lock_copied", {"source": source, "destination": destination}, 10)
            if any(thread_id == destination for thread_id, _, _ in rows):
                raise CheckpointConflictError(f"thread {dest_thread_id!r} exists already: delete it first")
            for _, source_key, namespace in rows:
                keys = {
                    "source_key": source_key,
                    "destination_key": _thread_key(dest_thread_id, (namespace or b"").decode()),
                }
                await client.execute("copy_thread", keys | {"destination": destination})
                await client.execute("copy_checkpoints", keys)
                await client.execute("copy_fields", keys)
            await client.commit()
        return bool(rows)

    async def list_threads(self, limit: int, pattern: str = "*") -> list[str]:
        first, *rest = parts = [part.encode("utf-8", "surrogatepass") for part in pattern.split("*")]
        if sum(map(len, parts)) > MAX_ID_BYTES:
            return []  # longer than any id; and in LIKE it would be ORA-01461
        # Runs of hexadecimal digits may match across bytes: this finds candidates.
        like = "%".join(part.hex().upper() for part in (first, *filter(None, rest[:-1]), *rest[-1:]))
        low, high = first or b"\0", first + b"\xff"
        binds, found = {"high": high, "pattern": like}, list[str]()
        async with self._clients.client() as client:
            async for page in _pages(client, "list_threads", binds, low, limit):
                found += first_matching(page, pattern, limit - len(found))
                if len(found) == limit:
                    break
        return found

    async def list_threads_after(self, thread_id: str | None, limit: int) -> list[str]:
        low = b"\0" if thread_id is None else _behind(thread_id.encode())
        found: list[str] = []
        async with self._clients.client() as client:
            async for page in _pages(client, "list_threads_after", {}, low, limit):
                found += page
                if len(found) >= limit:
                    break
        return found[:limit]

    async def list_namespaces(self, thread_id: str) -> list[str]:
        async with self._clients.client() as client:
            rows = await client.fetch("list_namespaces", {"thread_id": thread_id.encode()}, 10)
        return [namespace.decode() for namespace in sorted(row[0] or b"" for row in rows)]

    @property
    def transfers(self) -> bool:
        return True

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        return await self._summaries("list_latest", {"limit": limit}, limit)

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int) -> list[CheckpointSummary]:
        parameters = {"field_hash": field_hash(key, value), "limit": limit}
        return await self._summaries("query_by_metadata", parameters, limit)

    async def search(self, terms: list[str], limit: int, text_of: Callable[[bytes], str]) -> list[SearchHit]:
        from locus_memory.backends.oracle_search import index_changed_threads, search_binds

        parameters = search_binds(terms) | {"limit": limit}
        async with self._clients.client() as client:
            await index_changed_threads(client, text_of)
            rows = await client.search(parameters, len(terms), limit)
        return [SearchHit(_summary(row), float(row[6])) for row in rows]

    async def vacuum(self, before: datetime) -> int:
        deleted, old = 0, {"before": _stored_time(before)}
        async with self._clients.client() as client:
            while rows := await client.fetch("old_threads", old | {"limit": _VACUUM_THREADS}, _VACUUM_THREADS):
                threads = [{"thread_key": row[0]} for row in rows]
                # Saves take the thread's row first, too, and see what is left.
                await client.execute_many("lock_threads", threads)
                deleted += await client.execute_many("delete_old", [thread | old for thread in threads])
                await client.execute_many("delete_if_empty", threads)
                await client.execute_many("repair_latest", threads, commit=True)
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
        return f"OracleBackend({connection.dsn}, {Names(connection.table_name, connection.owner).qualified()})"

    async def _summaries(self, statement: str, parameters: Mapping[str, Any], limit: int) -> list[CheckpointSummary]:
        async with self._clients.client() as client:
            return [_summary(row) for row in await client.fetch(statement, parameters, limit)]


async def _pages(
    client: Client, statement: str, binds: Mapping[str, Any], low: bytes, limit: int
) -> AsyncIterator[list[str]]:
    """Run a listing of thread ids page by page; a thread with several namespaces is on one page, once."""
    size = min(limit, _LIST_PAGE)
    while rows := await client.fetch(statement, {**binds, "low": low, "limit": size}, size):
        yield list(dict.fromkeys(row[0].decode() for row in rows))
        if len(rows) < size:
            return
        low = _behind(rows[-1][0])


def _behind(thread_id: bytes) -> bytes:
    """Return the least id that comes after one."""
    return thread_id + b"\0"


async def _point_at(
    client: Client, checkpoint: NewCheckpoint, key: dict[str, Any], expected: str | Unchecked | None
) -> bool:
    """Lock the thread's row and make the checkpoint its latest; tell whether the latest was the expected one."""
    thread = key | {"thread_id": checkpoint.thread_id.encode(), "namespace": checkpoint.namespace.encode() or None}
    if expected is None:
        return await client.execute_unless_present("put_first", thread) > 0
    if isinstance(expected, str):
        return await client.execute("put_next", key | {"expected": expected.encode()}) > 0
    # Of two sessions that create the row at once, the second waits for the first and then finds it there.
    while not await client.execute_unless_present("put", thread):
        pass
    return True


async def _write(client: Client, checkpoint: NewCheckpoint, key: dict[str, Any]) -> None:
    row = key | {
        "created_at": None if checkpoint.created_at is None else _stored_time(checkpoint.created_at),
        "parent_id": None if checkpoint.parent_id is None else checkpoint.parent_id.encode(),
        # Escaped, so that the database's character set does not matter.
        "metadata": json.dumps(checkpoint.metadata, ensure_ascii=True, allow_nan=False),
        "payload_bytes": len(checkpoint.payload),
        "payload": checkpoint.payload,
    }
    # Queries cover the empty namespace only.
    fields = [] if checkpoint.namespace else [key | {"field_hash": each} for each in field_hashes(checkpoint.metadata)]
    if not await client.execute_unless_present("insert_checkpoint", row, commit=not fields):
        await client.execute("forget_fields", key)
        await client.execute("replace_checkpoint", row, commit=not fields)
    if fields:
        await client.execute_many("index_field", fields, commit=True)


def oracle_checkpointer(
    dsn: str,
    user: str | None = None,
    password: str | None = None,
    wallet_location: str | None = None,
    wallet_password: str | None = None,
    table_name: str = "locus_checkpoints",
    schema: str | None = None,
    *,
    config_dir: str | None = None,
    ca: str | None = None,
    ssl_server_dn_match: bool = True,
    ssl_server_cert_dn: str | None = None,
    pool_max_size: int = 10,
    tables: Literal["auto", "provisioned"] = "auto",
    **options: Unpack[AdapterOptions],
) -> StorageBackendAdapter:
    """Make a checkpointer on Oracle Database.

    Args:
        dsn: Connect descriptor, EZConnect string such as `db.example.com:1521/service` (`tcps://...` for TLS), or
            alias in tnsnames.ora; without login.
        user: Login.
        password: Its password.
        wallet_location: Directory of the wallet; `~` is the home directory.
        wallet_password: Its password, for wallets with a private key.
        table_name: Name of the table of checkpoints; the others' start with it. Case does not matter.
        schema: Owner of the tables; the login by default.
        config_dir: Directory of tnsnames.ora; the wallet's by default.
        ca: Certificates that sign the server's, PEM text, for TLS without a wallet.
        ssl_server_dn_match: The server's certificate must name the host, or be `ssl_server_cert_dn`.
        ssl_server_cert_dn: Distinguished name of the server's certificate.
        pool_max_size: Connections per event loop, at least 1.
        tables: `provisioned` to never run DDL.
        options: `state_type`, `retry`, `compression`, `encryption_key`; see `locus_memory.adapter.AdapterOptions`.

    Raises:
        MissingDriverError: python-oracledb is not installed.
        BindingError: An argument cannot be used.
    """
    try:
        connection = OracleConnection(
            dsn=dsn,
            username=user,
            password=None if password is None else SecretStr(password),
            wallet_location=wallet_location,
            wallet_password=None if wallet_password is None else SecretStr(wallet_password),
            table_name=table_name,
            owner=schema,
            config_dir=config_dir,
            ca=ca,
            ssl_server_dn_match=ssl_server_dn_match,
            ssl_server_cert_dn=ssl_server_cert_dn,
            pool_max_size=pool_max_size,
            tables=tables,
        )
    except ValidationError as error:
        raise BindingError(f"oracle_checkpointer: {describe(error)}") from None
    return from_connection(lambda: connection, **options)


def from_connection(source: Callable[[], OracleConnection], **options: Unpack[AdapterOptions]) -> StorageBackendAdapter:
    """Make a checkpointer from a binding; `source` returns its document as it is now."""
    return StorageBackendAdapter(OracleBackend(source), **options)


def field_hash(name: str, value: JsonValue) -> bytes:
    """Return what stands for a metadata field with a value; equal ones have equal hashes."""
    return hashlib.sha256(canonical([name, value]).encode()).digest()


def field_hashes(metadata: Mapping[str, JsonValue]) -> list[bytes]:
    """Return the hashes of all fields that a query can ask for, each once: a list matches its items, too."""
    found = {field_hash(name, value): None for name, value in metadata.items()}
    for name, value in metadata.items():
        found |= {field_hash(name, item): None for item in (value if isinstance(value, list) else ())}
    return list(found)


def _thread_key(thread_id: str, namespace: str) -> bytes:
    # The length keeps id and namespace apart: both may hold any character.
    encoded = thread_id.encode()
    return hashlib.sha256(len(encoded).to_bytes(4) + encoded + namespace.encode()).digest()


def _key(thread_id: str, checkpoint_id: str | None, namespace: str) -> dict[str, Any]:
    key = {"thread_key": _thread_key(thread_id, namespace)}
    return key if checkpoint_id is None else key | {"checkpoint_id": checkpoint_id.encode()}


def _stored_time(time: datetime) -> datetime:
    # Stored in UTC: the driver does not keep time zones.
    return time.astimezone(UTC).replace(tzinfo=None)


def _summary(row: Iterable[Any]) -> CheckpointSummary:
    thread_id, checkpoint_id, metadata, created_at, namespace, parent_id, *_ = row
    return CheckpointSummary(
        thread_id=thread_id.decode(),
        checkpoint_id=checkpoint_id.decode(),
        metadata=json.loads(metadata),
        created_at=created_at.replace(tzinfo=UTC),
        namespace=(namespace or b"").decode(),
        parent_id=None if parent_id is None else parent_id.decode(),
    )
