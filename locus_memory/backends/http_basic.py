"""The six basic routes: what a checkpoint service of somebody else has.

    POST    {base}/threads/{thread}/checkpoints                  {"checkpoint_id", "state", "metadata", …}
    GET     {base}/threads/{thread}/checkpoints?limit=10         newest first
    GET     {base}/threads/{thread}/checkpoints/{checkpoint}     {"state": …}, or the state itself
    DELETE  {base}/threads/{thread}/checkpoints[/{checkpoint}]
    GET     {base}/health

They are those that locus-sdk's own `HTTPCheckpointer` speaks, so both find each other's threads.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import httpx

from locus_memory.backends.http_client import Body, Client, json_of
from locus_memory.checkpointer import UNCHECKED, Unchecked
from locus_memory.codec import StateCodec, looks_like_agent_state, plain_payload
from locus_memory.errors import (
    BackendUnavailableError,
    CheckpointError,
    CorruptCheckpointError,
    InvalidArgumentError,
)
from locus_memory.storage import CheckpointSummary, NewCheckpoint, StoredCheckpoint

_SEALED: Final = "locus_memory_payload"
"""Only member of a state that holds a payload as base64, because the service must not or cannot read it."""

_UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)


class BasicRoutes:
    """Calls the six routes; states travel as JSON."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._codec = StateCodec(dict)

    async def put(self, checkpoint: NewCheckpoint, expected_checkpoint_id: str | Unchecked | None) -> None:
        """Save; a service that replaces what has the same id makes a repetition harmless."""
        if expected_checkpoint_id is not UNCHECKED:
            raise InvalidArgumentError(
                f"expected_checkpoint_id: {self._client.where} has the basic routes only, which cannot compare and "
                "save in one step; use `locus-memory serve`"
            )
        _require_no_namespace(checkpoint.namespace)
        path = _path(checkpoint.thread_id)
        _path(checkpoint.thread_id, checkpoint.checkpoint_id)
        content = Body(self._body(checkpoint))
        response = await self._client.request("POST", path, content, "application/json")
        if not response.is_success:
            raise await self._error(response)
        answer = _object(json_of(response, self._client.where) if response.content else {})
        stored_as = answer.get("checkpoint_id", checkpoint.checkpoint_id)
        if stored_as != checkpoint.checkpoint_id:
            raise CheckpointError(
                f"{self._client.where}: stored checkpoint {checkpoint.checkpoint_id!r} as {stored_as!r}: "
                "it has to keep the ids that it is given"
            )

    async def get(self, thread_id: str, checkpoint_id: str | None, namespace: str) -> StoredCheckpoint | None:
        """Two requests for the latest checkpoint, one for any other."""
        if checkpoint_id is None:
            latest = await self.list_checkpoints(thread_id, 1, namespace)
            if not latest:
                return None
            checkpoint_id = latest[0].checkpoint_id
        _require_no_namespace(namespace)
        path = _path(thread_id, checkpoint_id)
        response = await self._client.request("GET", path)
        if not await self._is_there(response):
            return None
        found = _object(json_of(response, self._client.where))
        if found.get("thread_id", thread_id) != thread_id or found.get("checkpoint_id", checkpoint_id) != checkpoint_id:
            raise CorruptCheckpointError(
                f"{self._client.where}: asked for checkpoint {checkpoint_id!r} of thread {thread_id!r}, got "
                f"{found.get('checkpoint_id')!r} of {found.get('thread_id')!r}"
            )
        return StoredCheckpoint(_summary(thread_id, checkpoint_id, found), _payload(found.get("state", found)))

    async def get_summary(self, thread_id: str, checkpoint_id: str | None, namespace: str) -> CheckpointSummary | None:
        """One request; for a single checkpoint it transfers the state as well."""
        if checkpoint_id is None:
            latest = await self.list_checkpoints(thread_id, 1, namespace)
            return latest[0] if latest else None
        stored = await self.get(thread_id, checkpoint_id, namespace)
        return stored.summary if stored else None

    async def list_checkpoints(self, thread_id: str, limit: int, namespace: str) -> list[CheckpointSummary]:
        """Return what the service lists, at most `limit`."""
        _require_no_namespace(namespace)
        response = await self._client.request("GET", _path(thread_id), params={"limit": limit})
        if not await self._is_there(response):
            return []
        found = json_of(response, self._client.where)
        if isinstance(found, dict):
            found = found.get("checkpoints", found.get("data"))
        if not isinstance(found, list):
            raise BackendUnavailableError(f"{self._client.where}: answered a listing with something else")
        return [self._listed(thread_id, each) for each in found[:limit]]

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, namespace: str) -> bool:
        """Tell what the service says: success, or 404."""
        _require_no_namespace(namespace)
        return await self._is_there(await self._client.request("DELETE", _path(thread_id, checkpoint_id)))

    async def delete_thread(self, thread_id: str) -> bool:
        """Tell what the service says: success, or 404."""
        return await self._is_there(await self._client.request("DELETE", _path(thread_id)))

    def _body(self, checkpoint: NewCheckpoint) -> bytes:
        now = datetime.now(UTC).isoformat()
        body: dict[str, Any] = {"checkpoint_id": checkpoint.checkpoint_id, "thread_id": checkpoint.thread_id}
        body |= {"created_at": now, "metadata": dict(checkpoint.metadata)}
        try:
            state = self._codec.decode_json(checkpoint.payload)
            if isinstance(state, dict) and set(state) != {_SEALED}:
                return json.dumps(body | {"state": state}, allow_nan=False).encode()
        except (CorruptCheckpointError, ValueError):
            pass  # It is encrypted; or it holds a number that JSON does not have, such as infinity.
        sealed = base64.b64encode(checkpoint.payload).decode()
        return json.dumps(body | {"state": {_SEALED: sealed}}).encode()

    async def _is_there(self, response: httpx.Response) -> bool:
        if response.is_success:
            return True
        if response.status_code == httpx.codes.NOT_FOUND and await self._is_service():
            return False
        raise await self._error(response)

    async def _error(self, response: httpx.Response) -> CheckpointError:
        if response.status_code == httpx.codes.NOT_FOUND and not await self._is_service():
            self._client.failures += 1
            return BackendUnavailableError(
                f"{self._client.where}: neither {response.request.url} nor /health is there: check the base URL, "
                "and what stands before the service"
            )
        return self._client.error(response)

    async def _is_service(self) -> bool:
        # A proxy that has lost its service answers 404 as well, and that must not read as "no such thread".
        return (await self._client.request("GET", "/health")).is_success

    def _listed(self, thread_id: str, item: Any) -> CheckpointSummary:
        data = {"checkpoint_id": item} if isinstance(item, str) else _object(item)
        checkpoint_id = data.get("checkpoint_id")
        if not isinstance(checkpoint_id, str):
            raise BackendUnavailableError(f"{self._client.where}: lists a checkpoint without a checkpoint_id")
        return _summary(thread_id, checkpoint_id, data)


