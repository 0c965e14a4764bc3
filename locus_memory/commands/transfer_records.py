"""What a checkpoint is made of, in a form in which the same checkpoint looks the same on every backend."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from typing import Any

from locus_memory.storage import CheckpointSummary, PendingWrite, StoredCheckpoint


def sha256(data: bytes) -> str:
    """Return the SHA-256 as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def identity(summary: CheckpointSummary) -> tuple[str, str | None, str, str]:
    """Return what two copies of a checkpoint share, apart from their contents."""
    return (
        summary.checkpoint_id,
        summary.parent_id,
        summary.created_at.astimezone(UTC).isoformat(timespec="microseconds"),
        json.dumps(_canonical(summary.metadata), sort_keys=True),
    )


def digest(stored: StoredCheckpoint) -> str:
    """Return a hash of everything that belongs to a checkpoint."""
    parts = {name: sha256(data) for name, data in stored.parts.items()}
    return digest_of(stored.summary, sha256(stored.payload), parts, stored.writes)


def digest_of(
    summary: CheckpointSummary, payload: str, parts: Mapping[str, str], writes: tuple[PendingWrite, ...]
) -> str:
    """Like `digest`, where payload and parts are known by their hashes."""
    described = [
        summary.thread_id,
        summary.namespace,
        *identity(summary),
        payload,
        sorted(parts.items()),
        [[*write.order, write.channel, sha256(write.payload)] for write in writes],
    ]
    return sha256(json.dumps(described).encode())


class Fingerprint:
    """One hash over many checkpoints that does not depend on the order in which they come: sums, modulo 2**256."""

    def __init__(self) -> None:
        self.checkpoints = 0
        self._sum = 0

    def add(self, position: int, checkpoint_digest: str) -> None:
        """Count a checkpoint in.

        Args:
            position: Its place in the order of writes within its namespace.
            checkpoint_digest: As `digest` makes it; it names thread and namespace.
        """
        self.checkpoints += 1
        self._sum += int(sha256(f"{position}:{checkpoint_digest}".encode()), 16)

    def __str__(self) -> str:
        return f"{self._sum % 2**256:064x}"


def _canonical(value: Any) -> Any:
    """Write numbers in one way: PostgreSQL's jsonb gives whole numbers back as integers, whatever they were."""
    if isinstance(value, float) and value.is_integer():
        # Its shortest decimal form is what went through JSON; int() would make digits up beyond 2**53.
        return int(Decimal(repr(value)))
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    return value
