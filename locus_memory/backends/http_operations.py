"""The operations of `locus-memory serve`: one request each, payloads as opaque bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import httpx
from pydantic import JsonValue

from locus_memory.backends.http_client import Body, Client, json_of
from locus_memory.checkpointer import UNCHECKED, Unchecked
from locus_memory.errors import BackendUnavailableError, InvalidArgumentError, StateTooLargeError
from locus_memory.storage import CheckpointSummary, NewCheckpoint, PendingWrite, SearchHit, StoredCheckpoint
from locus_memory.wire import (
    FRAME_TYPE,
    MAX_LIMIT,
    NOT_FOUND,
    OPERATIONS,
    PROBLEM_TYPE,
    Pieces,
    complete_from_frame,
    frame,
    parts_to_json,
    split_frame,
    summary_from_json,
    writes_from_json,
    writes_to_json,
)

T = TypeVar("T")


class Operations:
    """Calls the operations.

    Args:
        client: Sends the requests.
        max_body_bytes: What the server says it takes.
    """

    def __init__(self, client: Client, max_body_bytes: int) -> None:
        self._client = client
        self._max_body_bytes = max_body_bytes

    async def put(self, checkpoint: NewCheckpoint, expected_checkpoint_id: str | Unchecked | None) -> None:
        """See `StorageBackend`."""
        head: dict[str, Any] = {
            "thread_id": checkpoint.thread_id,
            "checkpoint_id": checkpoint.checkpoint_id,
            "namespace": checkpoint.namespace,
            "parent_id": checkpoint.parent_id,
            "metadata": dict(checkpoint.metadata),
            "searchable": checkpoint.text is not None,
        }
        if checkpoint.part_names:
            head |= {"part_names": checkpoint.part_names, "parts": parts_to_json(checkpoint.parts)}
        if checkpoint.created_at is not None:
            head["created_at"] = checkpoint.created_at.isoformat()
        if expected_checkpoint_id is not UNCHECKED:
            head["expected_checkpoint_id"] = expected_checkpoint_id
        await self._send_frame("put", head, *checkpoint.parts.values(), checkpoint.payload)

    async def get(self, thread_id: str, checkpoint_id: str | None, namespace: str) -> StoredCheckpoint | None:
        """See `StorageBackend`."""
        response = await self._ask("get", _address(thread_id, checkpoint_id, namespace))
        if response is None:
            return None

        def read() -> StoredCheckpoint:
            head, pieces = _opened(response)
            return StoredCheckpoint(summary_from_json(head), pieces.rest())

        return self._read(response, read)

    async def get_summary(self, thread_id: str, checkpoint_id: str | None, namespace: str) -> CheckpointSummary | None:
        """See `StorageBackend`."""
        response = await self._ask("get_summary", _address(thread_id, checkpoint_id, namespace))
        if response is None:
            return None
        return self._read(response, lambda: summary_from_json(response.json()))

    async def list_checkpoints(self, thread_id: str, limit: int, namespace: str) -> list[CheckpointSummary]:
        """See `StorageBackend`."""
        arguments = {"thread_id": thread_id, "limit": min(limit, MAX_LIMIT), "namespace": namespace}
        return await self._call("list_checkpoints", arguments, _summaries)

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, namespace: str) -> bool:
        """See `StorageBackend`."""
        return await self._call("delete_checkpoint", _address(thread_id, checkpoint_id, namespace), _flag("deleted"))

    async def delete_thread(self, thread_id: str) -> bool:
        """See `StorageBackend`."""
        return await self._call("delete_thread", {"thread_id": thread_id}, _flag("deleted"))

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None, namespace: str
    ) -> list[StoredCheckpoint]:
        """See `StorageBackend`."""
        ids = None if checkpoint_ids is None else list(checkpoint_ids)
        arguments = {"thread_id": thread_id, "checkpoint_ids": ids, "namespace": namespace}
        response = self._succeeded(await self._send("get_complete", arguments))
        return self._read(response, lambda: complete_from_frame(*_opened(response)))

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], namespace: str
    ) -> None:
        """See `StorageBackend`."""
        head = _address(thread_id, checkpoint_id, namespace) | {"writes": writes_to_json(writes)}
        await self._send_frame("put_writes", head, *(write.payload for write in writes))

    async def get_writes(self, thread_id: str, checkpoint_id: str, namespace: str) -> list[PendingWrite]:
        """See `StorageBackend`."""
        response = self._succeeded(await self._send("get_writes", _address(thread_id, checkpoint_id, namespace)))

        def read() -> list[PendingWrite]:
            head, pieces = _opened(response)
            writes = writes_from_json(head["writes"], pieces)
            pieces.end()
            return writes

        return self._read(response, read)

    async def list_threads_after(self, thread_id: str | None, limit: int) -> list[str]:
        """See `StorageBackend`."""
        arguments = {"thread_id": thread_id, "limit": min(limit, MAX_LIMIT)}
        return await self._call("list_threads_after", arguments, _texts("threads"))

    async def list_namespaces(self, thread_id: str) -> list[str]:
        """See `StorageBackend`."""
        return await self._call("list_namespaces", {"thread_id": thread_id}, _texts("namespaces"))

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        """See `StorageBackend`."""
        threads = {"source_thread_id": source_thread_id, "dest_thread_id": dest_thread_id}
        return await self._call("copy_thread", threads, _flag("copied"))

    async def list_threads(self, limit: int, pattern: str) -> list[str]:
        """See `StorageBackend`."""
        arguments = {"limit": min(limit, MAX_LIMIT), "pattern": pattern}
        return await self._call("list_threads", arguments, _texts("threads"))

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        """See `StorageBackend`."""
        return await self._call("list_latest", {"limit": min(limit, MAX_LIMIT)}, _summaries)

    async def query_by_metadata(self, key: str, value: JsonValue, limit: int) -> list[CheckpointSummary]:
        """See `StorageBackend`."""
        arguments = {"key": key, "value": value, "limit": min(limit, MAX_LIMIT)}
        return await self._call("query_by_metadata", arguments, _summaries)

    async def search(self, terms: list[str], limit: int) -> list[SearchHit]:
        """See `StorageBackend`; the server decodes the states itself."""

        def read(answer: dict[str, Any]) -> list[SearchHit]:
            return [SearchHit(summary_from_json(hit), float(hit["score"])) for hit in answer["hits"]]

        return await self._call("search", {"terms": terms, "limit": min(limit, MAX_LIMIT)}, read)

    async def vacuum(self, before: datetime) -> int:
        """See `StorageBackend`."""
        return await self._call("vacuum", {"before": before.isoformat()}, lambda answer: int(answer["deleted"]))

    async def _send_frame(self, operation: str, head: dict[str, Any], *payloads: bytes) -> None:
        body = Body(frame(head), *payloads)
        if body.size > self._max_body_bytes:
            raise StateTooLargeError(
                f"{self._client.where}: the request takes {body.size:,} bytes, "
                f"over the server's limit of {self._max_body_bytes:,} (--max-body-bytes)"
            )
        self._succeeded(await self._client.request("POST", f"{OPERATIONS}/{operation}", body, FRAME_TYPE))

    async def _call(self, operation: str, arguments: Mapping[str, Any], read: Callable[[dict[str, Any]], T]) -> T:
        response = self._succeeded(await self._send(operation, arguments))
        return self._read(response, lambda: read(response.json()))

    async def _ask(self, operation: str, arguments: Mapping[str, Any]) -> httpx.Response | None:
        response = await self._send(operation, arguments)
        if response.status_code == httpx.codes.NOT_FOUND and self._problem_code(response) == NOT_FOUND:
            return None
        return self._succeeded(response)

    async def _send(self, operation: str, arguments: Mapping[str, Any]) -> httpx.Response:
        # Escaped, as Python's own JSON is: ids hold every character.
        content = json.dumps(arguments, separators=(",", ":")).encode()
        return await self._client.request("POST", f"{OPERATIONS}/{operation}", content, "application/json")

    def _succeeded(self, response: httpx.Response) -> httpx.Response:
        if response.is_success:
            return response
        if response.status_code in (404, 405):
            # Something that is not this server answers in its place, a proxy during a roll-out, say.
            self._client.failures += 1
            raise BackendUnavailableError(
                f"{self._client.where}: {response.status_code} to {response.request.url}, "
                "which the service itself would not answer: check what stands before it"
            )
        raise self._client.error(response)

    def _problem_code(self, response: httpx.Response) -> str | None:
        if not response.headers.get("content-type", "").startswith(PROBLEM_TYPE):
            return None
        return str(json_of(response, self._client.where).get("code"))

    def _read(self, response: httpx.Response, reader: Callable[[], T]) -> T:
        try:
            return reader()
        except (InvalidArgumentError, KeyError, TypeError, ValueError) as error:
            raise BackendUnavailableError(
                f"{self._client.where}: answered {response.request.url} with something else than a checkpoint service "
                f"does ({error!r}): check the base URL, and what stands before the service"
            ) from error


def _address(thread_id: str, checkpoint_id: str | None, namespace: str) -> dict[str, Any]:
    return {"thread_id": thread_id, "checkpoint_id": checkpoint_id, "namespace": namespace}


def _summaries(answer: dict[str, Any]) -> list[CheckpointSummary]:
    return [summary_from_json(each) for each in answer["checkpoints"]]


def _texts(member: str) -> Callable[[dict[str, Any]], list[str]]:
    return lambda answer: [str(each) for each in answer[member]]


def _opened(response: httpx.Response) -> tuple[dict[str, Any], Pieces]:
    if response.headers.get("content-type") != FRAME_TYPE:
        raise ValueError("it is no frame")
    head, rest = split_frame(response.content, len(response.content))
    return json.loads(head), Pieces(rest)


def _flag(member: str) -> Callable[[dict[str, Any]], bool]:
    return lambda answer: bool(answer[member])
