"""Moves threads into a store, and compares what is on both sides.

What is done is seen from the destination alone: a thread there that is the beginning of the same thread in the source
is continued where it ends. So nothing has to be written down, and a transfer that was killed goes on when it is
started again; a thread there that is anything else is a conflict.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest

from locus_memory.codec import StateCodec
from locus_memory.commands.running import Calls
from locus_memory.commands.transfer_readers import Outline, Reader, StoreReader
from locus_memory.commands.transfer_records import Fingerprint, digest, identity
from locus_memory.envelope import is_encrypted
from locus_memory.errors import (
    CheckpointConflictError,
    CorruptCheckpointError,
    InvalidArgumentError,
    MissingPartsError,
)
from locus_memory.storage import CheckpointSummary, NewCheckpoint, PendingWrite, StorageBackend, StoredCheckpoint
from locus_memory.text import searchable_text


class OnConflict(StrEnum):
    """What becomes of a thread that holds something else in the destination."""

    FAIL = "fail"
    SKIP = "skip"
    REPLACE = "replace"


@dataclass(slots=True)
class Tally:
    """What a transfer has done.

    Attributes:
        threads: Threads of the source that were looked at.
        written: Checkpoints written now.
        present: Checkpoints that were there already.
        replaced: Threads that were deleted in the destination first.
        conflicts: Threads that were left alone, and why.
    """

    threads: int = 0
    written: int = 0
    present: int = 0
    replaced: int = 0
    conflicts: dict[str, str] = field(default_factory=dict)


class Transfer:
    """Writes the threads of a source into a store.

    Args:
        source: Where they come from.
        destination: Where they go.
        on_conflict: `REPLACE` deletes a thread that is in the way; otherwise it is left alone.
        store_text: Give the destination the text of states that are not encrypted, for its search.
    """

    def __init__(self, source: Reader, destination: Calls, *, on_conflict: OnConflict, store_text: bool) -> None:
        self._source = source
        self._destination = destination
        self._existing = StoreReader(destination)
        self._on_conflict = on_conflict
        self._codec = StateCodec() if store_text else None
        self.tally = Tally()

    async def conflict(self, thread_id: str) -> str | None:
        """Tell what is in the way of a thread, without changing anything."""
        return difference(await self._source.outline(thread_id), await self._existing.outline(thread_id))

    async def move(self, thread_id: str) -> None:
        """Write what the destination lacks of a thread."""
        wanted, existing = await self._source.outline(thread_id), await self._existing.outline(thread_id)
        self.tally.threads += 1
        reason = difference(wanted, existing)
        if reason is not None:
            if self._on_conflict is not OnConflict.REPLACE:
                self.tally.conflicts[thread_id] = reason
                return
            await self._destination(
                f"deletion of thread {thread_id!r}", lambda storage: storage.delete_thread(thread_id)
            )
            self.tally.replaced += 1
            existing = {}
        try:
            for namespace, summaries in wanted.items():
                present = len(existing.get(namespace, ()))
                self.tally.present += present
                await self._continue(thread_id, namespace, summaries, present)
        except CheckpointConflictError as error:
            self.tally.conflicts[thread_id] = f"somebody else writes to it: {error}"

    async def _continue(
        self, thread_id: str, namespace: str, summaries: Sequence[CheckpointSummary], present: int
    ) -> None:
        # From the last one that is there: tasks may have written on top of it since.
        again = summaries[present - 1].checkpoint_id if present else None
        wanted = [summary.checkpoint_id for summary in summaries[max(0, present - 1) :]]
        previous = again
        known_parts: set[str] = set()
        async for stored in self._source.checkpoints(thread_id, namespace, wanted):
            await self._put_writes(stored)
            if stored.summary.checkpoint_id != again:
                await self._put_checkpoint(stored, previous, known_parts)
                self.tally.written += 1
            previous = stored.summary.checkpoint_id
            known_parts.update(stored.parts)

    async def _put_writes(self, stored: StoredCheckpoint) -> None:
        """Write what tasks have written: before the checkpoint, so that nothing is missing where that is found."""
        summary = stored.summary
        if (stored.parts or stored.writes) and not self._destination.storage.keeps_history:
            raise InvalidArgumentError(
                f"{self._destination.storage!r} has no versioned history: thread {summary.thread_id!r} needs it"
            )
        for task in dict.fromkeys(write.task_id for write in stored.writes):
            await self._put_task(summary, [write for write in stored.writes if write.task_id == task])

    async def _put_task(self, summary: CheckpointSummary, writes: list[PendingWrite]) -> None:
        await self._destination(
            f"writes of thread {summary.thread_id!r}",
            lambda storage: storage.put_writes(
                summary.thread_id, summary.checkpoint_id, writes, namespace=summary.namespace
            ),
        )

    async def _put_checkpoint(self, stored: StoredCheckpoint, previous: str | None, known_parts: set[str]) -> None:
        new_parts = {name: data for name, data in stored.parts.items() if name not in known_parts}
        try:
            await self._put(self._new(stored, new_parts), previous)
        except MissingPartsError:
            await self._put(self._new(stored, dict(stored.parts)), previous)

    def _new(self, stored: StoredCheckpoint, parts: dict[str, bytes]) -> NewCheckpoint:
        summary, payload, codec = stored.summary, stored.payload, self._codec
        return NewCheckpoint(
            thread_id=summary.thread_id,
            checkpoint_id=summary.checkpoint_id,
            payload=payload,
            metadata=summary.metadata,
            namespace=summary.namespace,
            parent_id=summary.parent_id,
            text=None if codec is None or is_encrypted(payload) else lambda: _text(codec, payload),
            parts=parts,
            part_names=tuple(stored.parts),
            created_at=summary.created_at,
        )

    async def _put(self, checkpoint: NewCheckpoint, previous: str | None) -> None:
        storage = self._destination.storage

        async def attempt(number: int) -> None:
            try:
                await storage.put(checkpoint, expected_checkpoint_id=previous)
            except CheckpointConflictError:
                # The attempt before may have been carried out although its answer was lost.
                if number == 0 or not await _is_latest(storage, checkpoint):
                    raise

        await self._destination.policy.run(attempt, storage, f"copy of thread {checkpoint.thread_id!r}")


@dataclass(slots=True)
class Verification:
    """What a comparison of both sides found.

    Attributes:
        threads: Threads of the source that were compared.
        source, destination: Everything that was compared, as one hash for each side.
        differences: Threads that are not the same, and what differs first.
    """

    threads: int = 0
    source: Fingerprint = field(default_factory=Fingerprint)
    destination: Fingerprint = field(default_factory=Fingerprint)
    differences: dict[str, str] = field(default_factory=dict)

    async def compare(self, source: Reader, destination: Reader, thread_id: str) -> None:
        """Read a thread on both sides, and compare the hashes of all its checkpoints."""
        self.threads += 1
        outlines = await source.outline(thread_id), await destination.outline(thread_id)
        for namespace in dict.fromkeys([*outlines[0], *outlines[1]]):
            sides = [
                reader.checkpoints(thread_id, namespace, [each.checkpoint_id for each in outline.get(namespace, ())])
                for reader, outline in zip((source, destination), outlines, strict=True)
            ]
            await self._compare_namespace(thread_id, namespace, *sides)

    async def _compare_namespace(
        self,
        thread_id: str,
        namespace: str,
        source: AsyncIterator[StoredCheckpoint],
        destination: AsyncIterator[StoredCheckpoint],
    ) -> None:
        position = 0
        while True:
            ours, theirs = await anext(source, None), await anext(destination, None)
            if ours is None and theirs is None:
                return
            digests = [None if side is None else digest(side) for side in (ours, theirs)]
            for fingerprint, checkpoint_digest in zip((self.source, self.destination), digests, strict=True):
                if checkpoint_digest is not None:
                    fingerprint.add(position, checkpoint_digest)
            if digests[0] != digests[1]:
                self.differences.setdefault(thread_id, _first_difference(namespace, ours, theirs))
            position += 1


def difference(wanted: Outline, existing: Outline) -> str | None:
    """Tell why what exists is not the beginning of what is wanted; None: it is, or there is nothing yet."""
    for namespace, summaries in existing.items():
        where = f" in namespace {namespace!r}" if namespace else ""
        for ours, theirs in zip_longest(wanted.get(namespace, ()), summaries):
            if theirs is None:
                break
            if ours is None:
                return f"it holds checkpoint {theirs.checkpoint_id!r}{where}, which the source does not"
            if ours.checkpoint_id != theirs.checkpoint_id:
                return f"it holds checkpoint {theirs.checkpoint_id!r}{where} in the place of {ours.checkpoint_id!r}"
            if identity(ours) != identity(theirs):
                return f"it holds another checkpoint {ours.checkpoint_id!r}{where}: time, parent or metadata differ"
    return None


async def for_each_thread(threads: AsyncIterator[str], work: Callable[[str], Awaitable[None]], *, workers: int) -> None:
    """Do work for each thread, for several at once; the first error ends it all."""
    taking = asyncio.Lock()

    async def worker() -> None:
        while True:
            async with taking:
                thread_id = await anext(threads, None)
            if thread_id is None:
                return
            await work(thread_id)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _is_latest(storage: StorageBackend, checkpoint: NewCheckpoint) -> bool:
    latest = await storage.get_summary(checkpoint.thread_id, namespace=checkpoint.namespace)
    return latest is not None and latest.checkpoint_id == checkpoint.checkpoint_id


def _text(codec: StateCodec, payload: bytes) -> str:
    try:
        return searchable_text(codec.decode_json(payload))
    except CorruptCheckpointError:
        # What another face has encoded, or what is damaged in the source as well: there is no text to find.
        return ""


def _first_difference(namespace: str, ours: StoredCheckpoint | None, theirs: StoredCheckpoint | None) -> str:
    where = f" in namespace {namespace!r}" if namespace else ""
    if theirs is None:
        assert ours is not None  # noqa: S101 - one side holds something
        return f"checkpoint {ours.summary.checkpoint_id!r}{where} is missing in the destination"
    if ours is None:
        return f"checkpoint {theirs.summary.checkpoint_id!r}{where} is in the destination only"
    return f"checkpoint {ours.summary.checkpoint_id!r}{where} is not the same on both sides"
