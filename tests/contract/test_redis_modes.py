"""The contract, below Sentinels and on a Cluster."""

import pytest

from tests.contract import test_redis
from tests.servers.redis_cluster import RedisCluster
from tests.servers.redis_sentinel import RedisSentinels


class TestRedisCheckpointerBelowSentinels(test_redis.TestRedisCheckpointer):
    """On the primary that the Sentinels name."""

    @pytest.fixture
    def server(self, redis_sentinels: RedisSentinels) -> RedisSentinels:
        return redis_sentinels


class TestRedisCheckpointerOnCluster(test_redis.TestRedisCheckpointer):
    """Spread over three primaries."""

    @pytest.fixture
    def server(self, redis_cluster: RedisCluster) -> RedisCluster:
        return redis_cluster


class TestRedisCheckpointerOnClusterWithTTL(test_redis.TestRedisCheckpointerWithTTL):
    """Spread over three primaries, with threads that will expire."""

    @pytest.fixture
    def server(self, redis_cluster: RedisCluster) -> RedisCluster:
        return redis_cluster
