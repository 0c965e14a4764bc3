"""What the client and the server of checkpoints over HTTP agree on: operations, frames, problems.

An operation is a `POST` to `/v1/<operation>`. Ids travel in the body, never in the URL: nothing on the way can decode,
normalise, cut or log them. Arguments and answers are JSON. A payload travels as it is, behind a JSON head, in a frame
of three parts: the length of the head (4 bytes, big-endian), the head, the payload.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

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
    SchemaError,
    StateTooLargeError,
    UnknownEncryptionKeyError,
)
from locus_memory.storage import CheckpointSummary

PROTOCOL: Final = 1
"""Version of the operations; `GET /capabilities` lists those that a server speaks."""

OPERATIONS: Final = "/v1"
"""Path of the operations below the base URL."""

FRAME_TYPE: Final = "application/vnd.locus-memory.checkpoint"
PROBLEM_TYPE: Final = "application/problem+json"
"""Media type of every error (RFC 9457)."""

MAX_LIMIT: Final = 2**31 - 1
"""Largest `limit` that an operation takes."""

MAX_HEAD_BYTES: Final = 1024 * 1024
"""Largest head of a frame: metadata and three ids fit in, whatever their JSON escapes."""

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
    SchemaError: (500, "schema"),
    StateTooLargeError: (413, "state_too_large"),
}
_CLASSES: Final = {code: error for error, (_, code) in _PROBLEMS.items()}


def frame(head: dict[str, Any]) -> bytes:
    """Write the first two parts of a frame; the payload follows."""
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    return len(text).to_bytes(_LENGTH_BYTES, "big") + text


def split_frame(body: bytes) -> tuple[bytes, bytes]:
    """Take a frame apart, into the JSON text of its head and the payload.

    Raises:
        InvalidArgumentError: It is none.
    """
    end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "big")
    if len(body) < _LENGTH_BYTES or not _LENGTH_BYTES < end <= min(len(body), MAX_HEAD_BYTES):
        raise InvalidArgumentError(
            "body: write the length of a JSON head as 4 bytes, big-endian, then the head, then the payload"
        )
    return body[_LENGTH_BYTES:end], body[end:]


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
        return CapabilityNotSupportedError(where, str(data.get("capability")))
    return error(f"{where}: {data.get('detail')}") if error else None
