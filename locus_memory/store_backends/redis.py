"""Cross-thread store on Redis and Valkey, alone, below Sentinels, or as a Cluster; no search module is needed.

A put is as durable as the server's configuration makes it: see `appendfsync`.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import sys
from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Unpack

from pydantic import JsonValue

from locus_memory.connection import RedisConnection
from locus_memory.drivers import require
from locus_memory.errors import BindingError, CorruptCheckpointError
from locus_memory.following import FollowsDocument
from locus_memory.metadata import matches
from locus_memory.store import Namespace
from locus_memory.store_arguments import namespace_of, namespace_text
from locus_memory.store_backends import redis_scripts as scripts
from locus_memory.store_face import PortStore, StoreOptions
from locus_memory.store_port import NewItem, ScoredItem, StoreBackend, StoredItem, rank
from locus_memory.urls import parse_url
from locus_memory.vectors import Vector, similarity

if TYPE_CHECKING:
    from locus_memory.backends.redis_client import Client
    from locus_memory.backends.redis_keys import KeyLayout

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PAGE = 500
"""Items that one script looks at, at most: the server serves nobody else meanwhile."""

PAGE_BYTES = 4 * 1024 * 1024
"""A page of values or embeddings ends with the one that exceeds this."""


class _Row(NamedTuple):
    key: bytes
    order: int
    head: bytes
    body: bytes
    metadata: bytes


class RedisStoreBackend(FollowsDocument[RedisConnection], StoreBackend):
    """Keeps items below a key prefix, beside the checkpoints if there are any. Redis 6.2 or later, or Valkey.

    Words and embeddings are compared by the client, which reads a namespace page by page to do so.

    Args:
        connection: The document, or a function that returns it as it is now; then changed logins and hosts are
            picked up when the old ones stop working. Its `ttl_seconds` is that of threads, not of items.
    """

    stores_words = False

    def __init__(self, connection: RedisConnection | Callable[[], RedisConnection]) -> None:
        require("redis", "redis")
        from locus_memory.backends.redis_client import Client

        self._client: Client = self._follow(connection, Client)

    @property
    def atomic_batches(self) -> bool:
        return len(self._client.spaces.all) == 1

    async def put(self, items: Sequence[NewItem]) -> None:
        by_space: dict[KeyLayout, list[str | bytes | int]] = {}
        for item in items:
            by_space.setdefault(self._space(item.namespace), []).extend(_arguments(item))
        await self._gather(
            [self._client.run(scripts.PUT, space.prefix, *arguments) for space, arguments in by_space.items()]
        )

    async def get(self, places: Sequence[tuple[Namespace, str]]) -> list[StoredItem]:
        by_space: dict[KeyLayout, list[str | bytes | int]] = {}
        for namespace, key in places:
            by_space.setdefault(self._space(namespace), []).extend((namespace_text(namespace), key))
        calls = [(space.prefix, arguments) for space, arguments in by_space.items()]
        if len(calls) == 1:
            [(prefix, arguments)] = calls
            found = [await self._client.run(scripts.GET, prefix, *arguments)]
        else:
            found = await self._client.run_all(scripts.GET, calls)
        return [_item(namespace_of(text.decode()), key, head, data) for rows in found for text, key, head, data in rows]

    async def touch(self, items: Sequence[tuple[StoredItem, float]]) -> None:
        by_space: dict[KeyLayout, list[str | bytes | int]] = {}
        for item, seconds in items:
            place = (namespace_text(item.namespace), item.key, item.version, max(1, round(seconds * 1000)))
            by_space.setdefault(self._space(item.namespace), []).extend(place)
        await self._gather(
            [self._client.run(scripts.TOUCH, space.prefix, *arguments) for space, arguments in by_space.items()]
        )

    async def delete(self, namespace: Namespace, key: str) -> bool:
        return bool(await self._run(scripts.DELETE, namespace, key))

    async def list_keys(self, namespace: Namespace, limit: int) -> list[str]:
        found: list[str] = []
        start: bytes | None = b"-"
        while start is not None and len(found) < limit:
            keys, last = await self._run(scripts.LIST_KEYS, namespace, start, min(limit - len(found), PAGE))
            found += [key.decode() for key in keys]
            start = None if last is None else b"(" + last
        return found

    async def search(
        self,
        namespace: Namespace,
        terms: list[str],
        limit: int,
        metadata_filter: Mapping[str, JsonValue],
        words_of: Callable[[bytes], dict[str, int]],
    ) -> list[StoredItem]:
        if not terms:
            return await self._newest(namespace, limit, metadata_filter)
        best: list[tuple[int, int, _Row]] = []
        async for page in self._pages(namespace, "data"):
            matching = [row for row in page if _matches(row, metadata_filter)]
            counts = await asyncio.to_thread(_ranks, matching, terms, words_of)
            hits = [(count, row.order, row) for count, row in zip(counts, matching, strict=True) if count]
            best = heapq.nlargest(limit, _last_of_each([*best, *hits]), key=lambda hit: hit[:2])
        return [_item(namespace, row.key, row.head, row.body) for _, _, row in best]

    async def nearest(
        self,
        namespace: Namespace,
        vector: Vector,
        limit: int,
        lowest: float,
        metadata_filter: Mapping[str, JsonValue],
    ) -> list[ScoredItem]:
        best: list[tuple[float, int, _Row]] = []
        async for page in self._pages(namespace, "vector"):
            matching = [row for row in page if _matches(row, metadata_filter)]
            scores = await asyncio.to_thread(_scores, matching, vector)
            hits = [
                (score, row.order, row)
                for score, row in zip(scores, matching, strict=True)
                if score is not None and score >= lowest
            ]
            best = heapq.nlargest(limit, _last_of_each([*best, *hits]), key=lambda hit: hit[:2])
        found = {item.key: item for item in await self._values(namespace, [row.key for _, _, row in best])}
        keys = [(row.key.decode(), score) for score, _, row in best]
        return [ScoredItem(found[key], score) for key, score in keys if key in found]

    async def list_namespaces(self, prefix: Namespace, limit: int) -> list[Namespace]:
        from locus_memory.backends.redis_listing import in_order

        found: list[Namespace] = []
        below = ""
        if prefix:
            itself = namespace_text(prefix)
            below = f"{itself}/"
            first, _ = await self._client.run(
                scripts.LIST_NAMESPACES, self._space(prefix).prefix, b"[" + itself.encode(), 1
            )
            if first and first[0].decode() == itself:
                found.append(prefix)
        async for row in in_order(self._client, scripts.LIST_NAMESPACES, below, limit, lambda row: row):
            text = row.decode()
            if len(found) == limit or not text.startswith(below):
                break
            found.append(namespace_of(text))
        return found

    async def clear(self, namespace: Namespace) -> int:
        return int(await self._run(scripts.CLEAR, namespace))

    def __repr__(self) -> str:
        connection = self._client.connection
        where = f"{connection.addresses[0]}/{connection.database}, {connection.key_prefix!r}"
        return f"RedisStoreBackend({where})"

    def _space(self, namespace: Namespace) -> KeyLayout:
        return self._client.spaces.of(namespace_text(namespace))

    async def _run(self, script: Any, namespace: Namespace, *arguments: str | bytes | int) -> Any:
        return await self._client.run(script, self._space(namespace).prefix, namespace_text(namespace), *arguments)

    @staticmethod
    async def _gather(calls: Sequence[Any]) -> None:
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _newest(
        self, namespace: Namespace, limit: int, metadata_filter: Mapping[str, JsonValue]
    ) -> list[StoredItem]:
        found: dict[bytes, _Row] = {}
        async for page in self._pages(namespace, "data", PAGE if metadata_filter else limit):
            for row in page:
                if _matches(row, metadata_filter):
                    found[row.key] = row
            if len(found) >= limit:
                break
        newest = heapq.nlargest(limit, found.values(), key=lambda row: row.order)
        return [_item(namespace, row.key, row.head, row.body) for row in newest]

    async def _values(self, namespace: Namespace, keys: Sequence[bytes]) -> list[StoredItem]:
        return await self.get([(namespace, key.decode()) for key in keys]) if keys else []

    async def _pages(self, namespace: Namespace, kind: str, count: int = PAGE) -> AsyncIterator[list[_Row]]:
        """Walk a namespace, last written first; what is written meanwhile comes at the end, once more."""
        seen: int | None = None
        while True:
            highest, newest, pages = "+inf", seen, 0
            while highest:
                lowest = "-inf" if seen is None else f"({seen}"
                rows, last = await self._run(
                    scripts.PAGE, namespace, highest, lowest, min(count, PAGE), PAGE_BYTES, kind
                )
                page = [_Row(key, int(order), head, body, metadata) for key, order, head, body, metadata in rows]
                if page and pages == 0:
                    newest = page[0].order
                pages += 1
                yield page
                highest = "" if last is None else f"({int(last)}"
            # What moved to the front while several pages were read was in none of them.
            if pages < 2 or newest is None:
                return
            seen = newest


class RedisStore(PortStore):
    """A cross-thread store on Redis or Valkey.

    Args:
        url: `redis://`, `redis+sentinel://`, `redis+cluster://` or, with TLS, `rediss…`; see `locus_memory.urls`.
            Other arguments override its parts. Its `ttl_seconds` is that of threads, not of items.
        key_prefix: Every key starts with this; `locus:` by default.
        ca: Certificates that sign the server's, PEM text.
        pool_max_size: Connections per event loop and server, at least 1.
        wait_replicas: A write returns when this many replicas have it in memory, at least 0.
        sentinel_username: Login at the Sentinels where it is not the servers', with `sentinel_password`.
        tables: Accepted for symmetry with other stores; Redis has nothing to create.
        options: `dimension`, `ttl_seconds`, `retry`, `compression`, `encryption_key`; see
            `locus_memory.store_face.StoreOptions`.

    Raises:
        MissingDriverError: redis-py is not installed.
        BindingError: The URL cannot be understood.
    """

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        *,
        key_prefix: str | None = None,
        ca: str | None = None,
        pool_max_size: int | None = None,
        wait_replicas: int | None = None,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        tables: Literal["auto", "provisioned"] = "auto",
        **options: Unpack[StoreOptions],
    ) -> None:
        connection = parse_url(url)
        if not isinstance(connection, RedisConnection):
            raise BindingError("url: write redis://, redis+sentinel:// or redis+cluster://, or rediss for TLS")
        overrides = {
            "key_prefix": key_prefix,
            "ca": ca,
            "pool_max_size": pool_max_size,
            "wait_replicas": wait_replicas,
            "sentinel_username": sentinel_username,
            "sentinel_password": sentinel_password,
            "tables": tables,
        }
        fields = connection.model_dump() | {name: value for name, value in overrides.items() if value is not None}
        super().__init__(RedisStoreBackend(RedisConnection.model_validate(fields)), **options)


def from_connection(source: Callable[[], RedisConnection], **options: Unpack[StoreOptions]) -> PortStore:
    """Make a store from a binding; `source` returns its document as it is now."""
    return PortStore(RedisStoreBackend(source), **options)


def _arguments(item: NewItem) -> tuple[str | bytes | int, ...]:
    return (
        namespace_text(item.namespace),
        item.key,
        item.payload,
        json.dumps(item.metadata, separators=(",", ":")) if item.metadata else "",
        b"" if item.embedding is None else _vector_bytes(item.embedding, *item.more_embeddings),
        0 if item.ttl_seconds is None else max(1, round(item.ttl_seconds * 1000)),
    )


def _vector_bytes(*vectors: Vector) -> bytes:
    one_after_another = b"".join(_little_endian(vector).tobytes() for vector in vectors)
    return one_after_another if len(vectors) == 1 else one_after_another + len(vectors).to_bytes(2)


def _vectors(text: bytes) -> list[Vector]:
    # Floats have four bytes each: two that are left over tell how many vectors there are.
    count = int.from_bytes(text[-2:]) if len(text) % 4 else 1
    size = len(text) // count // 4 * 4
    return [_little_endian(array("f", text[start * size : (start + 1) * size])) for start in range(count)]


def _little_endian(vector: Vector) -> Vector:
    if sys.byteorder == "little":
        return vector
    swapped = array("f", vector)
    swapped.byteswap()
    return swapped


def _matches(row: _Row, wanted: Mapping[str, JsonValue]) -> bool:
    if not wanted:
        return True
    metadata = json.loads(row.metadata) if row.metadata else {}
    return all(matches(metadata, name, value) for name, value in wanted.items())


def _ranks(rows: Sequence[_Row], terms: Sequence[str], words_of: Callable[[bytes], dict[str, int]]) -> list[int]:
    return [rank(words_of(row.body), terms) for row in rows]


def _scores(rows: Sequence[_Row], vector: Vector) -> list[float | None]:
    scores: list[float | None] = []
    for row in rows:
        embeddings = _vectors(row.body)
        same = len(embeddings[0]) == len(vector)
        scores.append(max(similarity(each, vector) for each in embeddings) if same else None)
    return scores


def _last_of_each(hits: Sequence[tuple[Any, int, _Row]]) -> list[tuple[Any, int, _Row]]:
    latest = {hit[2].key: hit for hit in sorted(hits, key=lambda hit: hit[1])}
    return list(latest.values())


def _item(namespace: Namespace, key: bytes, head: bytes, data: bytes | None) -> StoredItem:
    name = key.decode()
    if data is None:
        raise CorruptCheckpointError(
            f"namespace {namespace!r}, key {name!r}: part of it is missing. The server may have evicted it: "
            "set maxmemory-policy to noeviction"
        )
    version, created, updated, expires = map(int, head.split())
    return StoredItem(
        namespace,
        name,
        data,
        _EPOCH + timedelta(microseconds=created),
        _EPOCH + timedelta(microseconds=updated),
        version,
        _EPOCH + timedelta(milliseconds=expires) if expires else None,
    )
