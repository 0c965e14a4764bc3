"""LangGraph's `BaseStore` on every cross-thread store of this library.

    from locus_memory.langgraph import saver, store

    graph = builder.compile(checkpointer=saver("support"), store=store("support"))

Its items are those of `locus_memory.store`: what an agent puts with one, an agent with the other finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from typing import Any, Final, NamedTuple

from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    ensure_embeddings,
    get_text_at_path,
)

from locus_memory.background import BackgroundLoop
from locus_memory.binding import find_binding
from locus_memory.encryption import EncryptionKeys
from locus_memory.errors import InvalidArgumentError
from locus_memory.langgraph_filters import check_filter, is_literal, literal_prefix, matches, namespace_matches
from locus_memory.opening import open_store
from locus_memory.retry import RetryPolicy
from locus_memory.store import Namespace, StoreItem
from locus_memory.store_arguments import check_dimension, check_namespace, checked_embedding, checked_places
from locus_memory.store_face import PortStore
from locus_memory.store_port import MAX_NAMESPACES, StoredItem
from locus_memory.vectors import Vector

TTL_FIELD: Final = "langgraph_ttl_seconds"
"""Metadata field with the seconds by which a read prolongs an item's life."""

_FIRST_PAGE: Final = 100
"""Items that a search with a filter reads first; if that was not enough, four times as many."""

Place = tuple[Namespace, str]


class _Hit(NamedTuple):
    stored: StoredItem
    item: StoreItem
    score: float | None = None


def store(
    name: str | None = None,
    *,
    index: IndexConfig | None = None,
    ttl: TTLConfig | None = None,
    retry: RetryPolicy | None = None,
    compression: bool = True,
    encryption_key: EncryptionKeys | None = None,
) -> LangGraphStore:
    """Make LangGraph's store on the one that is bound to this process; see `locus_memory.store`.

    Args:
        name: Name of the `CheckpointStore`, where several are bound.
        index: LangGraph's: what of a value is embedded, by what, and the dimension; None: no semantic search.
        ttl: LangGraph's: minutes until items expire, and whether reads prolong that.
        retry, compression, encryption_key: See `locus_memory.store_face.StoreOptions`. Embeddings stay readable.

    Raises:
        BindingNotFoundError: Nothing was found; the message says what was looked for and where.
        BindingError: A binding was found, but cannot be used; some backends have no cross-thread store.
        MissingDriverError: The driver of the backend is not installed.
        InvalidArgumentError: `index` names no dimension or nothing that embeds.
    """
    dimension = None if index is None else index.get("dims")
    opened = open_store(
        find_binding(name),
        dimension=dimension,
        retry=retry,
        compression=compression,
        encryption_key=encryption_key,
    )
    return LangGraphStore(opened, index=index, ttl=ttl)


