"""Cross-thread store in the memory of the process, for tests and for trying things out."""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import JsonValue

from locus_memory.metadata import matches
from locus_memory.store import Namespace
from locus_memory.store_arguments import namespace_text
from locus_memory.store_face import PortStore
from locus_memory.store_port import NewItem, ScoredItem, StoreBackend, StoredItem, rank
from locus_memory.vectors import Vector, similarity

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept:
    """An item, its place in the order of writes, and when it expires on the process's clock."""

    new: NewItem
    stored: StoredItem
    order: int
    expires: float | None

    @property
    def embeddings(self) -> Iterator[Vector]:
        return itertools.chain(() if self.new.embedding is None else (self.new.embedding,), self.new.more_embeddings)

    @property
    def live(self) -> bool:
        return self.expires is None or self.expires > time.time()


class MemoryStoreBackend(StoreBackend):
    """Keeps items in dictionaries; they are bytes there, so that nothing is shared with the caller."""

    def __init__(self) -> None:
        self._namespaces: dict[Namespace, dict[str, _Kept]] = {}
        self._orders = itertools.count()
        self._lock = threading.Lock()

    async def put(self, items: Sequence[NewItem]) -> None:
        with self._lock:
            for item in items:
                kept = self._namespaces.setdefault(item.namespace, {})
                self._drop_expired(kept)
                before = kept.get(item.key)
                now = time.time()
                expires = None if item.ttl_seconds is None else now + item.ttl_seconds
                written = _utc(now)
                stored = StoredItem(
                    item.namespace,
                    item.key,
                    item.payload,
                    before.stored.created_at if before else written,
                    written,
                    before.stored.version + 1 if before else 1,
                    None if expires is None else _utc(expires),
                )
                kept[item.key] = _Kept(item, stored, next(self._orders), expires)

    async def get(self, places: Sequence[tuple[Namespace, str]]) -> list[StoredItem]:
        with self._lock:
            found = [self._namespaces.get(namespace, {}).get(key) for namespace, key in places]
            return [kept.stored for kept in found if kept is not None and kept.live]

    async def touch(self, items: Sequence[tuple[StoredItem, float]]) -> None:
        with self._lock:
            for item, seconds in items:
                kept = self._namespaces.get(item.namespace, {})
                there = kept.get(item.key)
                if there and there.live and there.expires and there.stored.version == item.version:
                    expires = time.time() + seconds
                    stored = replace(there.stored, expires_at=_utc(expires))
                    kept[item.key] = replace(there, stored=stored, expires=expires)

    async def delete(self, namespace: Namespace, key: str) -> bool:
        with self._lock:
            kept = self._namespaces.get(namespace, {}).pop(key, None)
            return kept is not None and kept.live

    async def list_keys(self, namespace: Namespace, limit: int) -> list[str]:
        with self._lock:
            keys = [kept.new.key for kept in self._live(namespace)]
        return heapq.nsmallest(limit, keys, key=str.encode)

    async def search(
        self,
        namespace: Namespace,
        terms: list[str],
        limit: int,
        metadata_filter: Mapping[str, JsonValue],
        words_of: Callable[[bytes], dict[str, int]],
    ) -> list[StoredItem]:
        with self._lock:
            candidates = list(self._matching(namespace, metadata_filter))
        ranked = [(rank(words_of(kept.new.payload), terms) if terms else 1, kept.order, kept) for kept in candidates]
        hits = heapq.nlargest(limit, (hit for hit in ranked if hit[0]), key=lambda hit: hit[:2])
        return [kept.stored for _, _, kept in hits]

    async def nearest(
        self,
        namespace: Namespace,
        vector: Sequence[float],
        limit: int,
        lowest: float,
        metadata_filter: Mapping[str, JsonValue],
    ) -> list[ScoredItem]:
        with self._lock:
            candidates = list(self._matching(namespace, metadata_filter))
        scored = [
            (max(similarity(embedding, vector) for embedding in kept.embeddings), kept.order, kept)
            for kept in candidates
            if kept.new.embedding is not None and len(kept.new.embedding) == len(vector)
        ]
        best = heapq.nlargest(limit, (each for each in scored if each[0] >= lowest), key=lambda each: each[:2])
        return [ScoredItem(kept.stored, score) for score, _, kept in best]

    async def list_namespaces(self, prefix: Namespace, limit: int) -> list[Namespace]:
        with self._lock:
            below = [namespace for namespace in self._namespaces if namespace[: len(prefix)] == prefix]
            found = [namespace for namespace in below if any(self._live(namespace))]
        return heapq.nsmallest(limit, found, key=lambda namespace: namespace_text(namespace).encode())

    async def clear(self, namespace: Namespace) -> int:
        with self._lock:
            return sum(kept.live for kept in self._namespaces.pop(namespace, {}).values())

    def __repr__(self) -> str:
        return "MemoryStoreBackend()"

    def _live(self, namespace: Namespace) -> Iterator[_Kept]:
        return (kept for kept in self._namespaces.get(namespace, {}).values() if kept.live)

    def _matching(self, namespace: Namespace, wanted: Mapping[str, JsonValue]) -> Iterator[_Kept]:
        for kept in self._live(namespace):
            if all(matches(kept.new.metadata, name, value) for name, value in wanted.items()):
                yield kept

    @staticmethod
    def _drop_expired(kept: dict[str, _Kept]) -> None:
        for key in [key for key, each in kept.items() if not each.live]:
            del kept[key]


