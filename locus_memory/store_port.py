"""The port of cross-thread stores: what a backend implements, and the records that cross it.

A backend keeps encoded values; checking, encoding, deadlines and retries are done once, above the port, in
`locus_memory.store_face`. It raises only errors of `locus_memory.errors`, and does not retry.
"""

from __future__ import annotations

import asyncio
import heapq
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Final, TypeVar

from pydantic import JsonValue

from locus_memory.store import Namespace
from locus_memory.text import words
from locus_memory.vectors import Vector

MAX_WORD_BYTES: Final = 255
"""Longer words cannot be searched for."""

MAX_OCCURRENCES: Final = 255
"""More occurrences of a word make an item no better a match."""

MAX_WORDS_BYTES: Final = 512 * 1024
"""The words of a text are searchable up to the one that exceeds this."""

MAX_NAMESPACES: Final = 1_000_000
"""Most namespaces that a search below a prefix looks through, and that a listing which is filtered reads."""

_NAMESPACES_AT_ONCE: Final = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to be written.

    Attributes:
        namespace: Where to.
        key: Its name there.
        payload: The encoded value and metadata, opaque.
        metadata: What it can be filtered by.
        embedding: What it can be found by, if anything.
        ttl_seconds: Time until it expires; None for never.
        more_embeddings: Further ones that it can be found by, of the same dimension: the nearest of all counts.
        words: Counts the words of the value, for a backend that keeps them. None where they must not be stored,
            because values are encrypted.
    """

    namespace: Namespace
    key: str
    payload: bytes
    metadata: Mapping[str, JsonValue]
    embedding: Vector | None
    ttl_seconds: float | None
    more_embeddings: tuple[Vector, ...] = ()
    words: Callable[[], dict[str, int]] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class StoredItem:
    """A stored item; times are in UTC, by the clock of the backend."""

    namespace: Namespace
    key: str
    payload: bytes
    created_at: datetime
    updated_at: datetime
    version: int
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item and its cosine similarity."""

    item: StoredItem
    score: float


class StoreBackend(ABC):
    """Keeps items. All calls are safe from several event loops and threads.

    An item that has expired is there for no call, whether or not it was removed yet. "Written last" is the order of
    writes as the backend serialised them, never a clock.
    """

    stores_words: ClassVar[bool] = True
    """Whether a search needs the words of values on the backend: then there is none for encrypted values."""

    several_embeddings: ClassVar[bool] = True
    """Whether an item can have `more_embeddings`."""

    @property
    def atomic_batches(self) -> bool:
        """Whether `put` writes all of several items or none."""
        return True

    @abstractmethod
    async def put(self, items: Sequence[NewItem]) -> None:
        """Write items, each in place of the one of the same name; in their order, where that is the same."""

    @abstractmethod
    async def get(self, places: Sequence[tuple[Namespace, str]]) -> list[StoredItem]:
        """Return those items that there are, in any order."""

    @abstractmethod
    async def touch(self, items: Sequence[tuple[StoredItem, float]]) -> None:
        """Let items that still expire, in the version given, do so in that many seconds from now."""

    @abstractmethod
    async def delete(self, namespace: Namespace, key: str) -> bool:
        """Delete an item; tell whether it was there."""

    @abstractmethod
    async def list_keys(self, namespace: Namespace, limit: int) -> list[str]:
        """Return keys in the order of their UTF-8 bytes."""

    @abstractmethod
    async def search(
        self,
        namespace: Namespace,
        terms: list[str],
        limit: int,
        metadata_filter: Mapping[str, JsonValue],
        words_of: Callable[[bytes], dict[str, int]],
    ) -> list[StoredItem]:
        """Return items that contain all terms, by the sum of occurrences, then last written first.

        Args:
            namespace: Where to look.
            terms: Keys of `count_words`, each once. None: all items, last written first.
            limit: At least 1.
            metadata_filter: Fields that must match as in `locus_memory.metadata`.
            words_of: Counts the words of a payload.
        """

    @abstractmethod
    async def nearest(
        self,
        namespace: Namespace,
        vector: Vector,
        limit: int,
        lowest: float,
        metadata_filter: Mapping[str, JsonValue],
    ) -> list[ScoredItem]:
        """Return items by the similarity of their embeddings, then last written first.

        Args:
            namespace: Where to look.
            vector: Embeddings of another dimension are none for this search.
            limit: At least 1.
            lowest: Score that is just enough.
            metadata_filter: See `search`.
        """

    @abstractmethod
    async def list_namespaces(self, prefix: Namespace, limit: int) -> list[Namespace]:
        """Return namespaces with items by the bytes of `namespace_text`."""

    @abstractmethod
    async def clear(self, namespace: Namespace) -> int:
        """Delete all items of a namespace; return how many."""

    async def newest_below(self, prefix: Namespace, limit: int) -> list[StoredItem]:
        """Return items of all namespaces that start with a prefix, last written first; between namespaces by clock."""

        async def newest(namespace: Namespace) -> list[StoredItem]:
            return await self.search(namespace, [], limit, {}, lambda payload: {})

        found = await self._in_each_below(prefix, newest)
        return heapq.nlargest(limit, found, key=lambda item: item.updated_at)

    async def nearest_below(self, prefix: Namespace, vector: Vector, limit: int) -> list[ScoredItem]:
        """Return items of all namespaces that start with a prefix by the similarity of their embeddings."""

        async def nearest(namespace: Namespace) -> list[ScoredItem]:
            return await self.nearest(namespace, vector, limit, -2.0, {})

        found = await self._in_each_below(prefix, nearest)
        return heapq.nlargest(limit, found, key=lambda each: (each.score, each.item.updated_at))

    async def _in_each_below(self, prefix: Namespace, look: Callable[[Namespace], Awaitable[list[T]]]) -> list[T]:
        namespaces = await self.list_namespaces(prefix, MAX_NAMESPACES)
        found: list[T] = []
        for start in range(0, len(namespaces), _NAMESPACES_AT_ONCE):
            some = namespaces[start : start + _NAMESPACES_AT_ONCE]
            for part in await asyncio.gather(*map(look, some)):
                found += part
        return found

    @property
    def connection_version(self) -> int:
        """How often the connection parameters have changed."""
        return 0

    async def refresh(self) -> None:  # noqa: B027 - most backends in tests have nothing to read
        """Read the connection parameters again; where they changed, later calls use the new ones."""

    async def close(self) -> None:  # noqa: B027 - a backend in memory has nothing to release
        """Release what the running event loop holds. Idempotent; a later call reopens."""


def count_words(text: str) -> dict[str, int]:
    """Count the words of a text, within the bounds that every backend can keep."""
    counts: dict[str, int] = {}
    size = 0
    for word, count in Counter(words(text)).items():
        word_bytes = len(word.encode())
        if word_bytes > MAX_WORD_BYTES:
            continue
        size += word_bytes + 2 * min(count, MAX_OCCURRENCES)
        if size > MAX_WORDS_BYTES:
            break
        counts[word] = min(count, MAX_OCCURRENCES)
    return counts


def rank(counts: Mapping[str, int], terms: Sequence[str]) -> int:
    """Return how often the terms occur together; 0 where one is missing."""
    return sum(counts[term] for term in terms) if all(term in counts for term in terms) else 0
