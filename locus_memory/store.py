"""The contract of a cross-thread store, and the base class for your own.

    store = InMemoryStore()                                            # tests, REPL
    store.put(("users", "u42"), "role", {"content": "engineer"})
    hit = store.get(("users", "u42"), "role")

Names and order of parameters are those of locus-sdk's stores. `InMemoryStore` is imported when it is first asked for:
this module is part of `import locus_memory`.
"""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from locus_memory.errors import CapabilityNotSupportedError

if TYPE_CHECKING:
    from pydantic import JsonValue

    from locus_memory.store_memory import InMemoryStore

__all__ = [
    "STORE_DEFAULT",
    "BaseStore",
    "InMemoryStore",
    "Namespace",
    "SemanticSearchResult",
    "StoreCapabilities",
    "StoreItem",
    "TimeToLive",
]

Namespace = tuple[str, ...]
"""From the general to the particular, such as `("memory", "u42")`. Each namespace stands for itself alone: what is
in `("memory", "u42")` is not in `("memory",)`."""


class StoreDefault(Enum):
    """Type of `STORE_DEFAULT`: "as long as the store was told when it was made"."""

    STORE_DEFAULT = "store default"


STORE_DEFAULT: Final = StoreDefault.STORE_DEFAULT

TimeToLive = float | StoreDefault | None
"""Seconds until an item expires, above 0, to the millisecond; None for never."""


@dataclass(frozen=True, slots=True)
class StoreCapabilities:
    """What a store, as it was made, can do.

    Attributes:
        search: Find items by words.
        semantic_search: Keep embeddings and find items by them; only where the store was given their dimension.
        embedding_dimension: Numbers in an embedding, where there are any.
        ttl: Items expire when they are told to.
        list_namespaces: Tell which namespaces hold items.
        batch_operations: A batch of any size takes one round trip (on a Redis Cluster one for each slot).
        transactions: A batch is written as a whole or not at all.
    """

    search: bool = False
    semantic_search: bool = False
    embedding_dimension: int | None = None
    ttl: bool = False
    list_namespaces: bool = False
    batch_operations: bool = False
    transactions: bool = False


