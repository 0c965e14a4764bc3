"""The history-shaped face on the storage port: every step of a graph, and what its tasks wrote meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import JsonValue

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.arguments import check_id, check_ids, check_limit, checked_metadata, utf8_size
from locus_memory.errors import CorruptCheckpointError, InvalidArgumentError
from locus_memory.retry import RetryPolicy
from locus_memory.storage import CheckpointSummary, NewCheckpoint, PendingWrite, StorageBackend, StoredCheckpoint

T = TypeVar("T")

_FIRST_PAGE = 50


class CheckpointSaver:
    """Keeps every checkpoint of a thread, its parent, and pending writes, on any storage backend.

    Threads have namespaces (`checkpoint_ns`), one for each sub-graph; the graph itself has the empty one. The latest
    checkpoint is the one that was written last. All methods take their arguments by keyword.

    Args:
        checkpointer: Says where it all goes, and with which deadline, compression and encryption:
            `CheckpointSaver(postgresql_checkpointer(...))`.
    """

    def __init__(self, checkpointer: StorageBackendAdapter) -> None:
        self._history = History(checkpointer.storage, checkpointer.retry)
        self._codec = checkpointer.codec

    async def put(
        self,
        *,
        thread_id: str,
        checkpoint_id: str,
        checkpoint_data: Any,
        checkpoint_ns: str = "",
        parent_checkpoint_id: str | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """Store a checkpoint and make it the latest; one of the same id is replaced.

        Args:
            thread_id: Non-empty text of at most 1,024 bytes in UTF-8.
            checkpoint_id: Same bounds; unique within thread and namespace.
            checkpoint_data: A JSON-able mapping, a pydantic model or a dataclass.
            checkpoint_ns: Sub-graph.
            parent_checkpoint_id: The checkpoint that this one continues.
            metadata: JSON object of at most 64 KiB.

        Raises:
            InvalidStateError, InvalidArgumentError, StateTooLargeError: Nothing was written.
            BackendUnavailableError, AuthenticationError: The backend did not take it.
        """
        if parent_checkpoint_id is not None:
            check_id("parent_checkpoint_id", parent_checkpoint_id)
        await self._history.put(
            NewCheckpoint(
                thread_id,
                checkpoint_id,
                self._codec.encode(checkpoint_data),
                checked_metadata(metadata),
                checkpoint_ns,
                parent_checkpoint_id,
            )
        )

    async def get(
        self, *, thread_id: str, checkpoint_id: str | None = None, checkpoint_ns: str = ""
    ) -> dict[str, Any] | None:
        """Return a checkpoint, by default the latest; None when there is none.

        Returns:
            `checkpoint_id`, `parent_checkpoint_id`, `checkpoint` (the data), `metadata`, `created_at` (ISO 8601).

        Raises:
            BackendUnavailableError, AuthenticationError: It is not known whether there is one.
            CorruptCheckpointError: It cannot be read.
        """
        ids = None if checkpoint_id is None else [checkpoint_id]
        found = await self._history.get_complete(thread_id, ids, checkpoint_ns)
        return await self._as_dict(found[0]) if found else None

    async def list_checkpoints(
        self, *, thread_id: str, checkpoint_ns: str = "", limit: int = 10, before: str | None = None
    ) -> list[dict[str, Any]]:
        """Return checkpoints as `get` does, newest first.

        Args:
            thread_id: The thread.
            checkpoint_ns: Sub-graph.
            limit: At least 1.
            before: Only checkpoints that were written before the one of this id.
        """
        check_limit(limit)
        page = [summary async for summary in self._history.newest_first(thread_id, checkpoint_ns, limit, before)]
        ids = [summary.checkpoint_id for summary in page]
        found = await self._history.get_complete(thread_id, ids, checkpoint_ns) if ids else []
        return [await self._as_dict(stored) for stored in found]

    async def put_writes(
        self,
        *,
        thread_id: str,
        checkpoint_id: str,
        task_id: str,
        writes: Sequence[tuple[str, Any]],
        checkpoint_ns: str = "",
        task_path: str = "",
    ) -> None:
        """Store what a task has written on top of a checkpoint, before the next one is made.

        Doing it again changes nothing: a step that is repeated after a crash finds what its tasks wrote before it.

        Args:
            thread_id: The thread.
            checkpoint_id: The checkpoint; it need not be stored yet.
            task_id: The task, unique in its step.
            writes: Channel and JSON-able value, in the task's order.
            checkpoint_ns: Sub-graph.
            task_path: Where in the graph the task is.
        """
        pending = [
            PendingWrite(task_id, index, channel, self._codec.encode({"value": value}), task_path)
            for index, (channel, value) in enumerate(writes)
        ]
        await self._history.put_writes(thread_id, checkpoint_id, pending, checkpoint_ns)

    async def get_writes(
        self, *, thread_id: str, checkpoint_id: str, checkpoint_ns: str = "", task_id: str | None = None
    ) -> list[dict[str, Any]]:
        """Return pending writes in the order in which a step applies them.

        Returns:
            `task_id`, `idx`, `channel`, `value` of each; those of one task where `task_id` is given.
        """
        writes = await self._history.get_writes(thread_id, checkpoint_id, checkpoint_ns)
        return [
            {
                "task_id": write.task_id,
                "idx": write.index,
                "channel": write.channel,
                "value": (await self._decode(write.payload, thread_id, checkpoint_id))["value"],
            }
            for write in writes
            if task_id in (None, write.task_id)
        ]

    async def delete_thread(self, thread_id: str) -> bool:
        """Delete everything of a thread, in all namespaces; tell whether there was anything."""
        return await self._history.delete_thread(thread_id)

    async def close(self) -> None:
        """Release connections. Idempotent; a later call reopens."""
        await self._history.storage.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._history.storage!r})"

    async def _as_dict(self, stored: StoredCheckpoint) -> dict[str, Any]:
        summary = stored.summary
        return {
            "checkpoint_id": summary.checkpoint_id,
            "parent_checkpoint_id": summary.parent_id,
            "checkpoint": await self._decode(stored.payload, summary.thread_id, summary.checkpoint_id),
            "metadata": summary.metadata,
            "created_at": summary.created_at.isoformat(),
        }

    async def _decode(self, payload: bytes, thread_id: str, checkpoint_id: str) -> Any:
        with naming(thread_id, checkpoint_id):
            return await self._codec.envelope.read(self._codec.decode_json, payload)


class History:
    """Calls of the storage port for faces that keep history: arguments checked, retried within a deadline."""

    def __init__(self, storage: StorageBackend, retry: RetryPolicy) -> None:
        self.storage = storage
        self._retry = retry

    async def put(self, checkpoint: NewCheckpoint) -> None:
        """Store a checkpoint."""
        check_ids(checkpoint.thread_id, checkpoint.checkpoint_id)
        _check_namespace(checkpoint.namespace)
        await self._call("save", checkpoint.thread_id, lambda: self.storage.put(checkpoint))

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None, namespace: str
    ) -> list[StoredCheckpoint]:
        """Return checkpoints with parts and writes; None for the latest alone."""
        for checkpoint_id in checkpoint_ids or ():
            check_id("checkpoint_id", checkpoint_id)
        _check_place(thread_id, namespace)
        return await self._call(
            "load",
            thread_id,
            lambda: self.storage.get_complete(thread_id, checkpoint_ids, namespace=namespace),
        )

    async def newest_first(
        self, thread_id: str, namespace: str, limit: int | None = None, before: str | None = None
    ) -> AsyncIterator[CheckpointSummary]:
        """Walk summaries against the write order, in pages that grow.

        Args:
            thread_id: The thread.
            namespace: Sub-graph.
            limit: At most so many; None for all.
            before: Begin behind this checkpoint. One that is not there has nothing before it.
        """
        _check_place(thread_id, namespace)
        size = _FIRST_PAGE if limit is None or before is not None else limit
        given, begun = 0, before is None
        seen: set[str] = set()
        while True:
            page = await self._page(thread_id, namespace, size)
            # By id and not by place: meanwhile others write.
            for summary in page:
                if summary.checkpoint_id in seen:
                    continue
                seen.add(summary.checkpoint_id)
                if begun:
                    yield summary
                    given += 1
                    if given == limit:
                        return
                begun = begun or summary.checkpoint_id == before
            if len(page) < size:
                return
            size *= 4

    async def _page(self, thread_id: str, namespace: str, size: int) -> list[CheckpointSummary]:
        return await self._call(
            "listing", thread_id, lambda: self.storage.list_checkpoints(thread_id, size, namespace=namespace)
        )

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Iterable[PendingWrite], namespace: str
    ) -> None:
        """Store pending writes."""
        check_ids(thread_id, checkpoint_id)
        _check_place(thread_id, namespace)
        pending = list(writes)
        for write in pending:
            check_id("task_id", write.task_id)
            utf8_size("channel", write.channel)
            utf8_size("task_path", write.task_path)
        if pending:
            await self._call(
                "save of writes",
                thread_id,
                lambda: self.storage.put_writes(thread_id, checkpoint_id, pending, namespace=namespace),
            )

    async def get_writes(self, thread_id: str, checkpoint_id: str, namespace: str) -> list[PendingWrite]:
        """Return pending writes, in their order."""
        check_ids(thread_id, checkpoint_id)
        _check_place(thread_id, namespace)
        return await self._call(
            "load of writes",
            thread_id,
            lambda: self.storage.get_writes(thread_id, checkpoint_id, namespace=namespace),
        )

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, namespace: str) -> bool:
        """Delete one checkpoint with its writes."""
        return await self._call(
            "deletion",
            thread_id,
            lambda: self.storage.delete_checkpoint(thread_id, checkpoint_id, namespace=namespace),
        )

    async def delete_thread(self, thread_id: str) -> bool:
        """Delete everything of a thread."""
        check_id("thread_id", thread_id)
        return await self._call("deletion", thread_id, lambda: self.storage.delete_thread(thread_id))

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        """Copy everything of a thread."""
        check_id("source_thread_id", source_thread_id)
        check_id("dest_thread_id", dest_thread_id)
        return await self._call(
            "copy", source_thread_id, lambda: self.storage.copy_thread(source_thread_id, dest_thread_id)
        )

    async def namespaces(self, thread_id: str) -> list[str]:
        """Return the namespaces of a thread that have checkpoints."""
        return await self._call("listing", thread_id, lambda: self.storage.list_namespaces(thread_id))

    async def threads(self) -> AsyncIterator[str]:
        """Walk all thread ids, in pages."""
        after: str | None = None
        while True:
            start = after
            page = await self._call("listing", "*", lambda: self.storage.list_threads_after(start, _FIRST_PAGE))  # noqa: B023 - called at once
            for thread_id in page:
                yield thread_id
            if len(page) < _FIRST_PAGE:
                return
            after = page[-1]

    async def _call(self, verb: str, thread_id: str, operation: Callable[[], Awaitable[T]]) -> T:
        return await self._retry.run(lambda _: operation(), self.storage, f"{verb} of thread {thread_id!r}")


@contextmanager
def naming(thread_id: str, checkpoint_id: str) -> Iterator[None]:
    """Say in an error about something stored which checkpoint it belongs to."""
    try:
        yield
    except CorruptCheckpointError as error:
        raise type(error)(f"thread {thread_id!r}, checkpoint {checkpoint_id!r}: {error}") from error


def _check_place(thread_id: str, namespace: str) -> None:
    check_id("thread_id", thread_id)
    _check_namespace(namespace)


def _check_namespace(namespace: object) -> None:
    if not isinstance(namespace, str):
        raise InvalidArgumentError(f"checkpoint_ns: write text, not {namespace!r}")
    if namespace:
        check_id("checkpoint_ns", namespace)
