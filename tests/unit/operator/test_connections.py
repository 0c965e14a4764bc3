"""Administrators' connections are few, clean, and not tried by everybody while an endpoint is away."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from locus_operator import connections as module
from locus_operator.connections import Connections, Opener
from locus_operator.errors import UnavailableError

ENDPOINT = ("db", 5432)


@dataclass
class Server:
    """Counts its connections; each is a one-element list that says whether it works."""

    away: bool = False
    open_now: int = 0
    most: int = 0
    tries: int = 0
    resets: int = 0
    gate: asyncio.Event | None = None
    all: list[list[bool]] = field(default_factory=list)

    async def open(self) -> list[bool]:
        self.tries += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise UnavailableError("db is away")
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        self.all.append([True])
        return self.all[-1]

    async def reset(self, connection: list[bool]) -> None:
        self.resets += 1
        if not connection[0]:
            raise OSError("broken")

    async def close(self, connection: list[bool]) -> None:
        self.open_now -= 1

    @property
    def opener(self) -> Opener[list[bool]]:
        return Opener(self.open, self.reset, self.close)


@pytest.fixture
def server() -> Server:
    return Server()


async def test_no_more_than_the_limit_are_open_whatever_their_keys(server: Server) -> None:
    connections = Connections(limit=3)

    async def work(key: int) -> None:
        async with connections.lend(ENDPOINT, key % 5, server.opener), connections.beside(ENDPOINT):
            login = await server.open()
            await asyncio.sleep(0)
            await server.close(login)

    await asyncio.gather(*(work(key) for key in range(100)))
    assert server.most == 3
    await connections.close()
    assert server.open_now == 0


async def test_a_connection_is_used_again_by_its_own_key_alone(server: Server) -> None:
    connections = Connections()
    async with connections.lend(ENDPOINT, "a", server.opener) as first:
        pass
    async with connections.lend(ENDPOINT, "b", server.opener) as other:
        assert other is not first
    async with connections.lend(ENDPOINT, "a", server.opener) as again:
        assert again is first
    await connections.close()


async def test_a_connection_that_died_while_it_was_idle_is_replaced(server: Server) -> None:
    connections = Connections()
    async with connections.lend(ENDPOINT, "a", server.opener) as first:
        pass
    first[0] = False
    async with connections.lend(ENDPOINT, "a", server.opener) as second:
        assert second is not first
    assert server.open_now == 1
    await connections.close()


@pytest.mark.parametrize("error", [RuntimeError("in the middle"), asyncio.CancelledError()])
async def test_a_connection_that_was_left_in_the_middle_is_not_lent_again(server: Server, error: BaseException) -> None:
    connections = Connections()
    with pytest.raises(type(error)):
        async with connections.lend(ENDPOINT, "a", server.opener):
            raise error
    assert server.open_now == 0


async def test_a_dead_connection_does_not_spoil_work_that_was_done(server: Server) -> None:
    connections = Connections()
    async with connections.lend(ENDPOINT, "a", server.opener) as connection:
        connection[0] = False
    assert server.open_now == 0


async def test_one_borrower_tries_an_endpoint_that_is_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _stopped_clock(monkeypatch)
    connections = Connections(limit=4)
    server.away = True
    assert await _outcome(connections, server) == "db is away"
    assert await _outcome(connections, server) == "db is away"
    assert server.tries == 1
    clock(module.PAUSE_SECONDS)
    server.gate = asyncio.Event()
    probe = asyncio.create_task(_outcome(connections, server))
    await asyncio.sleep(0)
    assert await _outcome(connections, server) == "db is away"
    assert server.tries == 2
    server.away = False
    server.gate.set()
    assert await probe == "lent"
    assert await _outcome(connections, server) == "lent"
    await connections.close()


async def test_idle_connections_end_after_a_while(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _stopped_clock(monkeypatch)
    connections = Connections(idle_seconds=30)
    assert await _outcome(connections, server) == "lent"
    clock(29)
    await connections.close_idle()
    assert server.open_now == 1
    clock(2)
    await connections.close_idle()
    assert server.open_now == 0


async def _outcome(connections: Connections, server: Server) -> str:
    try:
        async with connections.lend(ENDPOINT, "a", server.opener):
            return "lent"
    except UnavailableError as error:
        return str(error)


def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward
