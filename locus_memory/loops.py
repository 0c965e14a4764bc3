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
        self.version = 0
        """How often `renew` was called."""
        self._clients: dict[asyncio.AbstractEventLoop, tuple[int, T]] = {}
        self._lock = threading.Lock()

    def get(self) -> T:
        """Return the running loop's client, made on first use."""
        loop = asyncio.get_running_loop()
        made = self._clients.get(loop)
        if made is not None:
            return made[1]
        with self._lock:
            ended = [self._clients.pop(known) for known in list(self._clients) if known.is_closed()]
            # The version first: a client that `renew` overtakes is replaced once more, never kept.
            made = self._clients[loop] = (self.version, self._create())
        for _, orphan in ended:
            self._abandon(orphan)
        return made[1]

    def renew(self) -> None:
        """Have every loop make a new client when it next asks for its current one."""
        self.version += 1

    async def current(self) -> T:
        """Like `get`, after closing a client that was made before the last `renew`."""
        made = self._clients.get(asyncio.get_running_loop())
        if made is not None and made[0] != self.version:
            await self.close()
        return self.get()

    async def close(self) -> None:
        """Close the running loop's client, if it has one; the next `get` makes a new one."""
        with self._lock:
            made = self._clients.pop(asyncio.get_running_loop(), None)
        if made is not None:
            await self._close(made[1])
