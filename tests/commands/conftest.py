"""A command line whose output holds no secret, on each of several stores."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.process import CommandLine
from tests.servers.postgresql import Database, PostgreSQLServer
from tests.servers.redis import RedisServer


@pytest.fixture
def command_line(
    tmp_path: Path, postgresql_server: PostgreSQLServer, redis_server: RedisServer
) -> Iterator[CommandLine]:
    """Runs commands; what they print must not hold a password of a server."""
    command_line = CommandLine(tmp_path)
    yield command_line
    for text in command_line.printed:
        assert postgresql_server.password not in text
        assert redis_server.password not in text


@pytest.fixture
def postgresql_url(postgresql_database: Database) -> str:
    """An empty store on PostgreSQL."""
    return f"{postgresql_database.dsn()}?schema=locus"


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """An empty store in files."""
    return f"file://{tmp_path}/threads"


@pytest.fixture
def redis_store_url(redis_server: RedisServer) -> str:
    """An empty store on Valkey."""
    return f"{redis_server.url()}?key_prefix=test-{secrets.token_hex(6)}:"


@pytest.fixture(params=["file", "postgresql"])
def bound(request: pytest.FixtureRequest, command_line: CommandLine) -> CommandLine:
    """A command line that is bound to an empty store."""
    command_line.bind(request.getfixturevalue(f"{request.param}_url"))
    return command_line
