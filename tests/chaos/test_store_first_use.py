"""Twenty replicas start at once on an empty cross-thread store, and write to the same items at once."""

import asyncio
import secrets
from collections.abc import Iterator

import pytest

from locus_memory.binding import URLBinding
from locus_memory.opening import open_store
from locus_memory.store import StoreItem
from tests.chaos.replicas import REPLICAS
from tests.chaos.store_replicas import SHARED, TURNS, Outcome, run_replicas
from tests.servers.oracle import EmulatedOracle, RealOracle, installed
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.redis import RedisServer
from tests.servers.redis_group import RedisGroup


@pytest.fixture(scope="module", params=["postgresql_server", "redis_server", "redis_cluster", "oracle_database"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty store on each server."""
    server: PostgreSQLServer | RedisServer | RedisGroup | EmulatedOracle | RealOracle
    server = request.getfixturevalue(request.param)
    if isinstance(server, RedisServer | RedisGroup):
        server.reset()
        yield server.url()
    elif isinstance(server, PostgreSQLServer):
        database = server.create_database(f"test_{secrets.token_hex(6)}")
        yield database.dsn()
        database.drop()
    else:
        with installed(server), server.store() as store:
            yield store.url()


@pytest.fixture(scope="module")
def outcomes(url: str) -> list[Outcome]:
    """What the replicas met; they ran once for all tests of a server."""
    return run_replicas(url)


def test_all_put_although_none_found_tables(outcomes: list[Outcome]) -> None:
    assert [each.error for each in outcomes] == [None] * REPLICAS
    assert [each.own for each in outcomes] == [{"replica": number} for number in range(REPLICAS)]
    assert [each.nearest for each in outcomes] == [f"replica-{number:02}" for number in range(REPLICAS)]


def test_no_put_of_many_writers_was_lost(outcomes: list[Outcome], url: str) -> None:
    async def look() -> list[StoreItem]:
        async with open_store(URLBinding(url), dimension=3) as store:
            return await store.search(SHARED, limit=100)

    items = {item.key: item for item in asyncio.run(look())}
    assert {key: item.version for key, item in items.items() if not key.startswith("replica")} == dict.fromkeys(
        ("counter", "x", "y", "z"), REPLICAS * TURNS
    )
    assert sum(key.startswith("replica") for key in items) == REPLICAS
    # Batches are whole: the last one wrote all three.
    assert len({items[key].value for key in ("x", "y", "z")}) == 1
