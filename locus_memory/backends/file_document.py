"""The file of a thread: its name, and its JSON document.

    {"format": "locus-memory thread", "version": 1, "thread_id": "…", "checkpoints": [{…}, …]}

Checkpoints stand in write order, oldest first. A state is embedded as JSON where that gives the same bytes back,
so that a person can read it; any other payload, such as a compressed one, is base64.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import unquote

from pydantic import (
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json, to_json

from locus_memory.connection import describe
from locus_memory.envelope import is_plain_json
from locus_memory.errors import CorruptCheckpointError
from locus_memory.history import Entry, ThreadHistory
from locus_memory.storage import CheckpointSummary, PendingWrite

SUFFIX: Final = ".json"

_SAFE: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
_CUT: Final = "~"
_LONGEST_NAME: Final = 200
"""Characters before the suffix; file systems take 255 bytes."""

_HEAD_BYTES: Final = 16 * 1024
"""Enough for everything before the checkpoints: an id of 1,024 bytes is at most 6 KiB as JSON."""

_NESTING_OF_DOCUMENT: Final = 8
"""Levels around a state, rounded up: the parser refuses more than 200 in all."""


class CheckpointRecord(BaseModel):
    """A checkpoint as it stands in the file: either `codec` and `state`, or `payload`."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    checkpoint_id: str
    created_at: AwareDatetime
    namespace: str = ""
    parent_id: str | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    part_names: tuple[str, ...] = ()
    codec: int | None = Field(default=None, ge=0, le=255)
    state: Any = None
    payload: Base64Bytes | None = None

    @model_validator(mode="after")
    def _has_one_payload(self) -> Self:
        given = self.model_fields_set & {"codec", "state", "payload"}
        if given not in ({"codec", "state"}, {"payload"}) or (self.codec is None and self.payload is None):
            raise ValueError("write either codec and state, or payload")
        return self

    @classmethod
    def of(cls, summary: CheckpointSummary, payload: bytes, part_names: tuple[str, ...] = ()) -> CheckpointRecord:
        """Describe a checkpoint, with its state embedded where that loses nothing."""
        fields: dict[str, Any] = {"checkpoint_id": summary.checkpoint_id, "created_at": summary.created_at}
        for name in ("namespace", "parent_id", "metadata"):
            if value := getattr(summary, name):
                fields[name] = value
        if part_names:
            fields["part_names"] = part_names
        embeddable, state = _embeddable(payload)
        if embeddable:
            return cls.model_construct(**fields, codec=payload[0], state=state)
        # `Base64Bytes` encodes on serialising only what it decoded on validating, or what was never encoded.
        return cls.model_construct(**fields, payload=payload)

    def payload_bytes(self) -> bytes:
        """Return the payload as it was given."""
        if self.codec is not None:
            return bytes((self.codec,)) + to_json(self.state, inf_nan_mode="constants")
        return self.payload or b""

    def summary(self, thread_id: str) -> CheckpointSummary:
        """Return everything but the payload."""
        return CheckpointSummary(
            thread_id, self.checkpoint_id, self.metadata, self.created_at, self.namespace, self.parent_id
        )


class PartRecord(BaseModel):
    """A part that checkpoints of a namespace share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str
    name: str
    data: Base64Bytes


class WriteRecord(BaseModel):
    """A pending write, with the checkpoint that it is on top of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str
    checkpoint_id: str
    task_id: str
    index: int
    channel: str
    task_path: str
    payload: Base64Bytes


