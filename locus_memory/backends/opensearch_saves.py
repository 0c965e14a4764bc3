"""Saving and deleting checkpoints on OpenSearch."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from locus_memory.backends.opensearch_commits import Commit
from locus_memory.backends.opensearch_layout import LARGE_BYTES, Attachment, Draft, microseconds, now
from locus_memory.backends.opensearch_manifest import Entry, Manifest, Part
from locus_memory.backends.opensearch_threads import Thread, Threads
from locus_memory.checkpointer import UNCHECKED, Unchecked
from locus_memory.errors import CheckpointConflictError, MissingPartsError
from locus_memory.storage import NewCheckpoint

if TYPE_CHECKING:
    from locus_memory.backends.opensearch_client import Client


class Saves:
    """Writes checkpoints."""

    def __init__(self, client: Client, threads: Threads) -> None:
        self._client = client
        self._threads = threads

    async def put(self, checkpoint: NewCheckpoint, expected: str | Unchecked | None) -> None:
        """See `StorageBackend.put`."""
        size = len(checkpoint.payload) + sum(map(len, checkpoint.parts.values()))
        content = await asyncio.to_thread(_Content, checkpoint) if size > LARGE_BYTES else _Content(checkpoint)
        commit = Commit(self._client, self._threads, checkpoint.thread_id)
        await _Save(self._threads, commit, content, expected).run()

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, namespace: str) -> bool:
        """See `StorageBackend.delete_checkpoint`."""

        async def attempt(thread: Thread, is_fresh: bool) -> tuple[bool, tuple[bool, Sequence[str]]]:
            kept = thread.manifest.without_checkpoint(checkpoint_id, namespace)
            dropped = thread.manifest.dropped_by(kept)
            if not dropped:
                return is_fresh, (False, ())
            is_done = await self._threads.rewrite(thread_id, thread, kept) is not None
            return is_done, (len(kept) < len(thread.manifest), dropped)

        was_there, documents = await self._threads.change(thread_id, attempt)
        await self._threads.discard(thread_id, documents)
        return bool(was_there)


class _Content:
    """A checkpoint as it is to be stored. Expensive to make when large."""

    def __init__(self, checkpoint: NewCheckpoint) -> None:
        self.checkpoint = checkpoint
        self.document = uuid.uuid4().hex
        self.draft = Draft(checkpoint)
        self.parts = {
            Part(name, uuid.uuid4().hex, len(data)): Attachment.of_part(checkpoint.thread_id, data)
            for name, data in checkpoint.parts.items()
        }

    def choose_parts(self, manifest: Manifest) -> tuple[dict[Part, Attachment], tuple[Part, ...]] | None:
        """Return the parts to write, and all that the checkpoint needs; None if one of them is missing."""
        if not self.checkpoint.part_names:
            return {}, ()
        stored = manifest.parts(self.checkpoint.namespace)
        new = {part: attachment for part, attachment in self.parts.items() if part.name not in stored}
        known = stored | {part.name: part for part in new}
        if not known.keys() >= set(self.checkpoint.part_names):
            return None
        return new, tuple(known[name] for name in dict.fromkeys(self.checkpoint.part_names))


class _Save:
    """One save."""

    def __init__(self, threads: Threads, commit: Commit, content: _Content, expected: str | Unchecked | None) -> None:
        self._threads = threads
        self._commit = commit
        self._content = content
        self._checkpoint = content.checkpoint
        self._expected = expected

    async def run(self) -> None:
        thread_id = self._checkpoint.thread_id
        try:
            replaced: Sequence[str] = await self._threads.change(thread_id, self._attempt)
        except (CheckpointConflictError, MissingPartsError):
            await self._commit.withdraw()
            raise
        await self._threads.discard(thread_id, replaced)
        await self._commit.withdraw()

    async def _attempt(self, thread: Thread, is_fresh: bool) -> tuple[bool, Sequence[str]]:
        checkpoint = self._checkpoint
        latest = thread.manifest.latest(checkpoint.namespace)
        if self._expected is not UNCHECKED and (latest.checkpoint_id if latest else None) != self._expected:
            if not is_fresh:
                return False, ()
            raise CheckpointConflictError(
                f"thread {checkpoint.thread_id!r}: the latest checkpoint is not {self._expected!r} as expected"
            )
        parts = self._content.choose_parts(thread.manifest)
        if parts is None:
            if not is_fresh:
                return False, ()
            raise MissingPartsError(
                f"thread {checkpoint.thread_id!r}, checkpoint {checkpoint.checkpoint_id!r}: a part that it needs is "
                "not there any more"
            )
        new_parts, needed = parts
        created_at = self._time(latest)
        entry = Entry(checkpoint.checkpoint_id, self._content.document, created_at, len(checkpoint.payload), needed)
        manifest = thread.manifest.with_latest(entry, checkpoint.namespace)
        documents = {entry.document: self._content.draft.document(entry.document, created_at)}
        documents |= {part.document: attachment.document(part.document) for part, attachment in new_parts.items()}
        # The search terms are those of the latest state in the empty namespace.
        terms = None if checkpoint.namespace else self._content.draft.terms
        is_done = await self._commit.attempt(thread, manifest, documents, terms)
        return is_done, [*thread.manifest.dropped_by(manifest), *thread.leftovers]

    def _time(self, latest: Entry | None) -> int:
        if self._checkpoint.created_at is not None:
            return microseconds(self._checkpoint.created_at)
        # Times follow the order of the writes, whatever the clocks of the writers say.
        return max(now(), latest.created_at + 1) if latest else now()
