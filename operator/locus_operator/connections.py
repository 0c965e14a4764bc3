"""Administrators' connections, shared by all stores of an endpoint: a few, however many stores there are.

    async with connections.lend(("db.example.com", 5432), key, opener) as connection: ...

While an endpoint is away one borrower tries it, and all others are told at once what the last one was told: otherwise
the stores of one dead server would keep every worker waiting, and the stores of the living ones with them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from locus_operator.errors import UnavailableError

ConnectionT = TypeVar("ConnectionT")

PAUSE_SECONDS: Final = 1.0
"""How long nobody tries an endpoint that has just been away."""


@dataclass(frozen=True, slots=True)
class Opener(Generic[ConnectionT]):
    """How connections of one kind begin and end.

    Attributes:
        open: Connects; raises only errors of `locus_operator.errors`, `UnavailableError` if the endpoint is away.
        reset: Makes a connection as new, and fails if it is dead. It runs when a connection comes back, and again
            before it is lent: the server may have ended it meanwhile. Whatever it raises, the connection is closed.
        close: Disconnects.
    """

    open: Callable[[], Awaitable[ConnectionT]]
    reset: Callable[[ConnectionT], Awaitable[None]]
    close: Callable[[ConnectionT], Awaitable[None]]


@dataclass(slots=True)
class _Idle:
    key: Hashable
    connection: Any
    close: Callable[[Any], Awaitable[None]]
    since: float


@dataclass(slots=True)
class _Endpoint:
    places: asyncio.Semaphore
    beside: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    idle: list[_Idle] = field(default_factory=list)
    open: int = 0
    away: UnavailableError | None = None
    next_try: float = 0.0
    probing: bool = False

    def take(self, key: Hashable) -> Any | None:
        """Return an idle connection of this key, the one used last."""
        for index in reversed(range(len(self.idle))):
            if self.idle[index].key == key:
                return self.idle.pop(index).connection
        return None


class Connections:
    """Lends connections. Belongs to one event loop.

    Args:
        limit: Most connections to one endpoint, idle ones included; at least 2, for one is kept free for `beside`.
        idle_seconds: How long a connection that nobody needs stays open.
    """

    def __init__(self, *, limit: int = 5, idle_seconds: float = 30.0) -> None:
        self._lent = max(limit - 1, 1)
        self._idle_seconds = idle_seconds
        self._endpoints: dict[Hashable, _Endpoint] = {}

    @asynccontextmanager
    async def lend(self, endpoint: Hashable, key: Hashable, opener: Opener[ConnectionT]) -> AsyncIterator[ConnectionT]:
        """Lend a connection; waits while all of the endpoint are lent.

        Args:
            endpoint: What the limit is for, such as host and port.
            key: What makes connections interchangeable: database, login, certificates. It stays in memory.
            opener: How to connect.

        Raises:
            UnavailableError: The endpoint is away, or was a moment ago.
        """
        place = self._place(endpoint)
        async with place.places:
            connection = await self._take(place, key, opener)
            if connection is None:
                connection = await self._open(place, opener)
            try:
                yield connection
            except BaseException:
                await self._end(place, connection, opener.close)
                raise
            if await self._reset(place, connection, opener):
                place.idle.append(_Idle(key, connection, opener.close, time.monotonic()))

    @asynccontextmanager
    async def beside(self, endpoint: Hashable) -> AsyncIterator[None]:
        """Make room for a second, short connection of somebody who has borrowed one: to try the issued login.

        The caller opens and closes it. To borrow a second one instead could wait for ever, with all borrowers doing so.
        """
        async with self._place(endpoint).beside:
            yield

    async def close_idle(self) -> None:
        """Close what nobody has needed for a while, and forget endpoints without connections."""
        oldest = time.monotonic() - self._idle_seconds
        for endpoint, place in list(self._endpoints.items()):
            while place.idle and place.idle[0].since < oldest:
                await self._end_oldest(place)
            if not place.open and not place.places.locked():
                self._endpoints.pop(endpoint, None)

    async def close(self) -> None:
        """Close what nobody is using."""
        for place in self._endpoints.values():
            while place.idle:
                await self._end_oldest(place)

    def _place(self, endpoint: Hashable) -> _Endpoint:
        return self._endpoints.setdefault(endpoint, _Endpoint(asyncio.Semaphore(self._lent)))

    async def _take(self, place: _Endpoint, key: Hashable, opener: Opener[ConnectionT]) -> ConnectionT | None:
        """Return an idle connection that is alive, the one used last."""
        while (connection := place.take(key)) is not None:
            if await self._reset(place, connection, opener):
                found: ConnectionT = connection
                return found
        return None

    async def _open(self, place: _Endpoint, opener: Opener[ConnectionT]) -> ConnectionT:
        if place.away is not None and (place.probing or time.monotonic() < place.next_try):
            raise UnavailableError(str(place.away)) from place.away
        if place.open >= self._lent:
            # This borrower has a place, so one of them is idle, and of another key.
            await self._end_oldest(place)
        place.open += 1
        place.probing = True
        try:
            connection = await opener.open()
        except BaseException as error:
            place.open -= 1
            if isinstance(error, UnavailableError):
                place.away, place.next_try = error, time.monotonic() + PAUSE_SECONDS
            raise
        finally:
            place.probing = False
        place.away = None
        return connection

    async def _reset(self, place: _Endpoint, connection: ConnectionT, opener: Opener[ConnectionT]) -> bool:
        try:
            await opener.reset(connection)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, another one is opened
            await self._end(place, connection, opener.close)
            return False
        except BaseException:
            await self._end(place, connection, opener.close)
            raise
        return True

    async def _end_oldest(self, place: _Endpoint) -> None:
        oldest = place.idle.pop(0)
        await self._end(place, oldest.connection, oldest.close)

    async def _end(self, place: _Endpoint, connection: Any, close: Callable[[Any], Awaitable[None]]) -> None:
        place.open -= 1
        # It may be broken already, and that is why it ends.
        with suppress(Exception):
            await close(connection)
