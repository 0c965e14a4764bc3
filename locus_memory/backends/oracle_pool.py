"""A small pool of python-oracledb connections that belongs to one event loop.

The driver's own asynchronous pool opens its connections in one background task. Where a listener accepts a connection
and then says nothing, as during a failover, that task waits for ever, whatever `tcp_connect_timeout` says: every later
`acquire` waits behind it, and so does `close`. Connections are made here by the caller that needs one, so its
deadline ends the attempt, and the error of the attempt is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from typing import Any, TypeVar

import oracledb

T = TypeVar("T")

IDLE_SECONDS = 300.0
"""A connection unused for longer is replaced: firewalls forget it at about that age."""

_LOGOFF_SECONDS = 1.0


class Session:
    """A connection of which an interrupted call leaves nothing to be used again.

    The driver answers a cancellation by asking the server to stop, and waits for its answer; a server that is gone
    gives none, and the deadline of a save would pass long before its error arrives. So a call runs in a task of its
    own, which is left behind with a closed socket.
    """

    def __init__(self, connection: oracledb.AsyncConnection) -> None:
        self.connection = connection
        self.in_transaction = False
        self._abandoned = False

    @property
    def usable(self) -> bool:
        """Whether it may serve another caller."""
        return not self._abandoned and not self.in_transaction and self.connection.is_healthy()

    @contextmanager
    def cursor(self) -> Iterator[oracledb.AsyncCursor]:
        """Lend a cursor."""
        cursor = self.connection.cursor()
        yield cursor
        # After an error its memory goes with it; the call that was interrupted may still be using it.
        cursor.close()

    async def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Await a call of the driver; a cancellation of the caller ends it at once."""
        task = asyncio.ensure_future(call)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.abandon()
            # Its end is nobody's business any more, but an error that is never asked for is logged.
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            task.cancel()
            raise

    async def rollback(self) -> None:
        """Undo what was not committed."""
        await self.run(self.connection.rollback())
        self.in_transaction = False

    async def undo(self) -> None:
        """Roll back, where there is something to be rolled back; a server that is gone does so by itself."""
        if self.in_transaction and not self._abandoned and self.connection.is_healthy():
            # What the caller has to hear is the error that brought it here.
            with suppress(oracledb.Error, OSError):
                await self.rollback()

    async def log_off(self) -> None:
        """End the session in an orderly way, if the server answers soon."""
        with suppress(oracledb.Error, OSError, TimeoutError):
            async with asyncio.timeout(_LOGOFF_SECONDS):
                await self.run(self.connection.close())

    def abandon(self) -> None:
        """Close the socket, without asking the server."""
        self._abandoned = True
        # Older releases of the driver have no such method; then the garbage collector closes the socket.
        terminate = getattr(self.connection, "terminate", None)
        if terminate is not None:
            terminate()


class ConnectionPool:
    """Keeps at most `max_size` connections, the most recently used one on top.

    Args:
        connect: Makes a connection.
        max_size: At least 1.
    """

    def __init__(self, connect: Callable[[], Awaitable[oracledb.AsyncConnection]], max_size: int) -> None:
        self._connect = connect
        self._slots = asyncio.Semaphore(max_size)
        self._connecting = asyncio.Lock()
        self._refusal: tuple[float, oracledb.DatabaseError] | None = None
        self._idle: list[tuple[Session, float]] = []
        self._closed = False

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Lend a session; an open transaction is rolled back, and a broken session is not taken back."""
        async with self._slots:
            session = self._take() or await self._open()
            try:
                try:
                    yield session
                finally:
                    await session.undo()
            finally:
                if not self._closed and session.usable:
                    self._idle.append((session, monotonic()))
                else:
                    session.abandon()
                    # What broke one connection (a restart, a failover) most likely broke its idle siblings.
                    self.drain()

    async def close(self) -> None:
        """Log off the idle sessions now; lent ones are closed when they come back."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(session.log_off() for session, _ in idle))

    def drain(self) -> None:
        """Close the idle sessions without asking the server."""
        while self._idle:
            session, _ = self._idle.pop()
            session.abandon()

    def _take(self) -> Session | None:
        while self._idle:
            session, since = self._idle.pop()
            if monotonic() - since < IDLE_SECONDS and session.usable:
                return session
            session.abandon()
        return None

    async def _open(self) -> Session:
        since = monotonic()
        async with self._connecting:
            # Ten callers with an outdated password would be ten failed logins, which lock the account under
            # Oracle's default profile: one refusal answers all who were waiting for it.
            if self._refusal is not None and self._refusal[0] >= since:
                raise self._refusal[1]
            try:
                return Session(await self._connect())
            except oracledb.DatabaseError as error:
                self._refusal = (monotonic(), error)
                raise
