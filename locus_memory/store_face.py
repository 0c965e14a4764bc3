"""The face of a cross-thread store on its port: checks arguments, encodes values, retries within a deadline."""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from pydantic import JsonValue
from pydantic_core import from_json

from locus_memory.arguments import check_limit, checked_metadata, utf8_size
from locus_memory.encryption import EncryptionKeys
from locus_memory.envelope import Envelope, Kind
from locus_memory.errors import (
    CorruptCheckpointError,
)
from locus_memory.retry import RetryPolicy
from locus_memory.store import (
    STORE_DEFAULT,
    BaseStore,
    Namespace,
    SemanticSearchResult,
    StoreCapabilities,
    StoreDefault,
    StoreItem,
    TimeToLive,
)
from locus_memory.store_arguments import (
    batch_item,
    check_dimension,
    check_namespace,
    check_place,
    check_threshold,
    check_ttl,
    checked_embedding,
    checked_filter,
    checked_places,
    content_text,
)
from locus_memory.store_port import MAX_WORD_BYTES, NewItem, StoreBackend, StoredItem, count_words
from locus_memory.text import searchable_text, words
from locus_memory.vectors import PRECISION, Vector

T = TypeVar("T")


class StoreOptions(TypedDict, total=False):
    """What every store takes, whatever its backend.

    Attributes:
        dimension: Numbers in an embedding, 1 to 16,000; None: no embeddings. The same wherever the items are used.
        ttl_seconds: Items expire this long after they were written, unless `put` says otherwise; None: never.
        retry: How long a call may take, and its pauses; 10 seconds by default.
        compression: Compress values of 1 KiB and more; true by default.
        encryption_key: Encrypt values with AES-256-GCM; see `locus_memory.encryption`. Namespaces, keys, metadata and
            embeddings stay readable. Where the backend would have to keep words to search, there is no search then.
    """

    dimension: int | None
    ttl_seconds: float | None
    retry: RetryPolicy | None
    compression: bool
    encryption_key: EncryptionKeys | None


