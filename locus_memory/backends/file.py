"""Files: one readable JSON document per thread, for one machine or one shared volume."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar, Unpack

from pydantic import JsonValue

from locus_memory.adapter import AdapterOptions, StorageBackendAdapter
from locus_memory.backends.file_diagnosis import diagnose_directory
from locus_memory.backends.file_directory import ThreadDirectory
from locus_memory.backends.file_document import CheckpointRecord
from locus_memory.checkpointer import UNCHECKED, CheckpointerCapabilities, Unchecked
from locus_memory.connection import FileConnection, Retention
from locus_memory.diagnosis import Diagnosis
from locus_memory.errors import BindingError, CheckpointConflictError, InvalidArgumentError
from locus_memory.history import Entry, ThreadHistory, complete, find_by_metadata, first_matching, next_after, rank
from locus_memory.storage import (
    CheckpointSummary,
    NewCheckpoint,
    PendingWrite,
    SearchHit,
    StorageBackend,
    StoredCheckpoint,
)

T = TypeVar("T")

_CAPABILITIES = CheckpointerCapabilities(
    search=True,
    metadata_query=True,
    vacuum=True,
    branching=True,
    list_threads=True,
    list_with_metadata=True,
    persistent_checkpoint_ids=True,
)

_WORKERS: Final = 4
"""Threads that read, and as many that write."""


class FileBackend(StorageBackend):
    """Keeps each thread, with all its checkpoints, in one JSON file of a directory.

    The directory is created with the first save, for its owner alone. Saving rewrites the thread's file, so its
    cost grows with the history that is kept. With each save the rules of the binding's `retention` are applied to the
    thread that is saved; threads that are saved no more stay until `vacuum` is called.

    Args:
        directory: The directory, or a function that returns the binding document which names it.
    """

    factory = "FileCheckpointer"
    compresses = False
    stores_text = False

    def __init__(self, directory: str | os.PathLike[str] | Callable[[], FileConnection]) -> None:
        self._source = directory if callable(directory) else None
        self._retention: Retention | None = None
        self._version = 0
        self._workers = _Workers(
            _directory_of(directory()) if callable(directory) else ThreadDirectory(_path(directory))
        )

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        return _CAPABILITIES

    async def put(
        self, checkpoint: NewCheckpoint, *, expected_checkpoint_id: str | Unchecked | None = UNCHECKED
    ) -> None:
        await self._write(
            lambda directory: _put(directory, checkpoint, expected_checkpoint_id, self._retention_now()),
            checkpoint.thread_id,
        )

    async def get(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> StoredCheckpoint | None:
        return await self._read(lambda directory: _get(directory, thread_id, checkpoint_id, namespace))

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None = None, *, namespace: str = ""
    ) -> list[StoredCheckpoint]:
        return await self._read(
            lambda directory: complete(
                directory.read(thread_id), checkpoint_ids, namespace, CheckpointRecord.payload_bytes
            )
        )

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], *, namespace: str = ""
    ) -> None:
        await self._write(
            lambda directory: _put_writes(directory, thread_id, checkpoint_id, writes, namespace), thread_id
        )

    async def get_writes(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> list[PendingWrite]:
        history = await self._read(lambda directory: directory.read(thread_id))
        return list(history.writes_on(checkpoint_id, namespace)) if history else []

    async def get_summary(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> CheckpointSummary | None:
        history = await self._read(lambda directory: directory.read(thread_id))
        entry = history.get(checkpoint_id, namespace) if history else None
        return entry.summary if entry else None

    async def list_checkpoints(self, thread_id: str, limit: int, *, namespace: str = "") -> list[CheckpointSummary]:
        history = await self._read(lambda directory: directory.read(thread_id))
        if history is None:
            return []
        return [entry.summary for entry in itertools.islice(history.newest_first(namespace), limit)]

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> bool:
        return await self._write(
            lambda directory: _delete_checkpoint(directory, thread_id, checkpoint_id, namespace), thread_id
        )

    async def delete_thread(self, thread_id: str) -> bool:
        return await self._write(lambda directory: _delete_thread(directory, thread_id), thread_id)

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        return await self._write(
            lambda directory: _copy_thread(directory, source_thread_id, dest_thread_id),
            source_thread_id,
            dest_thread_id,
        )

    async def list_threads(self, limit: int, pattern: str = "*") -> list[str]:
        return await self._read(lambda directory: first_matching(directory.thread_ids(), pattern, limit))

    @property
    def transfers(self) -> bool:
        return True

    async def list_threads_after(self, thread_id: str | None, limit: int) -> list[str]:
        return await self._read(lambda directory: next_after(directory.thread_ids(), thread_id, limit))

    async def list_namespaces(self, thread_id: str) -> list[str]:
        history = await self._read(lambda directory: directory.read(thread_id))
        return sorted(history.namespaces, key=str.encode) if history else []

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        return await self._read(lambda directory: _list_latest(directory, limit))

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int) -> list[CheckpointSummary]:
        return await self._read(lambda directory: find_by_metadata(directory.read_all(), key, value, limit))

    async def search(self, terms: list[str], limit: int, text_of: Callable[[bytes], str]) -> list[SearchHit]:
        return await self._read(lambda directory: _search(directory, terms, limit, text_of))

    async def vacuum(self, before: datetime) -> int:
        deleted = 0
        for thread_id in await self._read(lambda directory: _threads_with_old(directory, before)):
            deleted += await self._write(
                lambda directory, thread_id=thread_id: _delete_before(directory, thread_id, before),  # type: ignore[misc]
                thread_id,
            )
        return deleted

    async def diagnose(self) -> Diagnosis:
        return await self._read(lambda directory: diagnose_directory(directory.path))

    @property
    def connection_version(self) -> int:
        return self._version

    async def refresh(self) -> None:
        if self._source is None:
            return
        directory = _directory_of(await asyncio.to_thread(self._source))
        if directory.path != self._workers.directory.path:
            self._workers = _Workers(directory)
            self._version += 1

    async def close(self) -> None:
        """Do nothing: no file stays open between calls, and idle worker threads serve the next event loop."""

    def __repr__(self) -> str:
        return f"FileBackend({str(self._workers.directory.path)!r})"

    async def _read(self, operation: Callable[[ThreadDirectory], T]) -> T:
        workers = self._own_workers()
        return await asyncio.get_running_loop().run_in_executor(workers.readers, operation, workers.directory)

    async def _write(self, operation: Callable[[ThreadDirectory], T], *thread_ids: str) -> T:
        """Run an operation under the locks of threads, unless the caller is cancelled before they are free."""
        workers, given_up = self._own_workers(), threading.Event()

        def locked() -> T:
            with workers.directory.locked(*thread_ids, given_up=given_up):
                return operation(workers.directory)

        try:
            return await asyncio.get_running_loop().run_in_executor(workers.writers, locked)
        except asyncio.CancelledError:
            given_up.set()
            raise

    def _retention_now(self) -> Retention | None:
        """Read the rules, which may change while an agent runs; blocks."""
        if self._source is not None:
            # While the binding is being replaced, what was read before holds.
            with suppress(BindingError):
                self._retention = self._source().retention
        return self._retention

    def _own_workers(self) -> _Workers:
        if self._workers.process != os.getpid():
            # Threads do not survive a fork, and a lock may have been held at that moment.
            self._workers = _Workers(self._workers.directory.again())
        return self._workers


class _Workers:
    """A directory with the threads that do its blocking work; they start when there is work."""

    def __init__(self, directory: ThreadDirectory) -> None:
        self.process = os.getpid()
        self.directory = directory
        # Apart, so that writers waiting for another process's lock do not hold up readers.
        self.readers = ThreadPoolExecutor(_WORKERS, "locus-file-read")
        self.writers = ThreadPoolExecutor(_WORKERS, "locus-file-write")


class FileCheckpointer(StorageBackendAdapter):
    """A checkpointer that keeps one JSON file per thread in a directory.

    Args:
        directory: Created with the first save; a relative one is relative to the current directory of now.
        base_dir: Another name of `directory`.
        options: `state_type`, `retry`, `compression`, `encryption_key`; see `locus_memory.adapter.AdapterOptions`.

    Raises:
        InvalidArgumentError: Both names are given.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        base_dir: str | os.PathLike[str] | None = None,
        **options: Unpack[AdapterOptions],
    ) -> None:
        if directory is not None and base_dir is not None:
            raise InvalidArgumentError("base_dir is another name of directory: write one of them")
        backend = FileBackend(directory or base_dir or "./threads")
        super().__init__(backend, **options)


