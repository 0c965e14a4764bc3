"""Keys and rows of the Oracle backend: what ids and times are in its tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue

from locus_memory.metadata import canonical
from locus_memory.storage import CheckpointSummary


def thread_key(thread_id: str, namespace: str) -> bytes:
    """Return what stands for a namespace of a thread."""
    # The length keeps id and namespace apart: both may hold any character.
    encoded = thread_id.encode()
    return hashlib.sha256(len(encoded).to_bytes(4) + encoded + namespace.encode()).digest()


def key_of(thread_id: str, checkpoint_id: str | None, namespace: str) -> dict[str, Any]:
    """Return the binds that name a checkpoint, or its thread and namespace alone."""
    key = {"thread_key": thread_key(thread_id, namespace)}
    return key if checkpoint_id is None else key | {"checkpoint_id": checkpoint_id.encode()}


def thread_row(thread_id: str, namespace: str) -> dict[str, Any]:
    """Return what a thread's row holds beside its key."""
    return {"thread_id": thread_id.encode(), "namespace": namespace.encode() or None}


def stored_time(time: datetime) -> datetime:
    """Return a time as it is stored: in UTC, since the driver does not keep time zones."""
    return time.astimezone(UTC).replace(tzinfo=None)


def summary_of(row: Iterable[Any]) -> CheckpointSummary:
    """Read the first columns of a query for checkpoints."""
    thread_id, checkpoint_id, metadata, created_at, namespace, parent_id, *_ = row
    return CheckpointSummary(
        thread_id=thread_id.decode(),
        checkpoint_id=checkpoint_id.decode(),
        metadata=json.loads(metadata),
        created_at=created_at.replace(tzinfo=UTC),
        namespace=(namespace or b"").decode(),
        parent_id=None if parent_id is None else parent_id.decode(),
    )


def field_hash(name: str, value: JsonValue) -> bytes:
    """Return what stands for a metadata field with a value; equal ones have equal hashes."""
    return hashlib.sha256(canonical([name, value]).encode()).digest()


def field_hashes(metadata: Mapping[str, JsonValue]) -> list[bytes]:
    """Return the hashes of all fields that a query can ask for, each once: a list matches its items, too."""
    found = {field_hash(name, value): None for name, value in metadata.items()}
    for name, value in metadata.items():
        found |= {field_hash(name, item): None for item in (value if isinstance(value, list) else ())}
    return list(found)
