"""The JSON documents of the commands: with `--json`, each prints exactly one of them on standard output.

Fields are only ever added. Times are ISO 8601 in UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, JsonValue


class Document(BaseModel):
    """What all documents have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Failed(Document):
    """Why a command failed: the name of an error of `locus_memory.errors`, or one of `usage`, `not-found`, `conflict`,
    `declined`, `interrupted`."""

    name: str
    message: str
    exit_code: int


class ErrorDocument(Document):
    """Of any command that could not do its work."""

    error: Failed


class BindingFound(Document):
    """Where the store was looked for: each place with what is there, and the one that was used."""

    found: str | None
    type: str | None
    looked_at: dict[str, str]


class FindingDocument(Document):
    """A finding: `level` is `ok`, `info`, `warning` or `error`; `code` is stable."""

    level: str
    code: str
    message: str
    advice: str


class DoctorDocument(Document):
    """Of `doctor`, whatever it found; `latency_ms` has the median of each call, and is null if one failed."""

    ok: bool
    exit_code: int
    binding: BindingFound
    backend: str | None
    facts: dict[str, JsonValue]
    capabilities: dict[str, bool] | None
    latency_ms: dict[str, float] | None
    findings: list[FindingDocument]


class LatestCheckpoint(Document):
    """The latest checkpoint of a thread, in the empty namespace."""

    checkpoint_id: str
    created_at: datetime
    metadata: dict[str, JsonValue]


class ListedThread(Document):
    """A thread; `latest` is null without `--metadata`, and where the thread has other namespaces only."""

    thread_id: str
    latest: LatestCheckpoint | None = None


class ThreadsDocument(Document):
    """Of `threads`; `more` says that there are others beyond the limit."""

    threads: list[ListedThread]
    more: bool


class DescribedCheckpoint(Document):
    """A checkpoint without its state; `part_bytes` is what it shares with others."""

    thread_id: str
    namespace: str
    checkpoint_id: str
    parent_id: str | None
    created_at: datetime
    metadata: dict[str, JsonValue]
    payload_bytes: int
    part_bytes: int
    pending_writes: int
    encrypted: bool


class ShowDocument(Document):
    """Of `show`; with `--raw` it is the state alone."""

    checkpoint: DescribedCheckpoint
    state: JsonValue


class HistoryDocument(Document):
    """Of `show --history`, newest first."""

    thread_id: str
    namespace: str
    checkpoints: list[DescribedCheckpoint]
    more: bool


class CopyDocument(Document):
    """Of `copy`."""

    source: str
    destination: str


class DeleteDocument(Document):
    """Of `delete`; `checkpoint_id` is null when the whole thread was deleted."""

    thread_id: str
    checkpoint_id: str | None


class VacuumDocument(Document):
    """Of `vacuum`."""

    before: datetime
    checkpoints_deleted: int


class ExportDocument(Document):
    """Of `export`; `sha256` is that of the file's trailer, and covers all checkpoints."""

    file: str
    threads: int
    checkpoints: int
    payload_bytes: int
    sha256: str


class ThreadReason(Document):
    """A thread, and what is the matter with it."""

    thread_id: str
    reason: str


class ImportDocument(Document):
    """Of `import`: what was written, what was there already, and which threads were left alone."""

    threads: int
    checkpoints_written: int
    checkpoints_present: int
    threads_replaced: int
    conflicts: list[ThreadReason]


class Copied(Document):
    """What a migration wrote, and what was there already."""

    threads: int
    checkpoints_written: int
    checkpoints_present: int
    conflicts: list[ThreadReason]


class Side(Document):
    """One side of a comparison; `sha256` covers all checkpoints and their order."""

    store: str
    checkpoints: int
    sha256: str


class MigrateDocument(Document):
    """Of `migrate`; `copied` is null with `--verify-only`."""

    same: bool
    threads: int
    source: Side
    destination: Side
    copied: Copied | None
    differences: list[ThreadReason]


class Measurement(Document):
    """Times of one operation; `per_second` is of all clients together."""

    operation: str
    clients: int
    calls: int
    p50_ms: float
    p99_ms: float
    per_second: float


class BenchDocument(Document):
    """Of `bench`."""

    store: str
    state_bytes: int
    measured: list[Measurement]


def reasons_listed(reasons: dict[str, str]) -> list[ThreadReason]:
    """Write threads, and what is the matter with each, for a document."""
    return [ThreadReason(thread_id=thread_id, reason=reason) for thread_id, reason in reasons.items()]


DOCUMENTS: Final[dict[str, tuple[type[Document], ...]]] = {
    "doctor": (DoctorDocument,),
    "threads": (ThreadsDocument,),
    "show": (ShowDocument, HistoryDocument),
    "copy": (CopyDocument,),
    "delete": (DeleteDocument,),
    "vacuum": (VacuumDocument,),
    "export": (ExportDocument,),
    "import": (ImportDocument,),
    "migrate": (MigrateDocument,),
    "bench": (BenchDocument,),
}
"""What each command prints with `--json`, unless it fails with an `ErrorDocument`."""
