"""The storage port: what a backend implements, and the records that cross it.

A backend stores encoded payloads; it never sees a Python state. The faces (`adapter`, later `saver` and
`langgraph`) stand on this port, so one implementation serves them all. A backend raises only errors of
`locus_memory.errors`, and does not retry: retrying, deadlines and encoding are done once, above the port.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, NoReturn

from pydantic import JsonValue

from locus_memory.checkpointer import UNCHECKED, CheckpointerCapabilities, Unchecked
from locus_memory.diagnosis import Diagnosis


@dataclass(frozen=True, slots=True)
class NewCheckpoint:
    """A checkpoint to be written.

    Attributes:
        thread_id: The conversation.
        checkpoint_id: Unique within thread and namespace.
        payload: The encoded state.
        metadata: JSON object, kept queryable beside the payload.
        namespace: Sub-graph within the thread; the agent-shaped face uses the empty one.
        parent_id: Checkpoint that this one continues, if the face keeps lineage.
        text: Makes the searchable text of the state, for a backend that indexes it when it is saved. None where
            the text must not be stored, because the payload is encrypted.
        parts: What belongs to the checkpoint beside its payload and is new in it, by name. A name means the same
            bytes in all checkpoints of the thread and namespace: a part is written once, and shared.
        part_names: All parts that it needs, those in `parts` among them.
        created_at: Time of the write where it was made elsewhere, in UTC; None for now. Only for a backend that
            `transfers`.
    """

    thread_id: str
    checkpoint_id: str
    payload: bytes
    metadata: Mapping[str, JsonValue]
    namespace: str = ""
    parent_id: str | None = None
    text: Callable[[], str] | None = field(default=None, repr=False, compare=False)
    parts: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    part_names: tuple[str, ...] = ()
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """What a task of a graph's step has written before the step's checkpoint was made.

    Attributes:
        task_id: The task.
        index: Position among the task's writes. The first write at a position stays, but one at a negative
            position is replaced.
        channel: Where to.
        payload: The encoded value.
        task_path: Where in the graph the task is; the first key of the order in which steps apply writes.
    """

    task_id: str
    index: int
    channel: str
    payload: bytes
    task_path: str = ""

    @property
    def order(self) -> tuple[str, str, int]:
        """Key of the order in which a step applies its tasks' writes."""
        return (self.task_path, self.task_id, self.index)


@dataclass(frozen=True, slots=True)
class CheckpointSummary:
    """A stored checkpoint without its payload; `created_at` is the time of the write, in UTC."""

    thread_id: str
    checkpoint_id: str
    metadata: dict[str, JsonValue]
    created_at: datetime
    namespace: str = ""
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A stored checkpoint: its summary and its payload.

    Attributes:
        parts: By name; see `NewCheckpoint`. Only from `get_complete`.
        writes: What tasks have written on top of it, in `PendingWrite.order`. Only from `get_complete`.
    """

    summary: CheckpointSummary
    payload: bytes
    parts: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    writes: tuple[PendingWrite, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A thread that matches a search; a higher `score` is a better match, comparable within one result."""

    summary: CheckpointSummary
    score: float


