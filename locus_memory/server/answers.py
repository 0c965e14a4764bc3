"""Answers, and the errors that the OpenAPI document lists."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from locus_memory.storage import CheckpointSummary, StoredCheckpoint
from locus_memory.wire import FRAME_TYPE, PROBLEM_TYPE, frame, summary_to_json

_CHUNK_BYTES: Final = 256 * 1024
"""Larger answers go out in pieces of this size, between which the server serves others."""

_DESCRIPTIONS: Final = {
    401: "There is no token, or it is not valid.",
    404: "There is no such checkpoint.",
    408: "The request did not come in in time.",
    409: "Another writer was faster, or the destination of a copy exists.",
    413: "The request is too large.",
    422: "An argument is outside its bounds; nothing was done.",
    500: "What is stored cannot be read, or the server is at fault.",
    501: "The backend does not have the capability.",
    502: "The backend rejects the login of the server.",
    503: "The backend cannot be reached now; try again.",
}

_ALWAYS: Final = (401, 408, 413, 500, 502, 503)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route: these, and those that every route has."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": _DESCRIPTIONS[status], "content": {PROBLEM_TYPE: schema}}
        for status in sorted({*_ALWAYS, *statuses})
    }


def json_answer(value: Any, status: int = 200, media_type: str = "application/json", **headers: str) -> Response:
    """Write an answer in JSON; nothing on the way may keep it, since it is out of date with the next save."""
    content = json.dumps(value, separators=(",", ":")).encode()
    return Response(content, status, headers={"cache-control": "no-store", **headers}, media_type=media_type)


def summaries_answer(found: list[CheckpointSummary]) -> Response:
    """Write a listing."""
    return json_answer({"checkpoints": [summary_to_json(each) for each in found]})


def checkpoint_answer(stored: StoredCheckpoint) -> Response:
    """Write a checkpoint with its payload."""
    return frame_answer(summary_to_json(stored.summary), [stored.payload])


def frame_answer(head: dict[str, Any], payloads: Iterable[bytes]) -> Response:
    """Write a frame."""
    parts = [frame(head), *payloads]
    size = sum(map(len, parts))
    headers = {"cache-control": "no-store", "content-length": str(size)}
    if size <= _CHUNK_BYTES:
        return Response(b"".join(parts), headers=headers, media_type=FRAME_TYPE)
    return StreamingResponse(_chunks(parts), headers=headers, media_type=FRAME_TYPE)


async def _chunks(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), _CHUNK_BYTES):
            yield bytes(view[start : start + _CHUNK_BYTES])
