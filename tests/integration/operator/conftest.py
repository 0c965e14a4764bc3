"""Stores on each kind of server that the provisioners must work with."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.operator.kinds import (
    OCI_STORES,
    OPENSEARCH_SERVERS,
    ORACLE_ADMINISTRATORS,
    POSTGRESQL_SERVERS,
    REDIS_GROUPS,
    REDIS_SERVERS,
    WITH_LOGIN,
)
from tests.integration.operator.oci_stores import BucketStore, bucket_backend
from tests.integration.operator.opensearch_stores import opensearch_backend
from tests.integration.operator.oracle_stores import OPERATOR_PRIVILEGES, oracle_backend
from tests.integration.operator.redis_groups import redis_group_backend
from tests.integration.operator.stores import Store, drop_roles, file_backend, postgresql_backend, redis_backend
from tests.servers.oci import ObjectStorageServer
from tests.servers.opensearch import OpenSearchServer
from tests.servers.oracle import EmulatedOracle, RealOracle, installed
from tests.servers.postgresql import SUPERUSER, Database, PostgreSQLServer
from tests.servers.redis import RedisServer
from tests.servers.redis_group import RedisGroup

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


@pytest.fixture
def opensearch(tls_opensearch_server: OpenSearchServer) -> OpenSearchServer:
    """An empty OpenSearch, over TLS."""
    tls_opensearch_server.reset()
    return tls_opensearch_server


@pytest.fixture
def opensearch_store(opensearch: OpenSearchServer) -> Store:
    """A store on OpenSearch, whose administrator has what the documentation lists, and no more."""
    return opensearch_backend(opensearch, superuser=False)


@pytest.fixture
def opensearch_without_plugins(opensearch_server: OpenSearchServer) -> Iterator[Store]:
    """A store on an OpenSearch without the plugins for security and index management."""
    opensearch_server.reset()
    opensearch_server.set_plugins(security=False, ism=False)
    yield opensearch_backend(opensearch_server)
    opensearch_server.set_plugins()


@pytest.fixture
def oracle(oracle_database: EmulatedOracle | RealOracle) -> Iterator[EmulatedOracle | RealOracle]:
    """The emulator in the driver's place, or the database that the environment names."""
    with installed(oracle_database):
        yield oracle_database


@pytest.fixture
def emulated_oracle(oracle: EmulatedOracle | RealOracle) -> EmulatedOracle:
    """The emulator."""
    if isinstance(oracle, RealOracle):
        pytest.skip("needs the emulator: it creates administrators, or looks into the database")
    return oracle


@pytest.fixture
def oracle_dba(oracle: EmulatedOracle | RealOracle) -> Iterator[Store]:
    """A store on Oracle whose administrator is a DBA."""
    if isinstance(oracle, EmulatedOracle):
        yield oracle_backend(oracle, oracle.create_admin())
    elif oracle.admin is None:
        pytest.skip("LOCUS_TEST_ORACLE_ADMIN names no administrator")
    else:
        yield oracle_backend(oracle, oracle.admin)
        oracle.drop_users()


@pytest.fixture
def oracle_operator(emulated_oracle: EmulatedOracle) -> Store:
    """A store on Oracle whose administrator has what the documentation asks for."""
    return oracle_backend(emulated_oracle, emulated_oracle.create_admin(OPERATOR_PRIVILEGES, passes_session_on=True))


@pytest.fixture
def oci_bucket_store(oci_server: ObjectStorageServer) -> Iterator[BucketStore]:
    """A store in a bucket of its own."""
    yield bucket_backend(oci_server)
    oci_server.admin("DELETE", "buckets")


@pytest.fixture
def oci_prefix_store(oci_server: ObjectStorageServer) -> Iterator[BucketStore]:
    """A store below a prefix of a bucket that is somebody else's."""
    yield bucket_backend(oci_server, prefix="agents/support/")
    oci_server.admin("DELETE", "buckets")


@pytest.fixture
def oci_store_without_policies(oci_server: ObjectStorageServer) -> Iterator[BucketStore]:
    """A store whose operator may not write policies, and not read them."""
    yield bucket_backend(oci_server, policies=False)
    oci_server.admin("DELETE", "buckets")


@pytest.fixture
def file_store(tmp_path: Path) -> Store:
    """A store in a directory of its own."""
    return file_backend(tmp_path / "volumes")


@pytest.fixture(params=WITH_LOGIN)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store on each server, with each kind of administrator; with the mark `everywhere`, where there is no login."""
    if request.param == "file":
        yield request.getfixturevalue("file_store")
        return
    if request.param in OCI_STORES:
        yield request.getfixturevalue(request.param)
        return
    if request.param == "opensearch_without_plugins":
        yield request.getfixturevalue("opensearch_without_plugins")
        return
    if request.param in OPENSEARCH_SERVERS:
        searching: OpenSearchServer = request.getfixturevalue(request.param)
        searching.reset()
        yield opensearch_backend(searching, superuser=searching.ca is None)
        return
    if request.param in ORACLE_ADMINISTRATORS:
        yield request.getfixturevalue(request.param)
        return
    if request.param in REDIS_SERVERS:
        server: RedisServer = request.getfixturevalue(request.param)
        server.reset()
        yield redis_backend(server)
        return
    if request.param in REDIS_GROUPS:
        group: RedisGroup = request.getfixturevalue(request.param)
        group.reset()
        yield redis_group_backend(group)
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
