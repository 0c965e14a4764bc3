"""Stores on each kind of server that the provisioners must work with."""

import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.integration.operator.stores import Store, drop_roles, postgresql_backend, redis_backend
from tests.servers.postgresql import SUPERUSER, Database, PostgreSQLServer
from tests.servers.redis import RedisServer

POSTGRESQL_SERVERS = ("postgresql_server", "tls_postgresql_server")
REDIS_SERVERS = ("redis_server", "tls_redis_server")

MakeStore = Callable[[str], Store]


@pytest.fixture(params=POSTGRESQL_SERVERS)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A new database on PostgreSQL 18, and on Debian's over TLS; all roles of its stores go afterwards."""
    server: PostgreSQLServer = request.getfixturevalue(request.param)
    created = server.create_database(f"test_{secrets.token_hex(6)}")
    yield created
    drop_roles(created)


@pytest.fixture
def postgresql_store(database: Database) -> Store:
    """A store whose administrator is no superuser: CREATEROLE, and CREATE on the database."""
    admin, password = f"admin_{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    database.create_admin(admin, password)
    return postgresql_backend(database, admin, password)


@pytest.fixture
def superuser_store(database: Database) -> Store:
    """A store whose administrator is a superuser."""
    return postgresql_backend(database, SUPERUSER, database.server.password)


@pytest.fixture(params=REDIS_SERVERS)
def redis(request: pytest.FixtureRequest) -> RedisServer:
    """An empty Valkey, and Debian's Redis over TLS."""
    server: RedisServer = request.getfixturevalue(request.param)
    server.reset()
    return server


@pytest.fixture
def redis_store(redis: RedisServer) -> Store:
    """A store on Redis."""
    return redis_backend(redis)


@pytest.fixture(params=[*POSTGRESQL_SERVERS, "superuser", *REDIS_SERVERS])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store on each server, with each kind of administrator."""
    if request.param in REDIS_SERVERS:
        server: RedisServer = request.getfixturevalue(request.param)
        server.reset()
        yield redis_backend(server)
        return
    name = POSTGRESQL_SERVERS[0] if request.param == "superuser" else request.param
    postgresql: PostgreSQLServer = request.getfixturevalue(name)
    database = postgresql.create_database(f"test_{secrets.token_hex(6)}")
    if request.param == "superuser":
        admin, password = SUPERUSER, postgresql.password
    else:
        admin, password = f"admin_{secrets.token_hex(4)}", secrets.token_urlsafe(16)
        database.create_admin(admin, password)
    yield postgresql_backend(database, admin, password)
    drop_roles(database)