def _path(thread_id: str, checkpoint_id: str | None = None) -> str:
    for name, value in (("thread_id", thread_id), ("checkpoint_id", checkpoint_id)):
        if value is not None and not is_carried_safely(value):
            raise InvalidArgumentError(
                f"{name}: {value!r} would be normalised in a URL, and meet another id; a service with the basic "
                "routes has no other way to name it: use `locus-memory serve`, or another id"
            )
    path = f"/threads/{quote(thread_id, safe='')}/checkpoints"
    return path if checkpoint_id is None else f"{path}/{quote(checkpoint_id, safe='')}"


def is_carried_safely(identifier: str) -> bool:
    """Tell whether an id, percent-encoded as a segment of a path, is the same id on the other side.

    Servers and proxies may decode `%2F`, and then drop empty segments, resolve `.` and `..`, and take a segment
    `checkpoints` for the one of the route.
    """
    segments = identifier.split("/")
    reserved = {"", ".", "..", "checkpoints"} if len(segments) > 1 else {".", ".."}
    return reserved.isdisjoint(segments)


def _payload(state: Any) -> bytes:
    if isinstance(state, dict) and set(state) == {_SEALED}:
        try:
            return base64.b64decode(state[_SEALED], validate=True)
        except (TypeError, ValueError) as error:
            raise CorruptCheckpointError(f"the stored payload is no base64: {error}") from error
    return plain_payload(json.dumps(state).encode(), agent_state=looks_like_agent_state(state))


def _summary(thread_id: str, checkpoint_id: str, data: dict[str, Any]) -> CheckpointSummary:
    metadata = data.get("metadata")
    try:
        created_at = datetime.fromisoformat(data["created_at"])
    except (KeyError, TypeError, ValueError):
        created_at = _UNKNOWN_TIME
    return CheckpointSummary(
        thread_id,
        checkpoint_id,
        metadata if isinstance(metadata, dict) else {},
        created_at if created_at.tzinfo else created_at.replace(tzinfo=UTC),
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _require_no_namespace(namespace: str) -> None:
    if namespace:
        raise InvalidArgumentError("namespace: a service with the basic routes has none; use `locus-memory serve`")
