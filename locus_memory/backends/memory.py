"""Memory of the process: for tests and for trying things out."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Unpack

from pydantic import JsonValue

from locus_memory.adapter import AdapterOptions, StorageBackendAdapter
from locus_memory.checkpointer import UNCHECKED, CheckpointerCapabilities, Unchecked
from locus_memory.connection import MemoryConnection
from locus_memory.diagnosis import Diagnosis, Finding, Level
from locus_memory.errors import CheckpointConflictError
from locus_memory.history import Entry, ThreadHistory, complete, find_by_metadata, first_matching, next_after, rank
from locus_memory.storage import (
    CheckpointSummary,
    NewCheckpoint,
    PendingWrite,
    SearchHit,
    StorageBackend,
    StoredCheckpoint,
)

_CAPABILITIES = CheckpointerCapabilities(
    search=True,
    metadata_query=True,
    vacuum=True,
    branching=True,
    list_threads=True,
    list_with_metadata=True,
)


class MemoryBackend(StorageBackend):
    """Keeps encoded payloads in dictionaries, until it is collected; `close` releases nothing."""

    factory = "MemoryCheckpointer"
    stores_text = False

    def __init__(self) -> None:
        self._histories: dict[str, ThreadHistory[bytes]] = {}
        # Never held across an await, nor while states are decoded.
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        return _CAPABILITIES

    async def put(
        self, checkpoint: NewCheckpoint, *, expected_checkpoint_id: str | Unchecked | None = UNCHECKED
    ) -> None:
        metadata = copy.deepcopy(dict(checkpoint.metadata))
        with self._lock:
            history = self._histories.get(checkpoint.thread_id) or ThreadHistory(checkpoint.thread_id)
            summary = CheckpointSummary(
                thread_id=checkpoint.thread_id,
                checkpoint_id=checkpoint.checkpoint_id,
                metadata=metadata,
                created_at=checkpoint.created_at or datetime.now(UTC),
                namespace=checkpoint.namespace,
                parent_id=checkpoint.parent_id,
            )
            entry = Entry(summary, bytes(checkpoint.payload), checkpoint.part_names)
            history.put(entry, expected_checkpoint_id, checkpoint.parts)
            self._histories[checkpoint.thread_id] = history

    async def get(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> StoredCheckpoint | None:
        with self._lock:
            history = self._histories.get(thread_id)
            entry = history.get(checkpoint_id, namespace) if history else None
        return StoredCheckpoint(_detached(entry.summary), entry.body) if entry else None

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None = None, *, namespace: str = ""
    ) -> list[StoredCheckpoint]:
        with self._lock:
            found = complete(self._histories.get(thread_id), checkpoint_ids, namespace, bytes)
        return [replace(stored, summary=_detached(stored.summary)) for stored in found]

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], *, namespace: str = ""
    ) -> None:
        with self._lock:
            history = self._histories.setdefault(thread_id, ThreadHistory(thread_id))
            history.put_writes(checkpoint_id, writes, namespace)

    async def get_writes(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> list[PendingWrite]:
        with self._lock:
            history = self._histories.get(thread_id)
            return list(history.writes_on(checkpoint_id, namespace)) if history else []

    async def get_summary(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> CheckpointSummary | None:
        stored = await self.get(thread_id, checkpoint_id, namespace=namespace)
        return stored.summary if stored else None

    async def list_checkpoints(self, thread_id: str, limit: int, *, namespace: str = "") -> list[CheckpointSummary]:
        with self._lock:
            history = self._histories.get(thread_id)
            newest_first = history.newest_first(namespace) if history else iter(())
            return [_detached(entry.summary) for entry in itertools.islice(newest_first, limit)]

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> bool:
        with self._lock:
            history = self._histories.get(thread_id)
            found = history is not None and history.delete(checkpoint_id, namespace)
            self._drop_if_empty(thread_id)
            return found

    async def delete_thread(self, thread_id: str) -> bool:
        with self._lock:
            return self._histories.pop(thread_id, None) is not None

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        with self._lock:
            source = self._histories.get(source_thread_id)
            if source is None:
                return False
            if dest_thread_id in self._histories:
                raise CheckpointConflictError(f"thread {dest_thread_id!r} exists already: delete it first")
            self._histories[dest_thread_id] = source.copy_to(dest_thread_id)
            return True

    async def list_threads(self, limit: int, pattern: str = "*") -> list[str]:
        with self._lock:
            return first_matching(self._threads(), pattern, limit)

    @property
    def transfers(self) -> bool:
        return True

    async def list_threads_after(self, thread_id: str | None, limit: int) -> list[str]:
        with self._lock:
            return next_after(self._threads(), thread_id, limit)

    async def list_namespaces(self, thread_id: str) -> list[str]:
        with self._lock:
            history = self._histories.get(thread_id)
            return sorted(history.namespaces, key=str.encode) if history else []

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        with self._lock:
            threads = [thread_id for thread_id, history in self._histories.items() if history.get()]
            latest = [self._histories[thread_id].get() for thread_id in first_matching(threads, "*", limit)]
            return [_detached(entry.summary) for entry in latest if entry]

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int) -> list[CheckpointSummary]:
        with self._lock:
            found = find_by_metadata(self._histories.values(), key, value, limit)
            return [_detached(summary) for summary in found]

    async def search(self, terms: list[str], limit: int, text_of: Callable[[bytes], str]) -> list[SearchHit]:
        with self._lock:
            latest = [entry for history in self._histories.values() if (entry := history.get())]
        hits = rank(((entry.summary, entry.body) for entry in latest), terms, limit, text_of)
        return [replace(hit, summary=_detached(hit.summary)) for hit in hits]

    async def vacuum(self, before: datetime) -> int:
        with self._lock:
            deleted = sum(history.delete_before(before) for history in self._histories.values())
            for thread_id in list(self._histories):
                self._drop_if_empty(thread_id)
            return deleted

    async def diagnose(self) -> Diagnosis:
        return Diagnosis(
            findings=(
                Finding(
                    Level.WARNING,
                    "memory",
                    "everything is forgotten when the process ends, and no other process sees it",
                    "bind a store that is not of type memory, unless this is a test",
                ),
            )
        )

    async def close(self) -> None:
        """Do nothing: the data lives as long as the backend."""

    def __repr__(self) -> str:
        return "MemoryBackend()"

    def _threads(self) -> Iterator[str]:
        # One may have nothing but pending writes so far.
        return (thread_id for thread_id, history in self._histories.items() if history.namespaces)

    def _drop_if_empty(self, thread_id: str) -> None:
        history = self._histories.get(thread_id)
        if history is not None and not history.namespaces and not history.writes:
            del self._histories[thread_id]


class MemoryCheckpointer(StorageBackendAdapter):
    """A checkpointer in memory: nothing survives the process. Copies on save and on load.

    Args:
        options: `state_type`, `retry`, `compression`, `encryption_key`; see `locus_memory.adapter.AdapterOptions`.
    """

    def __init__(self, **options: Unpack[AdapterOptions]) -> None:
        super().__init__(MemoryBackend(), **options)


def from_connection(source: Callable[[], MemoryConnection], **options: Unpack[AdapterOptions]) -> MemoryCheckpointer:
    """Make a checkpointer from a binding; its document says nothing beyond its type."""
    return MemoryCheckpointer(**options)


def _detached(summary: CheckpointSummary) -> CheckpointSummary:
    """Return a summary that shares no metadata with what is stored."""
    return replace(summary, metadata=copy.deepcopy(summary.metadata))
