"""A rotated login reaches cross-thread stores through the mounted binding: no restart, no failed put."""

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import sql

from locus_memory.binding import DirectoryBinding
from locus_memory.errors import AuthenticationError
from locus_memory.opening import open_store
from locus_memory.store import BaseStore
from tests.servers.oracle import EmulatedOracle, OracleStore, RealOracle
from tests.servers.postgresql import Database
from tests.servers.redis import RedisServer

NAMESPACE = ("memory", "u42")


@dataclass(frozen=True)
class Rotation:
    """A store whose login can be replaced on the server, the old one being thrown out, and in the binding."""

    store: BaseStore
    on_server: Callable[[], None]
    in_binding: Callable[[], None]


def rotation_of(
    directory: Path, document: dict[str, object], changed: dict[str, object], lock: Callable[[], None]
) -> Rotation:
    def write(content: dict[str, object]) -> None:
        replacement = directory / "..new"
        replacement.write_text(json.dumps({"version": 1} | content))
        replacement.rename(directory / "connection.json")

    write(document)
    return Rotation(open_store(DirectoryBinding(directory)), lock, lambda: write(document | changed))


@pytest.fixture
def on_postgresql(postgresql_database: Database, tmp_path: Path) -> Rotation:
    database = postgresql_database
    old, new = (f"login_{secrets.token_hex(4)}" for _ in range(2))
    for login in (old, new):
        database.server.create_role(login, "secret", "LOGIN SUPERUSER")
    where = {"host": database.server.host, "port": database.server.port, "database": database.name}
    document = {"type": "postgresql", "username": old, "password": "secret"} | where

    def lock() -> None:
        database.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(old)))
        ask = sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {}")
        database.execute(ask.format(sql.Literal(old)))

    return rotation_of(tmp_path, document, {"username": new}, lock)


@pytest.fixture
def on_redis(redis_url: str, redis_server: RedisServer, tmp_path: Path) -> Iterator[Rotation]:
    with redis_server.client() as client:
        for login in ("old", "new"):
            client.acl_setuser(login, enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all"])
    addresses = [{"host": redis_server.host, "port": redis_server.port}]
    document: dict[str, object] = {"type": "redis", "addresses": addresses, "username": "old", "password": "secret"}

    def lock() -> None:
        with redis_server.client() as client:
            client.acl_deluser("old")

    yield rotation_of(tmp_path, document, {"username": "new"}, lock)
    redis_server.reset()  # others count its users


@pytest.fixture
def on_oracle(oracle_database: EmulatedOracle | RealOracle, oracle_store: OracleStore, tmp_path: Path) -> Rotation:
    if isinstance(oracle_database, RealOracle):
        pytest.skip("the login that the environment names is not locked for a test")
    oracle = oracle_database
    name, password = oracle.create_user()
    document: dict[str, object] = {"type": "oracle", "dsn": oracle_store.dsn, "username": name, "password": password}
    document |= {"table_name": oracle_store.table_name}

    # One login that is locked, and comes back with the same name: the tables are its own.
    changed: dict[str, object] = {"password": f"{password}x"}

    def rotate() -> None:
        oracle.lock(name)
        statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(f"{password}x"))
        oracle.database.execute(statement)

    return rotation_of(tmp_path, document, changed, rotate)


@pytest.fixture(params=["on_postgresql", "on_redis", "on_oracle"])
def rotation(request: pytest.FixtureRequest) -> Rotation:
    found: Rotation = request.getfixturevalue(request.param)
    return found


async def test_puts_go_on_with_the_new_login_though_many_callers_are_rejected_at_once(rotation: Rotation) -> None:
    async with rotation.store as store:
        await asyncio.gather(*(store.put(NAMESPACE, f"k{n}", 1) for n in range(8)))
        await asyncio.to_thread(rotation.in_binding)
        await asyncio.to_thread(rotation.on_server)
        await asyncio.gather(*(store.put(NAMESPACE, f"k{n}", 2) for n in range(8)))
        assert set((await store.get_batch([(NAMESPACE, f"k{n}") for n in range(8)])).values()) == {2}


async def test_a_login_that_is_rejected_for_good_is_an_error_at_once(rotation: Rotation) -> None:
    async with rotation.store as store:
        await store.put(NAMESPACE, "k", 1)
        await asyncio.to_thread(rotation.on_server)
        async with asyncio.timeout(5):
            with pytest.raises(AuthenticationError):
                await store.get(NAMESPACE, "k")
