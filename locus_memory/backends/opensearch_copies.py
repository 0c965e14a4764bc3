"""Copying threads on OpenSearch: the documents first, then a thread document that names them, all at once."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from pydantic_core import to_json

from locus_memory.backends.opensearch_errors import Refusal
from locus_memory.backends.opensearch_layout import LARGE_BYTES, Line, now, thread_key
from locus_memory.backends.opensearch_manifest import Manifest, batches
from locus_memory.backends.opensearch_threads import Source, Thread, Threads, thread_lines, written_thread
from locus_memory.errors import CheckpointConflictError, CorruptCheckpointError

if TYPE_CHECKING:
    from locus_memory.backends.opensearch_client import Client

_BATCH_DOCUMENTS = 200


class Copies:
    """Copies threads."""

    def __init__(self, client: Client, threads: Threads) -> None:
        self._client = client
        self._threads = threads

    async def copy_thread(self, source_id: str, dest_id: str) -> bool:
        """See `StorageBackend.copy_thread`."""
        before: object = None
        while True:
            source, _ = await self._threads.read(source_id, with_terms=True)
            if not source.manifest.namespaces:
                return False
            dest, _ = await self._threads.read(dest_id)
            if not dest.manifest.is_empty:
                raise _exists(dest_id)
            await self._client.prepare()
            names = {document: uuid.uuid4().hex for document in source.manifest.documents()}
            if await self._copy_documents(source_id, dest_id, source.manifest, names):
                await self._name(dest_id, dest, source, names)
                return True
            await self._threads.discard(dest_id, list(names.values()))
            # A document is missing: most likely it was deleted meanwhile, and the manifest has changed.
            if before == source.version:
                raise CorruptCheckpointError(f"thread {source_id!r}: a document of it is missing from the index")
            before = source.version

    async def _copy_documents(self, source_id: str, dest_id: str, manifest: Manifest, names: dict[str, str]) -> bool:
        sizes = manifest.sizes()
        for batch in batches(sizes, _BATCH_DOCUMENTS):
            found = await self._threads.documents((source_id, document) for document in batch)
            if len(found) < len(batch):
                return False
            is_large = sum(sizes[document] for document in batch) > LARGE_BYTES
            lines = (
                await asyncio.to_thread(_lines, found, dest_id, names) if is_large else _lines(found, dest_id, names)
            )
            for item in await self._threads.bulk(lines):
                if isinstance(item, Refusal):
                    raise self._client.error(item)
        return True

    async def _name(self, dest_id: str, dest: Thread, source: Thread, names: dict[str, str]) -> None:
        version = self._client.version
        manifest = source.manifest.renamed(names)
        [item] = await self._threads.bulk(thread_lines(dest_id, manifest, source.terms, dest))
        if isinstance(item, Refusal):
            await self._threads.discard(dest_id, list(names.values()))
            raise _exists(dest_id) if item.is_conflict else self._client.error(item)
        self._threads.remember(dest_id, written_thread(manifest, item), version)
        await self._threads.discard(dest_id, dest.leftovers)


def _lines(found: dict[str, Source], thread_id: str, names: dict[str, str]) -> list[Line]:
    lines: list[Line] = []
    for document, source in found.items():
        name = names[document]
        lines.append({"index": {"_id": name, "routing": thread_key(thread_id)}})
        lines.append((to_json({**source, "thread_id": thread_id, "document": name, "written_at": now()}),))
    return lines


def _exists(thread_id: str) -> CheckpointConflictError:
    return CheckpointConflictError(f"thread {thread_id!r} exists already: delete it first")
