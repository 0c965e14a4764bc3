"""What each operation of a checkpointer asks of its server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from benchmarks.suite import Requests

_CHECKPOINTS = 20
"""Checkpoints of the thread that is measured."""


async def count_requests(checkpointers: Mapping[str, Any], state: object, taken: Callable[[], int]) -> Requests:
    """Count requests by operation and checkpointer.

    Args:
        checkpointers: By name.
        state: What is saved.
        taken: Returns the requests since it was last called.
    """
    counts: dict[str, dict[str, int]] = {}
    for name, checkpointer in checkpointers.items():
        # Whatever a process does once is not counted.
        await checkpointer.save(state, "warm-up")

        async def count(operation: str, call: Any, name: str = name) -> Any:
            taken()
            result = await call
            counts.setdefault(operation, {})[name] = taken()
            return result

        await count("save, a new thread", checkpointer.save(state, "counted"))
        await count("save, the next one", checkpointer.save(state, "counted"))
        for _ in range(_CHECKPOINTS - 2):
            await checkpointer.save(state, "counted")
        await count("load the latest", checkpointer.load("counted"))
        [newest, *_] = await count("list 10 checkpoints", checkpointer.list_checkpoints("counted", 10))
        await count("load by id", checkpointer.load("counted", newest))
        await count("exists", checkpointer.exists("counted"))
        await count("delete one checkpoint", checkpointer.delete("counted", newest))
        await count(f"delete a thread of {_CHECKPOINTS - 1}", checkpointer.delete("counted"))
    return counts


class CountingProxy:
    """Hands requests on to a server, and counts them."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._count = 0
        self.url = ""

    def taken(self) -> int:
        """Return the requests since the last call."""
        count, self._count = self._count, 0
        return count

    @asynccontextmanager
    async def running(self) -> AsyncIterator[CountingProxy]:
        """Listen on a free port of loopback."""
        application = web.Application(client_max_size=2**28)
        application.router.add_route("*", "/{path:.*}", self._forward)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            yield self
        await runner.cleanup()

    async def _forward(self, request: web.Request) -> web.Response:
        self._count += 1
        headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Content-Length")}
        url = f"{self._target}{request.rel_url}"
        async with self._session.request(request.method, url, data=await request.read(), headers=headers) as answer:
            kind = {"Content-Type": answer.headers["Content-Type"]} if "Content-Type" in answer.headers else None
            return web.Response(status=answer.status, body=await answer.read(), headers=kind)
