"""The manifest of a thread on OpenSearch: which documents are its checkpoints, and in which order they were written.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic_core import from_json


class Entry(NamedTuple):
    """A checkpoint in a manifest.

    Attributes:
        checkpoint_id: Unique within its namespace.
        document: Id of the document that holds it; each write makes a new one.
        created_at: Microseconds since 1970; grows along a namespace, but for checkpoints that came from elsewhere.
        size: Bytes of the payload.
    """

    checkpoint_id: str
    document: str
    created_at: int
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The checkpoints of a thread: by namespace, oldest first. No namespace is empty."""

    namespaces: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.namespaces.values()))

    def entries(self) -> Iterator[Entry]:
        """Walk all namespaces, each in write order."""
        for entries in self.namespaces.values():
            yield from entries

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

    def with_latest(self, entry: Entry, namespace: str = "") -> Manifest:
        """Make the entry the latest of its namespace, in place of one of the same id."""
        kept = tuple(each for each in self.namespaces.get(namespace, ()) if each.checkpoint_id != entry.checkpoint_id)
        return Manifest({**self.namespaces, namespace: (*kept, entry)})

    def without(self, is_gone: Callable[[Entry], bool]) -> Manifest:
        """Forget the entries for which `is_gone` is true."""
        kept = {
            namespace: tuple(entry for entry in entries if not is_gone(entry))
            for namespace, entries in self.namespaces.items()
        }
        return Manifest({namespace: entries for namespace, entries in kept.items() if entries})

    def dropped_by(self, successor: Manifest) -> list[str]:
        """Return the documents that this manifest names and its successor does not."""
        kept = {entry.document for entry in successor.entries()}
        return [entry.document for entry in self.entries() if entry.document not in kept]

    def dump(self) -> str:
        """Write the manifest as JSON text."""
        return json.dumps(self.namespaces, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Manifest:
        """Read what `dump` wrote; later versions may append to an entry."""
        namespaces: dict[str, list[list[Any]]] = from_json(text)
        return cls({name: tuple(Entry(*each[:4]) for each in entries) for name, entries in namespaces.items()})
