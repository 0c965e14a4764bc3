"""The operations of backends that keep history, and of those that threads can be moved into and out of."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from locus_memory.arguments import check_id, utf8_size
from locus_memory.server import models
from locus_memory.server.answers import errors, frame_answer, json_answer
from locus_memory.server.operations import FRAME, Store, check_address, read_frame, require
from locus_memory.wire import HISTORY, OPERATIONS, TRANSFERS, complete_to_frame, writes_from_json, writes_to_json

router = APIRouter(prefix=OPERATIONS, tags=["history and transfers"])


@router.post(
    "/get_complete",
    response_class=Response,
    responses={200: {"description": "A frame.", **FRAME}, **errors(422, 501)},
)
async def get_complete(arguments: models.CompleteListing, store: Store) -> Response:
    """Return checkpoints with their parts and pending writes.

    The head of the frame has `parts`, each with name and size, and `checkpoints`: summaries with the size of the
    payload, the names of its parts, and its writes with their sizes. The bytes of all parts follow; then, for each
    checkpoint, its payload and those of its writes.
    """
    await require(store, HISTORY)
    check_address(arguments.thread_id, None, arguments.namespace)
    for checkpoint_id in arguments.checkpoint_ids or ():
        check_id("checkpoint_ids", checkpoint_id)
    found = await store.run(
        lambda: store.storage.get_complete(arguments.thread_id, arguments.checkpoint_ids, namespace=arguments.namespace)
    )
    return frame_answer(*complete_to_frame(found))


@router.post(
    "/put_writes",
    status_code=204,
    responses=errors(422, 501),
    openapi_extra={"requestBody": {"required": True, **FRAME}},
)
async def put_writes(request: Request, store: Store) -> Response:
    """Write what a task has written on top of a checkpoint, atomically and durably; again changes nothing.

    The body is a frame: the length of the head as 4 bytes, big-endian; the head, a JSON object (schema `WritesHead`);
    the payloads.
    """
    head, pieces = await read_frame(request, models.WritesHead)
    check_address(head.thread_id, head.checkpoint_id, head.namespace)
    await require(store, HISTORY)
    for each in head.writes:
        check_id("task_id", each.task_id)
        utf8_size("channel", each.channel)
        utf8_size("task_path", each.task_path)
    writes = writes_from_json((each.model_dump() for each in head.writes), pieces)
    pieces.end()
    await store.run(
        lambda: store.storage.put_writes(head.thread_id, head.checkpoint_id, writes, namespace=head.namespace)
    )
    return Response(status_code=204)


@router.post(
    "/get_writes",
    response_class=Response,
    responses={200: {"description": "A frame.", **FRAME}, **errors(422, 501)},
)
async def get_writes(address: models.ExactAddress, store: Store) -> Response:
    """Return the pending writes on top of a checkpoint: `writes` in the head of a frame, then their payloads."""
    await require(store, HISTORY)
    check_address(address.thread_id, address.checkpoint_id, address.namespace)
    writes = await store.run(
        lambda: store.storage.get_writes(address.thread_id, address.checkpoint_id, namespace=address.namespace)
    )
    return frame_answer({"writes": writes_to_json(writes)}, [write.payload for write in writes])


@router.post("/list_threads_after", response_model=models.Threads, responses=errors(422, 501))
async def list_threads_after(arguments: models.ThreadPage, store: Store) -> Response:
    """List the next thread ids, of all namespaces."""
    await require(store, TRANSFERS)
    if arguments.thread_id is not None:
        check_id("thread_id", arguments.thread_id)
    found = await store.run(lambda: store.storage.list_threads_after(arguments.thread_id, arguments.limit))
    return json_answer({"threads": found})


@router.post("/list_namespaces", response_model=models.Namespaces, responses=errors(422, 501))
async def list_namespaces(arguments: models.ThreadArguments, store: Store) -> Response:
    """List the namespaces of a thread that hold checkpoints."""
    await require(store, TRANSFERS)
    check_id("thread_id", arguments.thread_id)
    return json_answer({"namespaces": await store.run(lambda: store.storage.list_namespaces(arguments.thread_id))})
