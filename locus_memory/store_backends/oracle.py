"""Cross-thread store on Oracle Database: plain items from 19c on, embeddings from 23ai on."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack

from pydantic import JsonValue, SecretStr, ValidationError

from locus_memory.backends.oracle_rows import field_hash, field_hashes
from locus_memory.connection import OracleConnection, describe
from locus_memory.drivers import require
from locus_memory.errors import BindingError
from locus_memory.following import FollowsDocument
from locus_memory.store import Namespace
from locus_memory.store_arguments import check_dimension, namespace_of, namespace_text
from locus_memory.store_face import PortStore, StoreOptions
from locus_memory.store_port import NewItem, ScoredItem, StoreBackend, StoredItem
from locus_memory.vectors import Vector

if TYPE_CHECKING:
    from locus_memory.backends.oracle_client import Client

ITEMS_SUFFIX: Final = "_items"
"""The tables of a bound store are named like those of its checkpoints, with this behind."""

_BEHIND_ALL: Final = b"\xff"
"""Sorts behind the UTF-8 of every text, which has no such byte."""

_PLACES: Final = 500
"""Items that one query asks for by name."""

_PUTS_PER_PURGE: Final = 10
"""Every so many puts with a time to live, up to 100 items that have expired are removed."""


class OracleStoreBackend(FollowsDocument[OracleConnection], StoreBackend):
    """Keeps items in tables of an Oracle schema, beside the checkpoints if there are any.

    Embeddings are compared exactly, by VECTOR_DISTANCE.

    Args:
        connection: The document, or a function that returns it as it is now; then changed logins and hosts are
            picked up when the old ones stop working.
        dimension: Numbers in an embedding; None: the table of embeddings is neither made nor used.
        suffix: What is added to the document's name of a table: `""` where it is that of the items already.
    """

    several_embeddings = False

    def __init__(
        self,
        connection: OracleConnection | Callable[[], OracleConnection],
        *,
        dimension: int | None = None,
        suffix: str = "",
    ) -> None:
        require("oracledb", "oracle")
        from locus_memory.backends.oracle_client import Clients, Tables
        from locus_memory.backends.oracle_schema import Names
        from locus_memory.store_backends.oracle_schema import SCHEMA_VERSION, ddl
        from locus_memory.store_backends.oracle_statements import Statements

        def tables_of(document: OracleConnection) -> Tables:
            name = f"{document.table_name}{suffix}"
            names = Names(name, document.owner)
            statements = Statements(names, vectors=dimension is not None)
            return Tables(names, statements, ddl(name, document.owner, dimension), SCHEMA_VERSION)

        self._clients = self._follow(connection, lambda document: Clients(document, tables_of))
        self._suffix = suffix
        self._expiring_puts = itertools.count(1)

    async def put(self, items: Sequence[NewItem]) -> None:
        # Batches that overlap lock rows in the same order, or they could wait for each other for ever.
        rows = sorted((_row(item) for item in items), key=lambda row: (row["namespace"], row["item_key"]))
        vectors = [_place(item) | {"embedding": item.embedding} for item in items if item.embedding is not None]
        async with self._clients.client() as client:
            if any(item.ttl_seconds is not None for item in items) and self._purge_is_due():
                await client.execute("purge", {}, commit=True)
            while not await _write(client, rows, vectors):
                # Another writer has just put an item of the same name there.
                await client.rollback()

    def _purge_is_due(self) -> bool:
        return next(self._expiring_puts) % _PUTS_PER_PURGE == 0

    async def get(self, places: Sequence[tuple[Namespace, str]]) -> list[StoredItem]:
        found: list[StoredItem] = []
        async with self._clients.client() as client:
            for start in range(0, len(places), _PLACES):
                page = [_named(*place) for place in places[start : start + _PLACES]]
                if len(places) == 1:
                    rows = await client.fetch("get", page[0])
                else:
                    # Filled up, so that there are few different statements.
                    count = 1 << (len(page) - 1).bit_length()
                    page += [page[-1]] * (count - len(page))
                    binds = {f"{name}_{n}": value for n, place in enumerate(page) for name, value in place.items()}
                    rows = await client.fetch(f"get {count}", binds, len(page))
                found += map(_item, rows)
        return found

    async def touch(self, items: Sequence[tuple[StoredItem, float]]) -> None:
        rows = [
            _named(item.namespace, item.key) | {"item_version": item.version, "ttl_seconds": seconds}
            for item, seconds in items
        ]
        async with self._clients.client() as client:
            in_order = sorted(rows, key=lambda row: (row["namespace"], row["item_key"]))
            await client.execute_many("touch", in_order, commit=True)

    async def delete(self, namespace: Namespace, key: str) -> bool:
        async with self._clients.client() as client:
            return await client.execute("delete", _named(namespace, key), commit=True) > 0

    async def list_keys(self, namespace: Namespace, limit: int) -> list[str]:
        async with self._clients.client() as client:
            rows = await client.fetch("list_keys", _in(namespace) | {"limit": limit}, limit)
        return [row[0].decode() for row in rows]

    async def search(
        self,
        namespace: Namespace,
        terms: list[str],
        limit: int,
        metadata_filter: Mapping[str, JsonValue],
        words_of: Callable[[bytes], dict[str, int]],
    ) -> list[StoredItem]:
        binds = _in(namespace) | _wanted(metadata_filter) | {"limit": limit}
        binds |= {f"term_{number}": _word_token(term) for number, term in enumerate(terms)}
        async with self._clients.client() as client:
            rows = await client.fetch(f"search {len(metadata_filter)} {len(terms)}", binds, limit)
        return [_item(row) for row in rows]

    async def nearest(
        self,
        namespace: Namespace,
        vector: Vector,
        limit: int,
        lowest: float,
        metadata_filter: Mapping[str, JsonValue],
    ) -> list[ScoredItem]:
        binds = _in(namespace) | _wanted(metadata_filter) | {"limit": limit, "lowest": lowest, "embedding": vector}
        async with self._clients.client() as client:
            rows = await client.fetch(f"nearest {len(metadata_filter)}", binds, limit)
        return [ScoredItem(_item(row), float(row[7])) for row in rows]

    async def list_namespaces(self, prefix: Namespace, limit: int) -> list[Namespace]:
        itself = namespace_text(prefix).encode()
        # Those below a prefix go on with "/", and "0" is the character behind it.
        low, high = (itself + b"/", itself + b"0") if prefix else (b"\0", _BEHIND_ALL)
        binds = {"itself": itself or b"\0", "low": low, "high": high, "limit": limit}
        async with self._clients.client() as client:
            rows = await client.fetch("list_namespaces", binds, limit)
        return [namespace_of(row[0].decode()) for row in rows]

    async def clear(self, namespace: Namespace) -> int:
        async with self._clients.client() as client:
            count = await client.execute("clear", _in(namespace))
            await client.execute("clear_rest", _in(namespace), commit=True)
        return count

    def __repr__(self) -> str:
        connection = self._clients.connection
        return f"OracleStoreBackend({connection.dsn}, {connection.table_name}{self._suffix})"


class OracleStore(PortStore):
    """A cross-thread store on Oracle Database, 19c or later; with `dimension`, 23ai or later.

    Args:
        dsn: Connect descriptor, EZConnect string such as `db.example.com:1521/service` (`tcps://...` for TLS), or
            alias in tnsnames.ora; without login.
        user: Login.
        password: Its password.
        wallet_location: Directory of the wallet; `~` is the home directory.
        wallet_password: Its password, for wallets with a private key.
        table_name: Name of the table of items; the others' start with it. Case does not matter.
        schema: Owner of the tables; the login by default. `schema_name` is accepted as well.
        schema_name: Another name of `schema`.
        config_dir: Directory of tnsnames.ora; the wallet's by default.
        ca: Certificates that sign the server's, PEM text, for TLS without a wallet.
        ssl_server_dn_match: The server's certificate must name the host, or be `ssl_server_cert_dn`.
        ssl_server_cert_dn: Distinguished name of the server's certificate.
        pool_max_size: Connections per event loop, at least 1.
        tables: `provisioned` to never run DDL.
        options: `dimension`, `ttl_seconds`, `retry`, `compression`, `encryption_key`; see
            `locus_memory.store_face.StoreOptions`.

    Raises:
        MissingDriverError: python-oracledb is not installed.
        BindingError: An argument cannot be used.
    """

    def __init__(
        self,
        dsn: str,
        user: str | None = None,
        password: str | None = None,
        wallet_location: str | None = None,
        wallet_password: str | None = None,
        table_name: str = "locus_store",
        schema: str | None = None,
        *,
        schema_name: str | None = None,
        config_dir: str | None = None,
        ca: str | None = None,
        ssl_server_dn_match: bool = True,
        ssl_server_cert_dn: str | None = None,
        pool_max_size: int = 10,
        tables: Literal["auto", "provisioned"] = "auto",
        **options: Unpack[StoreOptions],
    ) -> None:
        try:
            connection = OracleConnection(
                dsn=dsn,
                username=user,
                password=None if password is None else SecretStr(password),
                wallet_location=wallet_location,
                wallet_password=None if wallet_password is None else SecretStr(wallet_password),
                table_name=table_name,
                owner=schema_name or schema,
                config_dir=config_dir,
                ca=ca,
                ssl_server_dn_match=ssl_server_dn_match,
                ssl_server_cert_dn=ssl_server_cert_dn,
                pool_max_size=pool_max_size,
                tables=tables,
            )
        except ValidationError as error:
            raise BindingError(f"OracleStore: {describe(error)}") from None
        check_dimension(options.get("dimension"))
        super().__init__(OracleStoreBackend(connection, dimension=options.get("dimension")), **options)


def from_connection(source: Callable[[], OracleConnection], **options: Unpack[StoreOptions]) -> PortStore:
    """Make a store from a binding; `source` returns its document as it is now."""
    check_dimension(options.get("dimension"))
    backend = OracleStoreBackend(source, dimension=options.get("dimension"), suffix=ITEMS_SUFFIX)
    return PortStore(backend, **options)


async def _write(client: Client, rows: Sequence[Mapping[str, Any]], vectors: Sequence[Mapping[str, Any]]) -> bool:
    """Write items in one transaction; False where another writer has added one of them meanwhile."""
    if len(rows) != 1 or not await client.execute("update", rows[0], commit=not vectors):
        names = [{"namespace": row["namespace"], "item_key": row["item_key"]} for row in rows]
        if not await client.execute_many_unless_present("make_room", names):
            return False
        await client.execute_many("update", rows, commit=not vectors)
    if vectors:
        await client.execute_many("embed", vectors, commit=True)
    return True


def _in(namespace: Namespace) -> dict[str, Any]:
    return {"namespace": namespace_text(namespace).encode()}


def _named(namespace: Namespace, key: str) -> dict[str, Any]:
    return _in(namespace) | {"item_key": key.encode()}


def _place(item: NewItem) -> dict[str, Any]:
    return _named(item.namespace, item.key)


def _row(item: NewItem) -> dict[str, Any]:
    counts = item.words() if item.words else {}
    return _place(item) | {
        "ttl_seconds": item.ttl_seconds or 0,
        # The dot, because an empty text is none.
        "fields": "." + "".join([_token(each) for each in field_hashes(item.metadata)]),
        "words": "." + "".join([_word_token(word) * count for word, count in counts.items()]),
        "payload": item.payload,
    }


def _wanted(metadata_filter: Mapping[str, JsonValue]) -> dict[str, str]:
    return {
        f"field_{number}": _token(field_hash(name, value))
        for number, (name, value) in enumerate(metadata_filter.items())
    }


def _word_token(word: str) -> str:
    return _token(hashlib.sha256(word.encode()).digest())


def _token(digest: bytes) -> str:
    return f" {digest[:8].hex()}"


def _item(row: Sequence[Any]) -> StoredItem:
    namespace, key, payload, created_at, updated_at, version, expires_at, *_ = row
    return StoredItem(
        namespace_of(namespace.decode()),
        key.decode(),
        payload,
        _utc(created_at),
        _utc(updated_at),
        int(version),
        None if expires_at is None else _utc(expires_at),
    )


def _utc(time: datetime) -> datetime:
    # Stored in UTC: the driver does not keep time zones.
    return time.replace(tzinfo=UTC)
