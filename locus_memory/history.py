"""The checkpoints of a thread as plain data: what backends without a query language of their own share.

Pure: no I/O, no locks, no clock. Write order is the order of the dictionaries; no time takes part in it.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Generic, TypeVar

from pydantic import JsonValue

from locus_memory.checkpointer import UNCHECKED, Unchecked
from locus_memory.errors import CheckpointConflictError, CorruptCheckpointError, MissingPartsError
from locus_memory.metadata import matches
from locus_memory.storage import CheckpointSummary, PendingWrite, SearchHit, StoredCheckpoint
from locus_memory.text import words

B = TypeVar("B")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry(Generic[B]):
    """A checkpoint, with the state in the form `body` in which the backend keeps it."""

    summary: CheckpointSummary
    body: B
    part_names: tuple[str, ...] = ()


@dataclass(slots=True)
class ThreadHistory(Generic[B]):
    """All checkpoints of one thread: by namespace, then by checkpoint id in write order, oldest first.

    Attributes:
        parts: What checkpoints of a namespace share: by namespace, then by name.
        writes: Pending writes: by namespace and checkpoint id, then by task and position.
    """

    thread_id: str
    namespaces: dict[str, dict[str, Entry[B]]] = field(default_factory=dict)
    parts: dict[str, dict[str, bytes]] = field(default_factory=dict)
    writes: dict[tuple[str, str], dict[tuple[str, int], PendingWrite]] = field(default_factory=dict)

    def put(
        self,
        entry: Entry[B],
        expected_checkpoint_id: str | Unchecked | None = UNCHECKED,
        parts: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Make the entry the latest of its namespace, in place of one of the same id.

        Raises:
            CheckpointConflictError: The latest is not the expected one; nothing was changed.
            MissingPartsError: A part is neither new nor there; nothing was changed.
        """
        if expected_checkpoint_id is not UNCHECKED:
            latest = self.get(None, entry.summary.namespace)
            latest_id = latest.summary.checkpoint_id if latest else None
            if latest_id != expected_checkpoint_id:
                raise CheckpointConflictError(
                    f"thread {self.thread_id!r}: the latest checkpoint is {latest_id!r}, "
                    f"not {expected_checkpoint_id!r} as expected"
                )
        known = self.parts.get(entry.summary.namespace, {})
        if not all(name in parts or name in known for name in entry.part_names):
            raise MissingPartsError(
                f"thread {self.thread_id!r}, checkpoint {entry.summary.checkpoint_id!r}: a part that it needs is not "
                "there any more"
            )
        if parts:
            self.parts[entry.summary.namespace] = {**parts, **known}
        entries = self.namespaces.setdefault(entry.summary.namespace, {})
        # Assigning to an existing key would keep its old place in the order.
        replaced = entries.pop(entry.summary.checkpoint_id, None)
        entries[entry.summary.checkpoint_id] = entry
        if replaced is not None and replaced.part_names:
            self._drop_what_nothing_needs()

    def get(self, checkpoint_id: str | None = None, namespace: str = "") -> Entry[B] | None:
        """Return one checkpoint, by default the latest."""
        if checkpoint_id is not None:
            return self.namespaces.get(namespace, {}).get(checkpoint_id)
        return next(self.newest_first(namespace), None)

    def parts_of(self, entry: Entry[B]) -> dict[str, bytes]:
        """Return the parts that a checkpoint needs.

        Raises:
            CorruptCheckpointError: One is missing.
        """
        known = self.parts.get(entry.summary.namespace, {})
        try:
            return {name: known[name] for name in entry.part_names}
        except KeyError as error:
            where = f"thread {self.thread_id!r}, checkpoint {entry.summary.checkpoint_id!r}"
            raise CorruptCheckpointError(f"{where}: its part {error} is missing") from None

    def put_writes(self, checkpoint_id: str, writes: Iterable[PendingWrite], namespace: str = "") -> None:
        """Keep pending writes: the first at each position, but the last at a negative one."""
        kept = self.writes.setdefault((namespace, checkpoint_id), {})
        for write in writes:
            if write.index < 0:
                kept[write.task_id, write.index] = write
            else:
                kept.setdefault((write.task_id, write.index), write)

    def writes_on(self, checkpoint_id: str, namespace: str = "") -> tuple[PendingWrite, ...]:
        """Return the pending writes on top of a checkpoint, in their order."""
        kept = self.writes.get((namespace, checkpoint_id), {})
        return tuple(sorted(kept.values(), key=lambda write: write.order))

    def newest_first(self, namespace: str = "") -> Iterator[Entry[B]]:
        """Walk a namespace against the write order."""
        return reversed(self.namespaces.get(namespace, {}).values())

    def entries(self) -> Iterator[Entry[B]]:
        """Walk all namespaces, each in write order."""
        return itertools.chain.from_iterable(entries.values() for entries in self.namespaces.values())

    def delete(self, checkpoint_id: str, namespace: str = "") -> bool:
        """Forget one checkpoint; tell whether it was there."""
        if self.namespaces.get(namespace, {}).pop(checkpoint_id, None) is None:
            return False
        self.writes.pop((namespace, checkpoint_id), None)
        self._drop_what_nothing_needs()
        return True

    def delete_before(self, before: datetime) -> int:
        """Forget the checkpoints written before a time; return how many."""
        expired = [entry.summary for entry in self.entries() if entry.summary.created_at < before]
        for summary in expired:
            del self.namespaces[summary.namespace][summary.checkpoint_id]
            self.writes.pop((summary.namespace, summary.checkpoint_id), None)
        self._drop_what_nothing_needs()
        return len(expired)

    def keep_newest(self, count: int, namespace: str = "") -> int:
        """Forget all but the newest checkpoints of a namespace; return how many those were."""
        surplus = [entry.summary.checkpoint_id for entry in self.newest_first(namespace)][count:]
        for checkpoint_id in surplus:
            del self.namespaces[namespace][checkpoint_id]
            self.writes.pop((namespace, checkpoint_id), None)
        if surplus:
            self._drop_what_nothing_needs()
        return len(surplus)

    def copy_to(self, thread_id: str) -> ThreadHistory[B]:
        """Return the same history under another thread id."""
        copy: ThreadHistory[B] = ThreadHistory(thread_id)
        copy.parts = {namespace: dict(parts) for namespace, parts in self.parts.items()}
        copy.writes = {place: dict(writes) for place, writes in self.writes.items()}
        for entry in self.entries():
            copy.put(replace(entry, summary=replace(entry.summary, thread_id=thread_id)))
        return copy

    def _drop_what_nothing_needs(self) -> None:
        self.namespaces = {name: entries for name, entries in self.namespaces.items() if entries}
        if not self.namespaces:
            self.writes.clear()
        for namespace, parts in list(self.parts.items()):
            entries = self.namespaces.get(namespace, {}).values()
            needed = {name for entry in entries for name in entry.part_names}
            self.parts[namespace] = {name: part for name, part in parts.items() if name in needed}


