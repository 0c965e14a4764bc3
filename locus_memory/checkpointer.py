"""The contract of a checkpointer, and the base class for your own.

Names and parameter order are those that locus-sdk's `Agent` and `StateGraph` call, by position and by
keyword; they check no type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from locus_memory.errors import CapabilityNotSupportedError

if TYPE_CHECKING:
    from pydantic import JsonValue


class Unchecked(Enum):
    """Type of `UNCHECKED`: "write whatever the latest checkpoint is"."""

    UNCHECKED = "unchecked"


UNCHECKED: Final = Unchecked.UNCHECKED


@dataclass(frozen=True, slots=True)
class CheckpointerCapabilities:
    """Which optional operations a checkpointer has. Only what really works is true.

    Attributes:
        search: Full-text search over the current state of each thread.
        metadata_query: Query by metadata fields, and `get_metadata`.
        vacuum: Delete checkpoints older than a threshold.
        branching: Copy a thread.
        ttl: Threads expire by themselves (true only when a time to live is set).
        list_threads: Enumerate stored thread ids.
        list_with_metadata: List threads with the metadata of their latest checkpoint.
        persistent_checkpoint_ids: Checkpoints survive a restart of the process.
    """

    search: bool = False
    metadata_query: bool = False
    vacuum: bool = False
    branching: bool = False
    ttl: bool = False
    list_threads: bool = False
    list_with_metadata: bool = False
    persistent_checkpoint_ids: bool = False


class BaseCheckpointer(ABC):
    """Saves the state of a conversation under a `thread_id` and loads it in another process.

    Subclass it for a checkpointer of your own: implement the five abstract methods, override
    `capabilities` and the optional methods that you advertise there, and run
    `locus_memory.testing.CheckpointerContract` on it.
    """

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        """What this checkpointer can do beyond the five basic operations."""
        return CheckpointerCapabilities()

    @property
    def deletes_single_checkpoints(self) -> bool:
        """Whether `delete` can remove one checkpoint and leave the rest.

        locus-sdk saves after every iteration, rather than once a turn, only where this is `True`.
        """
        return True

    @abstractmethod
    async def save(
        self,
        state: Any,
        thread_id: str,
        checkpoint_id: str | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        *,
        expected_checkpoint_id: str | Unchecked | None = UNCHECKED,
    ) -> str:
        """Store `state` as the latest checkpoint of the thread, atomically; durable when it returns.

        Args:
            state: Anything with `to_checkpoint()`, a pydantic model, a dataclass or a JSON-able mapping.
            thread_id: Non-empty text of at most 1,024 bytes in UTF-8; any character is allowed.
            checkpoint_id: Id of the checkpoint, same bounds; an existing one is replaced. Made up when None.
            metadata: JSON object stored beside the state, for queries.
            expected_checkpoint_id: Save only if this is the latest checkpoint (None: only if the thread has
                none). By default nothing is compared.

        Returns:
            The id under which the state can be loaded again.

        Raises:
            CheckpointConflictError: The latest checkpoint is not the expected one.
            InvalidStateError, InvalidArgumentError, StateTooLargeError: Nothing was written.
            BackendUnavailableError, AuthenticationError: The backend did not take it.
        """

    @abstractmethod
    async def load(self, thread_id: str, checkpoint_id: str | None = None) -> Any | None:
        """Return the state of a checkpoint, by default the latest in write order.

        Returns:
            The state, or None when there is no such checkpoint. None never stands for an outage.
        """

    @abstractmethod
    async def list_checkpoints(self, thread_id: str, limit: int = 10) -> list[str]:
        """Return at most `limit` checkpoint ids of the thread, newest first."""

    @abstractmethod
    async def exists(self, thread_id: str, checkpoint_id: str | None = None) -> bool:
        """Tell whether the checkpoint exists, or any checkpoint of the thread."""

    @abstractmethod
    async def delete(self, thread_id: str, checkpoint_id: str | None = None) -> bool:
        """Delete one checkpoint, or the whole thread; tell whether there was something to delete.

        When the latest checkpoint goes, the one before it is the latest again.
        """

    async def search(self, query: str, limit: int = 10) -> list[dict[str, Any]]:
        """Find threads whose current state contains all words of `query`, best match first.

        Returns:
            Dictionaries with `thread_id`, `checkpoint_id`, `metadata`, `created_at`, `score`.
        """
        raise self._unsupported("search")

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int = 100) -> list[dict[str, Any]]:
        """Find checkpoints whose metadata field `key` equals `value`, or is a list that contains it.

        Returns:
            Newest first, dictionaries with `thread_id`, `checkpoint_id`, `metadata`, `created_at`.
        """
        raise self._unsupported("metadata_query")

    async def get_metadata(self, thread_id: str, checkpoint_id: str | None = None) -> dict[str, Any] | None:
        """Return the metadata of a checkpoint (by default the latest), or None when there is none."""
        raise self._unsupported("metadata_query")

    async def vacuum(self, older_than_days: int = 30) -> int:
        """Delete checkpoints older than this many days, the latest of a thread included; return how many."""
        raise self._unsupported("vacuum")

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        """Copy a thread with its history, byte by byte.

        Returns:
            False when the source does not exist.

        Raises:
            CheckpointConflictError: The destination exists; nothing was copied.
        """
        raise self._unsupported("branching")

    async def list_threads(self, limit: int = 100, pattern: str = "*") -> list[str]:
        """Return at most `limit` thread ids, in the order of their UTF-8 bytes.

        Args:
            limit: At least 1.
            pattern: `*` stands for any run of characters, everything else for itself.
        """
        raise self._unsupported("list_threads")

    async def list_with_metadata(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return the threads, as `list_threads` orders them, each with its latest checkpoint's metadata.

        Returns:
            Dictionaries with `thread_id`, `checkpoint_id`, `metadata`, `created_at`.
        """
        raise self._unsupported("list_with_metadata")

    async def close(self) -> None:  # noqa: B027 - most checkpointers of one's own have nothing to release
        """Release connections of the running event loop. Idempotent; a later call reopens them."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __bool__(self) -> bool:
        # locus-sdk tests `if self.config.checkpointer`: a subclass with __len__ must not read as absent.
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _unsupported(self, capability: str) -> CapabilityNotSupportedError:
        return CapabilityNotSupportedError(type(self).__name__, capability)
