"""Oracle Database 19c or later, Autonomous Database included: two round trips for a save, no LOB locators."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack

from pydantic import JsonValue, SecretStr, ValidationError

from locus_memory.adapter import AdapterOptions, StorageBackendAdapter
from locus_memory.arguments import MAX_ID_BYTES
from locus_memory.backends.oracle_rows import field_hash, key_of, stored_time, summary_of, thread_key, thread_row
from locus_memory.backends.oracle_schema import Names
from locus_memory.checkpointer import UNCHECKED, CheckpointerCapabilities, Unchecked
from locus_memory.connection import OracleConnection, describe
from locus_memory.drivers import require
from locus_memory.errors import BindingError, CheckpointConflictError, StateTooLargeError
from locus_memory.following import FollowsDocument
from locus_memory.history import first_matching
from locus_memory.storage import (
    CheckpointSummary,
    NewCheckpoint,
    PendingWrite,
    SearchHit,
    StorageBackend,
    StoredCheckpoint,
)

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


class OracleBackend(FollowsDocument[OracleConnection], StorageBackend):
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

        self._clients = self._follow(connection, Clients)

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        return _CAPABILITIES

    async def put(
        self, checkpoint: NewCheckpoint, *, expected_checkpoint_id: str | Unchecked | None = UNCHECKED
    ) -> None:
        largest = max(map(len, (checkpoint.payload, *checkpoint.parts.values())))
        if largest > MAX_PAYLOAD_BYTES:
            raise StateTooLargeError(
                f"thread {checkpoint.thread_id!r}: {largest:,} bytes; Oracle takes at most {MAX_PAYLOAD_BYTES:,}"
            )
        from locus_memory.backends.oracle_saves import point_at, write

        key = key_of(checkpoint.thread_id, checkpoint.checkpoint_id, checkpoint.namespace)
        async with self._clients.client() as client:
            if not await point_at(client, checkpoint, key, expected_checkpoint_id):
                raise CheckpointConflictError(
                    f"thread {checkpoint.thread_id!r}: the latest checkpoint is not {expected_checkpoint_id!r} "
                    "as expected"
                )
            await write(client, checkpoint, key)

    async def get(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> StoredCheckpoint | None:
        statement = "get_latest" if checkpoint_id is None else "get_one"
        async with self._clients.client() as client:
            rows = await client.fetch(statement, key_of(thread_id, checkpoint_id, namespace))
        # An empty BLOB is bound, and stored, as NULL.
        return StoredCheckpoint(summary_of(rows[0]), rows[0][6] or b"") if rows else None

    async def get_summary(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> CheckpointSummary | None:
        statement = "summary_latest" if checkpoint_id is None else "summary_one"
        found = await self._summaries(statement, key_of(thread_id, checkpoint_id, namespace), 1)
        return found[0] if found else None

    async def list_checkpoints(self, thread_id: str, limit: int, *, namespace: str = "") -> list[CheckpointSummary]:
        parameters = key_of(thread_id, None, namespace) | {"limit": limit}
        return await self._summaries("list_checkpoints", parameters, limit)

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> bool:
        key = key_of(thread_id, checkpoint_id, namespace)
        thread = {"thread_key": key["thread_key"]}
        async with self._clients.client() as client:
            locked = await client.lock("lock_thread", key)
            latest, has_parts, has_writes = locked[0] if locked else (None, 0, 0)
            statements: dict[str, Mapping[str, Any]] = {"delete_checkpoint": key}
            if has_writes:
                statements |= {"delete_writes": key}
            if has_parts:
                statements |= {"delete_unused_parts": thread}
            if latest == key["checkpoint_id"]:
                statements |= {"delete_if_empty": thread, "repair_latest": thread}
            counts = [
                await client.execute(name, binds, commit=name == list(statements)[-1])
                for name, binds in statements.items()
            ]
        return counts[0] > 0

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None = None, *, namespace: str = ""
    ) -> list[StoredCheckpoint]:
        from locus_memory.backends.oracle_history import get_complete

        async with self._clients.client() as client:
            return await get_complete(client, key_of(thread_id, None, namespace), checkpoint_ids)

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], *, namespace: str = ""
    ) -> None:
        from locus_memory.backends.oracle_history import put_writes

        key = key_of(thread_id, checkpoint_id, namespace)
        async with self._clients.client() as client:
            await put_writes(client, key, thread_row(thread_id, namespace), writes)

    async def get_writes(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> list[PendingWrite]:
        from locus_memory.backends.oracle_history import get_writes

        async with self._clients.client() as client:
            return await get_writes(client, key_of(thread_id, checkpoint_id, namespace))

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
                    "destination_key": thread_key(dest_thread_id, (namespace or b"").decode()),
                }
                await client.execute("copy_thread", keys | {"destination": destination})
                await client.execute("copy_checkpoints", keys)
                for statement in ("copy_fields", "copy_parts", "copy_needs", "copy_writes"):
                    await client.execute(statement, keys)
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
        return [SearchHit(summary_of(row), float(row[6])) for row in rows]

    async def vacuum(self, before: datetime) -> int:
        deleted, old = 0, {"before": stored_time(before)}
        async with self._clients.client() as client:
            while rows := await client.fetch("old_threads", old | {"limit": _VACUUM_THREADS}, _VACUUM_THREADS):
                threads = [{"thread_key": row[0]} for row in rows]
                # Saves take the thread's row first, too, and see what is left.
                await client.execute_many("lock_threads", threads)
                old_in = [thread | old for thread in threads]
                await client.execute_many("delete_old_writes", old_in)
                deleted += await client.execute_many("delete_old", old_in)
                await client.execute_many("delete_unused_parts", threads)
                await client.execute_many("delete_if_empty", threads)
                await client.execute_many("repair_latest", threads, commit=True)
        return deleted

    def __repr__(self) -> str:
        connection = self._clients.connection
        return f"OracleBackend({connection.dsn}, {Names(connection.table_name, connection.owner).qualified()})"

    async def _summaries(self, statement: str, parameters: Mapping[str, Any], limit: int) -> list[CheckpointSummary]:
        async with self._clients.client() as client:
            return [summary_of(row) for row in await client.fetch(statement, parameters, limit)]


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