def complete(
    history: ThreadHistory[B] | None,
    checkpoint_ids: Sequence[str] | None,
    namespace: str,
    payload_of: Callable[[B], bytes],
) -> list[StoredCheckpoint]:
    """Return checkpoints with their parts and pending writes; see `StorageBackend.get_complete`."""
    if history is None:
        return []
    wanted = [None] if checkpoint_ids is None else checkpoint_ids
    entries = [entry for checkpoint_id in wanted if (entry := history.get(checkpoint_id, namespace))]
    return [
        StoredCheckpoint(
            entry.summary,
            payload_of(entry.body),
            history.parts_of(entry),
            history.writes_on(entry.summary.checkpoint_id, namespace),
        )
        for entry in entries
    ]


def find_by_metadata(
    histories: Iterable[ThreadHistory[B]], key: str, value: JsonValue, limit: int
) -> list[CheckpointSummary]:
    """Return the checkpoints (empty namespace) whose metadata match, newest first.

    Threads are merged by time, since only writes to one thread have an order; that order is kept.
    """
    found = [
        [entry.summary for entry in history.newest_first() if matches(entry.summary.metadata, key, value)]
        for history in histories
    ]
    merged = heapq.merge(*found, key=lambda summary: summary.created_at, reverse=True)
    return list(itertools.islice(merged, limit))


def rank(
    latest: Iterable[tuple[CheckpointSummary, bytes]],
    terms: list[str],
    limit: int,
    text_of: Callable[[bytes], str],
) -> list[SearchHit]:
    """Return the checkpoints that contain all terms, by how often they occur, then newest first.

    Args:
        latest: Summary and payload of the latest checkpoint of each thread.
        terms: Words as `locus_memory.text.words` makes them, each once.
        limit: At least 1.
        text_of: Returns the searchable text of a payload.
    """
    hits = []
    for summary, payload in latest:
        try:
            counts = Counter(words(text_of(payload)))
        except CorruptCheckpointError as error:
            # One damaged state must not make all others unsearchable; loading it says what is wrong with it.
            _LOG.warning("thread %r is not searchable: %s", summary.thread_id, error)
            continue
        if all(counts[term] for term in terms):
            hits.append(SearchHit(summary, float(sum(counts[term] for term in terms))))
    return heapq.nlargest(limit, hits, key=lambda hit: (hit.score, hit.summary.created_at))


def first_matching(thread_ids: Iterable[str], pattern: str, limit: int) -> list[str]:
    """Return at most `limit` of the ids that match, in the order of their UTF-8 bytes.

    Args:
        thread_ids: In any order.
        pattern: `*` stands for any run of characters, everything else for itself.
        limit: At least 1.
    """
    matching = (thread_id for thread_id in thread_ids if matches_pattern(thread_id, pattern))
    return heapq.nsmallest(limit, matching, key=str.encode)


def next_after(thread_ids: Iterable[str], thread_id: str | None, limit: int) -> list[str]:
    """Return at most `limit` of the ids behind one in the order of their UTF-8 bytes; None: the first ones."""
    behind = (each for each in thread_ids if thread_id is None or each.encode() > thread_id.encode())
    return heapq.nsmallest(limit, behind, key=str.encode)


def matches_pattern(thread_id: str, pattern: str) -> bool:
    # By hand: each further `.*` of a regular expression multiplies its time on a hostile id.
    first, *rest = pattern.split("*")
    if not rest:
        return thread_id == pattern
    *middle, last = rest
    end = len(thread_id) - len(last)
    if not thread_id.startswith(first) or not thread_id.endswith(last):
        return False
    position = len(first)
    for part in middle:
        found = thread_id.find(part, position, max(end, 0))
        if found < 0:
            return False
        position = found + len(part)
    return position <= end
