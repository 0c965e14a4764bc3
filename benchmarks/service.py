"""HTTP: httpx, locus-sdk's checkpointer; all of them at one `locus-memory serve` that keeps states in memory."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import httpx
from locus.core.state import AgentState
from locus.memory.backends.http import HTTPCheckpointer as LocusHTTPCheckpointer

from benchmarks.contenders import Checkpointer, RawDriver
from benchmarks.suite import Suite
from locus_memory.backends import HTTPCheckpointer
from tests.servers.checkpoint import CheckpointServer


class RawHTTP(RawDriver):
    """httpx posting the conversation's JSON to the basic route, and getting it by id; one request each."""

    def __init__(self, state: AgentState, url: str, token: str, role: Literal["raw", "floor"]) -> None:
        super().__init__(state, "httpx", role)
        self._client = httpx.AsyncClient(base_url=url, headers=_login(token))
        self._numbers = itertools.count()
        self._latest: dict[str, str] = {}

    async def open(self) -> None:
        """The client connects with its first request."""

    async def save(self, thread_id: str) -> None:
        key = str(next(self._numbers))
        path = self._path(thread_id)
        body = b'{"checkpoint_id":"%s","state":%s}' % (key.encode(), self.encoded())
        answer = await self._client.post(path, content=body, headers={"Content-Type": "application/json"})
        answer.raise_for_status()
        self._latest[thread_id] = key

    async def load(self, thread_id: str) -> object | None:
        answer = await self._client.get(f"{self._path(thread_id)}/{self._latest[thread_id]}")
        return answer.json() if self.role == "raw" else AgentState.from_checkpoint(answer.json()["state"])

    async def close(self) -> None:
        await self._client.aclose()

    def _path(self, thread_id: str) -> str:
        return f"/threads/{self.role}-{thread_id}/checkpoints"


@asynccontextmanager
async def suite(state: AgentState) -> AsyncIterator[Suite]:
    """Everything that stores at a service over HTTP."""
    with CheckpointServer("memory:") as server:
        url, token = server.base_url, server.password
        yield Suite(
            title="HTTP (locus-memory serve, in memory)",
            contenders=[
                RawHTTP(state, url, token, "raw"),
                RawHTTP(state, url, token, "floor"),
                Checkpointer(state, "locus-sdk http", "peer", LocusHTTPCheckpointer(url, headers=_login(token))),
                Checkpointer(state, "locus-memory", "ours", HTTPCheckpointer(url, headers=_login(token))),
            ],
            calls=0.25,
        )


def _login(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
