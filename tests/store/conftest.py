"""A cross-thread store on each server, as a connection URL."""

import secrets
from collections.abc import Iterator

import pytest

from tests.servers.oracle import OracleStore
from tests.servers.postgresql import Database
from tests.servers.redis import RedisServer


@pytest.fixture(params=["postgresql", "redis", "oracle"])
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty store, on each server that has one."""
    if request.param == "postgresql":
        database: Database = request.getfixturevalue("postgresql_database")
        yield f"{database.dsn()}?schema=locus"
    elif request.param == "oracle":
        oracle: OracleStore = request.getfixturevalue("oracle_store")
        yield oracle.url()
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        yield f"{server.url()}?key_prefix=test-{secrets.token_hex(6)}:"
