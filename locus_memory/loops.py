"""One client per event loop.

Clients and pools of asynchronous drivers belong to the loop that made them. locus-sdk's `run_sync` makes a new
loop for each run and closes the checkpointer at its end, so a checkpointer lives longer than any loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Holds one client for each running event loop; safe from several threads.

    Args:
        create: Makes a client, without doing any I/O; called on the loop that will use it.
        close: Closes a client, on its own loop.
        abandon: Releases the sockets of a client whose loop ended without `close`.
    """

    def __init__(
        self, create: Callable[[], T], close: Callable[[T], Awaitable[None]], abandon: Callable[[T], None]
    ) -> None:
        self._create = create
        self._close = close
        self._abandon = abandon
        self._clients: dict[asyncio.AbstractEventLoop, T] = {}
        self._lock = threading.Lock()

    def get(self) -> T:
        """Return the running loop's client, made on first use."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is not None:
            return client
        with self._lock:
            ended = [(known, self._clients.pop(known)) for known in list(self._clients) if known.is_closed()]
            client = self._clients[loop] = self._create()
        for _, orphan in ended:
            self._abandon(orphan)
        return client

    async def close(self) -> None:
        """Close the running loop's client, if it has one; the next `get` makes a new one."""
        with self._lock:
            client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await self._close(client)