class PortStore(BaseStore):
    """A store on any backend of the port.

    Args:
        backend: Where the items go.
        dimension, ttl_seconds, retry, compression, encryption_key: See `StoreOptions`.

    Raises:
        InvalidArgumentError: One of them is out of its bounds.
    """

    def __init__(
        self,
        backend: StoreBackend,
        *,
        dimension: int | None = None,
        ttl_seconds: float | None = None,
        retry: RetryPolicy | None = None,
        compression: bool = True,
        encryption_key: EncryptionKeys | None = None,
    ) -> None:
        check_dimension(dimension)
        check_ttl(ttl_seconds)
        self._backend = backend
        self._dimension = dimension
        self._ttl_seconds = ttl_seconds
        self._retry = retry or RetryPolicy()
        self._envelope = Envelope(compression=compression, encryption_key=encryption_key)

    @property
    def backend(self) -> StoreBackend:
        """The backend below."""
        return self._backend

    @property
    def capabilities(self) -> StoreCapabilities:
        return StoreCapabilities(
            search=self._searches_words,
            semantic_search=self._dimension is not None,
            embedding_dimension=self._dimension,
            ttl=True,
            list_namespaces=True,
            batch_operations=True,
            transactions=self._backend.atomic_batches,
        )

    async def put(
        self,
        namespace: Namespace,
        key: str,
        value: JsonValue,
        metadata: Mapping[str, JsonValue] | None = None,
        *,
        ttl_seconds: TimeToLive = STORE_DEFAULT,
    ) -> None:
        await self._put([self.new_item(namespace, key, value, metadata, ttl_seconds)])

    async def put_with_embedding(
        self,
        namespace: Namespace,
        key: str,
        value: JsonValue,
        embedding: Sequence[float],
        metadata: Mapping[str, JsonValue] | None = None,
        *,
        ttl_seconds: TimeToLive = STORE_DEFAULT,
    ) -> None:
        vector = checked_embedding("embedding", embedding, self._required_dimension())
        await self._put([self.new_item(namespace, key, value, metadata, ttl_seconds, [vector])])

    async def put_batch(
        self,
        items: Iterable[tuple[Namespace, str, JsonValue, Mapping[str, JsonValue] | None]],
        *,
        ttl_seconds: TimeToLive = STORE_DEFAULT,
    ) -> None:
        new = [self.new_item(*batch_item(item), ttl_seconds) for item in items]
        if new:
            await self._put(new)

    async def get_item(self, namespace: Namespace, key: str) -> StoreItem | None:
        return await self._get_item(namespace, key)

    async def get(self, namespace: Namespace, key: str) -> Any:
        item = await self._get_item(namespace, key)
        return None if item is None else item.value

    async def exists(self, namespace: Namespace, key: str) -> bool:
        check_place(namespace, key)
        return bool(await self.call("look-up", lambda: self._backend.get([(namespace, key)])))

    async def get_batch(self, keys: Iterable[tuple[Namespace, str]]) -> dict[tuple[Namespace, str], Any]:
        places = checked_places(keys)
        if not places:
            return {}
        found = {
            (stored.namespace, stored.key): stored
            for stored in await self.call("look-up", lambda: self._backend.get(places))
        }
        return {place: (await self.item(found[place])).value for place in places if place in found}

    async def delete(self, namespace: Namespace, key: str) -> bool:
        check_place(namespace, key)
        return await self.call("deletion", lambda: self._backend.delete(namespace, key))

    async def list(self, namespace: Namespace, limit: int = 100) -> builtins.list[str]:
        return await self._list(namespace, limit)

    async def list_keys(self, namespace: Namespace, limit: int = 100) -> builtins.list[str]:
        return await self._list(namespace, limit)

    async def search(
        self,
        namespace: Namespace,
        query: str | None = None,
        limit: int = 10,
        *,
        metadata_filter: Mapping[str, JsonValue] | None = None,
    ) -> builtins.list[StoreItem]:
        return await self._search(namespace, query, limit, metadata_filter)

    async def search_many(
        self, namespaces: Sequence[Namespace], query: str | None = None, limit: int = 10
    ) -> builtins.list[builtins.list[StoreItem]]:
        return [await self._search(namespace, query, limit, None) for namespace in namespaces]

    async def search_by_embedding(
        self,
        namespace: Namespace,
        query: Sequence[float] | None = None,
        limit: int = 5,
        threshold: float | None = None,
        metadata_filter: Mapping[str, JsonValue] | None = None,
        *,
        query_embedding: Sequence[float] | None = None,
    ) -> builtins.list[SemanticSearchResult]:
        dimension = self._required_dimension()
        check_namespace(namespace)
        check_limit(limit)
        check_threshold(threshold)
        vector = checked_embedding("query", query_embedding if query is None else query, dimension)
        wanted = checked_filter(metadata_filter)
        lowest = -2.0 if threshold is None else threshold - PRECISION
        found = await self.call("search", lambda: self._backend.nearest(namespace, vector, limit, lowest, wanted))
        results = []
        for each in found:
            # Rounding takes the similarity of equal vectors a little beyond 1.
            score = max(-1.0, min(1.0, each.score))
            results.append(SemanticSearchResult(await self.item(each.item), score, 1.0 - score))
        return results

    async def list_namespaces(self, prefix: Namespace | None = None, limit: int = 100) -> builtins.list[Namespace]:
        below = () if prefix is None else prefix
        check_namespace(below, name="prefix", empty=True)
        check_limit(limit)
        return await self.call("listing", lambda: self._backend.list_namespaces(below, limit))

    async def clear_namespace(self, namespace: Namespace) -> int:
        check_namespace(namespace)
        return await self.call("deletion", lambda: self._backend.clear(namespace))

    async def close(self) -> None:
        await self._backend.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._backend!r})"

    @property
    def _searches_words(self) -> bool:
        return not (self._envelope.encrypts and self._backend.stores_words)

    def _required_dimension(self) -> int:
        if self._dimension is None:
            raise self._unsupported("semantic_search")
        return self._dimension

    def new_item(
        self,
        namespace: Namespace,
        key: str,
        value: JsonValue,
        metadata: Mapping[str, JsonValue] | None,
        ttl_seconds: TimeToLive,
        embeddings: Sequence[Vector] = (),
    ) -> NewItem:
        """Return an item as the backend takes it, after checking what it is made of; for other faces on the port."""
        if len(embeddings) > 1 and not self._backend.several_embeddings:
            raise self._unsupported("several embeddings of an item")
        check_place(namespace, key)
        if isinstance(ttl_seconds, StoreDefault):
            ttl_seconds = self._ttl_seconds
        check_ttl(ttl_seconds)
        fields = checked_metadata(metadata)
        payload = self._envelope.seal(Kind.JSON, content_text(value, fields))
        return NewItem(
            namespace,
            key,
            payload,
            fields,
            embeddings[0] if embeddings else None,
            ttl_seconds,
            tuple(embeddings[1:]),
            (lambda: count_words(searchable_text(value))) if self._searches_words else None,
        )

    async def _put(self, items: builtins.list[NewItem]) -> None:
        await self.call("put", lambda: self._backend.put(items))

    async def _get_item(self, namespace: Namespace, key: str) -> StoreItem | None:
        check_place(namespace, key)
        found = await self.call("look-up", lambda: self._backend.get([(namespace, key)]))
        return await self.item(found[0]) if found else None

    async def _list(self, namespace: Namespace, limit: int) -> builtins.list[str]:
        check_namespace(namespace)
        check_limit(limit)
        return await self.call("listing", lambda: self._backend.list_keys(namespace, limit))

    async def _search(
        self,
        namespace: Namespace,
        query: str | None,
        limit: int,
        metadata_filter: Mapping[str, JsonValue] | None,
    ) -> builtins.list[StoreItem]:
        check_namespace(namespace)
        check_limit(limit)
        wanted = checked_filter(metadata_filter)
        utf8_size("query", query or "")
        terms = builtins.list(dict.fromkeys(words(query or "")))
        if terms and not self._searches_words:
            raise self._unsupported("search")
        if any(len(term.encode()) > MAX_WORD_BYTES for term in terms):
            return []
        found = await self.call("search", lambda: self._backend.search(namespace, terms, limit, wanted, self._words_of))
        return [await self.item(stored) for stored in found]

    def _words_of(self, payload: bytes) -> dict[str, int]:
        return count_words(searchable_text(self._open(payload)["value"]))

    async def item(self, stored: StoredItem) -> StoreItem:
        """Decode what the backend returned; for other faces on the port."""
        try:
            content = await self._envelope.read(self._open, stored.payload)
        except CorruptCheckpointError as error:
            where = f"namespace {stored.namespace!r}, key {stored.key!r}"
            raise type(error)(f"{where}: {error}") from error
        return StoreItem(
            stored.namespace,
            stored.key,
            content["value"],
            content.get("metadata", {}),
            stored.created_at,
            stored.updated_at,
            stored.version,
            stored.expires_at,
        )

    def _open(self, payload: bytes) -> dict[str, Any]:
        text, _ = self._envelope.open(Kind.JSON, payload)
        try:
            content: dict[str, Any] = from_json(text)
        except ValueError as error:
            raise CorruptCheckpointError(f"the stored value is no JSON: {error}") from error
        return content

    async def call(self, verb: str, operation: Callable[[], Awaitable[T]]) -> T:
        """Call the backend, retrying within the deadline; for other faces on the port."""
        return await self._retry.run(lambda _: operation(), self._backend, f"{verb} in {self._backend!r}")