def _with_or_without_loop(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], Any]:
    """Give a method that never waits for anything its result at once where no event loop runs."""

    @functools.wraps(method)
    def call(store: PortStore, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        coroutine = method(store, *args, **kwargs)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return _finish(coroutine)
        return coroutine

    return call


def _finish(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a store in memory has nothing to wait for")


class InMemoryStore(PortStore):
    """Keeps items in the memory of the process. With `await` or without:

    * in a coroutine, calls are awaited, as with every other store;
    * where no event loop runs (a script, a REPL, a synchronous test) nothing could be awaited, and a call returns its
      result itself: `hit = store.get(("users", "u42"), "role")`.

    Which of the two it is depends on whether an event loop runs in this thread, and on nothing else; no result is
    ever a wrapper. Type checkers see `Any`; whoever takes a `BaseStore` has its methods checked as coroutines.
    Code that calls the store without `await` works in a coroutine with no store, this one included: Python warns that
    the coroutine was never awaited.

    Args:
        dimension: Numbers in an embedding, 1 to 16,000; None: no embeddings.
        ttl_seconds: Items expire this long after they were written, unless `put` says otherwise; None: never.
    """

    def __init__(self, *, dimension: int | None = None, ttl_seconds: float | None = None) -> None:
        super().__init__(MemoryStoreBackend(), dimension=dimension, ttl_seconds=ttl_seconds, compression=False)

    put = _with_or_without_loop(PortStore.put)
    put_with_embedding = _with_or_without_loop(PortStore.put_with_embedding)
    put_batch = _with_or_without_loop(PortStore.put_batch)
    get = _with_or_without_loop(PortStore.get)
    get_item = _with_or_without_loop(PortStore.get_item)
    get_batch = _with_or_without_loop(PortStore.get_batch)
    exists = _with_or_without_loop(PortStore.exists)
    delete = _with_or_without_loop(PortStore.delete)
    list = _with_or_without_loop(PortStore.list)
    list_keys = _with_or_without_loop(PortStore.list_keys)
    search = _with_or_without_loop(PortStore.search)
    search_many = _with_or_without_loop(PortStore.search_many)
    search_by_embedding = _with_or_without_loop(PortStore.search_by_embedding)
    list_namespaces = _with_or_without_loop(PortStore.list_namespaces)
    clear_namespace = _with_or_without_loop(PortStore.clear_namespace)
    close = _with_or_without_loop(PortStore.close)

    async def call(self, verb: str, operation: Callable[[], Awaitable[T]]) -> T:
        # Neither deadline nor retries: they need an event loop, and there is nothing that could fail.
        return await operation()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
