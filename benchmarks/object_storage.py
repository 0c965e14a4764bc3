"""OCI Object Storage: the SDK in threads, locus-sdk's checkpointer; on the emulator, which is fast and near."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Literal

from locus.core.state import AgentState
from locus.memory.backends.oci_bucket import OCIBucketBackend as LocusOCIBucketBackend

from benchmarks.contenders import CLIENTS, Checkpointer, RawDriver
from benchmarks.requests import count_requests
from benchmarks.suite import Requests, Suite
from locus_memory.binding import URLBinding
from locus_memory.opening import open_checkpointer
from tests.servers.oci import NAMESPACE, ObjectStorageServer

BUCKET = "benchmark"


class RawObjectStorage(RawDriver):
    """The SDK putting the conversation's JSON as an object, and getting it by name; one request each, in a thread."""

    def __init__(self, state: AgentState, client: Any, role: Literal["raw", "floor"]) -> None:
        super().__init__(state, "oci", role)
        self._client = client
        self._numbers = itertools.count()
        self._latest: dict[str, str] = {}
        self._threads = ThreadPoolExecutor(CLIENTS)

    async def open(self) -> None:
        """The bucket is there."""

    async def save(self, thread_id: str) -> None:
        name = f"{self.role}/{thread_id}/{next(self._numbers)}"
        loop, data = asyncio.get_running_loop(), self.encoded()
        await loop.run_in_executor(self._threads, lambda: self._client.put_object(NAMESPACE, BUCKET, name, data))
        self._latest[thread_id] = name

    async def load(self, thread_id: str) -> object | None:
        loop, name = asyncio.get_running_loop(), self._latest[thread_id]
        data = await loop.run_in_executor(
            self._threads, lambda: self._client.get_object(NAMESPACE, BUCKET, name).data.content
        )
        return self.decoded(data)

    async def close(self) -> None:
        self._threads.shutdown()


class _LocusOnEmulator(LocusOCIBucketBackend):
    """locus-sdk's checkpointer; it has no parameter for the endpoint."""

    def __init__(self, client: Any, prefix: str) -> None:
        super().__init__(bucket_name=BUCKET, namespace=NAMESPACE, prefix=prefix)
        self._emulated = client

    def _get_client(self) -> Any:
        return self._emulated


@asynccontextmanager
async def suite(state: AgentState) -> AsyncIterator[Suite]:
    """Everything that stores in OCI Object Storage."""
    with ObjectStorageServer() as server:
        server.create_bucket(BUCKET)
        client = server.client()

        def checkpointers(prefix: str) -> dict[str, Any]:
            return {
                "locus-sdk oci_bucket": _LocusOnEmulator(client, f"sdk-{prefix}/"),
                "locus-memory": open_checkpointer(URLBinding(server.url(BUCKET, f"ours-{prefix}/"))),
            }

        async def requests() -> Requests:
            opened = checkpointers("requests")
            try:
                return await count_requests(opened, state, lambda: _taken(server))
            finally:
                await opened["locus-memory"].close()

        measured = checkpointers("speed")
        try:
            yield Suite(
                title="OCI Object Storage (our emulator)",
                contenders=[
                    RawObjectStorage(state, client, "raw"),
                    RawObjectStorage(state, client, "floor"),
                    Checkpointer(state, "locus-sdk oci_bucket", "peer", measured["locus-sdk oci_bucket"]),
                    Checkpointer(state, "locus-memory", "ours", measured["locus-memory"]),
                ],
                calls=0.1,
                count_requests=requests,
            )
        finally:
            client.base_client.session.close()


def _taken(server: ObjectStorageServer) -> int:
    counts: dict[str, int] = server.admin("GET", "requests")
    server.admin("DELETE", "requests")
    return sum(counts.values())
