"""A rotated login reaches running agents through the mounted binding: no restart, no failed save."""

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import sql

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import oracle_checkpointer
from locus_memory.backends.redis_keys import APPLICATION_COMMANDS, CONNECTION_COMMANDS, TOPOLOGY_COMMANDS, KeyLayout
from locus_memory.binding import DirectoryBinding
from locus_memory.errors import AuthenticationError
from locus_memory.opening import open_checkpointer
from tests.servers.opensearch import OpenSearchServer
from tests.servers.oracle import EmulatedOracle, OracleStore, RealOracle
from tests.servers.postgresql import Database
from tests.servers.redis import RedisServer
from tests.servers.redis_cluster import RedisCluster
from tests.servers.redis_group import RedisGroup
from tests.servers.redis_sentinel import RedisSentinels


@dataclass(frozen=True)
class Rotation:
    """A store whose login can be replaced on the server, the old one being thrown out, and in the binding."""

    checkpointer: StorageBackendAdapter
    on_server: Callable[[], None]
    in_binding: Callable[[], None]


def bound(directory: Path, document: dict[str, object]) -> StorageBackendAdapter:
    write(directory, document)
    opened = open_checkpointer(DirectoryBinding(directory))
    assert isinstance(opened, StorageBackendAdapter)
    return opened


def write(directory: Path, document: dict[str, object]) -> None:
    replacement = directory / "..new"
    replacement.write_text(json.dumps(document))
    replacement.rename(directory / "connection.json")


@pytest.fixture
def rotation_on_postgresql(postgresql_database: Database, tmp_path: Path) -> Rotation:
    database = postgresql_database
    old, new = (f"login_{secrets.token_hex(4)}" for _ in range(2))
    for login in (old, new):
        database.server.create_role(login, "secret", "LOGIN SUPERUSER")
    document: dict[str, object] = {
        "version": 1,
        "type": "postgresql",
        "host": database.server.host,
        "port": database.server.port,
        "database": database.name,
        "username": old,
        "password": "secret",
    }

    def on_server() -> None:
        name = sql.Identifier(old)
        database.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(name))
        database.execute(
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {}").format(
                sql.Literal(old)
            )
        )

    return Rotation(bound(tmp_path, document), on_server, lambda: write(tmp_path, document | {"username": new}))


