"""OpenSearch: opensearch-py, locus-sdk's checkpointer."""

from __future__ import annotations

import base64
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from locus.core.state import AgentState
from locus.memory.backends.adapters import opensearch_checkpointer as locus_checkpointer
from opensearchpy import AsyncOpenSearch

from benchmarks.contenders import CLIENTS, Checkpointer, RawDriver
from benchmarks.requests import CountingProxy, count_requests
from benchmarks.suite import Requests, Suite
from locus_memory.backends import opensearch_checkpointer
from tests.servers.opensearch import OsmemServer

OURS = "locus-memory"


class RawOpenSearch(RawDriver):
    """opensearch-py indexing the conversation's JSON, not to be searched, and getting it by id."""

    def __init__(self, state: AgentState, client: AsyncOpenSearch, role: Literal["raw", "floor"]) -> None:
        super().__init__(state, "opensearch-py", role)
        self._client = client
        self._index = f"raw-{role}"
        self._numbers = itertools.count()
        self._latest: dict[str, str] = {}

    async def open(self) -> None:
        body = {"mappings": {"dynamic": False, "properties": {"data": {"type": "binary"}}}}
        await self._client.indices.create(index=self._index, body=body)

    async def save(self, thread_id: str) -> None:
        key = f"{thread_id}-{next(self._numbers)}"
        data = base64.b64encode(self.encoded()).decode()
        await self._client.index(index=self._index, id=key, body={"data": data})
        self._latest[thread_id] = key

    async def load(self, thread_id: str) -> object | None:
        found = await self._client.get(index=self._index, id=self._latest[thread_id])
        return self.decoded(base64.b64decode(found["_source"]["data"]))

    async def close(self) -> None:
        """The client is closed by whoever made it."""


@asynccontextmanager
async def suite(state: AgentState) -> AsyncIterator[Suite]:
    """Everything that stores in OpenSearch."""
    with OsmemServer() as server:
        client = AsyncOpenSearch([server.url], pool_maxsize=CLIENTS)

        async def requests() -> Requests:
            async with CountingProxy(server.url).running() as proxy:
                opened = _checkpointers(proxy.url, "requests")
                try:
                    return await count_requests(opened, state, proxy.taken)
                finally:
                    for checkpointer in opened.values():
                        await checkpointer.close()

        measured = _checkpointers(server.url, "speed")
        try:
            yield Suite(
                title=f"OpenSearch ({server.product} {server.version}, in memory)",
                contenders=[
                    RawOpenSearch(state, client, "raw"),
                    RawOpenSearch(state, client, "floor"),
                    *(
                        Checkpointer(state, name, "ours" if name == OURS else "peer", checkpointer)
                        for name, checkpointer in measured.items()
                    ),
                ],
                calls=0.25,
                count_requests=requests,
            )
        finally:
            await client.close()


def _checkpointers(url: str, index: str) -> dict[str, Any]:
    host = url.partition("://")[2]
    return {
        "locus-sdk opensearch": locus_checkpointer(hosts=[host], index_name=f"sdk-{index}", use_ssl=False),
        OURS: opensearch_checkpointer(url, f"ours-{index}"),
    }