@dataclass(frozen=True, slots=True)
class StoreItem:
    """An item as it is stored.

    Attributes:
        namespace: Where it is.
        key: Its name there.
        value: Any JSON value, None included.
        metadata: JSON object that items can be filtered by.
        created_at: When it was first written, by the clock of the server, in UTC.
        updated_at: When it was last written.
        version: How often it was written since it was created.
        expires_at: When it will be gone; None for never.
    """

    namespace: Namespace
    key: str
    value: Any
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    version: int = 1
    expires_at: datetime | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """Write it as a JSON object."""
        return {
            "namespace": list(self.namespace),
            "key": self.key,
            "value": self.value,
            "metadata": self.metadata,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
            "version": self.version,
            "expires_at": None if self.expires_at is None else self.expires_at.isoformat(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StoreItem:
        """Read what `to_dict` wrote."""
        expires_at = data.get("expires_at")
        return cls(
            namespace=tuple(data["namespace"]),
            key=data["key"],
            value=data["value"],
            metadata=data.get("metadata") or {},
            created_at=datetime.fromisoformat(data["created_at"]),
            updated_at=datetime.fromisoformat(data["updated_at"]),
            version=data.get("version", 1),
            expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
        )


@dataclass(frozen=True, slots=True)
class SemanticSearchResult:
    """An item that was found by its embedding.

    Attributes:
        item: What was found.
        score: Cosine similarity, from -1 to 1, higher is more alike.
        distance: Cosine distance, which is 1 - score.
    """

    item: StoreItem
    score: float
    distance: float | None = None


class BaseStore(ABC):
    """Key-value data that outlives a conversation. All calls are safe from several event loops and threads.

    A namespace is a tuple of one or more non-empty texts, a key a non-empty text; any Unicode but lone surrogates.
    Both have bounds: see `locus_memory.store_arguments`. Values come back equal, and are never shared with the store.
    An outage is an error of `locus_memory.errors`, never None or an empty list.

    A store of your own implements `put`, `get_item`, `delete`, `list`, `search` and `list_namespaces`, and whichever
    of the others it can do better. `locus_memory.testing.StoreContract` tells whether it is right.
    """

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store can do."""
        return StoreCapabilities(search=True, list_namespaces=True)

    @abstractmethod
    async def put(
        self,
        namespace: Namespace,
        key: str,
        value: JsonValue,
        metadata: Mapping[str, JsonValue] | None = None,
        *,
        ttl_seconds: TimeToLive = STORE_DEFAULT,
    ) -> None:
        """Write an item, in place of the one that is there, its metadata, embedding and expiry included.

        Args:
            namespace: Where to.
            key: Its name there.
            value: Any JSON value. What would not come back equal, such as a tuple, is refused.
            metadata: JSON object that items can be filtered by; stored unencrypted.
            ttl_seconds: Seconds until it expires; None for never; by default what the store was made with.

        Raises:
            InvalidArgumentError: An argument is out of its bounds; nothing was written.
        """

    @abstractmethod
    async def get_item(self, namespace: Namespace, key: str) -> StoreItem | None:
        """Return an item with all that belongs to it, or None where there is none."""

    @abstractmethod
    async def delete(self, namespace: Namespace, key: str) -> bool:
        """Delete an item; tell whether it was there."""

    @abstractmethod
    async def list(self, namespace: Namespace, limit: int = 100) -> builtins.list[str]:
        """Return keys in the order of their UTF-8 bytes; `limit` is at least 1."""

    @abstractmethod
    async def search(
        self,
        namespace: Namespace,
        query: str | None = None,
        limit: int = 10,
        *,
        metadata_filter: Mapping[str, JsonValue] | None = None,
    ) -> builtins.list[StoreItem]:
        """Find items by the words in their values.

        Args:
            namespace: Where to look; not in those below it.
            query: Words as `locus_memory.text` cuts them; an item must contain all. Those with more occurrences come
                first, then those written last. None or no word: all items, those written last first.
            limit: At least 1.
            metadata_filter: Fields that must all match: by being equal, or a list that contains the value.
        """

    @abstractmethod
    async def list_namespaces(self, prefix: Namespace | None = None, limit: int = 100) -> builtins.list[Namespace]:
        """Return the namespaces that hold items, by the bytes of their parts joined with `/`.

        Args:
            prefix: Parts that they must start with; one of exactly these counts.
            limit: At least 1.
        """

    async def get(self, namespace: Namespace, key: str) -> Any:
        """Return a value, or None where there is none: `exists` and `get_item` tell that from a stored None."""
        item = await self.get_item(namespace, key)
        return None if item is None else item.value

    async def exists(self, namespace: Namespace, key: str) -> bool:
        """Tell whether there is an item, whatever its value."""
        return await self.get_item(namespace, key) is not None

    async def list_keys(self, namespace: Namespace, limit: int = 100) -> builtins.list[str]:
        """Do the same as `list`."""
        return await self.list(namespace, limit)

    async def search_many(
        self, namespaces: Sequence[Namespace], query: str | None = None, limit: int = 10
    ) -> builtins.list[builtins.list[StoreItem]]:
        """Search several namespaces, each by itself; one list for each of them."""
        return [await self.search(namespace, query, limit) for namespace in namespaces]

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
        """Write an item that can be found by its embedding; else like `put`.

        Args:
            namespace, key, value, metadata, ttl_seconds: See `put`.
            embedding: As many finite numbers as the store was given as `dimension`, not all zero. Kept as 32-bit
                floats of length 1: only its direction counts.

        Raises:
            CapabilityNotSupportedError: The store was made without `dimension`.
        """
        raise self._unsupported("semantic_search")

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
        """Find the items whose embeddings point most nearly the same way, best first, then those written last.

        Args:
            namespace: Where to look.
            query: Embedding to compare with; `query_embedding` is accepted as well.
            limit: At least 1; counts items that meet threshold and filter.
            threshold: Lowest score, from -1 to 1, itself included, to within 1e-6 (the precision of 32-bit floats).
            metadata_filter: See `search`.
            query_embedding: Another name of `query`.

        Raises:
            CapabilityNotSupportedError: The store was made without `dimension`.
        """
        raise self._unsupported("semantic_search")

    async def put_batch(
        self,
        items: Iterable[tuple[Namespace, str, JsonValue, Mapping[str, JsonValue] | None]],
        *,
        ttl_seconds: TimeToLive = STORE_DEFAULT,
    ) -> None:
        """Write several items (namespace, key, value, metadata); of those with the same place the last one stays."""
        for namespace, key, value, metadata in items:
            await self.put(namespace, key, value, metadata, ttl_seconds=ttl_seconds)

    async def get_batch(self, keys: Iterable[tuple[Namespace, str]]) -> dict[tuple[Namespace, str], Any]:
        """Return the values of those items (namespace, key) that there are; a stored None is one of them."""
        found = {(namespace, key): await self.get_item(namespace, key) for namespace, key in keys}
        return {place: item.value for place, item in found.items() if item is not None}

    async def clear_namespace(self, namespace: Namespace) -> int:
        """Delete all items of a namespace, not of those below it; return how many."""
        deleted = 0
        while keys := await self.list(namespace, 1000):
            deleted += sum([await self.delete(namespace, key) for key in keys])
        return deleted

    async def close(self) -> None:  # noqa: B027 - a store in memory has nothing to release
        """Release what the running event loop holds. Idempotent; a later call reopens."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _unsupported(self, capability: str) -> CapabilityNotSupportedError:
        return CapabilityNotSupportedError(type(self).__name__, capability, "store")


def __getattr__(name: str) -> Any:
    if name == "InMemoryStore":
        from locus_memory.store_memory import InMemoryStore

        return InMemoryStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