@pytest.fixture
def rotation_on_redis(redis_url: str, redis_server: RedisServer, tmp_path: Path) -> Iterator[Rotation]:
    with redis_server.client() as client:
        for login in ("old", "new"):
            client.acl_setuser(login, enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all"])
    document: dict[str, object] = {
        "version": 1,
        "type": "redis",
        "addresses": [{"host": redis_server.host, "port": redis_server.port}],
        "username": "old",
        "password": "secret",
    }

    def on_server() -> None:
        with redis_server.client() as client:
            client.acl_deluser("old")

    yield Rotation(bound(tmp_path, document), on_server, lambda: write(tmp_path, document | {"username": "new"}))
    redis_server.reset()  # others count its users


ACL_RULES = [
    "resetkeys",
    *(f"~{prefix}*" for prefix in KeyLayout("locus:").data_prefixes),
    "-@all",
    *(f"+{command}" for command in (*APPLICATION_COMMANDS, *CONNECTION_COMMANDS, *TOPOLOGY_COMMANDS)),
]


def rotation_on_group(group: RedisGroup, document: dict[str, object], tmp_path: Path) -> Rotation:
    """Logins with the rights that the documentation names and no others; they are each server's own affair."""
    for server in group.servers:
        for login in ("old", "new"):
            server.send("ACL", "SETUSER", login, "on", ">secret", *ACL_RULES)
    document = {"version": 1, "type": "redis", "username": "old", "password": "secret"} | document

    def on_server() -> None:
        for server in group.servers:
            server.send("ACL", "DELUSER", "old")

    return Rotation(bound(tmp_path, document), on_server, lambda: write(tmp_path, document | {"username": "new"}))


@pytest.fixture
def rotation_on_redis_cluster(redis_cluster: RedisCluster, tmp_path: Path) -> Iterator[Rotation]:
    addresses = [{"host": each.host, "port": each.port} for each in redis_cluster.servers]
    yield rotation_on_group(redis_cluster, {"mode": "cluster", "addresses": addresses}, tmp_path)
    redis_cluster.reset()


@pytest.fixture
def rotation_on_redis_sentinels(redis_sentinels: RedisSentinels, tmp_path: Path) -> Iterator[Rotation]:
    document = {
        "mode": "sentinel",
        "addresses": [{"host": each.host, "port": each.port} for each in redis_sentinels.sentinels],
        "master_name": "main",
        "sentinel_password": redis_sentinels.sentinels[0].password,
        "wait_replicas": 1,
    }
    yield rotation_on_group(redis_sentinels, document, tmp_path)
    redis_sentinels.reset()


@pytest.fixture
def rotation_on_opensearch(opensearch_server: OpenSearchServer, opensearch_index: str, tmp_path: Path) -> Rotation:
    for login in ("old", "new"):
        opensearch_server.add_user(login, "secret")
    document: dict[str, object] = {
        "version": 1,
        "type": "opensearch",
        "hosts": [opensearch_server.address],
        "index_name": opensearch_index,
        "username": "old",
        "password": "secret",
    }
    return Rotation(
        bound(tmp_path, document),
        lambda: opensearch_server.delete_user("old"),
        lambda: write(tmp_path, document | {"username": "new"}),
    )


@pytest.fixture
def rotation_on_oracle(
    oracle_database: EmulatedOracle | RealOracle, oracle_store: OracleStore, tmp_path: Path
) -> Rotation:
    """The tables belong to a third login; both others have been granted the use of them, and nothing else."""
    if isinstance(oracle_database, RealOracle):
        pytest.skip("users of a real database are not a test's to create")
    oracle, owner = oracle_database, oracle_store.user
    asyncio.run(_create_tables(oracle_store))
    (old, old_password), (new, new_password) = logins = [oracle.create_user() for _ in range(2)]
    for login, _ in logins:
        oracle.grant(owner, oracle_store.table_name, login)
    document: dict[str, object] = {
        "version": 1,
        "type": "oracle",
        "dsn": oracle_store.dsn,
        "username": old,
        "password": old_password,
        "owner": owner,
        "table_name": oracle_store.table_name,
        "tables": "provisioned",
    }
    changed = document | {"username": new, "password": new_password}
    return Rotation(bound(tmp_path, document), lambda: oracle.lock(old), lambda: write(tmp_path, changed))


async def _create_tables(store: OracleStore) -> None:
    async with oracle_checkpointer(**store.arguments()) as checkpointer:
        await checkpointer.list_threads()


@pytest.fixture(
    params=[
        "rotation_on_oracle",
        "rotation_on_postgresql",
        "rotation_on_redis",
        "rotation_on_redis_cluster",
        "rotation_on_redis_sentinels",
        "rotation_on_opensearch",
    ]
)
def rotation(request: pytest.FixtureRequest) -> Rotation:
    found: Rotation = request.getfixturevalue(request.param)
    return found


async def test_saves_go_on_with_the_new_login_though_many_callers_are_rejected_at_once(rotation: Rotation) -> None:
    async with rotation.checkpointer as checkpointer:
        await asyncio.gather(*(checkpointer.save({"n": 1}, f"thread-{n}") for n in range(8)))
        await asyncio.to_thread(rotation.in_binding)
        await asyncio.to_thread(rotation.on_server)
        await asyncio.gather(*(checkpointer.save({"n": 2}, f"thread-{n}") for n in range(8)))
        assert [await checkpointer.load(f"thread-{n}") for n in range(8)] == [{"n": 2}] * 8


async def test_another_event_loop_follows_as_well(rotation: Rotation) -> None:
    checkpointer, ready, rotated = rotation.checkpointer, asyncio.Event(), asyncio.Event()
    here = asyncio.get_running_loop()

    async def elsewhere() -> object:
        await checkpointer.save({"n": 1}, "elsewhere")
        here.call_soon_threadsafe(ready.set)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(rotated.wait(), here))
        await checkpointer.save({"n": 2}, "elsewhere")
        loaded = await checkpointer.load("elsewhere")
        await checkpointer.close()
        return loaded

    async with checkpointer:
        other = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
        await ready.wait()
        await checkpointer.save({"n": 1}, "here")
        await asyncio.to_thread(rotation.in_binding)
        await asyncio.to_thread(rotation.on_server)
        await checkpointer.save({"n": 2}, "here")
        rotated.set()
        assert await other == {"n": 2}


async def test_a_login_that_is_rejected_for_good_is_an_error_at_once(rotation: Rotation) -> None:
    async with rotation.checkpointer as checkpointer:
        await checkpointer.save({"n": 1}, "thread")
        await asyncio.to_thread(rotation.on_server)
        async with asyncio.timeout(5):
            with pytest.raises(AuthenticationError):
                await checkpointer.load("thread")
