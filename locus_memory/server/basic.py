"""The six basic routes, with states as JSON: for curl, and for locus-sdk's own `HTTPCheckpointer`.

Unlike the operations they read and write states, retry while the backend is away, and compress as the store does:
their clients do none of that.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, Path, Query, Response

from locus_memory.arguments import check_ids
from locus_memory.checkpointer import UNCHECKED
from locus_memory.codec import AgentStateJson, looks_like_agent_state
from locus_memory.errors import InvalidArgumentError
from locus_memory.server import models
from locus_memory.server.answers import errors, json_answer
from locus_memory.server.operations import Store, not_found
from locus_memory.storage import CheckpointSummary
from locus_memory.wire import MAX_LIMIT

router = APIRouter(prefix="/threads/{thread_id}/checkpoints", tags=["basic routes"])


def _decoded(name: str, segment: str) -> str:
    # The gate routes on the path as it was sent: a slash within an id is %2F here, and only now a slash.
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise InvalidArgumentError(f"{name}: percent-encode its bytes in UTF-8") from None


async def _thread(thread_id: Annotated[str, Path(description="Percent-encoded, as one segment.")]) -> str:
    return _decoded("thread_id", thread_id)


async def _checkpoint(checkpoint_id: Annotated[str, Path(description="Percent-encoded, as one segment.")]) -> str:
    return _decoded("checkpoint_id", checkpoint_id)


Thread = Annotated[str, Depends(_thread)]
Checkpoint = Annotated[str, Depends(_checkpoint)]


@router.post("", status_code=201, response_model=models.Saved, responses=errors(409, 422))
async def save(thread_id: Thread, body: models.SavedState, store: Store) -> Response:
    """Save a state as the latest checkpoint of the thread."""
    compares = "expected_checkpoint_id" in body.model_fields_set
    saved = await store.checkpointer.save(
        AgentStateJson(body.state) if looks_like_agent_state(body.state) else body.state,
        thread_id,
        body.checkpoint_id,
        body.metadata,
        expected_checkpoint_id=body.expected_checkpoint_id if compares else UNCHECKED,
    )
    return json_answer({"thread_id": thread_id, "checkpoint_id": saved}, 201)


@router.get("", response_model=models.Listing, responses=errors(422))
async def list_checkpoints(
    thread_id: Thread, store: Store, limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 10
) -> Response:
    """List checkpoints, newest first."""
    check_ids(thread_id, None)
    found = await store.retry(lambda: store.storage.list_checkpoints(thread_id, limit))
    return json_answer({"checkpoints": [_listed(summary) for summary in found]})


@router.delete("", response_model=models.Deleted, responses=errors(404, 422))
async def delete_thread(thread_id: Thread, store: Store) -> Response:
    """Delete the thread."""
    return json_answer({"deleted": True}) if await store.checkpointer.delete(thread_id) else not_found()


@router.get("/{checkpoint_id}", response_model=models.LoadedState, responses=errors(404, 422))
async def load(thread_id: Thread, checkpoint_id: Checkpoint, store: Store) -> Response:
    """Return the state of a checkpoint."""
    check_ids(thread_id, checkpoint_id)
    stored = await store.retry(lambda: store.storage.get(thread_id, checkpoint_id))
    if stored is None:
        return not_found()
    state = await store.state_of(stored.payload)
    return json_answer({**_listed(stored.summary), "thread_id": thread_id, "state": state})


@router.delete("/{checkpoint_id}", response_model=models.Deleted, responses=errors(404, 422))
async def delete_checkpoint(thread_id: Thread, checkpoint_id: Checkpoint, store: Store) -> Response:
    """Delete one checkpoint; the one before it is the latest again."""
    deleted = await store.checkpointer.delete(thread_id, checkpoint_id)
    return json_answer({"deleted": True}) if deleted else not_found()


def _listed(summary: CheckpointSummary) -> dict[str, Any]:
    return {
        "checkpoint_id": summary.checkpoint_id,
        "created_at": summary.created_at.isoformat(),
        "metadata": summary.metadata,
    }