def from_connection(source: Callable[[], FileConnection], **options: Unpack[AdapterOptions]) -> StorageBackendAdapter:
    """Make a checkpointer from a binding; `source` returns its document as it is now."""
    return StorageBackendAdapter(FileBackend(source), **options)


def _directory_of(document: FileConnection) -> ThreadDirectory:
    return ThreadDirectory(_path(document.directory), must_exist=document.tables == "provisioned")


def _path(directory: str | os.PathLike[str]) -> Path:
    return Path(directory).expanduser().absolute()


def _put(
    directory: ThreadDirectory,
    checkpoint: NewCheckpoint,
    expected: str | Unchecked | None,
    retention: Retention | None,
) -> None:
    history = directory.read(checkpoint.thread_id) or ThreadHistory(checkpoint.thread_id)
    summary = CheckpointSummary(
        thread_id=checkpoint.thread_id,
        checkpoint_id=checkpoint.checkpoint_id,
        metadata=dict(checkpoint.metadata),
        created_at=checkpoint.created_at or datetime.now(UTC),
        namespace=checkpoint.namespace,
        parent_id=checkpoint.parent_id,
    )
    record = CheckpointRecord.of(summary, checkpoint.payload, checkpoint.part_names)
    history.put(Entry(summary, record, checkpoint.part_names), expected, checkpoint.parts)
    # What is moved here from another store comes whole; the thread's next save applies the rules.
    if retention is not None and checkpoint.created_at is None:
        _apply(retention, history, summary)
    directory.write(history)


