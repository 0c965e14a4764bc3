"""Servers go away under cross-thread stores: an outage is an error, never None or an empty list."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg import sql

from locus_memory.binding import URLBinding
from locus_memory.errors import BackendUnavailableError
from locus_memory.opening import open_store
from locus_memory.retry import RetryPolicy
from locus_memory.store import BaseStore
from tests.servers.oracle import EmulatedOracle, installed
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.redis import RedisServer
from tests.servers.report import ServerReport

NAMESPACE = ("memory", "u42")
VECTOR = [1.0, 0.0]
DEADLINE = 1.0

CALLS: dict[str, Callable[[BaseStore], Awaitable[Any]]] = {
    "put": lambda store: store.put(NAMESPACE, "k", 2),
    "put_with_embedding": lambda store: store.put_with_embedding(NAMESPACE, "k", 2, VECTOR),
    "put_batch": lambda store: store.put_batch([(NAMESPACE, "k", 2, None), (NAMESPACE, "l", 2, None)]),
    "get": lambda store: store.get(NAMESPACE, "k"),
    "get_item": lambda store: store.get_item(NAMESPACE, "k"),
    "get_batch": lambda store: store.get_batch([(NAMESPACE, "k"), (NAMESPACE, "l")]),
    "exists": lambda store: store.exists(NAMESPACE, "k"),
    "list": lambda store: store.list(NAMESPACE),
    "search": lambda store: store.search(NAMESPACE),
    "search for words": lambda store: store.search(NAMESPACE, "word"),
    "search_by_embedding": lambda store: store.search_by_embedding(NAMESPACE, VECTOR),
    "list_namespaces": lambda store: store.list_namespaces(),
    "delete": lambda store: store.delete(NAMESPACE, "k"),
    "clear_namespace": lambda store: store.clear_namespace(NAMESPACE),
}


@pytest.fixture(scope="module")
def fragile_store_postgresql(server_report: ServerReport) -> Iterator[PostgreSQLServer]:
    """A server of this module's own, durable; the Oracle emulator stands on it as well."""
    with PostgreSQLServer() as server:
        server_report.started("fragile_store_postgresql", server.product, server.version)
        yield server


@pytest.fixture(scope="module")
def fragile_store_redis(server_report: ServerReport) -> Iterator[RedisServer]:
    """A server of this module's own that answers a put when it is on disk."""
    with RedisServer(settings={"appendfsync": "always"}) as server:
        server_report.started("fragile_store_redis", server.product, server.version)
        yield server


@pytest.fixture(params=["fragile_store_postgresql", "fragile_store_redis", "oracle"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[PostgreSQLServer | RedisServer, str]]:
    """A server, and the URL of an empty store on it."""
    fixture = "fragile_store_postgresql" if request.param == "oracle" else request.param
    server: PostgreSQLServer | RedisServer = request.getfixturevalue(fixture)
    if isinstance(server, RedisServer):
        server.reset()
        yield server, server.url()
    elif request.param == "oracle":
        oracle = EmulatedOracle(server, durable=True)
        with installed(oracle):
            yield server, oracle.new_store().url()
    else:
        yield server, server.create_database(f"test_{secrets.token_hex(6)}").dsn()
    if not server.running:
        server.start()


def opened(url: str, deadline: float = DEADLINE) -> BaseStore:
    return open_store(URLBinding(url), dimension=2, retry=RetryPolicy(deadline=deadline))


async def test_every_call_during_an_outage_is_an_error_and_works_again_afterwards(
    place: tuple[PostgreSQLServer | RedisServer, str],
) -> None:
    server, url = place
    async with opened(url) as store:
        await store.put_with_embedding(NAMESPACE, "k", "word", VECTOR)
        await asyncio.to_thread(server.stop)
        outcomes = await asyncio.gather(*(call(store) for call in CALLS.values()), return_exceptions=True)
        answered = {
            name: outcome
            for name, outcome in zip(CALLS, outcomes, strict=True)
            if not isinstance(outcome, BackendUnavailableError)
        }
        assert answered == {}
        assert all(outcome.__cause__ is not None for outcome in outcomes if isinstance(outcome, Exception))
        await asyncio.to_thread(server.start)
    async with opened(url, 10) as store:
        assert await store.get(NAMESPACE, "k") == "word"
        assert await store.list(NAMESPACE) == ["k"]


async def test_an_outage_shorter_than_the_deadline_is_no_error(
    place: tuple[PostgreSQLServer | RedisServer, str],
) -> None:
    server, url = place
    async with opened(url, 15) as store:
        await store.put(NAMESPACE, "k", 1)
        await asyncio.to_thread(server.stop)
        with ThreadPoolExecutor(1) as pool:
            back = pool.submit(_start_soon, server)
            await store.put(NAMESPACE, "k", 2)
            back.result()
        assert await store.get(NAMESPACE, "k") == 2


async def test_a_killed_server_loses_nothing_acknowledged(
    place: tuple[PostgreSQLServer | RedisServer, str],
) -> None:
    server, url = place
    acknowledged: list[int] = []

    async def write() -> None:
        async with opened(url, 20) as store:
            for number in range(60):
                await store.put(NAMESPACE, f"k{number:02}", number)
                acknowledged.append(number)

    writing = asyncio.create_task(write())
    for count in (10, 30):
        while len(acknowledged) < count:  # noqa: ASYNC110 - a put raises no event
            await asyncio.sleep(0.005)
        await asyncio.to_thread(server.kill)
        known = list(acknowledged)
        await asyncio.to_thread(server.start)
        async with opened(url, 20) as reader:
            found = await reader.get_batch([(NAMESPACE, f"k{number:02}") for number in known])
        assert sorted(found.values()) == known
    await writing
    assert acknowledged == list(range(60))


async def test_a_paused_server_is_an_error_within_the_deadline_and_leaves_no_broken_connection(
    place: tuple[PostgreSQLServer | RedisServer, str],
) -> None:
    server, url = place
    async with opened(url) as store:
        await store.put(NAMESPACE, "k", 1)
        await asyncio.to_thread(server.pause)
        try:
            for name in ("get", "put", "search_by_embedding"):
                began = time.monotonic()
                with pytest.raises(BackendUnavailableError, match="no answer within"):
                    await CALLS[name](store)
                assert time.monotonic() - began < DEADLINE + 1
        finally:
            await asyncio.to_thread(server.resume)
        for number in range(12):
            await store.put(NAMESPACE, f"after{number}", number)
            assert await store.get(NAMESPACE, f"after{number}") == number


async def test_dropped_connections_are_made_anew_without_an_error(
    place: tuple[PostgreSQLServer | RedisServer, str],
) -> None:
    server, url = place
    dropped = 0
    async with opened(url, 10) as store:
        for number in range(10):
            await store.put(NAMESPACE, "k", number)
            dropped += await asyncio.to_thread(_drop_connections, server)
            assert await store.get(NAMESPACE, "k") == number
    assert dropped >= 10


def _start_soon(server: PostgreSQLServer | RedisServer) -> None:
    time.sleep(0.5)
    server.start()


def _drop_connections(server: PostgreSQLServer | RedisServer) -> int:
    if isinstance(server, RedisServer):
        with server.client() as client:
            return int(client.client_kill_filter(_type="normal", skipme=True))
    ask = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'locus-memory'"
    return len(server.execute(sql.SQL(ask)))
