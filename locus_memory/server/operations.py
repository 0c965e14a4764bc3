"""The operations of the storage port, each a route; payloads are opaque bytes."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ValidationError

from locus_memory.arguments import check_id, check_ids, checked_metadata, utf8_size
from locus_memory.checkpointer import UNCHECKED
from locus_memory.connection import describe
from locus_memory.envelope import is_encrypted
from locus_memory.errors import InvalidArgumentError
from locus_memory.server import models
from locus_memory.server.answers import checkpoint_answer, errors, json_answer, summaries_answer
from locus_memory.server.store import ServedStore
from locus_memory.storage import NewCheckpoint
from locus_memory.text import words
from locus_memory.wire import (
    FRAME_TYPE,
    HISTORY,
    NOT_FOUND,
    OPERATIONS,
    PROBLEM_TYPE,
    TRANSFERS,
    Pieces,
    lacking,
    problem,
    split_frame,
    summary_to_json,
)

M = TypeVar("M", bound=BaseModel)

router = APIRouter(prefix=OPERATIONS, tags=["operations"])

FRAME: Final = {"content": {FRAME_TYPE: {"schema": {"type": "string", "format": "binary"}}}}


async def served_store(request: Request) -> ServedStore:
    """Return the store that the gate serves."""
    store: ServedStore = request.state.store
    return store


Store = Annotated[ServedStore, Depends(served_store)]


@router.post(
    "/put",
    status_code=204,
    responses=errors(409, 422),
    openapi_extra={"requestBody": {"required": True, **FRAME}},
)
async def put(request: Request, store: Store) -> Response:
    """Write a checkpoint and make it the latest, atomically and durably.

    The body is a frame: the length of the head as 4 bytes, big-endian; the head, a JSON object (schema
    `CheckpointHead`); the new parts; the payload.
    """
    head, pieces = await read_frame(request, models.CheckpointHead)
    check_address(head.thread_id, head.checkpoint_id, head.namespace)
    for name in ("parent_id", "expected_checkpoint_id"):
        if (value := getattr(head, name)) is not None:
            check_id(name, value)
    for name in head.part_names:
        utf8_size("part_names", name)
    if head.part_names or head.parts:
        await require(store, HISTORY)
    if head.created_at is not None:
        await require(store, TRANSFERS)
    parts = {each.name: pieces.take(each.size) for each in head.parts}
    if not parts.keys() <= set(head.part_names):
        raise InvalidArgumentError("parts: name each in part_names as well")
    payload = pieces.rest()
    # Nor is the text of plain states to be stored where the server itself encrypts.
    readable = head.searchable and not (store.codec.encrypts or is_encrypted(payload))
    checkpoint = NewCheckpoint(
        thread_id=head.thread_id,
        checkpoint_id=head.checkpoint_id,
        payload=payload,
        metadata=checked_metadata(head.metadata),
        namespace=head.namespace,
        parent_id=head.parent_id,
        text=(lambda: store.text_or_nothing(payload)) if readable else None,
        parts=parts,
        part_names=tuple(head.part_names),
        created_at=head.created_at,
    )
    compares = "expected_checkpoint_id" in head.model_fields_set
    expected = head.expected_checkpoint_id if compares else UNCHECKED
    await store.run(lambda: store.storage.put(checkpoint, expected_checkpoint_id=expected))
    return Response(status_code=204)


@router.post("/get", response_class=Response, responses={200: {"description": "A frame.", **FRAME}, **errors(404, 422)})
async def get(address: models.Address, store: Store) -> Response:
    """Return a checkpoint with its payload, as a frame whose head is a summary."""
    check_address(address.thread_id, address.checkpoint_id, address.namespace)
    stored = await store.run(
        lambda: store.storage.get(address.thread_id, address.checkpoint_id, namespace=address.namespace)
    )
    return checkpoint_answer(stored) if stored else not_found()


@router.post("/get_summary", response_model=models.Summary, responses=errors(404, 422))
async def get_summary(address: models.Address, store: Store) -> Response:
    """Return a checkpoint without its payload."""
    check_address(address.thread_id, address.checkpoint_id, address.namespace)
    found = await store.run(
        lambda: store.storage.get_summary(address.thread_id, address.checkpoint_id, namespace=address.namespace)
    )
    return json_answer(summary_to_json(found)) if found else not_found()


@router.post("/list_checkpoints", response_model=models.Summaries, responses=errors(422))
async def list_checkpoints(arguments: models.CheckpointListing, store: Store) -> Response:
    """List checkpoints, newest first."""
    check_address(arguments.thread_id, None, arguments.namespace)
    return summaries_answer(
        await store.run(
            lambda: store.storage.list_checkpoints(arguments.thread_id, arguments.limit, namespace=arguments.namespace)
        )
    )


@router.post("/delete_checkpoint", response_model=models.Deleted, responses=errors(422))
async def delete_checkpoint(address: models.ExactAddress, store: Store) -> Response:
    """Delete one checkpoint; the one before it is the latest again."""
    check_address(address.thread_id, address.checkpoint_id, address.namespace)
    deleted = await store.run(
        lambda: store.storage.delete_checkpoint(address.thread_id, address.checkpoint_id, namespace=address.namespace)
    )
    return json_answer({"deleted": deleted})


@router.post("/delete_thread", response_model=models.Deleted, responses=errors(422))
async def delete_thread(arguments: models.ThreadArguments, store: Store) -> Response:
    """Delete a thread with all its namespaces."""
    check_id("thread_id", arguments.thread_id)
    deleted = await store.run(lambda: store.storage.delete_thread(arguments.thread_id))
    return json_answer({"deleted": deleted})


@router.post("/copy_thread", response_model=models.Copied, responses=errors(409, 422, 501))
async def copy_thread(arguments: models.Copy, store: Store) -> Response:
    """Copy a thread with its history, byte by byte."""
    await require(store, "branching")
    check_id("source_thread_id", arguments.source_thread_id)
    check_id("dest_thread_id", arguments.dest_thread_id)
    copied = await store.run(lambda: store.storage.copy_thread(arguments.source_thread_id, arguments.dest_thread_id))
    return json_answer({"copied": copied})


@router.post("/list_threads", response_model=models.Threads, responses=errors(422, 501))
async def list_threads(arguments: models.ThreadListing, store: Store) -> Response:
    """List thread ids."""
    await require(store, "list_threads")
    utf8_size("pattern", arguments.pattern)
    found = await store.run(lambda: store.storage.list_threads(arguments.limit, arguments.pattern))
    return json_answer({"threads": found})


@router.post("/list_latest", response_model=models.Summaries, responses=errors(422, 501))
async def list_latest(arguments: models.LatestListing, store: Store) -> Response:
    """List the latest checkpoint of each thread, ordered by thread id."""
    await require(store, "list_with_metadata")
    return summaries_answer(await store.run(lambda: store.storage.list_latest(arguments.limit)))


@router.post("/query_by_metadata", response_model=models.Summaries, responses=errors(422, 501))
async def query_by_metadata(query: models.MetadataQuery, store: Store) -> Response:
    """Find checkpoints by a field of their metadata, newest first."""
    await require(store, "metadata_query")
    checked_metadata({query.key: query.value})
    return summaries_answer(
        await store.run(lambda: store.storage.query_by_metadata(query.key, query.value, query.limit))
    )


@router.post("/search", response_model=models.Hits, responses=errors(422, 501))
async def search(query: models.SearchQuery, store: Store) -> Response:
    """Find threads by the words of their current state, best first."""
    await require(store, "search")
    # Cut again: backends rely on terms being words, and nothing else.
    terms = list(dict.fromkeys(words(" ".join(query.terms))))
    if not terms:
        raise InvalidArgumentError("terms: write at least one word")
    hits = await store.run(lambda: store.storage.search(terms, query.limit, store.text_of))
    return json_answer({"hits": [{**summary_to_json(hit.summary), "score": hit.score} for hit in hits]})


@router.post("/vacuum", response_model=models.DeletedCount, responses=errors(422, 501))
async def vacuum(arguments: models.Vacuum, store: Store) -> Response:
    """Delete checkpoints written before a time."""
    await require(store, "vacuum")
    deleted = await store.run(lambda: store.storage.vacuum(arguments.before))
    return json_answer({"deleted": deleted})


def not_found() -> Response:
    """Say that there is no such checkpoint, in the words that clients take for that."""
    return json_answer(problem(404, NOT_FOUND, "there is no such checkpoint"), 404, PROBLEM_TYPE)


def check_address(thread_id: str, checkpoint_id: str | None, namespace: str) -> None:
    """Check where a checkpoint is."""
    check_ids(thread_id, checkpoint_id)
    if namespace:
        check_id("namespace", namespace)


async def require(store: ServedStore, capability: str) -> None:
    """Refuse what the backend cannot do.

    Raises:
        CapabilityNotSupportedError: As said.
    """
    await store.run(store.storage.discover)
    storage = store.storage
    if capability in (HISTORY, TRANSFERS):
        has = storage.keeps_history if capability == HISTORY else storage.transfers
    else:
        has = getattr(store.checkpointer.capabilities, capability)
    if not has:
        raise lacking(type(storage).__name__, capability)


async def read_frame(request: Request, model: type[M]) -> tuple[M, Pieces]:
    """Return the head of a frame, and what follows it.

    Raises:
        InvalidArgumentError: It is none, or its head is not like the model.
    """
    text, rest = split_frame(await request.body())
    try:
        return model.model_validate_json(text), Pieces(rest)
    except ValidationError as error:
        raise InvalidArgumentError(f"head: {describe(error)}") from None
