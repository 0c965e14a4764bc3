"""Cross-thread store on PostgreSQL: one round trip for each call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any, Literal, Unpack

from pydantic import JsonValue

from locus_memory.backends.postgresql import connection_of
from locus_memory.backends.postgresql_text import load_text, store_json, store_text
from locus_memory.connection import PostgreSQLConnection
from locus_memory.drivers import require
from locus_memory.following import FollowsDocument
from locus_memory.store import Namespace
from locus_memory.store_arguments import MAX_NAMESPACE_BYTES, namespace_of, namespace_text
from locus_memory.store_face import PortStore, StoreOptions
from locus_memory.store_port import NewItem, ScoredItem, StoreBackend, StoredItem
from locus_memory.vectors import Vector

_BEHIND_ALL = "\U0010ffff" * MAX_NAMESPACE_BYTES
"""Sorts behind the text of every namespace: these are shorter."""


class PostgreSQLStoreBackend(FollowsDocument[PostgreSQLConnection], StoreBackend):
    """Keeps items in a table of a schema, PostgreSQL 14 or later, beside the checkpoints if there are any.

    Embeddings are compared exactly: by the extension pgvector where the database has it, else in plain SQL.

    Args:
        connection: The document, or a function that returns it as it is now; then changed logins and hosts are
            picked up when the old ones stop working.
    """

    def __init__(self, connection: PostgreSQLConnection | Callable[[], PostgreSQLConnection]) -> None:
        require("psycopg", "postgresql")
        from locus_memory.backends.postgresql_client import Clients, Tables
        from locus_memory.store_backends.postgresql_schema import SCHEMA_VERSION, ddl
        from locus_memory.store_backends.postgresql_statements import Statements

        tables = Tables(Statements, ddl, SCHEMA_VERSION)
        self._clients = self._follow(connection, lambda document: Clients(document, tables))
        self._pgvector: tuple[int, str] | None = None

    async def put(self, items: Sequence[NewItem]) -> None:
        steps = [("put" if item.ttl_seconds is None else "put_expiring", _parameters(item)) for item in items]
        async with self._clients.client() as client:
            if len(steps) == 1:
                await client.execute(*steps[0])
            else:
                # Batches that overlap lock rows in the same order, or they could wait for each other for ever.
                await client.transaction(sorted(steps, key=lambda step: (step[1]["namespace"], step[1]["key"])))

    async def get(self, places: Sequence[tuple[Namespace, str]]) -> list[StoredItem]:
        namespaces = [namespace_text(namespace) for namespace, _ in places]
        keys = [store_text(key) for _, key in places]
        if len(places) == 1:
            return await self._items("get", {"namespace": store_text(namespaces[0]), "key": keys[0]})
        return await self._items("get_many", {"namespaces": [*map(store_text, namespaces)], "keys": keys})

    async def touch(self, items: Sequence[tuple[StoredItem, float]]) -> None:
        rows = sorted((namespace_text(item.namespace), item.key, item.version, seconds) for item, seconds in items)
        namespaces, keys, versions, seconds = zip(*rows, strict=True)
        parameters = {
            "namespaces": [*map(store_text, namespaces)],
            "keys": [*map(store_text, keys)],
            "versions": [*versions],
            "seconds": [*seconds],
        }
        async with self._clients.client() as client:
            await client.execute("touch", parameters)

    async def delete(self, namespace: Namespace, key: str) -> bool:
        return await self._count("delete", _in(namespace) | {"key": store_text(key)}) > 0

    async def list_keys(self, namespace: Namespace, limit: int) -> list[str]:
        async with self._clients.client() as client:
            rows = await client.fetch("list_keys", _in(namespace) | {"limit": limit})
        return [load_text(row[0]) for row in rows]

    async def search(
        self,
        namespace: Namespace,
        terms: list[str],
        limit: int,
        metadata_filter: Mapping[str, JsonValue],
        words_of: Callable[[bytes], dict[str, int]],
    ) -> list[StoredItem]:
        parameters = _in(namespace) | {"filter": store_json(metadata_filter), "limit": limit}
        if not terms:
            return await self._items("newest", parameters)
        # Runs of letters, digits and underscores: they need no escape.
        query = " & ".join(f"'{term}'" for term in terms)
        return await self._items("search", parameters | {"query": query, "terms": terms})

    async def nearest(
        self,
        namespace: Namespace,
        vector: Vector,
        limit: int,
        lowest: float,
        metadata_filter: Mapping[str, JsonValue],
    ) -> list[ScoredItem]:
        parameters = _in(namespace) | {
            "vector": _array(vector),
            "limit": limit,
            "lowest": lowest,
            "filter": store_json(metadata_filter),
        }
        return await self._scored("nearest", parameters)

    async def nearest_below(self, prefix: Namespace, vector: Vector, limit: int) -> list[ScoredItem]:
        parameters = {"vector": _array(vector), "limit": limit, "lowest": -2.0, "filter": "{}"}
        return await self._scored("nearest_below", _below(prefix) | parameters)

    async def newest_below(self, prefix: Namespace, limit: int) -> list[StoredItem]:
        return await self._items("newest_below", _below(prefix) | {"limit": limit})

    async def list_namespaces(self, prefix: Namespace, limit: int) -> list[Namespace]:
        async with self._clients.client() as client:
            rows = await client.fetch("list_namespaces", _below(prefix) | {"limit": limit})
        return [namespace_of(load_text(row[0])) for row in rows]

    async def clear(self, namespace: Namespace) -> int:
        return await self._count("clear", _in(namespace))

    def __repr__(self) -> str:
        connection = self._clients.connection
        where = f"{connection.host}:{connection.port}/{connection.database}, {connection.schema_name}"
        return f"PostgreSQLStoreBackend({where})"

    async def _scored(self, statement: str, parameters: Mapping[str, Any]) -> list[ScoredItem]:
        async with self._clients.client() as client:
            extension = await self._extension(client)
            rows = await client.fetch(f"{statement}{extension}", parameters)
        return [ScoredItem(_item(row), float(row[7])) for row in rows]

    async def _extension(self, client: Any) -> str:
        version = self._clients.version
        if self._pgvector is None or self._pgvector[0] != version:
            from locus_memory.store_backends.postgresql_statements import PGVECTOR

            found = await client.fetch("extension", {})
            self._pgvector = version, f"{PGVECTOR}{found[0][0]}" if found else ""
        return self._pgvector[1]

    async def _items(self, statement: str, parameters: Mapping[str, Any]) -> list[StoredItem]:
        async with self._clients.client() as client:
            return [_item(row) for row in await client.fetch(statement, parameters)]

    async def _count(self, statement: str, parameters: Mapping[str, Any]) -> int:
        async with self._clients.client() as client:
            [[count]] = await client.fetch(statement, parameters)
        return int(count)


class PostgreSQLStore(PortStore):
    """A cross-thread store on PostgreSQL.

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
        options: `dimension`, `ttl_seconds`, `retry`, `compression`, `encryption_key`; see
            `locus_memory.store_face.StoreOptions`.

    Raises:
        MissingDriverError: psycopg is not installed.
        BindingError: The connection string cannot be understood.
    """

    def __init__(
        self,
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
        **options: Unpack[StoreOptions],
    ) -> None:
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
        super().__init__(PostgreSQLStoreBackend(connection), **options)


def from_connection(source: Callable[[], PostgreSQLConnection], **options: Unpack[StoreOptions]) -> PortStore:
    """Make a store from a binding; `source` returns its document as it is now."""
    return PortStore(PostgreSQLStoreBackend(source), **options)


def _in(namespace: Namespace) -> dict[str, Any]:
    return {"namespace": store_text(namespace_text(namespace))}


def _below(prefix: Namespace) -> dict[str, Any]:
    # All texts are at least U+0001; those below a prefix go on with "/", and "0" is the character behind it.
    itself = store_text(namespace_text(prefix))
    first, end = (f"{itself}/", f"{itself}0") if prefix else ("", _BEHIND_ALL)
    return {"itself": itself, "first": first, "end": end}


def _parameters(item: NewItem) -> dict[str, Any]:
    return _in(item.namespace) | {
        "key": store_text(item.key),
        "ttl_seconds": item.ttl_seconds,
        "metadata": store_json(item.metadata),
        "words": None if item.words is None else _tsvector(item.words()),
        "embedding": None if item.embedding is None else _arrays(item.embedding, *item.more_embeddings),
        "payload": item.payload,
    }


def _tsvector(counts: Mapping[str, int]) -> str:
    # As many positions as occurrences; which ones does not matter, and the limits of tsvector are not met:
    # https://www.postgresql.org/docs/current/textsearch-limitations.html
    return " ".join(f"'{word}':{','.join(map(str, range(1, count + 1)))}" for word, count in counts.items())


def _array(vector: Vector) -> str:
    # Nine digits tell all 32-bit floats apart.
    return "{" + ",".join([f"{number:.9g}" for number in vector]) + "}"


def _arrays(*vectors: Vector) -> str:
    # Several are the rows of a matrix.
    return _array(vectors[0]) if len(vectors) == 1 else "{" + ",".join(map(_array, vectors)) + "}"


def _item(row: Sequence[Any]) -> StoredItem:
    namespace, key, payload, created_at, updated_at, version, expires_at, *_ = row
    return StoredItem(
        namespace_of(load_text(namespace)),
        load_text(key),
        payload,
        created_at.astimezone(UTC),
        updated_at.astimezone(UTC),
        version,
        None if expires_at is None else expires_at.astimezone(UTC),
    )
