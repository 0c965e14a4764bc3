"""Saving and deleting checkpoints on OpenSearch: a new document, and a compare-and-set of the manifest naming it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING

from locus_memory.backends.opensearch_errors import INDEX_MISSING, Refusal
from locus_memory.backends.opensearch_layout import LARGE_BYTES, Draft, Line, microseconds, now, thread_key
from locus_memory.backends.opensearch_manifest import Entry, Manifest
from locus_memory.backends.opensearch_threads import Thread, Threads, manifest_fields, thread_lines, written_thread
from locus_memory.checkpointer import UNCHECKED, Unchecked
from locus_memory.errors import CheckpointConflictError, CheckpointError
from locus_memory.storage import NewCheckpoint

if TYPE_CHECKING:
    from locus_memory.backends.opensearch_client import Client

_LOG = logging.getLogger(__name__)


class Saves:
    """Writes checkpoints."""

    def __init__(self, client: Client, threads: Threads) -> None:
        self._client = client
        self._threads = threads

    async def put(self, checkpoint: NewCheckpoint, expected: str | Unchecked | None) -> None:
        """See `StorageBackend.put`."""
        if len(checkpoint.payload) > LARGE_BYTES:
            draft = await asyncio.to_thread(Draft, checkpoint)
        else:
            draft = Draft(checkpoint)
        await _Save(self._client, self._threads, checkpoint, draft, expected).run()

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, namespace: str) -> bool:
        """See `StorageBackend.delete_checkpoint`."""

        async def attempt(thread: Thread, is_fresh: bool) -> tuple[bool, list[str]]:
            entry = thread.manifest.find(checkpoint_id, namespace)
            if entry is None:
                return is_fresh, []
            kept = thread.manifest.without(lambda each: each.document == entry.document)
            return await self._threads.rewrite(thread_id, thread, kept) is not None, [entry.document]

        documents: list[str] = await self._threads.change(thread_id, attempt)
        await self._threads.discard(thread_id, documents)
        return bool(documents)


class _Save:
    """One save: several attempts may write the checkpoint's document, always the same."""

    def __init__(
        self,
        client: Client,
        threads: Threads,
        checkpoint: NewCheckpoint,
        draft: Draft,
        expected: str | Unchecked | None,
    ) -> None:
        self._client = client
        self._threads = threads
        self._checkpoint = checkpoint
        self._draft = draft
        self._expected = expected
        self._document = uuid.uuid4().hex
        self._is_written = False

    async def run(self) -> None:
        thread_id = self._checkpoint.thread_id
        replaced: list[str] | None = await self._threads.change(thread_id, self._attempt)
        if replaced is None:
            if self._is_written:
                await self._threads.discard(thread_id, [self._document])
            raise CheckpointConflictError(
                f"thread {thread_id!r}: the latest checkpoint is not {self._expected!r} as expected"
            )
        await self._threads.discard(thread_id, replaced)

    async def _attempt(self, thread: Thread, is_fresh: bool) -> tuple[bool, list[str] | None]:
        checkpoint, version = self._checkpoint, self._client.version
        latest = thread.manifest.latest(checkpoint.namespace)
        if self._expected is not UNCHECKED and (latest.checkpoint_id if latest else None) != self._expected:
            return is_fresh, None
        if checkpoint.created_at is not None:
            created_at = microseconds(checkpoint.created_at)
        else:
            # Times follow the order of the writes, whatever the clocks of the writers say.
            created_at = max(now(), latest.created_at + 1) if latest else now()
        entry = Entry(checkpoint.checkpoint_id, self._document, created_at, len(checkpoint.payload))
        manifest = thread.manifest.with_latest(entry, checkpoint.namespace)
        await self._client.prepare()
        outcome = await self._threads.bulk(self._lines(thread, manifest, created_at))
        self._is_written = True
        written, named = outcome
        if not isinstance(written, Refusal) and written["_seq_no"] == 0:
            # The first write to a shard: was it our index, or has the server just made one after a deletion?
            self._client.forget_index()
            await self._client.prepare()
        if isinstance(written, Refusal):
            if not isinstance(named, Refusal):
                await self._take_back(thread, written_thread(manifest, named))
            return self._missing_index(written)
        if isinstance(named, Refusal):
            if named.is_conflict:
                return False, None
            await self._threads.discard(checkpoint.thread_id, [self._document])
            return self._missing_index(named)
        self._threads.remember(checkpoint.thread_id, written_thread(manifest, named), version)
        return True, [*thread.manifest.dropped_by(manifest), *thread.leftovers]

    def _lines(self, thread: Thread, manifest: Manifest, created_at: int) -> list[Line]:
        checkpoint, routing = self._checkpoint, thread_key(self._checkpoint.thread_id)
        lines: list[Line] = [
            {"index": {"_id": self._document, "routing": routing}},
            self._draft.document(self._document, created_at),
        ]
        if checkpoint.namespace and thread.manifest.namespaces:
            # The search terms of the latest state in the empty namespace stay.
            return [
                *lines,
                {"update": {"_id": routing, "routing": routing, **thread.condition}},
                {"doc": manifest_fields(manifest)},
            ]
        return [*lines, *thread_lines(checkpoint.thread_id, manifest, self._draft.terms, thread)]

    async def _take_back(self, before: Thread, after: Thread) -> None:
        """Undo the manifest that names a document which was refused; possible only if nobody has changed it since."""
        thread_id = self._checkpoint.thread_id
        try:
            await self._threads.rewrite(thread_id, after, before.manifest)
        except CheckpointError as error:
            _LOG.warning("thread %r: the manifest names a checkpoint that was refused: %s", thread_id, error)

    def _missing_index(self, refusal: Refusal) -> tuple[bool, None]:
        if refusal.kind != INDEX_MISSING or self._client.connection.tables == "provisioned":
            raise self._client.error(refusal)
        self._client.forget_index()
        return False, None
