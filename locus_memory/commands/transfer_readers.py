"""Reads whole threads out of a store, in batches of bounded size."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from locus_memory.commands.running import Calls
from locus_memory.errors import InvalidArgumentError
from locus_memory.storage import CheckpointSummary, StorageBackend, StoredCheckpoint

Outline = dict[str, list[CheckpointSummary]]
"""The checkpoints of a thread without their payloads: by namespace, oldest first."""

_PAGE: Final = 1000
"""Threads listed at once."""

_BATCH_BYTES: Final = 8 * 1024 * 1024
_BATCH_CHECKPOINTS: Final = 256

_ALL: Final = 2**31 - 1


class Reader(Protocol):
    """Where threads come from."""

    def threads(self) -> AsyncIterator[str]:
        """Yield the ids of all threads, in the order of their UTF-8 bytes."""

    async def outline(self, thread_id: str) -> Outline:
        """Return what a thread consists of; empty where there is none."""

    def checkpoints(
        self, thread_id: str, namespace: str, checkpoint_ids: Sequence[str]
    ) -> AsyncIterator[StoredCheckpoint]:
        """Yield checkpoints whole, in the order asked for; those that are gone are left out."""


class StoreReader:
    """Reads a store.

    Raises:
        InvalidArgumentError: The backend cannot list everything that it holds.
    """

    def __init__(self, calls: Calls) -> None:
        if not calls.storage.transfers:
            raise InvalidArgumentError(f"{calls.storage!r}: threads cannot be moved into or out of this backend")
        self._calls = calls

    async def threads(self) -> AsyncIterator[str]:
        """See `Reader`."""
        page: list[str] = []
        after: str | None = None
        while after is None or len(page) == _PAGE:
            page = await self._calls("listing", functools.partial(_page, after=after))
            for thread_id in page:
                yield thread_id
            if not page:
                return
            after = page[-1]

    async def outline(self, thread_id: str) -> Outline:
        """See `Reader`."""
        description = f"listing of thread {thread_id!r}"
        namespaces = await self._calls(description, lambda storage: storage.list_namespaces(thread_id))
        return {namespace: await self._oldest_first(thread_id, namespace) for namespace in namespaces}

    async def checkpoints(
        self, thread_id: str, namespace: str, checkpoint_ids: Sequence[str]
    ) -> AsyncIterator[StoredCheckpoint]:
        """See `Reader`."""
        start, count = 0, 1
        while start < len(checkpoint_ids):
            found = await self._batch(thread_id, namespace, checkpoint_ids[start : start + count])
            for stored in found:
                yield stored
            start += count
            # As many as fit if they are like these, but no more than twice as many: states grow as threads do.
            average = sum(map(_size, found)) // max(1, len(found)) + 1
            count = max(1, min(2 * count, _BATCH_BYTES // average, _BATCH_CHECKPOINTS))

    async def _oldest_first(self, thread_id: str, namespace: str) -> list[CheckpointSummary]:
        newest_first = await self._calls(
            f"listing of thread {thread_id!r}",
            lambda storage: storage.list_checkpoints(thread_id, _ALL, namespace=namespace),
        )
        return newest_first[::-1]

    async def _batch(self, thread_id: str, namespace: str, checkpoint_ids: Sequence[str]) -> list[StoredCheckpoint]:
        return await self._calls(
            f"reading thread {thread_id!r}", lambda storage: complete(storage, thread_id, checkpoint_ids, namespace)
        )


async def complete(
    storage: StorageBackend, thread_id: str, checkpoint_ids: Sequence[str], namespace: str
) -> list[StoredCheckpoint]:
    """Return checkpoints with all that belongs to them."""
    if storage.keeps_history:
        return await storage.get_complete(thread_id, checkpoint_ids, namespace=namespace)
    found = [await storage.get(thread_id, checkpoint_id, namespace=namespace) for checkpoint_id in checkpoint_ids]
    return [stored for stored in found if stored is not None]


async def _page(storage: StorageBackend, after: str | None) -> list[str]:
    return await storage.list_threads_after(after, _PAGE)


def _size(stored: StoredCheckpoint) -> int:
    return (
        len(stored.payload) + sum(map(len, stored.parts.values())) + sum(len(write.payload) for write in stored.writes)
    )