class LangGraphStore(BaseStore):
    """Keeps LangGraph's items in a store of this library; has its whole interface, sync and async.

    What a batch reads is what was there before the batch; then all its writes are made. Items that have expired are
    never returned. Without a query, and behind what a query finds, come the items written last first.

    Args:
        store: Where the items go: `LangGraphStore(PostgreSQLStore(...))`. On Oracle it must have been given the
            dimension as well.
        index: LangGraph's: what of a value is embedded, by what, and the dimension; None: no semantic search.
        ttl: LangGraph's: minutes until items expire, and whether reads prolong that. `omit_expired` is always true;
            nothing needs to be swept.

    Raises:
        InvalidArgumentError: `index` names no dimension or nothing that embeds.
    """

    supports_ttl = True

    def __init__(self, store: PortStore, *, index: IndexConfig | None = None, ttl: TTLConfig | None = None) -> None:
        self._store = store
        self._index = _Index(index) if index is not None else None
        self.ttl_config = ttl
        self._background = BackgroundLoop()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        return self._background.run(self.abatch(list(ops)))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        numbered: list[tuple[int, Any]] = list(enumerate(ops))
        gets = {number: op for number, op in numbered if isinstance(op, GetOp)}
        searches = {number: op for number, op in numbered if isinstance(op, SearchOp)}
        listings = {number: op for number, op in numbered if isinstance(op, ListNamespacesOp)}
        puts = {(op.namespace, op.key): op for _, op in numbered if isinstance(op, PutOp)}
        if unknown := [op for _, op in numbered if not isinstance(op, (GetOp, SearchOp, ListNamespacesOp, PutOp))]:
            raise InvalidArgumentError(f"ops: {unknown[0]!r} is none of LangGraph's operations")
        vectors = await self._query_vectors(searches.values())
        found, hits, namespaces = await asyncio.gather(
            self._get(list(gets.values())),
            asyncio.gather(*[self._search(op, vectors.get(op.query or "")) for op in searches.values()]),
            asyncio.gather(*map(self._list_namespaces, listings.values())),
        )
        read = [(found[place], op.refresh_ttl) for op in gets.values() if (place := (op.namespace, op.key)) in found]
        read += [(hit, op.refresh_ttl) for op, some in zip(searches.values(), hits, strict=True) for hit in some]
        await self._prolong([hit for hit, refresh in read if refresh])
        await self._write(puts)
        results: dict[int, Result] = dict.fromkeys((number for number, _ in numbered), None)
        results |= {number: _item(found.get((op.namespace, op.key))) for number, op in gets.items()}
        results |= {number: list(map(_search_item, some)) for number, some in zip(searches, hits, strict=True)}
        results |= dict(zip(listings, namespaces, strict=True))
        return list(results.values())

    async def aclose(self) -> None:
        """Release the connections of the running event loop. Idempotent; a later call reopens."""
        await self._store.close()

    def close(self) -> None:
        """Release the connections of the sync methods. Idempotent; a later call reopens."""
        self._background.run(self.aclose())
        self._background.stop()

    def __repr__(self) -> str:
        return f"LangGraphStore({self._store!r})"

    async def _get(self, ops: Sequence[GetOp]) -> dict[Place, _Hit]:
        places = checked_places((op.namespace, op.key) for op in ops)
        if not places:
            return {}
        stored = await self._store.call("look-up", lambda: self._store.backend.get(places))
        return {(each.namespace, each.key): _Hit(each, await self._store.item(each)) for each in stored}

    async def _query_vectors(self, searches: Iterable[SearchOp]) -> dict[str, Vector]:
        queries = sorted({op.query for op in searches if op.query})
        return await self._index.of_queries(queries) if self._index and queries else {}

    async def _search(self, op: SearchOp, vector: Vector | None) -> list[_Hit]:
        prefix, needed = op.namespace_prefix, _checked_page(op)
        check_namespace(prefix, name="namespace_prefix", empty=True)
        check_filter(op.filter)
        if not op.limit:
            return []

        async def nearest(count: int) -> list[_Hit]:
            assert vector is not None  # noqa: S101 - called where there is one
            found = await self._store.call("search", lambda: self._store.backend.nearest_below(prefix, vector, count))
            # Rounding takes the similarity of equal vectors a little beyond 1.
            return [
                _Hit(each.item, await self._store.item(each.item), max(-1.0, min(1.0, each.score))) for each in found
            ]

        async def newest(count: int) -> list[_Hit]:
            found = await self._store.call("search", lambda: self._store.backend.newest_below(prefix, count))
            return [_Hit(each, await self._store.item(each)) for each in found]

        first = max(needed, _FIRST_PAGE) if op.filter else needed
        scored = await _until_enough(nearest, first, needed, op) if vector is not None else []
        hits = [hit for hit in scored if _wanted(hit, op)]
        if len(hits) < needed:
            # Then all items that have embeddings are in `scored`.
            places = {_place(hit) for hit in scored}
            others = await _until_enough(newest, first, needed - len(hits), op, places)
            hits += [hit for hit in others if _wanted(hit, op, places)]
        return hits[op.offset : needed]

    async def _list_namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        conditions = op.match_conditions or ()
        prefix, needed = literal_prefix(conditions), _checked_page(op)
        check_namespace(prefix, name="prefix", empty=True)
        limit = needed if is_literal(op) else MAX_NAMESPACES
        if not op.limit:
            return []
        found = await self._store.call("listing", lambda: self._store.backend.list_namespaces(prefix, limit))
        matching = [each for each in found if all(namespace_matches(each, condition) for condition in conditions)]
        return list(dict.fromkeys(each[: op.max_depth] for each in matching))[op.offset : needed]

    async def _prolong(self, hits: Sequence[_Hit]) -> None:
        lives = {
            _place(hit): (hit.stored, float(hit.item.metadata[TTL_FIELD]))
            for hit in hits
            if hit.stored.expires_at is not None and TTL_FIELD in hit.item.metadata
        }
        if lives:
            await self._store.call("prolongation", lambda: self._store.backend.touch(list(lives.values())))

    async def _write(self, ops: dict[Place, PutOp]) -> None:
        puts = {place: op for place, op in ops.items() if op.value is not None}
        vectors = await self._index.of_values(puts) if self._index and puts else {}
        items = [
            self._store.new_item(
                op.namespace,
                op.key,
                dict(op.value or {}),
                None if op.ttl is None else {TTL_FIELD: op.ttl * 60},
                None if op.ttl is None else op.ttl * 60,
                vectors.get(place, ()),
            )
            for place, op in puts.items()
        ]
        if items:
            await self._store.call("put", lambda: self._store.backend.put(items))
        await asyncio.gather(*[self._store.delete(*place) for place, op in ops.items() if op.value is None])


