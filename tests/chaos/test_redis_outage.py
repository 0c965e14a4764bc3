"""Redis goes away under saving agents."""

from collections.abc import Iterator

import pytest

from tests.chaos.outages import Outages
from tests.servers.redis import RedisServer
from tests.servers.report import ServerReport


@pytest.fixture(scope="module")
def fragile_redis(server_report: ServerReport) -> Iterator[RedisServer]:
    """A server of this module's own that answers a save when it is on disk."""
    with RedisServer(settings={"appendfsync": "always"}) as server:
        server_report.started("fragile_redis", server.product, server.version)
        yield server


class TestRedisOutage(Outages):
    @pytest.fixture
    def server(self, fragile_redis: RedisServer) -> Iterator[RedisServer]:
        yield fragile_redis
        fragile_redis.restart()

    @pytest.fixture
    def url(self, server: RedisServer) -> str:
        server.reset()
        return server.url()

    def drop_connections(self, server: RedisServer) -> int:
        with server.client() as client:
            return int(client.client_kill_filter(_type="normal", skipme=True))
