"""Threads on OpenSearch, by real-time operations alone: get by id sees each acknowledged write, a search does not."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from locus_memory.backends.opensearch_errors import INDEX_MISSING, Refusal
from locus_memory.backends.opensearch_layout import DELETED, LARGE_BYTES, THREAD, Line, ndjson, thread_key, unpack_terms
from locus_memory.backends.opensearch_manifest import Entry, Manifest, batches
from locus_memory.errors import BackendUnavailableError, CheckpointError, CorruptCheckpointError

if TYPE_CHECKING:
    from locus_memory.backends.opensearch_client import Client

Source = dict[str, Any]

_LOG = logging.getLogger(__name__)

_MGET_DOCUMENTS: Final = 500
_BULK_DELETES: Final = 2000
_CACHED_ENTRIES: Final = 50_000
_CACHE_SECONDS: Final = 60.0
_MAX_PAUSE_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread document as it was read or written.

    Attributes:
        manifest: Its checkpoints, and what belongs to them.
        version: Sequence number and primary term of the document; None when there is none.
        leftovers: Documents of a deleted thread that may still be there.
        terms: Search terms of the latest state, if they were asked for.
    """

    manifest: Manifest
    version: tuple[int, int] | None = None
    leftovers: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()

    @property
    def condition(self) -> dict[str, Any]:
        """Make a write fail if the document has changed."""
        assert self.version is not None  # noqa: S101 - callers have looked
        return {"if_seq_no": self.version[0], "if_primary_term": self.version[1]}


