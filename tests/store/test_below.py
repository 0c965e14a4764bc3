"""What only the LangGraph face asks of the port: searches below a namespace, longer lives, several embeddings."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from psycopg import sql

from locus_memory.binding import URLBinding
from locus_memory.errors import CapabilityNotSupportedError
from locus_memory.opening import open_store
from locus_memory.store import Namespace
from locus_memory.store_backends import RedisStore
from locus_memory.store_face import PortStore
from locus_memory.store_port import StoredItem
from locus_memory.vectors import Vector, unit_vector
from tests.servers.oracle import OracleStore
from tests.servers.postgresql import Database
from tests.servers.redis import RedisServer
from tests.servers.redis_cluster import RedisCluster

BACKENDS = ["memory", "postgresql", "pgvector", "redis", "redis_cluster", "oracle"]
SEVERAL = [name for name in BACKENDS if name != "oracle"]


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[PortStore]:
    """An empty store that keeps embeddings of two numbers."""
    if request.param in ("postgresql", "pgvector"):
        database: Database = request.getfixturevalue("postgresql_database")
        if request.param == "pgvector":
            database.execute(sql.SQL("CREATE EXTENSION vector"))
        url = database.dsn()
    elif request.param == "redis_cluster":
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        url = cluster.url(key_prefix=f"test-{secrets.token_hex(6)}:")
    elif request.param == "oracle":
        oracle: OracleStore = request.getfixturevalue("oracle_store")
        url = oracle.url()
    elif request.param == "redis":
        url = f"{request.getfixturevalue('redis_url')}?key_prefix=test-{secrets.token_hex(6)}:"
    else:
        url = "memory:"
    async with open_store(URLBinding(url), dimension=2) as store:
        yield store


def pointing(x: float, y: float) -> Vector:
    return unit_vector([x, y])


async def put(store: PortStore, namespace: Namespace, key: str, *vectors: Vector, ttl: float | None = None) -> None:
    await store.backend.put([store.new_item(namespace, key, {"at": key}, None, ttl, vectors)])


def places(found: list[StoredItem]) -> list[tuple[Namespace, str]]:
    return [(each.namespace, each.key) for each in found]


async def test_the_newest_below_a_prefix_come_from_all_namespaces_that_start_with_it(store: PortStore) -> None:
    for number, namespace in enumerate([("a",), ("a", "b"), ("a/b",), ("ab",), ("a", "b", "c"), ("a%",)]):
        await put(store, namespace, str(number))
    assert places(await store.backend.newest_below(("a",), 10)) == [
        (("a", "b", "c"), "4"),
        (("a", "b"), "1"),
        (("a",), "0"),
    ]
    assert places(await store.backend.newest_below(("a", "b"), 1)) == [(("a", "b", "c"), "4")]
    assert len(await store.backend.newest_below((), 10)) == 6
    assert await store.backend.newest_below(("b",), 10) == []


async def test_the_nearest_below_a_prefix_are_the_best_of_all_namespaces(store: PortStore) -> None:
    await put(store, ("a",), "east", pointing(1, 0))
    await put(store, ("a", "b"), "north", pointing(0, 1))
    await put(store, ("a", "c"), "north-east", pointing(1, 1))
    await put(store, ("ab",), "outside", pointing(1, 0))
    await put(store, ("a", "d"), "none")
    found = await store.backend.nearest_below(("a",), pointing(1, 0.1), 2)
    assert [each.item.key for each in found] == ["east", "north-east"]
    assert found[1].score == pytest.approx(0.7740, abs=1e-4)
    assert len(await store.backend.nearest_below((), pointing(1, 0), 10)) == 4


@pytest.mark.parametrize("store", SEVERAL, indirect=True)
async def test_the_nearest_of_several_embeddings_counts(store: PortStore) -> None:
    await put(store, ("a",), "both", pointing(0, -1), pointing(0, 1), pointing(-1, 0))
    await put(store, ("a",), "one", pointing(1, 1))
    found = await store.backend.nearest(("a",), pointing(0, 1), 10, 0.0, {})
    assert [(each.item.key, round(each.score, 4)) for each in found] == [("both", 1.0), ("one", 0.7071)]
    found = await store.backend.nearest(("a",), pointing(1, 0), 10, -2.0, {})
    assert [(each.item.key, round(each.score, 4)) for each in found] == [("one", 0.7071), ("both", 0.0)]
    # Four numbers are two embeddings here, and not one of that dimension.
    await put(store, ("a",), "both", pointing(0, -1), pointing(0, 1))
    assert await store.backend.nearest(("a",), unit_vector([1, 1, 1, 1]), 10, -2.0, {}) == []
    await put(store, ("a",), "both", pointing(1, 0))
    [best, _] = await store.backend.nearest(("a",), pointing(1, 0), 10, -2.0, {})
    assert best.item.key == "both"


@pytest.mark.parametrize("store", ["oracle"], indirect=True)
async def test_oracle_says_that_it_keeps_one_embedding_for_an_item(store: PortStore) -> None:
    with pytest.raises(CapabilityNotSupportedError, match="several embeddings"):
        await put(store, ("a",), "k", pointing(0, 1), pointing(1, 0))


async def test_a_touched_item_lives_on_and_is_otherwise_as_it_was(store: PortStore) -> None:
    await put(store, ("a",), "k", pointing(0, 1), ttl=5)
    await put(store, ("b",), "k", ttl=5)
    before = await store.backend.newest_below((), 10)
    await store.backend.touch([(item, 1000.0) for item in before])
    after = await store.backend.newest_below((), 10)
    assert places(after) == places(before)
    for old, new in zip(before, after, strict=True):
        assert (new.version, new.updated_at, new.created_at) == (old.version, old.updated_at, old.created_at)
        assert old.expires_at is not None
        assert new.expires_at is not None
        assert 900 < (new.expires_at - old.expires_at).total_seconds() < 1000


async def test_a_touch_can_end_a_life_sooner(store: PortStore) -> None:
    await put(store, ("a",), "k", ttl=1000)
    [item] = await store.backend.newest_below((), 10)
    await store.backend.touch([(item, 0.05)])
    async with asyncio.timeout(5):
        while await store.exists(("a",), "k"):
            pass
    assert await store.list_namespaces() == []


async def test_what_was_written_since_or_does_not_expire_is_not_touched(store: PortStore) -> None:
    await put(store, ("a",), "rewritten", ttl=5)
    await put(store, ("a",), "lasting", ttl=5)
    await put(store, ("a",), "gone", ttl=5)
    await put(store, ("a",), "never")
    stale = await store.backend.newest_below((), 10)
    await put(store, ("a",), "rewritten", ttl=7)
    await put(store, ("a",), "lasting")
    await store.delete(("a",), "gone")
    before = {item.key: item for item in await store.backend.newest_below((), 10)}
    await store.backend.touch([(item, 1000.0) for item in stale])
    assert {item.key: item for item in await store.backend.newest_below((), 10)} == before
    assert before.keys() == {"rewritten", "lasting", "never"}
    assert before["lasting"].expires_at is None


async def test_on_redis_the_keys_of_a_namespace_live_as_long_as_a_touched_item(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    async with RedisStore(url=redis_server.url(), key_prefix=redis_prefix) as store:
        await put(store, ("a",), "k", ttl=5)
        [item] = await store.backend.newest_below((), 10)
        await store.backend.touch([(item, 1000.0)])
    remaining = [left for key, left in redis_server.expiries(redis_prefix).items() if not key.endswith("i:s:all")]
    assert remaining
    assert all(900 < left <= 1001 for left in remaining)