class StorageBackend(ABC):
    """Stores checkpoints. All calls are safe from several event loops and threads.

    "Latest" is the order of writes as the backend serialised them, never a clock. Threads are told apart by
    thread id and namespace; `delete_thread`, `copy_thread` and the listing calls cover all namespaces.
    """

    factory: ClassVar[str]
    """Name of the function or class that makes a checkpointer on this backend, for error messages."""

    compresses: ClassVar[bool] = True
    """Whether payloads are compressed unless somebody says otherwise."""

    stores_text: ClassVar[bool] = True
    """Whether a search keeps the text of states on the backend: then there is none for encrypted states."""

    @property
    @abstractmethod
    def capabilities(self) -> CheckpointerCapabilities:
        """What this backend, as configured, can do."""

    @property
    def deletes_single_checkpoints(self) -> bool:
        """See `BaseCheckpointer`."""
        return True

    async def discover(self) -> None:  # noqa: B027 - most backends know what they can do
        """Learn what `capabilities` says, where that takes a round trip.

        Raises:
            BackendUnavailableError: It cannot be learnt now; that is never the same as "nothing".
        """

    @abstractmethod
    async def put(
        self, checkpoint: NewCheckpoint, *, expected_checkpoint_id: str | Unchecked | None = UNCHECKED
    ) -> None:
        """Write the checkpoint and make it the latest, atomically and durably.

        Raises:
            CheckpointConflictError: The latest is not the expected one (None: there is one).
            MissingPartsError: A part is neither new nor stored (deleted meanwhile); nothing was written.
        """

    @abstractmethod
    async def get(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> StoredCheckpoint | None:
        """Return one checkpoint, by default the latest."""

    @abstractmethod
    async def get_summary(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> CheckpointSummary | None:
        """Like `get`, without transferring the payload."""

    @abstractmethod
    async def list_checkpoints(self, thread_id: str, limit: int, *, namespace: str = "") -> list[CheckpointSummary]:
        """Return at most `limit` checkpoints, newest first; the cost grows with `limit`."""

    @abstractmethod
    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> bool:
        """Delete one checkpoint; tell whether it was there."""

    @abstractmethod
    async def delete_thread(self, thread_id: str) -> bool:
        """Delete a thread with all its namespaces, leaving nothing of it; tell whether it was there."""

    @property
    def keeps_history(self) -> bool:
        """Whether it has `get_complete`, `put_writes` and `get_writes`, and keeps `NewCheckpoint.parts`."""
        return type(self).get_complete is not StorageBackend.get_complete

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None = None, *, namespace: str = ""
    ) -> list[StoredCheckpoint]:
        """Return checkpoints with their parts and pending writes, in the order of the ids; missing ones are left out.

        Args:
            thread_id: The conversation.
            checkpoint_ids: Which; None for the latest alone.
            namespace: Sub-graph within the thread.

        Raises:
            CorruptCheckpointError: A part that one of them needs is missing.
        """
        raise NotImplementedError

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], *, namespace: str = ""
    ) -> None:
        """Write what a task has written on top of a checkpoint, atomically and durably; again changes nothing.

        The checkpoint may come later, or never. Writes go when their checkpoint, or their thread, is deleted.
        """
        raise NotImplementedError

    async def get_writes(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> list[PendingWrite]:
        """Return the pending writes on top of a checkpoint, in `PendingWrite.order`."""
        raise NotImplementedError

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        """Copy payloads byte by byte, with ids, order, metadata and times; see `BaseCheckpointer`."""
        raise NotImplementedError

    async def list_threads(self, limit: int, pattern: str = "*") -> list[str]:
        """Return thread ids in the order of their UTF-8 bytes; see `BaseCheckpointer`."""
        raise NotImplementedError

    @property
    def transfers(self) -> bool:
        """Whether threads can be moved into and out of it as they are, times included.

        Then it has `list_threads_after` and `list_namespaces`, and keeps `NewCheckpoint.created_at`.
        """
        return False

    async def list_threads_after(self, thread_id: str | None, limit: int) -> list[str]:
        """Return the next thread ids in the order of their UTF-8 bytes.

        Args:
            thread_id: The one to go on behind, which need not exist; None to begin.
            limit: At least 1. Fewer than that are returned only at the end.
        """
        raise NotImplementedError

    async def list_namespaces(self, thread_id: str) -> list[str]:
        """Return the namespaces of a thread that hold checkpoints, in the order of their UTF-8 bytes."""
        raise NotImplementedError

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        """Return the latest checkpoint of each thread (empty namespace), ordered by thread id."""
        raise NotImplementedError

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int) -> list[CheckpointSummary]:
        """Return checkpoints by metadata, newest first; see `BaseCheckpointer`."""
        raise NotImplementedError

    async def search(self, terms: list[str], limit: int, text_of: Callable[[bytes], str]) -> list[SearchHit]:
        """Return threads whose latest checkpoint (empty namespace) contains all terms, best first.

        Args:
            terms: Words as `locus_memory.text.words` makes them; not empty.
            limit: At least 1.
            text_of: Decodes a payload and returns its searchable text.
        """
        raise NotImplementedError

    async def vacuum(self, before: datetime) -> int:
        """Delete checkpoints written before the given time; return how many."""
        raise NotImplementedError

    async def diagnose(self) -> Diagnosis:
        """Say what this backend is, and what is wrong with it or will go wrong; changes nothing there."""
        return Diagnosis()

    @property
    def connection_version(self) -> int:
        """How often the connection parameters have changed: a call uses those of the version it began with."""
        return 0

    async def refresh(self) -> None:  # noqa: B027 - most backends in tests have nothing to read
        """Read the connection parameters again; where they changed, later calls use the new ones."""

    @abstractmethod
    async def close(self) -> None:
        """Release what the running event loop holds. Idempotent; a later call reopens."""

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a storage backend is no checkpointer."""
        self._refuse()

    def load(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a storage backend is no checkpointer."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} is a storage backend, not a checkpointer: "
            f"pass {self.factory}(...) or StorageBackendAdapter({type(self).__name__}(...))"
        )
