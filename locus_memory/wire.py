"""What the client and the server of checkpoints over HTTP agree on: operations, frames, problems.

An operation is a `POST` to `/v1/<operation>`. Ids travel in the body, never in the URL: nothing on the way can decode,
normalise, cut or log them. Arguments and answers are JSON. Payloads travel as they are, behind a JSON head, in a frame:
the length of the head (4 bytes, big-endian), the head, and the payloads, whose sizes are in the head where there may
be several.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

from locus_memory.checkpointer import CheckpointerCapabilities
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    CapabilityNotSupportedError,
    CheckpointConflictError,
    CheckpointError,
    CorruptCheckpointError,
    InvalidArgumentError,
    InvalidStateError,
    MissingPartsError,
    SchemaError,
    StateTooLargeError,
    UnknownEncryptionKeyError,
)
from locus_memory.storage import CheckpointSummary, PendingWrite, StoredCheckpoint

PROTOCOL: Final = 1
"""Version of the operations; `GET /capabilities` lists those that a server speaks."""

OPERATIONS: Final = "/v1"
"""Path of the operations below the base URL."""

FRAME_TYPE: Final = "application/vnd.locus-memory.checkpoint"
PROBLEM_TYPE: Final = "application/problem+json"
"""Media type of every error (RFC 9457)."""

MAX_LIMIT: Final = 2**31 - 1
"""Largest `limit` that an operation takes."""

MAX_HEAD_BYTES: Final = 16 * 1024 * 1024
"""Largest head of a frame that is sent to a server: metadata, ids, and the names of thousands of parts."""

HISTORY: Final = "history"
TRANSFERS: Final = "transfers"
"""What a service may have beside the capabilities of checkpointers; see `StorageBackend`."""

NOT_FOUND: Final = "checkpoint_not_found"
"""Code of the problem that means "there is no such checkpoint"; a 404 without it never means that."""

_LENGTH_BYTES: Final = 4

_PROBLEMS: Final[dict[type[CheckpointError], tuple[int, str]]] = {
    # The login of the server at its backend: nothing that the client's own credentials could mend.
    AuthenticationError: (502, "backend_authentication"),
    BackendUnavailableError: (503, "backend_unavailable"),
    BindingError: (500, "binding"),
    CapabilityNotSupportedError: (501, "capability_not_supported"),
    CheckpointConflictError: (409, "conflict"),
    CheckpointError: (500, "error"),
    UnknownEncryptionKeyError: (500, "unknown_encryption_key"),
    CorruptCheckpointError: (500, "corrupt_checkpoint"),
    InvalidArgumentError: (422, "invalid_argument"),
    InvalidStateError: (422, "invalid_state"),
    MissingPartsError: (409, "missing_parts"),
    SchemaError: (500, "schema"),
    StateTooLargeError: (413, "state_too_large"),
}
_CAPABILITIES: Final = frozenset(field.name for field in fields(CheckpointerCapabilities))
_CLASSES: Final = {code: error for error, (_, code) in _PROBLEMS.items()}


def frame(head: dict[str, Any]) -> bytes:
    """Write a frame as far as the payloads, which follow."""
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    return len(text).to_bytes(_LENGTH_BYTES, "big") + text


def split_frame(body: bytes, max_head_bytes: int = MAX_HEAD_BYTES) -> tuple[bytes, bytes]:
    """Take a frame apart, into the JSON text of its head and what follows.

    Raises:
        InvalidArgumentError: It is none.
    """
    end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "big")
    if len(body) < _LENGTH_BYTES or not _LENGTH_BYTES < end <= min(len(body), max_head_bytes):
        raise InvalidArgumentError(
            "body: write the length of a JSON head as 4 bytes, big-endian, then the head, then the payload"
        )
    return body[_LENGTH_BYTES:end], body[end:]


class Pieces:
    """Cuts what follows the head of a frame."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            InvalidArgumentError: There are fewer.
        """
        end = self._position + size
        if not self._position <= end <= len(self._data):
            raise InvalidArgumentError("body: it ends before what its head announces")
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def rest(self) -> bytes:
        """Return what is left."""
        return self.take(len(self._data) - self._position)

    def end(self) -> None:
        """Make sure that nothing is left.

        Raises:
            InvalidArgumentError: Something is.
        """
        if self._position != len(self._data):
            raise InvalidArgumentError("body: it goes on behind what its head announces")


def parts_to_json(parts: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Write the names and sizes of parts; their bytes follow the head in this order."""
    return [{"name": name, "size": len(data)} for name, data in parts.items()]


