"""What the objects of a bucket hold: heads, pages and checkpoints, and how they are written.

A head is the root of everything that a thread has, and the only object of it that ever changes: what it names is
there, what it does not name is not. Pure: no I/O, no clock.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import JsonValue

from locus_memory.backends.oci_bucket_layout import PART_BYTES, fingerprint_of
from locus_memory.errors import CorruptCheckpointError, SchemaError
from locus_memory.storage import CheckpointSummary, NewCheckpoint

FORMAT: Final = 1

MAX_INLINE_METADATA: Final = 1024
"""Bytes of metadata that a head or page holds; larger ones stand with the payload only."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAGIC = b"LMC1"
_PRINT_BYTES = 5
_NAMESPACE_BYTES = 4
_PART_PRINT_BYTES = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A checkpoint, as its thread's head or page describes it.

    Attributes:
        name: Of the object with the payload, below the thread's data.
        header_bytes: Where the payload begins in there.
        payload_bytes: Its length.
        metadata: None when it stands in the object only, being large.
        parts: Ids of the parts that it needs.
    """

    checkpoint_id: str
    namespace: str
    name: str
    header_bytes: int
    payload_bytes: int
    created_at: datetime
    parent_id: str | None
    metadata: dict[str, JsonValue] | None
    parts: tuple[bytes, ...] = ()

    def summary(self, thread_id: str, metadata: dict[str, JsonValue]) -> CheckpointSummary:
        """Describe the checkpoint to a caller, who may change what it is given."""
        return CheckpointSummary(
            thread_id, self.checkpoint_id, copy.deepcopy(metadata), self.created_at, self.namespace, self.parent_id
        )


@dataclass(frozen=True, slots=True)
class Page:
    """A page of older checkpoints, as the head describes it.

    Attributes:
        name: Of the object, below the thread's data.
        prints: Fingerprints of its checkpoints, to find the page of an id without reading all.
        namespaces: Fingerprints of the namespaces in it.
        oldest, newest: When its checkpoints were written.
        parts: Fingerprints of the parts that they need; such short ones that some are there by chance.
    """

    name: str
    prints: frozenset[bytes]
    namespaces: frozenset[bytes]
    oldest: datetime
    newest: datetime
    parts: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, name: str, entries: Iterable[Entry]) -> Page:
        """Describe a page that holds some entries, at least one."""
        found = list(entries)
        return cls(
            name,
            frozenset(fingerprint(entry.namespace, entry.checkpoint_id) for entry in found),
            frozenset(namespace_fingerprint(entry.namespace) for entry in found),
            min(entry.created_at for entry in found),
            max(entry.created_at for entry in found),
            frozenset(part_print(part) for entry in found for part in entry.parts),
        )


@dataclass(frozen=True, slots=True)
class Head:
    """All that a thread consists of.

    Attributes:
        incarnation: First part of the names of its data.
        next_sequence: Position of the next checkpoint in the write order.
        tail: The newest checkpoints, oldest first.
        pages: The older ones, oldest first.
        garbage: Names that no longer belong to the thread, until they are deleted. Where an object of the same name
            may follow, the name is followed by `?` and the ETag.
    """

    thread_id: str
    incarnation: str
    next_sequence: int = 0
    tail: tuple[Entry, ...] = ()
    pages: tuple[Page, ...] = ()
    garbage: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether no checkpoint is left."""
        return not self.tail and not self.pages


def fingerprint(namespace: str, checkpoint_id: str) -> bytes:
    """Return a few bytes that tell whether a page may hold a checkpoint."""
    sizes = len(namespace.encode()).to_bytes(4, "big")
    return hashlib.sha256(sizes + namespace.encode() + checkpoint_id.encode()).digest()[:_PRINT_BYTES]


def namespace_fingerprint(namespace: str) -> bytes:
    """Return a few bytes that tell whether a page may hold checkpoints of a namespace."""
    return hashlib.sha256(namespace.encode()).digest()[:_NAMESPACE_BYTES]


def part_print(part: bytes) -> bytes:
    """Return a few bytes that tell whether a page may name a part, by its id or by its fingerprint."""
    return fingerprint_of(part)[:_PART_PRINT_BYTES]


def encode_head(head: Head) -> bytes:
    """Write a head as JSON."""
    return _json(
        {
            "format": FORMAT,
            "thread": head.thread_id,
            "incarnation": head.incarnation,
            "next": head.next_sequence,
            "tail": [_entry_document(entry) for entry in head.tail],
            "pages": [
                {
                    "name": page.name,
                    "ids": _pack(page.prints),
                    "namespaces": _pack(page.namespaces),
                    "oldest": _microseconds(page.oldest),
                    "newest": _microseconds(page.newest),
                    **({"parts": _pack(page.parts)} if page.parts else {}),
                }
                for page in head.pages
            ],
            "garbage": list(head.garbage),
        }
    )


