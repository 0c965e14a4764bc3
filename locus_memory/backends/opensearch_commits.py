"""Changing a thread on OpenSearch: one request writes documents, and compares and sets the manifest that names them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from locus_memory.backends.opensearch_errors import INDEX_MISSING, Refusal
from locus_memory.backends.opensearch_layout import Line, thread_key
from locus_memory.backends.opensearch_manifest import Manifest
from locus_memory.backends.opensearch_threads import Thread, Threads, manifest_fields, thread_lines, written_thread
from locus_memory.errors import CheckpointError

if TYPE_CHECKING:
    from locus_memory.backends.opensearch_client import Client

_LOG = logging.getLogger(__name__)


class Commit:
    """One change of a thread: several attempts may write its documents, always under the same names."""

    def __init__(self, client: Client, threads: Threads, thread_id: str) -> None:
        self._client = client
        self._threads = threads
        self._thread_id = thread_id
        self._sent: set[str] = set()

    async def attempt(
        self,
        thread: Thread,
        manifest: Manifest,
        documents: Mapping[str, tuple[bytes, ...]],
        terms: Sequence[str] | None = None,
    ) -> bool:
        """Write documents, and the manifest that names them; tell whether nobody else has changed the thread.

        Args:
            thread: As the manifest was made from it.
            manifest: The new one.
            documents: By id; none is written yet, unless by an earlier attempt.
            terms: Search terms of the latest state; None when they stay as they are.
        """
        version = self._client.version
        await self._client.prepare()
        self._sent.update(documents)
        *written, named = await self._threads.bulk(self._lines(thread, manifest, documents, terms))
        refusals = {name: item for name, item in zip(documents, written, strict=True) if isinstance(item, Refusal)}
        self._sent.difference_update(refusals)
        refused = next(iter(refusals.values()), None)
        if refused is None and any(item["_seq_no"] == 0 for item in written if not isinstance(item, Refusal)):
            # The first write to a shard: was it our index, or has the server just made one after a deletion?
            self._client.forget_index()
            await self._client.prepare()
        if refused is not None:
            # What somebody else may build on already must stay, as far as it is there.
            if isinstance(named, Refusal) or await self._take_back(thread, written_thread(manifest, named)):
                await self.withdraw()
            return self._missing_index(refused)
        if isinstance(named, Refusal):
            if named.is_conflict:
                return False
            await self.withdraw()
            return self._missing_index(named)
        self._threads.remember(self._thread_id, written_thread(manifest, named), version)
        self._sent.difference_update(documents)
        return True

    async def withdraw(self) -> None:
        """Delete what attempts have written and no manifest names, if possible."""
        unnamed = list(self._sent)
        self._sent.clear()
        await self._threads.discard(self._thread_id, unnamed)

    def _lines(
        self,
        thread: Thread,
        manifest: Manifest,
        documents: Mapping[str, tuple[bytes, ...]],
        terms: Sequence[str] | None,
    ) -> list[Line]:
        routing = thread_key(self._thread_id)
        lines: list[Line] = []
        for document, content in documents.items():
            lines += [{"index": {"_id": document, "routing": routing}}, content]
        if terms is None and thread.manifest.namespaces:
            target = {"_id": routing, "routing": routing, **thread.condition}
            return [*lines, {"update": target}, {"doc": manifest_fields(manifest)}]
        return [*lines, *thread_lines(self._thread_id, manifest, terms or (), thread)]

    async def _take_back(self, before: Thread, after: Thread) -> bool:
        """Undo the manifest that names a document which was refused; possible only if nobody has changed it since."""
        try:
            return await self._threads.rewrite(self._thread_id, after, before.manifest) is not None
        except CheckpointError as error:
            _LOG.warning("thread %r: the manifest names a document that was refused: %s", self._thread_id, error)
            return False

    def _missing_index(self, refusal: Refusal) -> bool:
        if refusal.kind != INDEX_MISSING or self._client.connection.tables == "provisioned":
            raise self._client.error(refusal)
        self._client.forget_index()
        return False
