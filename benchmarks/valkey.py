"""Redis, as Valkey: redis-py, locus-sdk's checkpointer, LangGraph's saver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import redis.asyncio
from langgraph_checkpoint_plainredis import AsyncRedisSaver
from locus.core.state import AgentState
from locus.memory.backends.adapters import redis_checkpointer as locus_checkpointer

from benchmarks.contenders import Checkpointer, LangGraph, RawDriver
from benchmarks.graph import OUR_SAVER, stored_bytes
from benchmarks.suite import Suite
from locus_memory.backends import redis_checkpointer
from locus_memory.langgraph import LangGraphSaver
from tests.servers.redis import RedisServer


class RawRedis(RawDriver):
    """redis-py with SET and GET of the conversation's JSON."""

    def __init__(self, state: AgentState, url: str, role: Literal["raw", "floor"]) -> None:
        super().__init__(state, "redis-py", role)
        self._url = url

    async def open(self) -> None:
        self._client = redis.asyncio.Redis.from_url(self._url)

    async def save(self, thread_id: str) -> None:
        await self._client.set(f"{self.role}:{thread_id}", self.encoded())

    async def load(self, thread_id: str) -> object | None:
        data = await self._client.get(f"{self.role}:{thread_id}")
        return data and self.decoded(data)

    async def close(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def suite(state: AgentState) -> AsyncIterator[Suite]:
    """Everything that stores in Redis."""
    with RedisServer() as server:
        url = server.url()
        yield Suite(
            title=f"Redis (Valkey {server.version})",
            contenders=[
                RawRedis(state, url, "raw"),
                RawRedis(state, url, "floor"),
                Checkpointer(state, "locus-sdk redis", "peer", locus_checkpointer(url=url)),
                LangGraph(state, "LangGraph plain Redis", AsyncRedisSaver(url=url)),
                Checkpointer(state, "locus-memory", "ours", redis_checkpointer(url, key_prefix="locus-memory:")),
                LangGraph(state, OUR_SAVER, LangGraphSaver(redis_checkpointer(url, key_prefix="saver:")), "saver"),
            ],
            p50_bound=1.3,
            throughput_bounds={"locus-sdk": 3.0, "LangGraph": 1.5},
            saver_peers="LangGraph",
            count_bytes=lambda: _sizes(server, state),
        )


async def _sizes(server: RedisServer, state: AgentState) -> dict[str, int]:
    # A database of its own for each: nothing else is counted.
    theirs, ours = (f"{server.url().rpartition('/')[0]}/{number}" for number in (1, 2))
    sizes = await stored_bytes({"LangGraph plain Redis": AsyncRedisSaver(url=theirs)}, state, lambda _: _size(theirs))
    async with redis_checkpointer(ours) as checkpointer:
        sizes |= await stored_bytes({OUR_SAVER: LangGraphSaver(checkpointer)}, state, lambda _: _size(ours))
    return sizes


def _size(url: str) -> int:
    """What the keys of a database take in the server's memory."""
    with redis.Redis.from_url(url) as client:
        return sum(client.memory_usage(key) or 0 for key in client.scan_iter(count=1000))
