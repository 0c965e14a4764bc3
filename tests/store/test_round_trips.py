"""How often each call goes to the server and back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from locus_memory.store import BaseStore
from locus_memory.store_backends import OracleStore, PostgreSQLStore, RedisStore
from tests.emulators.oracle import EmulatedConnection
from tests.servers.oracle import EmulatedOracle, RealOracle
from tests.servers.oracle import OracleStore as Database
from tests.servers.postgresql import Database as PostgreSQLDatabase
from tests.servers.redis import RedisServer

NAMESPACE = ("memory", "u42")
VECTOR = [1.0, 0.0]


class Meter:
    """A relay that counts how often the client speaks after the server has spoken."""

    def __init__(self) -> None:
        self.turns = 0
        self.port = 0
        self._counting = False

    async def count(self, call: Awaitable[Any]) -> int:
        """Return the round trips of a call. Answers are held back a little: who does not wait for them goes on."""
        before, self._counting = self.turns, True
        await call
        self._counting = False
        return self.turns - before

    @asynccontextmanager
    async def before(self, port: int) -> AsyncIterator["Meter"]:
        """Stand before a server while the context lasts."""
        open_connections: list[asyncio.Task[None]] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            open_connections.append(asyncio.create_task(self._relay(reader, writer, port)))

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            await asyncio.gather(*open_connections)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        last: asyncio.StreamReader | None = None

        async def forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            nonlocal last
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    if self._counting and source is there:
                        await asyncio.sleep(0.03)
                    self.turns += source is reader and last is not reader
                    last = source
                    sink.write(data)
                sink.close()
                await sink.wait_closed()

        await asyncio.gather(forward(reader, back), forward(there, writer))


CALLS: dict[str, Callable[[BaseStore], Awaitable[Any]]] = {
    "put, new": lambda store: store.put(NAMESPACE, "new", 1, {"tag": 1}),
    "put, again": lambda store: store.put(NAMESPACE, "k0", 1),
    "put, expiring": lambda store: store.put(NAMESPACE, "k0", 1, ttl_seconds=60),
    "put_with_embedding, new": lambda store: store.put_with_embedding(NAMESPACE, "new", 1, VECTOR),
    "put_with_embedding, again": lambda store: store.put_with_embedding(NAMESPACE, "k0", 1, VECTOR),
    "put_batch": lambda store: store.put_batch([(NAMESPACE, f"b{n}", n, None) for n in range(10)]),
    "get": lambda store: store.get(NAMESPACE, "k0"),
    "get of nothing": lambda store: store.get(NAMESPACE, "none"),
    "exists": lambda store: store.exists(NAMESPACE, "k0"),
    "get_batch of 100": lambda store: store.get_batch([(NAMESPACE, f"k{n}") for n in range(100)]),
    "list": lambda store: store.list(NAMESPACE),
    "search, newest": lambda store: store.search(NAMESPACE),
    "search, words": lambda store: store.search(NAMESPACE, "word"),
    "search_by_embedding": lambda store: store.search_by_embedding(NAMESPACE, VECTOR, metadata_filter={"tag": 1}),
    "list_namespaces": lambda store: store.list_namespaces(),
    "delete": lambda store: store.delete(NAMESPACE, "k0"),
    "clear_namespace": lambda store: store.clear_namespace(NAMESPACE),
}

# Where it is not one. A batch is a transaction in a pipeline, with one statement for each item: four whatever its size.
POSTGRESQL: dict[str, int] = {}
# On Redis the best of a search are fetched when their embeddings were compared, and namespaces
# are listed until there are no more.
REDIS = {"search_by_embedding": 2, "list_namespaces": 2}
# On Oracle a result with payloads is executed, then fetched; what is not there yet is made room for.
ORACLE = {
    "put, new": 3,
    "put_with_embedding, new": 4,
    "put_with_embedding, again": 2,
    "put_batch": 2,
    "get": 2,
    "exists": 2,
    "get_batch of 100": 2,
    "search, newest": 2,
    "search, words": 2,
    "search_by_embedding": 2,
    "clear_namespace": 2,
}


async def prepare(store: BaseStore) -> None:
    for number in range(3):
        await store.put_with_embedding(NAMESPACE, f"k{number}", "word", VECTOR, {"tag": 1})
    # What is learnt once: tables, the extension, scripts.
    for name, call in CALLS.items():
        if not name.startswith(("put", "delete", "clear")):
            await call(store)
    await store.put_batch([(("other",), "a", 1, None), (("other",), "b", 1, None)], ttl_seconds=60)
    await store.delete(("other",), "a")
    await store.clear_namespace(("other",))


@pytest.mark.parametrize("name", CALLS)
async def test_postgresql(postgresql_database: PostgreSQLDatabase, name: str) -> None:
    async with (
        Meter().before(postgresql_database.server.port) as meter,
        PostgreSQLStore(dsn=postgresql_database.dsn(), host="127.0.0.1", port=meter.port, dimension=2) as store,
    ):
        await prepare(store)
        assert await meter.count(CALLS[name](store)) == POSTGRESQL.get(name, 1)


@pytest.mark.parametrize("name", CALLS)
async def test_redis(redis_server: RedisServer, redis_prefix: str, name: str) -> None:
    async with Meter().before(redis_server.port) as meter:
        url = redis_server.url().replace(f":{redis_server.port}", f":{meter.port}")
        async with RedisStore(url, key_prefix=redis_prefix, dimension=2) as store:
            await prepare(store)
            assert await meter.count(CALLS[name](store)) == REDIS.get(name, 1)


@pytest.mark.parametrize("name", CALLS)
async def test_oracle(oracle_database: EmulatedOracle | RealOracle, oracle_store: Database, name: str) -> None:
    if isinstance(oracle_database, RealOracle):
        pytest.skip("only the emulator counts round trips")
    async with OracleStore(**oracle_store.arguments(), dimension=2) as store:
        await prepare(store)
        before = EmulatedConnection.round_trips
        await CALLS[name](store)
        assert EmulatedConnection.round_trips - before == ORACLE.get(name, 1)
