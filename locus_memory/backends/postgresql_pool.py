"""A small pool of psycopg connections that belongs to one event loop.

`psycopg_pool` connects in background tasks and answers every failure with a timeout: a wrong password, a refused
connection and a full pool look alike, and it keeps trying a rejected login on its own. A checkpointer must tell
these apart at once, so connections are made here by the caller that needs them, and its error is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from psycopg import AsyncConnection, pq

IDLE_SECONDS = 300.0
"""A connection unused for longer is replaced: firewalls forget it at about that age."""


class InterruptibleConnection(AsyncConnection[Any]):
    """Gives up an interrupted query by closing the connection.

    psycopg asks the server to cancel the query, and waits up to ten seconds for a server that may be gone; the
    deadline of a save would pass long before its error arrives.
    """

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Close the socket instead of asking the server."""
        self.pgconn.finish()


class ConnectionPool:
    """Keeps at most `max_size` connections, the most recently used one on top.

    Args:
        connect: Makes a connection in autocommit mode.
        max_size: At least 1.
    """

    def __init__(self, connect: Callable[[], Awaitable[InterruptibleConnection]], max_size: int) -> None:
        self._connect = connect
        self._slots = asyncio.Semaphore(max_size)
        self._idle: list[tuple[InterruptibleConnection, float]] = []
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[InterruptibleConnection]:
        """Lend a connection; a broken one, or one inside a transaction, is not taken back."""
        async with self._slots:
            connection = self._take() or await self._connect()
            try:
                yield connection
            finally:
                if self._closed or connection.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                    connection.pgconn.finish()
                    # What broke one connection (a restart, a failover) most likely broke its idle siblings.
                    self.drain()
                else:
                    self._idle.append((connection, monotonic()))

    def _take(self) -> InterruptibleConnection | None:
        while self._idle:
            connection, since = self._idle.pop()
            if monotonic() - since < IDLE_SECONDS:
                return connection
            connection.pgconn.finish()
        return None

    def drain(self) -> None:
        """Close the idle connections."""
        while self._idle:
            connection, _ = self._idle.pop()
            connection.pgconn.finish()

    def close(self) -> None:
        """Close the idle connections now, and lent ones when they come back."""
        self._closed = True
        self.drain()
