"""A store on each backend, as a connection URL."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.postgresql import Database
from tests.servers.redis import RedisServer


@pytest.fixture(params=["file", "postgresql", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store, on each backend that outlives a process."""
    if request.param == "file":
        yield f"file://{tmp_path}/threads"
    elif request.param == "postgresql":
        database: Database = request.getfixturevalue("postgresql_database")
        yield f"{database.dsn()}?schema=locus"
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        yield f"{server.url()}?key_prefix=test-{secrets.token_hex(6)}:"
