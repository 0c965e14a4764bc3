"""What the OpenSearch backend stores: the one source for the library and for the operator.

A thread has one *thread document*: its manifest, which names its checkpoints in write order, and the search terms of
its latest state. Each write of a checkpoint makes a *checkpoint document*, which never changes and counts only while a
manifest names it; so do the documents of the parts that checkpoints share, and of pending writes. All documents of a
thread are routed to one shard.

The mapping is explicit and closed: no state and no metadata can add a field to it. Manifest, summary and payload are
strings that the server only keeps: as JSON objects, they would meet its limits on nesting and on names of fields.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import zstandard
from pydantic import JsonValue
from pydantic_core import from_json, to_json

from locus_memory.errors import CorruptCheckpointError
from locus_memory.metadata import canonical
from locus_memory.storage import CheckpointSummary, NewCheckpoint, PendingWrite
from locus_memory.text import words

LAYOUT_VERSION: Final = 1
"""Version of the documents and the mapping; recorded in the mapping's `_meta`."""

THREAD: Final = "thread"
CHECKPOINT: Final = "checkpoint"
PART: Final = "part"
WRITES: Final = "writes"
DELETED: Final = "deleted"
"""Kinds of documents; a `deleted` one is a thread document whose thread is gone, and whose documents are going."""

LARGE_BYTES: Final = 256 * 1024
"""Bodies of more bytes are written and read in a thread, so that the event loop goes on."""

# OpenSearch refuses a JSON string of over 50,000,000 characters, early versions with Jackson's limit one of over
# 20,000,000 (opensearch.xcontent.string.length.max). Divisible by three: only the last part needs padding.
_PART_BYTES: Final = 12 * 1024 * 1024

# A term has at most 32,766 bytes; nobody searches for such words, and their digests take less room.
_MAX_WORD_CHARACTERS: Final = 100
_MAX_TERMS_CHARACTERS: Final = 1024 * 1024