class Threads:
    """Reads and writes thread documents, and remembers the last known ones."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: OrderedDict[tuple[int, str], tuple[float, Thread]] = OrderedDict()
        self._known_entries = 0
        self._lock = threading.Lock()
        self._turns: weakref.WeakValueDictionary[tuple[asyncio.AbstractEventLoop, str], asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )

    def turn(self, thread_id: str) -> asyncio.Lock:
        """Return the lock of the thread's writers on this event loop: among them, only the first would win."""
        return self._turns.setdefault((asyncio.get_running_loop(), thread_id), asyncio.Lock())

    def known(self, thread_id: str) -> Thread | None:
        """Return the thread as this process knows it; it may have changed. A write with its condition tells."""
        # After a minute it is forgotten, so that it cannot be taken for a version of an index that was restored.
        at, thread = self._known.get((self._client.version, thread_id), (0.0, None))
        return thread if monotonic() - at < _CACHE_SECONDS else None

    def remember(self, thread_id: str, thread: Thread, version: int) -> None:
        """Keep what is known; `version` is that of the connection when it was learnt."""
        with self._lock:
            self._drop((version, thread_id))
            self._known[version, thread_id] = (monotonic(), replace(thread, terms=()))
            self._known_entries += 1 + thread.manifest.weight
            while self._known_entries > _CACHED_ENTRIES:
                self._drop(next(iter(self._known)))

    def _drop(self, key: tuple[int, str]) -> None:
        before = self._known.pop(key, None)
        if before is not None:
            self._known_entries -= 1 + before[1].manifest.weight

    async def read(
        self, thread_id: str, documents: Sequence[str] = (), excludes: Sequence[str] = (), *, with_terms: bool = False
    ) -> tuple[Thread, dict[str, Source]]:
        """Read a thread, and some of its documents, in one request."""
        version, routing = self._client.version, thread_key(thread_id)
        fields = ["thread_id", "kind", "manifest", *(["terms"] if with_terms else [])]
        wanted = [_wanted(routing, routing, {"includes": fields})]
        wanted += [_wanted(document, routing, {"excludes": list(excludes)}) for document in documents]
        first, *others = await self._mget(wanted)
        thread = _thread(first)
        self.remember(thread_id, thread, version)
        return thread, {each["_id"]: each["_source"] for each in others if each.get("found")}

    async def manifests(self, thread_ids: Iterable[str]) -> dict[str, Manifest]:
        """Read the manifests of several threads; the one of a missing thread is empty."""
        names = list(dict.fromkeys(thread_ids))
        keys = [thread_key(name) for name in names]
        found = await self._mget([_wanted(key, key, {"includes": ["kind", "manifest"]}) for key in keys])
        return {name: _thread(each).manifest for name, each in zip(names, found, strict=True)}

    async def documents(self, places: Iterable[tuple[str, str]], excludes: Sequence[str] = ()) -> dict[str, Source]:
        """Read documents, each given with its thread; those that are missing are left out."""
        wanted = [_wanted(document, thread_key(name), {"excludes": list(excludes)}) for name, document in places]
        return {each["_id"]: each["_source"] for each in await self._mget(wanted) if each.get("found")}

    async def resolve(
        self,
        thread_id: str,
        pick: Callable[[Manifest], Sequence[Entry]],
        excludes: Sequence[str] = (),
    ) -> list[tuple[Entry, Source]]:
        """Read the documents of some entries of a thread; see `gather`."""
        manifest, found = await self.gather(
            thread_id, lambda manifest: {entry.document: 0 for entry in pick(manifest)}, excludes
        )
        return [(entry, found[entry.document]) for entry in pick(manifest)]

    async def gather(
        self, thread_id: str, pick: Callable[[Manifest], Mapping[str, int]], excludes: Sequence[str] = ()
    ) -> tuple[Manifest, dict[str, Source]]:
        """Read the manifest of a thread, and some documents that it names.

        One request if the thread is as this process knows it, two otherwise; more for what is large.

        Args:
            thread_id: The thread.
            pick: Returns the documents to read, with the bytes that are read of each.
            excludes: Fields not to read.

        Raises:
            CorruptCheckpointError: The manifest names a document that is not there.
        """
        known = self.known(thread_id)
        guess = next(batches(pick(known.manifest), _MGET_DOCUMENTS), []) if known else []
        before: tuple[object, ...] = ()
        while True:
            thread, found = await self.read(thread_id, guess, excludes)
            wanted = pick(thread.manifest)
            absent = {document: size for document, size in wanted.items() if document not in found}
            for some in batches(absent, _MGET_DOCUMENTS):
                found |= await self.documents(((thread_id, document) for document in some), excludes)
            missing = [document for document in wanted if document not in found]
            if not missing:
                return thread.manifest, found
            # Most likely replaced or deleted since the manifest was read; then the manifest says so now.
            if before == (thread.version, missing):
                what = thread.manifest.describe(missing[0])
                raise CorruptCheckpointError(f"thread {thread_id!r}, {what} is missing from the index")
            before, guess = (thread.version, missing), []

    async def change(self, thread_id: str, attempt: Callable[[Thread, bool], Awaitable[tuple[bool, Any]]]) -> Any:
        """Change a thread document by compare-and-set, until it works.

        Args:
            thread_id: The thread.
            attempt: Gets the thread, and whether that was just read; returns whether it is done, and the result.
        """
        async with self.turn(thread_id):
            thread, is_fresh, pause = self.known(thread_id), False, 0.005
            while True:
                if thread is None:
                    thread, is_fresh = (await self.read(thread_id))[0], True
                is_done, result = await attempt(thread, is_fresh)
                if is_done:
                    return result
                if is_fresh:
                    # Writers in other processes: one of them wins each round.
                    await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, no secret
                    pause = min(2 * pause, _MAX_PAUSE_SECONDS)
                thread = None

    async def rewrite(self, thread_id: str, thread: Thread, manifest: Manifest) -> Thread | None:
        """Give a thread document another manifest, and the words of what is the latest then.

        Returns:
            The thread as it is now; None when somebody else has changed it meanwhile.
        """
        version, routing = self._client.version, thread_key(thread_id)
        target = {"_id": routing, "routing": routing, **thread.condition}
        if manifest.is_empty:
            answer = await self.bulk([{"delete": target}])
        else:
            latest, fields = manifest.latest(), manifest_fields(manifest)
            if latest != thread.manifest.latest():
                fields["terms"] = await self._terms_of(thread_id, latest)
            answer = await self.bulk([{"update": target}, {"doc": fields}])
        if not self._is_written(answer[0]):
            return None
        changed = Thread(manifest, None if manifest.is_empty else _version(answer[0]))
        self.remember(thread_id, changed, version)
        return changed

    async def _terms_of(self, thread_id: str, entry: Entry | None) -> list[str]:
        if entry is None:
            return []
        found = await self.documents([(thread_id, entry.document)], excludes=["payload", "tokens", "summary"])
        return unpack_terms(found.get(entry.document, {}))

    async def delete(self, thread_id: str) -> bool:
        """Delete a thread with its documents; tell whether it was there.

        First the thread document says that the thread is deleted, and still names the documents; so whoever comes
        after a crash can finish.
        """

        async def attempt(thread: Thread, is_fresh: bool) -> tuple[bool, Any]:
            if thread.leftovers:
                return is_fresh, thread
            if thread.manifest.is_empty:
                return is_fresh, None
            fields: Source = {"kind": DELETED, "terms": [], "oldest_at": None, "latest_at": None, "document": None}
            answer = await self.bulk([{"update": {**_target(thread_id), **thread.condition}}, {"doc": fields}])
            if not self._is_written(answer[0]):
                return False, None
            return True, Thread(Manifest(), _version(answer[0]), tuple(thread.manifest.documents()))

        version = self._client.version
        deleted: Thread | None = await self.change(thread_id, attempt)
        if deleted is None:
            return False
        self.remember(thread_id, deleted, version)
        await self.delete_documents(thread_id, deleted.leftovers)
        answer = await self.bulk([{"delete": {**_target(thread_id), **deleted.condition}}])
        if self._is_written(answer[0]):
            self.remember(thread_id, Thread(Manifest()), version)
        return True

    async def delete_documents(self, thread_id: str, documents: Sequence[str]) -> None:
        """Delete documents that no manifest names."""
        routing = thread_key(thread_id)
        for start in range(0, len(documents), _BULK_DELETES):
            some = documents[start : start + _BULK_DELETES]
            for item in await self.bulk([{"delete": {"_id": each, "routing": routing}} for each in some]):
                if isinstance(item, Refusal) and item.status != 404:
                    raise self._client.error(item)

    async def discard(self, thread_id: str, documents: Sequence[str]) -> None:
        """Delete documents that no manifest names any more, if possible; `vacuum` deletes what is left."""
        try:
            await self.delete_documents(thread_id, documents)
        except CheckpointError as error:
            _LOG.warning("thread %r: vacuum will have to delete what it has replaced: %s", thread_id, error)

    async def bulk(self, lines: Sequence[Line]) -> list[dict[str, Any] | Refusal]:
        """Send a bulk request; return the outcome of each item."""
        is_large = sum(len(piece) for line in lines if isinstance(line, tuple) for piece in line) > LARGE_BYTES
        body = await asyncio.to_thread(ndjson, lines) if is_large else ndjson(lines)
        answer = await self._client.call("POST", "/_bulk", body)
        outcomes = [next(iter(item.values())) for item in answer["items"]]
        return [Refusal.of_item(each["status"], each["error"]) if "error" in each else each for each in outcomes]

    def _is_written(self, item: dict[str, Any] | Refusal) -> bool:
        if isinstance(item, Refusal):
            if item.is_conflict:
                return False
            raise self._client.error(item)
        # A deletion of what is not there.
        return bool(item["status"] != 404)

    async def _mget(self, wanted: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for start in range(0, len(wanted), _MGET_DOCUMENTS):
            answer = await self._client.ask("POST", "/_mget", {"docs": wanted[start : start + _MGET_DOCUMENTS]})
            if isinstance(answer, Refusal):
                self._require_absence(answer)
                found += [{"found": False}] * len(wanted[start : start + _MGET_DOCUMENTS])
                continue
            for each in answer["docs"]:
                if "error" in each:
                    # A shard that is away is no missing document. An item has no status of its own.
                    status = 403 if each["error"].get("type") == "security_exception" else 503
                    self._require_absence(Refusal.of_item(status, each["error"]))
                found.append(each)
        return found

    def _require_absence(self, refusal: Refusal) -> None:
        if refusal.kind != INDEX_MISSING or self._client.connection.tables == "provisioned":
            raise self._client.error(refusal)
        # Nothing was ever written, or somebody deleted the index; the next write makes it.
        self._client.forget_index()


def manifest_fields(manifest: Manifest) -> Source:
    """Return the fields of a thread document that follow from its manifest."""
    latest = manifest.latest()
    return {
        "manifest": manifest.dump(),
        "oldest_at": min((entry.created_at for entry in manifest.entries()), default=None),
        "latest_at": latest.created_at if latest else None,
        "document": latest.document if latest else None,
    }


def thread_lines(thread_id: str, manifest: Manifest, terms: Sequence[str], over: Thread) -> list[dict[str, Any]]:
    """Return the bulk item that writes a thread document whole, provided that it still is as in `over`."""
    document = {"kind": THREAD, "thread_id": thread_id, **manifest_fields(manifest), "terms": terms}
    if over.version is None:
        return [{"create": _target(thread_id)}, document]
    return [{"index": {**_target(thread_id), **over.condition}}, document]


def written_thread(manifest: Manifest, item: Mapping[str, Any]) -> Thread:
    """Return the thread that a bulk item wrote."""
    return Thread(manifest, _version(item))


def _target(thread_id: str) -> dict[str, Any]:
    key = thread_key(thread_id)
    return {"_id": key, "routing": key}


def _wanted(document: str, routing: str, source: Mapping[str, Any]) -> dict[str, Any]:
    return {"_id": document, "routing": routing, "_source": dict(source)}


def _version(item: Mapping[str, Any] | Refusal) -> tuple[int, int]:
    if isinstance(item, Refusal):
        raise BackendUnavailableError(item.reason)
    return item["_seq_no"], item["_primary_term"]


def _thread(found: Mapping[str, Any]) -> Thread:
    if not found.get("found"):
        return Thread(Manifest())
    source = found["_source"]
    manifest = Manifest.load(source["manifest"])
    if source["kind"] == DELETED:
        return Thread(Manifest(), _version(found), tuple(manifest.documents()))
    return Thread(manifest, _version(found), terms=tuple(source.get("terms", ())))