def _apply(retention: Retention, history: ThreadHistory[CheckpointRecord], saved: CheckpointSummary) -> None:
    if retention.max_age_seconds is not None:
        with suppress(OverflowError):  # nothing is older than the calendar
            history.delete_before(saved.created_at - timedelta(seconds=retention.max_age_seconds))
    if retention.max_checkpoints_per_thread is not None:
        history.keep_newest(retention.max_checkpoints_per_thread, saved.namespace)


def _get(
    directory: ThreadDirectory, thread_id: str, checkpoint_id: str | None, namespace: str
) -> StoredCheckpoint | None:
    history = directory.read(thread_id)
    entry = history.get(checkpoint_id, namespace) if history else None
    return StoredCheckpoint(entry.summary, entry.body.payload_bytes()) if entry else None


def _put_writes(
    directory: ThreadDirectory, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], namespace: str
) -> None:
    history = directory.read(thread_id) or ThreadHistory(thread_id)
    history.put_writes(checkpoint_id, writes, namespace)
    directory.write(history)


def _delete_checkpoint(directory: ThreadDirectory, thread_id: str, checkpoint_id: str, namespace: str) -> bool:
    history = directory.read(thread_id)
    if history is None or not history.delete(checkpoint_id, namespace):
        return False
    directory.write(history)
    return True


def _delete_thread(directory: ThreadDirectory, thread_id: str) -> bool:
    # Read first: the file of another thread, or a damaged one, is not ours to delete.
    if directory.read(thread_id) is None:
        return False
    directory.write(ThreadHistory(thread_id))
    return True


def _copy_thread(directory: ThreadDirectory, source: str, destination: str) -> bool:
    history = directory.read(source)
    if history is None:
        return False
    if directory.read(destination) is not None:
        raise CheckpointConflictError(f"thread {destination!r} exists already: delete it first")
    directory.write(history.copy_to(destination))
    return True


def _list_latest(directory: ThreadDirectory, limit: int) -> list[CheckpointSummary]:
    thread_ids = sorted(directory.thread_ids(), key=str.encode)
    histories = (history for thread_id in thread_ids if (history := directory.read(thread_id)))
    latest = (entry.summary for history in histories if (entry := history.get()))
    return list(itertools.islice(latest, limit))


def _search(
    directory: ThreadDirectory, terms: list[str], limit: int, text_of: Callable[[bytes], str]
) -> list[SearchHit]:
    latest = (entry for history in directory.read_all() if (entry := history.get()))
    return rank(((entry.summary, entry.body.payload_bytes()) for entry in latest), terms, limit, text_of)


def _threads_with_old(directory: ThreadDirectory, before: datetime) -> list[str]:
    return [
        history.thread_id
        for history in directory.read_all()
        if any(entry.summary.created_at < before for entry in history.entries())
    ]


def _delete_before(directory: ThreadDirectory, thread_id: str, before: datetime) -> int:
    history = directory.read(thread_id)
    deleted = history.delete_before(before) if history else 0
    if history is not None and deleted:
        directory.write(history)
    return deleted
