"""Pending writes on OpenSearch, and whole checkpoints: what savers keep beside a checkpoint's payload.

Both are named by the thread's manifest. So a checkpoint is saved, copied and deleted with all that belongs to it by one
compare-and-set, and everything is read by id, in real time.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from locus_memory.backends.opensearch_commits import Commit
from locus_memory.backends.opensearch_layout import LARGE_BYTES, Attachment, decode_payload, summary_of, writes_of
from locus_memory.backends.opensearch_manifest import Batch, Entry, Manifest, Place, Position
from locus_memory.backends.opensearch_threads import Source, Thread, Threads
from locus_memory.storage import PendingWrite, StoredCheckpoint

if TYPE_CHECKING:
    from locus_memory.backends.opensearch_client import Client

_UNREAD = ("packed_terms", "tokens")


class History:
    """Reads whole checkpoints; reads and writes pending writes."""

    def __init__(self, client: Client, threads: Threads) -> None:
        self._client = client
        self._threads = threads

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None, namespace: str
    ) -> list[StoredCheckpoint]:
        """See `StorageBackend.get_complete`."""
        if checkpoint_ids is not None and not checkpoint_ids:
            return []

        def pick(manifest: Manifest) -> dict[str, int]:
            sizes: dict[str, int] = {}
            for entry in _chosen(manifest, checkpoint_ids, namespace):
                sizes[entry.document] = entry.size
                sizes |= {part.document: part.size for part in entry.parts}
                sizes |= _sizes(manifest.writes.get((namespace, entry.checkpoint_id), ()))
            return sizes

        def build() -> list[StoredCheckpoint]:
            return [
                StoredCheckpoint(
                    summary_of(found[entry.document]),
                    decode_payload(found[entry.document]),
                    {part.name: decode_payload(found[part.document]) for part in entry.parts},
                    tuple(_writes(manifest, (namespace, entry.checkpoint_id), found)),
                )
                for entry in _chosen(manifest, checkpoint_ids, namespace)
            ]

        manifest, found = await self._threads.gather(thread_id, pick, _UNREAD)
        is_large = sum(pick(manifest).values()) > LARGE_BYTES
        return await asyncio.to_thread(build) if is_large else build()

    async def get_writes(self, thread_id: str, checkpoint_id: str, namespace: str) -> list[PendingWrite]:
        """See `StorageBackend.get_writes`."""
        place = (namespace, checkpoint_id)

        def pick(manifest: Manifest) -> dict[str, int]:
            return _sizes(manifest.writes.get(place, ()))

        manifest, found = await self._threads.gather(thread_id, pick)
        is_large = sum(pick(manifest).values()) > LARGE_BYTES
        return await asyncio.to_thread(_writes, manifest, place, found) if is_large else _writes(manifest, place, found)

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], namespace: str
    ) -> None:
        """See `StorageBackend.put_writes`."""
        kept = _first_at_each_position(writes)
        size = sum(len(write.payload) for write in kept.values())
        if size > LARGE_BYTES:
            attachment = await asyncio.to_thread(Attachment.of_writes, thread_id, kept.values())
        else:
            attachment = Attachment.of_writes(thread_id, kept.values())
        batch = Batch(uuid.uuid4().hex, size, tuple(kept))
        commit = Commit(self._client, self._threads, thread_id)

        async def attempt(thread: Thread, is_fresh: bool) -> tuple[bool, Sequence[str]]:
            manifest = thread.manifest.with_writes((namespace, checkpoint_id), batch)
            if manifest is thread.manifest:
                return is_fresh, ()
            documents = {batch.document: attachment.document(batch.document)}
            is_done = await commit.attempt(thread, manifest, documents)
            return is_done, [*thread.manifest.dropped_by(manifest), *thread.leftovers]

        await self._threads.discard(thread_id, await self._threads.change(thread_id, attempt))
        await commit.withdraw()


def _chosen(manifest: Manifest, checkpoint_ids: Sequence[str] | None, namespace: str) -> Iterable[Entry]:
    if checkpoint_ids is None:
        latest = manifest.latest(namespace)
        return [] if latest is None else [latest]
    entries = {entry.checkpoint_id: entry for entry in manifest.namespaces.get(namespace, ())}
    return [entries[checkpoint_id] for checkpoint_id in checkpoint_ids if checkpoint_id in entries]


def _sizes(batches: Iterable[Batch]) -> dict[str, int]:
    return {batch.document: batch.size for batch in batches}


def _writes(manifest: Manifest, place: Place, found: Mapping[str, Source]) -> list[PendingWrite]:
    """Take from each document the writes that count."""
    writes = [
        write
        for batch in manifest.writes.get(place, ())
        for write in writes_of(found[batch.document])
        if (write.task_id, write.index) in batch.positions
    ]
    return sorted(writes, key=lambda write: write.order)


def _first_at_each_position(writes: Iterable[PendingWrite]) -> dict[Position, PendingWrite]:
    kept: dict[Position, PendingWrite] = {}
    for write in writes:
        if write.index < 0:
            kept[write.task_id, write.index] = write
        else:
            kept.setdefault((write.task_id, write.index), write)
    return kept
