"""The agent-shaped face on the storage port."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, TypeVar

from pydantic import JsonValue

from locus_memory.arguments import check_id, check_ids, check_limit, checked_metadata, utf8_size
from locus_memory.checkpointer import UNCHECKED, BaseCheckpointer, CheckpointerCapabilities, Unchecked
from locus_memory.codec import StateCodec
from locus_memory.encryption import EncryptionKeys
from locus_memory.errors import (
    CheckpointConflictError,
    CorruptCheckpointError,
    InvalidArgumentError,
)
from locus_memory.retry import RetryPolicy
from locus_memory.storage import CheckpointSummary, NewCheckpoint, StorageBackend
from locus_memory.text import searchable_text, words

T = TypeVar("T")


class AdapterOptions(TypedDict, total=False):
    """What every checkpointer takes, whatever its backend.

    Attributes:
        state_type: What `load` returns. By default what was locus-sdk's `AgentState` comes back as such where
            locus-sdk is installed, and everything else as a `dict`. See `locus_memory.codec.StateCodec`.
        retry: How long a call may take, and its pauses; 10 seconds by default.
        compression: Compress states of 1 KiB and more; by default everywhere but in files, which are meant to be read.
        encryption_key: Encrypt states with AES-256-GCM: 32 bytes or their base64 text. Of several keys the first
            encrypts and all decrypt. Metadata and ids stay readable. See `locus_memory.encryption`.
    """

    state_type: Any
    retry: RetryPolicy | None
    compression: bool | None
    encryption_key: EncryptionKeys | None


class StorageBackendAdapter(BaseCheckpointer):
    """A checkpointer on any storage backend: encodes states, checks arguments, retries within a deadline.

    Args:
        storage: Where the checkpoints go.
        state_type, retry, compression, encryption_key: See `AdapterOptions`.
    """

    def __init__(
        self,
        storage: StorageBackend,
        *,
        state_type: Any = None,
        retry: RetryPolicy | None = None,
        compression: bool | None = None,
        encryption_key: EncryptionKeys | None = None,
    ) -> None:
        self._storage = storage
        self._codec = StateCodec(
            state_type,
            compression=storage.compresses if compression is None else compression,
            encryption_key=encryption_key,
        )
        self._retry = retry or RetryPolicy()

    @property
    def storage(self) -> StorageBackend:
        """The backend below."""
        return self._storage

    @property
    def codec(self) -> StateCodec:
        """How states become payloads."""
        return self._codec

    @property
    def retry(self) -> RetryPolicy:
        """How long a call may take."""
        return self._retry

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        capabilities = self._storage.capabilities
        if capabilities.search and self._codec.encrypts and self._storage.stores_text:
            return replace(capabilities, search=False)
        return capabilities

    @property
    def deletes_single_checkpoints(self) -> bool:
        return self._storage.deletes_single_checkpoints

    async def save(
        self,
        state: Any,
        thread_id: str,
        checkpoint_id: str | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        *,
        expected_checkpoint_id: str | Unchecked | None = UNCHECKED,
    ) -> str:
        check_id("thread_id", thread_id)
        if checkpoint_id is not None:
            check_id("checkpoint_id", checkpoint_id)
        if isinstance(expected_checkpoint_id, str):
            check_id("expected_checkpoint_id", expected_checkpoint_id)
        payload = self._codec.encode(state)
        checkpoint = NewCheckpoint(
            thread_id=thread_id,
            checkpoint_id=checkpoint_id or uuid.uuid4().hex,
            payload=payload,
            metadata=checked_metadata(metadata),
            text=None if self._codec.encrypts else lambda: self._text_of(payload),
        )

        async def attempt(number: int) -> None:
            try:
                await self._storage.put(checkpoint, expected_checkpoint_id=expected_checkpoint_id)
            except CheckpointConflictError:
                # The attempt before may have been carried out although its answer was lost: then the "other
                # writer" is this call itself, and what is stored is what it meant to store.
                if number == 0 or not await self._is_latest(checkpoint):
                    raise

        await self._retry.run(attempt, self._storage, f"save of thread {thread_id!r}")
        return checkpoint.checkpoint_id

    async def _is_latest(self, checkpoint: NewCheckpoint) -> bool:
        latest = await self._storage.get(checkpoint.thread_id)
        return (
            latest is not None
            and latest.summary.checkpoint_id == checkpoint.checkpoint_id
            and latest.payload == checkpoint.payload
        )

    async def load(self, thread_id: str, checkpoint_id: str | None = None) -> Any | None:
        check_ids(thread_id, checkpoint_id)
        stored = await self._call("load", thread_id, lambda: self._storage.get(thread_id, checkpoint_id))
        if stored is None:
            return None
        try:
            return await self._codec.envelope.read(self._codec.decode, stored.payload)
        except CorruptCheckpointError as error:
            raise type(error)(f"thread {thread_id!r}, checkpoint {stored.summary.checkpoint_id!r}: {error}") from error

    async def list_checkpoints(self, thread_id: str, limit: int = 10) -> list[str]:
        check_id("thread_id", thread_id)
        check_limit(limit)
        found = await self._call("listing", thread_id, lambda: self._storage.list_checkpoints(thread_id, limit))
        return [summary.checkpoint_id for summary in found]

    async def exists(self, thread_id: str, checkpoint_id: str | None = None) -> bool:
        return await self._summary(thread_id, checkpoint_id) is not None

    async def delete(self, thread_id: str, checkpoint_id: str | None = None) -> bool:
        check_ids(thread_id, checkpoint_id)
        if checkpoint_id is None:
            return await self._call("deletion", thread_id, lambda: self._storage.delete_thread(thread_id))
        return await self._call(
            "deletion", thread_id, lambda: self._storage.delete_checkpoint(thread_id, checkpoint_id)
        )

    async def search(self, query: str, limit: int = 10) -> list[dict[str, Any]]:
        await self._require("search")
        check_limit(limit)
        terms = list(dict.fromkeys(words(query)))
        if not terms:
            raise InvalidArgumentError("query: write at least one word to search for")
        hits = await self._call("search", None, lambda: self._storage.search(terms, limit, self._text_of))
        return [{**_as_dict(hit.summary), "score": hit.score} for hit in hits]

    def _text_of(self, payload: bytes) -> str:
        return searchable_text(self._codec.decode_json(payload))

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int = 100) -> list[dict[str, Any]]:
        await self._require("metadata_query")
        check_limit(limit)
        checked_metadata({key: value})
        found = await self._call("query", None, lambda: self._storage.query_by_metadata(key, value, limit))
        return [_as_dict(summary) for summary in found]

    async def get_metadata(self, thread_id: str, checkpoint_id: str | None = None) -> dict[str, Any] | None:
        await self._require("metadata_query")
        summary = await self._summary(thread_id, checkpoint_id)
        return summary.metadata if summary else None

    async def vacuum(self, older_than_days: int = 30) -> int:
        await self._require("vacuum")
        if older_than_days < 0:
            raise InvalidArgumentError(f"older_than_days: write 0 or more, not {older_than_days}")
        try:
            before = datetime.now(UTC) - timedelta(days=older_than_days)
        except OverflowError:
            raise InvalidArgumentError(f"older_than_days: {older_than_days} days ago is before the calendar") from None
        return await self._call("vacuum", None, lambda: self._storage.vacuum(before))

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        await self._require("branching")
        check_id("source_thread_id", source_thread_id)
        check_id("dest_thread_id", dest_thread_id)

        async def attempt(number: int) -> bool:
            try:
                return await self._storage.copy_thread(source_thread_id, dest_thread_id)
            except CheckpointConflictError:
                # As in save: the copy that is in the way may be the one that an earlier attempt made.
                if number == 0 or not await self._same_latest(source_thread_id, dest_thread_id):
                    raise
                return True

        return await self._retry.run(attempt, self._storage, f"copy of thread {source_thread_id!r}")

    async def _same_latest(self, thread_id: str, other_thread_id: str) -> bool:
        one, other = await self._storage.get(thread_id), await self._storage.get(other_thread_id)
        return (
            one is not None
            and other is not None
            and one.summary.checkpoint_id == other.summary.checkpoint_id
            and one.payload == other.payload
        )

    async def list_threads(self, limit: int = 100, pattern: str = "*") -> list[str]:
        await self._require("list_threads")
        check_limit(limit)
        utf8_size("pattern", pattern)
        return await self._call("listing", None, lambda: self._storage.list_threads(limit, pattern))

    async def list_with_metadata(self, limit: int = 100) -> list[dict[str, Any]]:
        await self._require("list_with_metadata")
        check_limit(limit)
        found = await self._call("listing", None, lambda: self._storage.list_latest(limit))
        return [_as_dict(summary) for summary in found]

    async def close(self) -> None:
        await self._storage.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._storage!r})"

    async def _summary(self, thread_id: str, checkpoint_id: str | None) -> CheckpointSummary | None:
        check_ids(thread_id, checkpoint_id)
        return await self._call("look-up", thread_id, lambda: self._storage.get_summary(thread_id, checkpoint_id))

    async def _call(self, verb: str, thread_id: str | None, operation: Callable[[], Awaitable[T]]) -> T:
        description = verb if thread_id is None else f"{verb} of thread {thread_id!r}"
        return await self._retry.run(lambda _: operation(), self._storage, description)

    async def _require(self, capability: str) -> None:
        await self._call("look-up of capabilities", None, self._storage.discover)
        if not getattr(self.capabilities, capability):
            raise self._unsupported(capability)


def _as_dict(summary: CheckpointSummary) -> dict[str, Any]:
    return {
        "thread_id": summary.thread_id,
        "checkpoint_id": summary.checkpoint_id,
        "metadata": summary.metadata,
        "created_at": summary.created_at,
    }