def decode_head(data: bytes, name: str, thread_id: str | None) -> Head:
    """Read a head.

    Args:
        data: The object's body.
        name: The object's name, for errors.
        thread_id: Whose it must be; None where the name does not tell.

    Raises:
        CorruptCheckpointError: It is damaged, or of another thread.
        SchemaError: A newer version of this library wrote it.
    """
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise SchemaError(
                f"object {name!r} has format {document['format']!r}, this locus-memory reads {FORMAT}: "
                "install a newer one"
            )
        head = Head(
            document["thread"],
            document["incarnation"],
            document["next"],
            tuple(_entry(each) for each in document["tail"]),
            tuple(_page(each) for each in document["pages"]),
            tuple(document["garbage"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(f"object {name!r} is damaged: {error!r}") from error
    if thread_id not in (None, head.thread_id):
        raise CorruptCheckpointError(f"object {name!r} is of thread {head.thread_id!r}, not of {thread_id!r}")
    return head


def encode_page(entries: Iterable[Entry]) -> bytes:
    """Write a page as JSON."""
    return _json({"format": FORMAT, "entries": [_entry_document(entry) for entry in entries]})


def decode_page(data: bytes, name: str) -> list[Entry]:
    """Read a page.

    Raises:
        CorruptCheckpointError: It is damaged.
    """
    try:
        return [_entry(each) for each in json.loads(data)["entries"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(f"object {name!r} is damaged: {error!r}") from error


def encode_header(checkpoint: NewCheckpoint) -> bytes:
    """Write what stands before a payload: whose it is, and its metadata."""
    return frame(
        {
            "thread": checkpoint.thread_id,
            "namespace": checkpoint.namespace,
            "id": checkpoint.checkpoint_id,
            "metadata": dict(checkpoint.metadata),
        }
    )


def frame(document: Any) -> bytes:
    """Write a JSON document such that it can be told from the bytes that follow it."""
    data = _json(document)
    return _MAGIC + len(data).to_bytes(4, "big") + data


def unframe(data: bytes) -> tuple[Any, int]:
    """Return a document that `frame` wrote, and where the bytes that follow it begin.

    Raises:
        ValueError: There is none.
    """
    if data[:4] != _MAGIC:
        raise ValueError("neither checkpoint nor part")
    end = 8 + int.from_bytes(data[4:8], "big")
    return json.loads(data[8:end]), end


def decode_header(data: bytes, entry: Entry, thread_id: str) -> dict[str, JsonValue]:
    """Return the metadata that stands before a payload.

    Raises:
        CorruptCheckpointError: It is damaged, or another checkpoint's.
    """
    try:
        document, _ = unframe(data)
        found = (document["thread"], document["namespace"], document["id"])
        metadata: dict[str, JsonValue] = document["metadata"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(entry, thread_id, repr(error)) from error
    if found != (thread_id, entry.namespace, entry.checkpoint_id):
        raise _damaged(entry, thread_id, f"it is that of {found!r}")
    return metadata


def split_payload(data: bytes, entry: Entry, thread_id: str) -> bytes:
    """Return the payload that an object holds.

    Raises:
        CorruptCheckpointError: It is damaged, cut off, or another checkpoint's.
    """
    decode_header(data, entry, thread_id)
    if len(data) != entry.header_bytes + entry.payload_bytes:
        raise _damaged(entry, thread_id, f"{len(data):,} bytes")
    return data[entry.header_bytes :]


def new_entry(checkpoint: NewCheckpoint, name: str, header_bytes: int, created_at: datetime) -> Entry:
    """Describe a checkpoint that is being written."""
    metadata = dict(checkpoint.metadata)
    return Entry(
        checkpoint.checkpoint_id,
        checkpoint.namespace,
        name,
        header_bytes,
        len(checkpoint.payload),
        # As it will be read again.
        _time(_microseconds(created_at)),
        checkpoint.parent_id,
        metadata if len(_json(metadata)) <= MAX_INLINE_METADATA else None,
    )


def _damaged(entry: Entry, thread_id: str, why: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"thread {thread_id!r}, checkpoint {entry.checkpoint_id!r}: object {entry.name!r} is damaged: {why}"
    )


def _entry_document(entry: Entry) -> dict[str, Any]:
    optional = {
        "namespace": entry.namespace or None,
        "parent": entry.parent_id,
        "metadata": entry.metadata or None,
        "metadata_apart": entry.metadata is None or None,
        "parts": base64.b64encode(b"".join(entry.parts)).decode() or None,
    }
    return {
        "id": entry.checkpoint_id,
        "name": entry.name,
        "header": entry.header_bytes,
        "payload": entry.payload_bytes,
        "time": _microseconds(entry.created_at),
        **{key: value for key, value in optional.items() if value is not None},
    }


def _entry(document: dict[str, Any]) -> Entry:
    return Entry(
        document["id"],
        document.get("namespace", ""),
        document["name"],
        document["header"],
        document["payload"],
        _time(document["time"]),
        document.get("parent"),
        None if document.get("metadata_apart") else document.get("metadata", {}),
        tuple(_cut(document.get("parts", ""), PART_BYTES)),
    )


def _page(document: dict[str, Any]) -> Page:
    return Page(
        document["name"],
        _unpack(document["ids"], _PRINT_BYTES),
        _unpack(document["namespaces"], _NAMESPACE_BYTES),
        _time(document["oldest"]),
        _time(document["newest"]),
        _unpack(document.get("parts", ""), _PART_PRINT_BYTES),
    )


def _pack(prints: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(prints))).decode()


def _unpack(text: str, size: int) -> frozenset[bytes]:
    return frozenset(_cut(text, size))


def _cut(text: str, size: int) -> list[bytes]:
    data = base64.b64decode(text)
    return [data[start : start + size] for start in range(0, len(data), size)]


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