OCCURRENCES: Final = (1, 2, 3, 4, 5, 8, 16, 32, 64)
"""How often a word occurs is indexed in these steps: a term for each one that it reaches."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOG = logging.getLogger(__name__)


def index_body(*, shards: int | None = None, replicas: int | None = None) -> dict[str, Any]:
    """Return the settings and the mapping to create the index with.

    Args:
        shards: Primary shards; the server's default when None. All documents of a thread share one.
        replicas: Copies of each shard; the server's default when None.
    """
    numbers = {"number_of_shards": shards, "number_of_replicas": replicas}
    kept_only = {"type": "keyword", "index": False, "doc_values": False}
    return {
        "settings": {
            "index": {
                **{name: number for name, number in numbers.items() if number is not None},
                # A save is on disk when it returns.
                "translog": {"durability": "request"},
            }
        },
        "mappings": {
            "dynamic": "strict",
            "_meta": {"locus_memory": {"version": LAYOUT_VERSION}},
            "_routing": {"required": True},
            "properties": {
                "kind": {"type": "keyword"},
                "thread_id": {"type": "keyword"},
                "document": {"type": "keyword"},
                "manifest": kept_only,
                "oldest_at": {"type": "long"},
                "latest_at": {"type": "long"},
                "terms": {"type": "keyword", "doc_values": False},
                "summary": kept_only,
                "created_at": {"type": "long"},
                "written_at": {"type": "long"},
                "tokens": {"type": "keyword"},
                "packed_terms": {"type": "binary"},
                "payload": {"type": "binary"},
            },
        },
    }


Line = bytes | tuple[bytes, ...] | dict[str, Any]
"""A line of a bulk request: JSON as it stands, in one piece or several, or something to be written as JSON."""


def ndjson(lines: Iterable[Line]) -> bytes:
    """Write the body of a bulk request; copies large lines once."""
    pieces: list[bytes] = []
    for line in lines:
        if isinstance(line, dict):
            pieces.append(json.dumps(line, ensure_ascii=False).encode())
        else:
            pieces.extend((line,) if isinstance(line, bytes) else line)
        pieces.append(b"\n")
    return b"".join(pieces)


def thread_key(thread_id: str) -> str:
    """Return the id of the thread document, which also routes all documents of the thread.

    A document id has at most 512 bytes and a thread id up to 1,024, so it is a digest.
    """
    return hashlib.sha256(thread_id.encode()).hexdigest()


def metadata_token(key: str, value: JsonValue) -> str:
    """Return the token of a metadata field that has, or contains, a value."""
    digest = hashlib.sha256(json.dumps([key, canonical(value)]).encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def search_term(word: str, occurrences: int = 1) -> str:
    """Return the term of the states in which a word occurs at least so often.

    No word contains a blank or a `#`, so no two words share a term.
    """
    if len(word) > _MAX_WORD_CHARACTERS:
        word = "#" + hashlib.sha256(word.encode()).hexdigest()
    return word if occurrences == 1 else f"{word} {occurrences}"


def search_terms(text: str) -> list[str]:
    """Return the terms of a text: its words as all backends cut them, and how often they occur.

    Steps rather than a scoring text field: what is the better match is then the same on every backend, on every
    shard, and whatever other conversations there are.
    """
    counts = Counter(words(text))
    terms: list[str] = []
    left = _MAX_TERMS_CHARACTERS
    # All words before any count: in a state with too many, being found goes before being ranked.
    for step in OCCURRENCES:
        for word, count in counts.items():
            if count >= step:
                term = search_term(word, step)
                left -= len(term) + 1
                if left < 0:
                    _LOG.warning("a state has more distinct words than are indexed; the rest is not searchable")
                    return terms
                terms.append(term)
    return terms


class Draft:
    """The document of a checkpoint to be written, but for the time of the write. Expensive to make when large.

    Raises:
        CorruptCheckpointError: Never: the text of a state that cannot be read is left out.
    """

    def __init__(self, checkpoint: NewCheckpoint) -> None:
        self.terms = _terms_of(checkpoint)
        fields: dict[str, Any] = {
            "kind": CHECKPOINT,
            "thread_id": checkpoint.thread_id,
            "summary": dump_summary(checkpoint),
        }
        if not checkpoint.namespace:
            fields["tokens"] = _tokens(checkpoint.metadata)
            if self.terms:
                packed = zstandard.compress("\n".join(self.terms).encode(), 1)
                fields["packed_terms"] = base64.b64encode(packed).decode()
        self._head = _head(encode_payload(checkpoint.payload), fields)

    def document(self, document: str, created_at: int) -> tuple[bytes, bytes]:
        """Return the document as JSON, in two pieces."""
        times = b'"created_at":%d,"written_at":%d' % (created_at, now())
        return self._head, b',"document":"%b",%b}' % (document.encode(), times)


class Attachment:
    """A document of what belongs to checkpoints, but for the time of the write. Expensive to make when large."""

    def __init__(self, thread_id: str, kind: str, payload: Iterable[bytes], summary: str | None = None) -> None:
        fields = {"kind": kind, "thread_id": thread_id}
        self._head = _head(payload, fields if summary is None else {**fields, "summary": summary})

    @classmethod
    def of_part(cls, thread_id: str, data: bytes) -> Attachment:
        """Make the document of a part; the manifest has its name."""
        return cls(thread_id, PART, encode_payload(data))

    @classmethod
    def of_writes(cls, thread_id: str, writes: Iterable[PendingWrite]) -> Attachment:
        """Make the document of pending writes: all payloads in a row, and a line for each that says how long it is."""
        payload: list[bytes] = []
        lines = []
        for write in writes:
            strings = list(encode_payload(write.payload))
            payload += strings
            lines.append([write.task_id, write.index, write.channel, write.task_path, len(strings)])
        return cls(thread_id, WRITES, payload, json.dumps(lines, ensure_ascii=False, separators=(",", ":")))

    def document(self, document: str) -> tuple[bytes, bytes]:
        """Return the document as JSON, in two pieces."""
        return self._head, b',"document":"%b","written_at":%d}' % (document.encode(), now())


def writes_of(source: Mapping[str, Any]) -> Iterator[PendingWrite]:
    """Read a document of pending writes."""
    start = 0
    for task_id, index, channel, task_path, length in from_json(source["summary"]):
        strings = source["payload"][start : start + length]
        start += length
        payload = decode_payload({"thread_id": source["thread_id"], "payload": strings})
        yield PendingWrite(task_id, index, channel, payload, task_path)


def encode_payload(payload: bytes) -> Iterator[bytes]:
    """Cut a payload into parts of base64 that the server takes as strings."""
    for start in range(0, max(len(payload), 1), _PART_BYTES):
        yield base64.b64encode(payload[start : start + _PART_BYTES])


def decode_payload(source: Mapping[str, Any]) -> bytes:
    """Return the payload of a document, put together again."""
    try:
        return b"".join(base64.b64decode(part, validate=True) for part in source["payload"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptCheckpointError(f"thread {source.get('thread_id')!r}: a payload is no base64: {error}") from error


def unpack_terms(source: Mapping[str, Any]) -> list[str]:
    """Return the terms of a checkpoint document."""
    if "packed_terms" not in source:
        return []
    packed = base64.b64decode(source["packed_terms"])
    return zstandard.decompress(packed, max_output_size=8 * _MAX_TERMS_CHARACTERS).decode().split("\n")


def dump_summary(checkpoint: NewCheckpoint) -> str:
    """Write what a summary needs beside thread and time."""
    fields = [checkpoint.checkpoint_id, checkpoint.namespace, checkpoint.parent_id, dict(checkpoint.metadata)]
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def summary_of(source: Mapping[str, Any]) -> CheckpointSummary:
    """Read the summary of a checkpoint document."""
    checkpoint_id, namespace, parent_id, metadata = from_json(source["summary"])
    created_at = _EPOCH + timedelta(microseconds=source["created_at"])
    return CheckpointSummary(source["thread_id"], checkpoint_id, metadata, created_at, namespace, parent_id)


def microseconds(moment: datetime) -> int:
    """Count the microseconds from 1970 to a moment."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def now() -> int:
    """Return the microseconds from 1970 to now, by this machine's clock."""
    return microseconds(datetime.now(UTC))


def _head(payload: Iterable[bytes], fields: Mapping[str, Any]) -> bytes:
    """Begin the JSON object of a document."""
    # By hand: base64 needs no escaping, and a serialiser would hold the interpreter for its whole length.
    return b'{"payload":["' + b'","'.join(payload) + b'"],' + to_json(fields)[1:-1]


def _terms_of(checkpoint: NewCheckpoint) -> list[str]:
    if checkpoint.text is None or checkpoint.namespace:
        return []
    try:
        return search_terms(checkpoint.text())
    except CorruptCheckpointError as error:
        _LOG.warning("thread %r will not be searchable: %s", checkpoint.thread_id, error)
        return []


def _tokens(metadata: Mapping[str, JsonValue]) -> list[str]:
    tokens: dict[str, None] = {}
    for key, value in metadata.items():
        tokens[metadata_token(key, value)] = None
        for item in value if isinstance(value, list) else ():
            tokens[metadata_token(key, item)] = None
    return list(tokens)
