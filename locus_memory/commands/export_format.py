"""The lines of an export file: JSON Lines, each a record that says what it is.

    {"record": "header", "format": "locus-memory export", "version": 1, …}
    {"record": "part", "thread_id": …, "namespace": …, "name": …, "data": base64}
    {"record": "checkpoint", "version": 1, "thread_id": …, "namespace": …, "position": 0, "checkpoint_id": …, …}
    {"record": "trailer", "threads": 1, "checkpoints": 1, "payload_bytes": 2, "sha256": …}

Checkpoints stand thread by thread and namespace by namespace, each in the order of writes; `position` counts from 0
within the namespace. A part stands before the first checkpoint that needs it, and is not repeated in its namespace;
checkpoints name their parts with hashes. Payloads are base64 of the very bytes that were stored, encrypted or not.
`sha256` of a checkpoint covers all of it, as `transfer_records.digest` says; that of the trailer covers all of them.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)

from locus_memory._version import __version__
from locus_memory.commands.transfer_records import Fingerprint, digest_of, sha256
from locus_memory.connection import describe
from locus_memory.errors import CorruptCheckpointError
from locus_memory.storage import CheckpointSummary, PendingWrite, StoredCheckpoint


def _decoded(text: object) -> bytes:
    # Raises ValueError, which pydantic reports with the field.
    return base64.b64decode(str(text), validate=True)


Base64 = Annotated[
    bytes, BeforeValidator(_decoded), PlainSerializer(lambda data: base64.b64encode(data).decode(), return_type=str)
]


class _Record(BaseModel):
    # Unknown fields of later versions are left out; what cannot be left out gets another version.
    model_config = ConfigDict(frozen=True, extra="ignore")

    def line(self) -> bytes:
        """Write the record as one line."""
        return self.model_dump_json().encode() + b"\n"


class Header(_Record):
    """The first line."""

    record: Literal["header"] = "header"
    format: Literal["locus-memory export"] = "locus-memory export"
    version: Literal[1] = 1
    exported_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    locus_memory: str = __version__


class PartRecord(_Record):
    """A part that checkpoints of a namespace share."""

    record: Literal["part"] = "part"
    thread_id: str
    namespace: str
    name: str
    data: Base64


class WriteRecord(_Record):
    """A pending write on top of a checkpoint."""

    task_id: str
    index: int
    channel: str
    payload: Base64
    task_path: str


class CheckpointLine(_Record):
    """A checkpoint."""

    record: Literal["checkpoint"] = "checkpoint"
    version: Literal[1] = 1
    thread_id: str = Field(min_length=1)
    namespace: str
    position: int = Field(ge=0)
    checkpoint_id: str = Field(min_length=1)
    parent_id: str | None
    created_at: AwareDatetime
    metadata: dict[str, JsonValue]
    payload: Base64
    parts: dict[str, str]
    writes: tuple[WriteRecord, ...]
    sha256: str

    @property
    def summary(self) -> CheckpointSummary:
        """The checkpoint without its payload."""
        created_at = self.created_at.astimezone(UTC)
        return CheckpointSummary(
            self.thread_id, self.checkpoint_id, self.metadata, created_at, self.namespace, self.parent_id
        )

    @property
    def pending_writes(self) -> tuple[PendingWrite, ...]:
        """What tasks have written on top of it."""
        return tuple(
            PendingWrite(write.task_id, write.index, write.channel, write.payload, write.task_path)
            for write in self.writes
        )

    def digest(self) -> str:
        """Hash what stands in the line, apart from the hash that it gives itself."""
        return digest_of(self.summary, sha256(self.payload), self.parts, self.pending_writes)


class Trailer(_Record):
    """The last line: without it the file is not whole."""

    record: Literal["trailer"] = "trailer"
    threads: int
    checkpoints: int
    payload_bytes: int
    sha256: str


Line = Annotated[Header | PartRecord | CheckpointLine | Trailer, Field(discriminator="record")]

_LINE: Final[TypeAdapter[Header | PartRecord | CheckpointLine | Trailer]] = TypeAdapter(Line)


def parse_line(text: bytes, where: str) -> Header | PartRecord | CheckpointLine | Trailer:
    """Read a line.

    Raises:
        CorruptCheckpointError: It is none of an export that this version can read; `where` says which line it is.
    """
    try:
        return _LINE.validate_json(text)
    except ValidationError as error:
        raise CorruptCheckpointError(f"{where}: {describe(error)}") from None


class LineWriter:
    """Turns checkpoints into lines, and counts them for the trailer.

    Call `thread` before the checkpoints of each thread.
    """

    def __init__(self) -> None:
        self._fingerprint = Fingerprint()
        self._threads = 0
        self._payload_bytes = 0

    def thread(self) -> None:
        """Count a thread."""
        self._threads += 1

    def checkpoint(self, position: int, stored: StoredCheckpoint, known_parts: set[str]) -> list[bytes]:
        """Write a checkpoint, and the parts that its namespace has not had yet.

        Args:
            position: Its place in its namespace.
            stored: The checkpoint.
            known_parts: Names of the parts that stand in the file; new ones are added.
        """
        summary = stored.summary
        where: dict[str, Any] = {"thread_id": summary.thread_id, "namespace": summary.namespace}
        new = {name: data for name, data in stored.parts.items() if name not in known_parts}
        known_parts.update(new)
        lines = [PartRecord.model_construct(**where, name=name, data=data).line() for name, data in new.items()]
        parts = {name: sha256(data) for name, data in stored.parts.items()}
        checkpoint_digest = digest_of(summary, sha256(stored.payload), parts, stored.writes)
        self._fingerprint.add(position, checkpoint_digest)
        self._payload_bytes += len(stored.payload)
        checkpoint = CheckpointLine.model_construct(
            **where,
            position=position,
            checkpoint_id=summary.checkpoint_id,
            parent_id=summary.parent_id,
            created_at=summary.created_at,
            metadata=summary.metadata,
            payload=stored.payload,
            parts=parts,
            writes=tuple(_write_record(write) for write in stored.writes),
            sha256=checkpoint_digest,
        )
        return [*lines, checkpoint.line()]

    def trailer(self) -> Trailer:
        """Sum up."""
        return Trailer(
            threads=self._threads,
            checkpoints=self._fingerprint.checkpoints,
            payload_bytes=self._payload_bytes,
            sha256=str(self._fingerprint),
        )


def _write_record(write: PendingWrite) -> WriteRecord:
    return WriteRecord.model_construct(
        task_id=write.task_id,
        index=write.index,
        channel=write.channel,
        payload=write.payload,
        task_path=write.task_path,
    )
