"""Deleting what is too old or too much on OpenSearch, thread by thread, so that whoever asks may stop at any time.

A thread changes by one compare-and-set of its manifest; then the documents go that it no longer names. What an
interrupted run leaves of those is named by no manifest, and deleted by the next `expire` for which it is old enough.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from locus_memory.backends.opensearch_layout import CHECKPOINT, DELETED, PART, WRITES, microseconds, now
from locus_memory.backends.opensearch_queries import BY_THREAD, IS_THREAD, Queries, thread_of
from locus_memory.backends.opensearch_threads import Thread, Threads

if TYPE_CHECKING:
    from locus_memory.backends.opensearch_manifest import Manifest

_ORPHAN_AGE: Final = 3_600_000_000
"""Microseconds. A document that no manifest names yet may be of a save under way; that ends with its deadline."""


class Retention:
    """Deletes checkpoints with what belongs to them."""

    def __init__(self, threads: Threads, queries: Queries) -> None:
        self._threads = threads
        self._queries = queries

    async def expire(self, before: datetime) -> AsyncIterator[int]:
        """Delete checkpoints from before a moment; finish interrupted deletions, remove what interrupted saves left.

        Yields:
            How many checkpoints have just been deleted, thread by thread.
        """
        moment = microseconds(before)

        def kept(manifest: Manifest) -> Manifest:
            return manifest.without(lambda entry: entry.created_at < moment)

        async for hits in self._queries.pages([IS_THREAD, {"range": {"oldest_at": {"lt": moment}}}], BY_THREAD):
            for thread_id in map(thread_of, hits):
                yield await self._reduce(thread_id, kept)
        async for hits in self._queries.pages([{"term": {"kind": DELETED}}], BY_THREAD):
            for thread_id in map(thread_of, hits):
                if (await self._threads.read(thread_id))[0].leftovers:
                    await self._threads.delete(thread_id)
                yield 0
        async for _ in self._delete_orphans(min(moment, now() - _ORPHAN_AGE)):
            yield 0

    async def trim(self, keep: int, after: str | None = None) -> AsyncIterator[tuple[str, int]]:
        """Delete all but the newest checkpoints of each namespace of each thread.

        Args:
            keep: How many stay in each, at least 1.
            after: Begin after this thread, in the order of their ids.

        Yields:
            Each thread that was looked at, and how many of its checkpoints have just been deleted.
        """
        filters = [IS_THREAD, *([] if after is None else [{"range": {"thread_id": {"gt": after}}}])]
        async for hits in self._queries.pages(filters, BY_THREAD):
            manifests = await self._queries.manifests(hits)
            for thread_id, manifest in manifests.items():
                is_long = any(len(entries) > keep for entries in manifest.namespaces.values())
                yield thread_id, await self._reduce(thread_id, lambda each: newest(each, keep)) if is_long else 0

    async def _reduce(self, thread_id: str, kept: Callable[[Manifest], Manifest]) -> int:
        async def attempt(thread: Thread, is_fresh: bool) -> tuple[bool, tuple[int, list[str]]]:
            manifest = kept(thread.manifest)
            gone = len(thread.manifest) - len(manifest)
            if not gone:
                return is_fresh, (0, [])
            is_done = await self._threads.rewrite(thread_id, thread, manifest) is not None
            return is_done, (gone, thread.manifest.dropped_by(manifest))

        gone, documents = await self._threads.change(thread_id, attempt)
        await self._threads.discard(thread_id, documents)
        return int(gone)

    async def _delete_orphans(self, moment: int) -> AsyncIterator[None]:
        kinds = {"terms": {"kind": [CHECKPOINT, PART, WRITES]}}
        filters: list[dict[str, Any]] = [kinds, {"range": {"written_at": {"lt": moment}}}]
        oldest_first = [{"written_at": "asc"}, {"document": "asc"}]
        async for hits in self._queries.pages(filters, oldest_first, includes=["thread_id"]):
            manifests = await self._queries.manifests(hits)
            named = {name: manifest.documents() for name, manifest in manifests.items()}
            orphans: dict[str, list[str]] = {}
            for hit in hits:
                if hit["_id"] not in named[thread_of(hit)]:
                    orphans.setdefault(thread_of(hit), []).append(hit["_id"])
            for thread_id, documents in orphans.items():
                await self._threads.discard(thread_id, documents)
            yield


def newest(manifest: Manifest, keep: int) -> Manifest:
    """Return a manifest with the newest checkpoints of each namespace alone, in the order of their writes."""
    gone = {entry.document for entries in manifest.namespaces.values() for entry in entries[:-keep]}
    return manifest.without(lambda entry: entry.document in gone)
