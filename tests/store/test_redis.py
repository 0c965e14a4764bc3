"""The contract on Valkey, below Sentinels, on a Cluster and, over TLS, on Debian's Redis."""

from collections.abc import Callable, Sequence

import pytest

from locus_memory.store import BaseStore
from locus_memory.store_backends import RedisStore
from locus_memory.testing import StoreContract
from locus_memory.testing.store_base import NAMESPACE, OTHER
from tests.servers.redis import RedisServer, TLSRedisServer
from tests.servers.redis_cluster import RedisCluster
from tests.servers.redis_group import RedisGroup
from tests.servers.redis_sentinel import RedisSentinels


class TestRedisStore(StoreContract):
    """A prefix for each test, on one server."""

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer | RedisGroup:
        return redis_server

    @pytest.fixture
    def factory(self, server: RedisServer | RedisGroup, redis_prefix: str) -> Callable[..., BaseStore]:
        return lambda **options: RedisStore(url=server.url(), key_prefix=redis_prefix, **options)

    @pytest.fixture
    def secrets(self, server: RedisServer | RedisGroup) -> Sequence[str]:
        return (server.password,)

    async def test_deleting_every_item_leaves_no_key(
        self, store: BaseStore, server: RedisServer | RedisGroup, redis_prefix: str
    ) -> None:
        await store.put_with_embedding(NAMESPACE, "a", 1, [1.0, 0.0, 0.0], {"m": 1}, ttl_seconds=60)
        await store.put_with_embedding(NAMESPACE, "b", 1, [1.0, 0.0, 0.0], {"m": 1})
        await store.put(OTHER, "c", 1)
        assert await store.delete(NAMESPACE, "a")
        assert await store.delete(NAMESPACE, "b")
        assert await store.clear_namespace(OTHER) == 1
        assert server.expiries(redis_prefix) == {}

    async def test_keys_expire_exactly_where_all_items_do(
        self, store: BaseStore, server: RedisServer | RedisGroup, redis_prefix: str
    ) -> None:
        await store.put_with_embedding(NAMESPACE, "a", 1, [1.0, 0.0, 0.0], {"m": 1}, ttl_seconds=60)
        await store.put(NAMESPACE, "b", 1, ttl_seconds=30)
        remaining = [left for key, left in server.expiries(redis_prefix).items() if not key.endswith("i:s:all")]
        assert len(remaining) == 7
        assert all(50 < left <= 61 for left in remaining)
        await store.put(NAMESPACE, "a", 1)
        assert set(server.expiries(redis_prefix).values()) == {-1}
        await store.delete(NAMESPACE, "a")
        remaining = [left for key, left in server.expiries(redis_prefix).items() if not key.endswith("i:s:all")]
        assert all(0 < left <= 31 for left in remaining)

    async def test_a_put_takes_away_what_has_expired(
        self, store: BaseStore, server: RedisServer | RedisGroup, redis_prefix: str
    ) -> None:
        await store.put(NAMESPACE, "stays", 1)
        await store.put_batch([(NAMESPACE, f"k{n}", 1, None) for n in range(50)], ttl_seconds=0.001)
        while await store.exists(NAMESPACE, "k49"):
            pass
        await store.put(NAMESPACE, "again", 1)
        await store.delete(NAMESPACE, "stays")
        await store.delete(NAMESPACE, "again")
        assert server.expiries(redis_prefix) == {}


class TestRedisStoreOverTLS(TestRedisStore):
    """The server's certificate is verified."""

    @pytest.fixture
    def server(self, tls_redis_server: TLSRedisServer) -> TLSRedisServer:
        return tls_redis_server

    @pytest.fixture
    def factory(self, server: TLSRedisServer, redis_prefix: str) -> Callable[..., BaseStore]:
        # Its address and login, but not its parameters: those are redis-py's, and ours take the certificate itself.
        url, authority = server.url().partition("?")[0], server.ca_file.read_text()
        return lambda **options: RedisStore(url=url, key_prefix=redis_prefix, ca=authority, **options)


class TestRedisStoreOnCluster(TestRedisStore):
    """Each namespace in one slot, all of them over three primaries."""

    @pytest.fixture
    def server(self, redis_cluster: RedisCluster) -> RedisCluster:
        return redis_cluster

    async def test_a_batch_is_declared_to_be_written_slot_by_slot(self, store: BaseStore) -> None:
        assert not store.capabilities.transactions


class TestRedisStoreBelowSentinels(TestRedisStore):
    """The primary that the Sentinels name."""

    @pytest.fixture
    def server(self, redis_sentinels: RedisSentinels) -> RedisSentinels:
        return redis_sentinels
