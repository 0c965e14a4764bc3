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
from locus_memory.binding import DirectoryBinding
from locus_memory.errors import AuthenticationError
from locus_memory.opening import open_checkpointer
from tests.servers.postgresql import Database
from tests.servers.redis import RedisServer


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


@pytest.fixture(params=["rotation_on_postgresql", "rotation_on_redis"])
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
