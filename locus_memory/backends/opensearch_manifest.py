"""The manifest of a thread on OpenSearch: which documents are its checkpoints, in which order they were written, and
which documents belong to them: parts, and pending writes.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

Place = tuple[str, str]
"""Namespace and checkpoint id."""

Position = tuple[str, int]
"""Task id, and the index among the task's writes."""

_REQUEST_BYTES: Final = 16 * 1024 * 1024


class Part(NamedTuple):
    """A part of checkpoints; `size` is its bytes."""

    name: str
    document: str
    size: int


class Batch(NamedTuple):
    """Pending writes that were stored together.

    Attributes:
        document: Id of the document that holds them.
        size: Bytes of their payloads.
        positions: Those of its writes that count; others have stored or replaced the rest.
    """

    document: str
    size: int
    positions: tuple[Position, ...]


class Entry(NamedTuple):
    """A checkpoint in a manifest.

    Attributes:
        checkpoint_id: Unique within its namespace.
        document: Id of the document that holds it; each write makes a new one.
        created_at: Microseconds since 1970; grows along a namespace, but for checkpoints that came from elsewhere.
        size: Bytes of the payload.
        parts: What it needs; a part that no entry names any more is gone.
    """

    checkpoint_id: str
    document: str
    created_at: int
    size: int
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a thread has.

    Attributes:
        namespaces: Its checkpoints: by namespace, oldest first. No namespace is empty.
        writes: Pending writes, by the checkpoint on top of which they are; it need not be there.
    """

    namespaces: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    writes: Mapping[Place, tuple[Batch, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the checkpoints."""
        return sum(map(len, self.namespaces.values()))

    @property
    def is_empty(self) -> bool:
        """Whether the thread has neither checkpoints nor pending writes."""
        return not self.namespaces and not self.writes

    @property
    def weight(self) -> int:
        """Count what it takes to remember it."""
        return sum(1 + len(entry.parts) for entry in self.entries()) + sum(map(len, self.writes.values()))

    def entries(self) -> Iterator[Entry]:
        """Walk all namespaces, each in write order."""
        for entries in self.namespaces.values():
            yield from entries

    def documents(self) -> dict[str, None]:
        """Return the documents of the thread, each once."""
        documents = dict.fromkeys(entry.document for entry in self.entries())
        documents |= dict.fromkeys(part.document for entry in self.entries() if entry.parts for part in entry.parts)
        return documents | dict.fromkeys(batch.document for batches in self.writes.values() for batch in batches)

    def sizes(self) -> dict[str, int]:
        """Return the documents of the thread, with the bytes that each holds."""
        sizes = {entry.document: entry.size for entry in self.entries()}
        sizes |= {part.document: part.size for entry in self.entries() for part in entry.parts}
        return sizes | {batch.document: batch.size for batches in self.writes.values() for batch in batches}

    def latest(self, namespace: str = "") -> Entry | None:
        """Return the entry that was written last."""
        entries = self.namespaces.get(namespace)
        return entries[-1] if entries else None

    def find(self, checkpoint_id: str | None, namespace: str = "") -> Entry | None:
        """Return one entry, by default the latest."""
        if checkpoint_id is None:
            return self.latest(namespace)
        entries = self.namespaces.get(namespace, ())
        return next((entry for entry in reversed(entries) if entry.checkpoint_id == checkpoint_id), None)

    def newest(self, limit: int, namespace: str = "") -> tuple[Entry, ...]:
        """Return at most `limit` entries, newest first."""
        return self.namespaces.get(namespace, ())[: -limit - 1 : -1]

    def holds(self, document: str, namespace: str = "") -> bool:
        """Tell whether a document is a checkpoint of the namespace."""
        return any(entry.document == document for entry in self.namespaces.get(namespace, ()))

    def parts(self, namespace: str = "") -> dict[str, Part]:
        """Return what the checkpoints of a namespace share, by name."""
        return {part.name: part for entry in self.namespaces.get(namespace, ()) for part in entry.parts}

    def with_latest(self, entry: Entry, namespace: str = "") -> Manifest:
        """Make the entry the latest of its namespace, in place of one of the same id."""
        kept = tuple(each for each in self.namespaces.get(namespace, ()) if each.checkpoint_id != entry.checkpoint_id)
        return Manifest({**self.namespaces, namespace: (*kept, entry)}, self.writes)

    def with_writes(self, place: Place, batch: Batch) -> Manifest:
        """Add pending writes: the first at each position stays, but one at a negative position is replaced.

        Returns:
            This very manifest if there is nothing to add.
        """
        stored = self.writes.get(place, ())
        taken = {position for each in stored for position in each.positions}
        new = tuple(position for position in batch.positions if position[1] < 0 or position not in taken)
        if not new:
            return self
        left = (each._replace(positions=tuple(p for p in each.positions if p not in new)) for each in stored)
        batches = (*(each for each in left if each.positions), batch._replace(positions=new))
        return Manifest(self.namespaces, {**self.writes, place: batches})

    def without(self, is_gone: Callable[[Entry], bool]) -> Manifest:
        """Forget the entries for which `is_gone` is true, with their writes; with the last entry, all writes."""
        kept = {
            namespace: tuple(entry for entry in entries if not is_gone(entry))
            for namespace, entries in self.namespaces.items()
        }
        namespaces = {namespace: entries for namespace, entries in kept.items() if entries}
        if not namespaces:
            return Manifest()
        if not self.writes:
            return Manifest(namespaces)
        gone = {
            (name, each.checkpoint_id) for name, entries in self.namespaces.items() for each in filter(is_gone, entries)
        }
        return Manifest(namespaces, {place: batches for place, batches in self.writes.items() if place not in gone})

    def without_checkpoint(self, checkpoint_id: str, namespace: str = "") -> Manifest:
        """Forget a checkpoint, and the writes on top of it even if it is not there."""
        entry = self.find(checkpoint_id, namespace)
        writes = {place: batches for place, batches in self.writes.items() if place != (namespace, checkpoint_id)}
        left = Manifest(self.namespaces, writes)
        return left if entry is None else left.without(lambda each: each.document == entry.document)

    def dropped_by(self, successor: Manifest) -> list[str]:
        """Return the documents that this manifest names and its successor does not."""
        kept = successor.documents()
        return [document for document in self.documents() if document not in kept]

    def renamed(self, names: Mapping[str, str]) -> Manifest:
        """Return the same manifest over other documents."""

        def of_entry(entry: Entry) -> Entry:
            parts = tuple(part._replace(document=names[part.document]) for part in entry.parts)
            return entry._replace(document=names[entry.document], parts=parts)

        return Manifest(
            {namespace: tuple(map(of_entry, entries)) for namespace, entries in self.namespaces.items()},
            {
                place: tuple(each._replace(document=names[each.document]) for each in batches)
                for place, batches in self.writes.items()
            },
        )

    def describe(self, document: str) -> str:
        """Say what a document is, for messages."""
        for entry in self.entries():
            if entry.document == document:
                return f"checkpoint {entry.checkpoint_id!r}: its document"
            for part in entry.parts:
                if part.document == document:
                    return f"checkpoint {entry.checkpoint_id!r}: its part {part.name!r}"
        for (_, checkpoint_id), batches in self.writes.items():
            if any(batch.document == document for batch in batches):
                return f"checkpoint {checkpoint_id!r}: a document of its pending writes"
        return f"document {document}"

    def dump(self) -> str:
        """Write the manifest as JSON text; entries refer to their namespace's parts by number."""
        tables = {namespace: _table(entries) for namespace, entries in self.namespaces.items()}
        written: dict[str, Any] = {
            "checkpoints": {name: _dumped(entries, tables[name]) for name, entries in self.namespaces.items()}
        }
        if any(tables.values()):
            written["parts"] = {name: list(table) for name, table in tables.items() if table}
        if self.writes:
            written["writes"] = [[*place, batches] for place, batches in self.writes.items()]
        return json.dumps(written, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Manifest:
        """Read what `dump` wrote; later versions may append to an entry."""
        written = from_json(text)
        parts = {name: [Part(*each[:3]) for each in table] for name, table in written.get("parts", {}).items()}
        return cls(
            {name: _loaded(entries, parts.get(name)) for name, entries in written["checkpoints"].items()},
            {
                (namespace, checkpoint_id): tuple(
                    Batch(document, size, tuple((task, index) for task, index in positions))
                    for document, size, positions in batches
                )
                for namespace, checkpoint_id, batches in written.get("writes", ())
            },
        )


def batches(sizes: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """Divide documents, given with their bytes, into portions that one request may carry: at most so many of them."""
    portion: list[str] = []
    total = 0
    for document, size in sizes.items():
        if portion and (total + size > _REQUEST_BYTES or len(portion) == most):
            yield portion
            portion, total = [], 0
        portion.append(document)
        total += size
    if portion:
        yield portion


def _table(entries: Sequence[Entry]) -> dict[Part, int]:
    """Number the parts of a namespace."""
    parts = dict.fromkeys(part for entry in entries for part in entry.parts)
    return {part: number for number, part in enumerate(parts)}


def _dumped(entries: Sequence[Entry], table: Mapping[Part, int]) -> list[Any]:
    plain = [entry[:4] for entry in entries]
    if not table:
        return plain
    return [(*fields, [table[part] for part in entry.parts]) for fields, entry in zip(plain, entries, strict=True)]


def _loaded(entries: Sequence[Sequence[Any]], table: Sequence[Part] | None) -> tuple[Entry, ...]:
    if not table:
        return tuple(Entry(*fields[:4]) for fields in entries)
    return tuple(
        Entry(checkpoint_id, document, created_at, size, tuple(table[number] for number in numbers))
        for checkpoint_id, document, created_at, size, numbers, *_ in entries
    )
