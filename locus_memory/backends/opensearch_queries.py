"""What needs the search API: listings, queries, search.

A search sees what was written before the last refresh of the index. So each of these calls refreshes it once, which
makes it see everything acknowledged before the call, and checks what it finds against the manifests, which are read
in real time. They page by what is sorted, never by offset: a server answers no search beyond its first 10,000 hits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from pydantic import JsonValue

from locus_memory.backends.opensearch_errors import INDEX_MISSING, Refusal
from locus_memory.backends.opensearch_layout import (
    CHECKPOINT,
    OCCURRENCES,
    THREAD,
    metadata_token,
    search_term,
    summary_of,
)
from locus_memory.backends.opensearch_manifest import Manifest
from locus_memory.backends.opensearch_threads import Source, Threads
from locus_memory.errors import InvalidArgumentError
from locus_memory.history import matches_pattern
from locus_memory.storage import CheckpointSummary, SearchHit

if TYPE_CHECKING:
    from locus_memory.backends.opensearch_client import Client

Hit = dict[str, Any]

_PAGE: Final = 500
_MAX_TERMS: Final = 500
_MAX_RANKED_TERMS: Final = 50
"""A query has at most 1,024 clauses by default (indices.query.bool.max_clause_count)."""

IS_THREAD: Final[dict[str, Any]] = {"term": {"kind": THREAD}}
BY_THREAD: Final = [{"thread_id": "asc"}]
_LARGE: Final = ("payload", "packed_terms", "tokens")


class Queries:
    """Searches the index."""

    def __init__(self, client: Client, threads: Threads) -> None:
        self._client = client
        self._threads = threads

    async def list_threads(self, limit: int, pattern: str) -> list[str]:
        """See `StorageBackend.list_threads`."""
        prefix = pattern.partition("*")[0]
        filters = [IS_THREAD]
        if prefix:
            filters.append({"prefix": {"thread_id": {"value": prefix}}})
        found: list[str] = []
        async for hits in self.pages(filters, BY_THREAD, min(limit, _PAGE)):
            names = [name for name in map(thread_of, hits) if matches_pattern(name, pattern)]
            manifests = await self._threads.manifests(names)
            found += [name for name in names if manifests[name].namespaces]
            if len(found) >= limit:
                break
        return found[:limit]

    async def list_threads_after(self, thread_id: str | None, limit: int) -> list[str]:
        """See `StorageBackend.list_threads_after`."""
        filters = [IS_THREAD] if thread_id is None else [IS_THREAD, {"range": {"thread_id": {"gt": thread_id}}}]
        found: list[str] = []
        async for hits in self.pages(filters, BY_THREAD, min(limit, _PAGE)):
            manifests = await self.manifests(hits)
            found += [name for name in map(thread_of, hits) if manifests[name].namespaces]
            if len(found) >= limit:
                break
        return found[:limit]

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        """See `StorageBackend.list_latest`."""
        filters = [IS_THREAD, {"exists": {"field": "latest_at"}}]
        found: list[CheckpointSummary] = []
        async for hits in self.pages(filters, BY_THREAD, min(limit, _PAGE)):
            found += (await self._latest(await self.manifests(hits))).values()
            if len(found) >= limit:
                break
        return found[:limit]

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int) -> list[CheckpointSummary]:
        """See `StorageBackend.query_by_metadata`."""
        filters = [{"term": {"kind": CHECKPOINT}}, {"term": {"tokens": metadata_token(key, value)}}]
        found: list[CheckpointSummary] = []
        newest_first = [{"created_at": "desc"}, {"document": "asc"}]
        async for hits in self.pages(filters, newest_first, min(limit, _PAGE), excludes=_LARGE):
            manifests = await self.manifests(hits)
            found += [summary_of(hit["_source"]) for hit in hits if _is_live(hit, manifests)]
            if len(found) >= limit:
                break
        return found[:limit]

    async def search(self, terms: Sequence[str], limit: int) -> list[SearchHit]:
        """See `StorageBackend.search`."""
        if len(terms) > _MAX_TERMS:
            raise InvalidArgumentError(f"query: {len(terms):,} words; write at most {_MAX_TERMS:,}")
        found: list[SearchHit] = []
        best_first = [{"_score": "desc"}, {"latest_at": "desc"}, {"thread_id": "asc"}]
        filters = [IS_THREAD, *({"term": {"terms": search_term(term)}} for term in terms)]
        async for hits in self.pages(filters, best_first, min(limit, _PAGE), ranks=_ranks(terms)):
            manifests = await self.manifests(hits)
            scores = {hit["_source"]["thread_id"]: hit["_score"] for hit in hits if _is_current(hit, manifests)}
            summaries = await self._latest({name: manifests[name] for name in scores})
            found += [SearchHit(summary, scores[name]) for name, summary in summaries.items()]
            if len(found) >= limit:
                break
        return found[:limit]

    async def _latest(self, manifests: Mapping[str, Manifest]) -> dict[str, CheckpointSummary]:
        """Return the summary of the latest checkpoint of each thread that has one in the empty namespace."""
        latest = {name: entry for name, manifest in manifests.items() if (entry := manifest.latest())}
        places = [(name, entry.document) for name, entry in latest.items()]
        sources = await self._threads.documents(places, excludes=_LARGE)
        for name, entry in latest.items():
            if entry.document not in sources:  # replaced since its manifest was read
                for _, source in await self._threads.resolve(name, lambda each: each.newest(1), _LARGE):
                    sources[entry.document] = source
        return {
            name: summary_of(sources[entry.document]) for name, entry in latest.items() if entry.document in sources
        }

    async def manifests(self, hits: Sequence[Hit]) -> dict[str, Manifest]:
        """Read the manifests of the threads that hits belong to."""
        return await self._threads.manifests(map(thread_of, hits))

    async def pages(
        self,
        filters: list[dict[str, Any]],
        order: list[dict[str, str]],
        size: int | None = None,
        *,
        ranks: Sequence[dict[str, Any]] = (),
        includes: Sequence[str] = ("thread_id", "document"),
        excludes: Sequence[str] = (),
    ) -> AsyncIterator[list[Hit]]:
        """Refresh the index, then search page by page."""
        refreshed = await self._client.ask("POST", "/_refresh")
        if isinstance(refreshed, Refusal):
            if refreshed.kind == INDEX_MISSING and self._client.connection.tables != "provisioned":
                return
            raise self._client.error(refreshed)
        source: Source = {"excludes": list(excludes)} if excludes else {"includes": list(includes)}
        size = size or _PAGE
        request: Source = {
            "size": size,
            "query": {"bool": {"filter": filters, "should": list(ranks)}},
            "sort": order,
            "_source": source,
            "track_total_hits": False,
        }
        while True:
            answer = await self._client.call("POST", "/_search", request, allow_partial_search_results="false")
            hits: list[Hit] = answer["hits"]["hits"]
            if hits:
                yield hits
            if len(hits) < size:
                return
            request = {**request, "size": _PAGE, "search_after": hits[-1]["sort"]}
            size = _PAGE


def _ranks(terms: Sequence[str]) -> list[dict[str, Any]]:
    """Return clauses whose scores add up to how often the words occur, in the steps that are indexed."""
    return [
        {"constant_score": {"filter": {"term": {"terms": search_term(term, step)}}, "boost": step - below}}
        for term in terms[:_MAX_RANKED_TERMS]
        for below, step in pairwise((0, *OCCURRENCES))
    ]


def thread_of(hit: Hit) -> str:
    """Return the thread that a hit belongs to."""
    name: str = hit["_source"]["thread_id"]
    return name


def _is_live(hit: Hit, manifests: Mapping[str, Manifest]) -> bool:
    return manifests[thread_of(hit)].holds(hit["_id"])


def _is_current(hit: Hit, manifests: Mapping[str, Manifest]) -> bool:
    latest = manifests[thread_of(hit)].latest()
    return latest is not None and latest.document == hit["_source"]["document"]