def writes_to_json(writes: Iterable[PendingWrite]) -> list[dict[str, Any]]:
    """Write all of pending writes but their payloads, which follow the head in this order."""
    return [
        {
            "task_id": write.task_id,
            "index": write.index,
            "channel": write.channel,
            "task_path": write.task_path,
            "size": len(write.payload),
        }
        for write in writes
    ]


def writes_from_json(data: Iterable[dict[str, Any]], pieces: Pieces) -> list[PendingWrite]:
    """Read pending writes.

    Raises:
        InvalidArgumentError, KeyError, TypeError: They are none.
    """
    return [
        PendingWrite(each["task_id"], each["index"], each["channel"], pieces.take(each["size"]), each["task_path"])
        for each in data
    ]


def complete_to_frame(found: Sequence[StoredCheckpoint]) -> tuple[dict[str, Any], list[bytes]]:
    """Write checkpoints with their parts and writes, as a head and what follows; a part that several share, once."""
    parts = {name: data for stored in found for name, data in stored.parts.items()}
    checkpoints = [
        summary_to_json(stored.summary)
        | {"size": len(stored.payload), "part_names": list(stored.parts), "writes": writes_to_json(stored.writes)}
        for stored in found
    ]
    bodies = [body for stored in found for body in (stored.payload, *(write.payload for write in stored.writes))]
    return {"parts": parts_to_json(parts), "checkpoints": checkpoints}, [*parts.values(), *bodies]


def complete_from_frame(head: dict[str, Any], pieces: Pieces) -> list[StoredCheckpoint]:
    """Read checkpoints with their parts and writes.

    Raises:
        InvalidArgumentError, KeyError, TypeError, ValueError: They are none.
    """
    parts = {each["name"]: pieces.take(each["size"]) for each in head["parts"]}
    found = [
        StoredCheckpoint(
            summary_from_json(each),
            pieces.take(each["size"]),
            {name: parts[name] for name in each["part_names"]},
            tuple(writes_from_json(each["writes"], pieces)),
        )
        for each in head["checkpoints"]
    ]
    pieces.end()
    return found


def summary_to_json(summary: CheckpointSummary) -> dict[str, Any]:
    """Write a summary as a JSON object."""
    return asdict(summary) | {"created_at": summary.created_at.isoformat()}


def summary_from_json(data: dict[str, Any]) -> CheckpointSummary:
    """Read a summary.

    Raises:
        KeyError, TypeError, ValueError: It is none.
    """
    return CheckpointSummary(
        thread_id=data["thread_id"],
        checkpoint_id=data["checkpoint_id"],
        metadata=data["metadata"],
        created_at=datetime.fromisoformat(data["created_at"]),
        namespace=data["namespace"],
        parent_id=data["parent_id"],
    )


def lacking(where: str, capability: str) -> CapabilityNotSupportedError:
    """Make the error of a service or backend without a capability, one of checkpointers or another."""
    return CapabilityNotSupportedError(where, capability, "checkpointer" if capability in _CAPABILITIES else "")


def problem(status: int, code: str, detail: str, **members: str) -> dict[str, Any]:
    """Write a problem (RFC 9457); its `code` is what programs read."""
    return {"type": "about:blank", "title": code.replace("_", " "), "status": status, "code": code} | {
        "detail": detail,
        **members,
    }


def problem_of(error: CheckpointError) -> dict[str, Any]:
    """Write an error as a problem, so that `error_of` gives the same error again."""
    known = next(cls for cls in type(error).__mro__ if cls in _PROBLEMS)
    status, code = _PROBLEMS[known]
    members = {"capability": error.capability} if isinstance(error, CapabilityNotSupportedError) else {}
    return problem(status, code, str(error), **members)


def error_of(data: dict[str, Any], where: str) -> CheckpointError | None:
    """Return the error that a problem stands for, or None where its code is unknown.

    Args:
        data: The problem.
        where: Names the service, for the message.
    """
    error = _CLASSES.get(str(data.get("code")))
    if error is CapabilityNotSupportedError:
        return lacking(where, str(data.get("capability")))
    return error(f"{where}: {data.get('detail')}") if error else None