class ThreadDocument(BaseModel):
    """The whole file; parts and writes stand in it only where there are any."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    format: Literal["locus-memory thread"] = "locus-memory thread"
    version: Literal[1] = 1
    thread_id: str
    checkpoints: list[CheckpointRecord]
    parts: list[PartRecord] = Field(default_factory=list)
    writes: list[WriteRecord] = Field(default_factory=list)


def file_name(thread_id: str) -> str:
    """Name the file of a thread: injective, and safe on file systems that fold case.

    Lower-case letters, digits, `-` and `_` stand for themselves, every other byte is percent-encoded. A name that
    would be too long is cut and ends with the SHA-256 of the id; the file itself then says which id it is.
    """
    encoded = "".join(chr(byte) if byte in _SAFE else f"%{byte:02x}" for byte in thread_id.encode())
    if len(encoded) > _LONGEST_NAME:
        encoded = f"{encoded[:100]}{_CUT}{hashlib.sha256(thread_id.encode()).hexdigest()}"
    return encoded + SUFFIX


def thread_id_of(path: Path) -> str | None:
    """Return the thread id that a file is named after; None when it is no file of ours.

    Raises:
        CorruptCheckpointError: The name was cut, and the file does not say the id.
    """
    name = path.name.removesuffix(SUFFIX)
    thread_id = _thread_id_in(path) if _CUT in name else unquote(name, errors="replace")
    return thread_id if thread_id and path.name == file_name(thread_id) else None


def read_document(path: Path, thread_id: str) -> ThreadHistory[CheckpointRecord]:
    """Read the history of a thread.

    Raises:
        CorruptCheckpointError: The file is damaged, of a newer version, or of another thread.
        OSError: It cannot be read.
    """
    text = path.read_bytes()
    try:
        document = ThreadDocument.model_validate_json(text)
    except ValidationError as error:
        raise CorruptCheckpointError(f"{path}: is no readable thread file: {describe(error)}") from None
    if document.thread_id != thread_id:
        raise CorruptCheckpointError(f"{path}: holds thread {document.thread_id!r}, not {thread_id!r}")
    namespaces: dict[str, dict[str, Entry[CheckpointRecord]]] = {}
    for record in document.checkpoints:
        entries = namespaces.setdefault(record.namespace, {})
        if record.checkpoint_id in entries:
            raise CorruptCheckpointError(f"{path}: holds checkpoint {record.checkpoint_id!r} twice")
        entries[record.checkpoint_id] = Entry(record.summary(thread_id), record, record.part_names)
    history = ThreadHistory(thread_id, namespaces)
    for part in document.parts:
        history.parts.setdefault(part.namespace, {})[part.name] = part.data
    for each in document.writes:
        write = PendingWrite(each.task_id, each.index, each.channel, each.payload, each.task_path)
        history.put_writes(each.checkpoint_id, [write], each.namespace)
    return history


def document_text(history: ThreadHistory[CheckpointRecord]) -> bytes:
    """Write the document, indented for people and for `git diff`."""
    # `Base64Bytes` encodes on serialising only what it decoded on validating, or what was never encoded.
    more: dict[str, Any] = {
        "parts": [
            PartRecord.model_construct(namespace=namespace, name=name, data=data)
            for namespace, parts in history.parts.items()
            for name, data in parts.items()
        ],
        "writes": [
            WriteRecord.model_construct(namespace=namespace, checkpoint_id=checkpoint_id, **asdict(write))
            for (namespace, checkpoint_id), writes in history.writes.items()
            for write in writes.values()
        ],
    }
    document = ThreadDocument.model_construct(
        format="locus-memory thread",
        version=1,
        thread_id=history.thread_id,
        checkpoints=[entry.body for entry in history.entries()],
        **{name: records for name, records in more.items() if records},
    )
    return document.model_dump_json(indent=2, exclude_unset=True).encode()


def _embeddable(payload: bytes) -> tuple[bool, Any]:
    if not is_plain_json(payload):
        return False, None
    text = payload[1:]
    try:
        state = from_json(b"[" * _NESTING_OF_DOCUMENT + text + b"]" * _NESTING_OF_DOCUMENT)
        for _ in range(_NESTING_OF_DOCUMENT):
            [state] = state
    except ValueError:
        return False, None
    return to_json(state, inf_nan_mode="constants") == text, state


def _thread_id_in(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    try:
        thread_id = from_json(head, allow_partial=True)["thread_id"]
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptCheckpointError(f"{path}: does not say which thread it holds") from error
    return str(thread_id)