class _Index:
    """Embeds what is put and what is asked for, each text once."""

    def __init__(self, config: IndexConfig) -> None:
        self._dimension = config.get("dims")
        if self._dimension is None or "embed" not in config:
            raise InvalidArgumentError("index: write dims and embed")
        check_dimension(self._dimension)
        self._embeddings = ensure_embeddings(config["embed"])
        self._fields = config.get("fields") or ["$"]

    async def of_queries(self, queries: Sequence[str]) -> dict[str, Vector]:
        answers = await asyncio.gather(*map(self._embeddings.aembed_query, queries))
        return self._vectors("embedding of the query", queries, answers)

    async def of_values(self, ops: dict[Place, PutOp]) -> dict[Place, list[Vector]]:
        texts = {place: self._texts(op) for place, op in ops.items()}
        distinct = list(dict.fromkeys(text for some in texts.values() for text in some))
        if not distinct:
            return {}
        answers = await self._embeddings.aembed_documents(distinct)
        if len(answers) != len(distinct):
            raise InvalidArgumentError(f"index: {len(answers)} embeddings came back for {len(distinct)} texts")
        vectors = self._vectors("embedding", distinct, answers)
        return {place: [vectors[text] for text in some if text in vectors] for place, some in texts.items()}

    def _texts(self, op: PutOp) -> list[str]:
        if op.index is False:
            return []
        paths = self._fields if op.index is None else op.index
        return [text for path in paths for text in get_text_at_path(op.value, path)]

    def _vectors(self, name: str, texts: Sequence[str], answers: Sequence[Sequence[float]]) -> dict[str, Vector]:
        # Zeros point nowhere: such a text is found as if it had not been embedded.
        return {
            text: checked_embedding(name, answer, self._dimension or 0)
            for text, answer in zip(texts, answers, strict=True)
            if any(answer)
        }


async def _until_enough(
    read: Callable[[int], Awaitable[list[_Hit]]],
    first: int,
    needed: int,
    op: SearchOp,
    but: Container[Place] = (),
) -> list[_Hit]:
    """Read the first hits, and four times as many until so many of them are wanted, or there are no more."""
    count = first
    while True:
        hits = await read(count)
        if len(hits) < count or sum(_wanted(hit, op, but) for hit in hits) >= needed:
            return hits
        count *= 4


def _wanted(hit: _Hit, op: SearchOp, but: Container[Place] = ()) -> bool:
    return _place(hit) not in but and matches(hit.item.value, op.filter or {})


def _place(hit: _Hit) -> Place:
    return hit.stored.namespace, hit.stored.key


def _checked_page(op: SearchOp | ListNamespacesOp) -> int:
    if op.limit < 0 or op.offset < 0:
        raise InvalidArgumentError(f"limit, offset: write 0 or more, not {op.limit!r} and {op.offset!r}")
    return op.offset + op.limit


def _fields(hit: _Hit) -> dict[str, Any]:
    item = hit.item
    return {
        "value": item.value,
        "key": item.key,
        "namespace": item.namespace,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }


def _item(hit: _Hit | None) -> Item | None:
    return None if hit is None else Item(**_fields(hit))


def _search_item(hit: _Hit) -> SearchItem:
    return SearchItem(**_fields(hit), score=hit.score)
