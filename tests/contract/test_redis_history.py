"""Parts and pending writes in Redis: what is left of them, what they cost, and when they expire."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from locus_memory.backends import redis_history
from locus_memory.backends.memory import MemoryBackend
from locus_memory.backends.redis import RedisBackend
from locus_memory.connection import RedisConnection
from locus_memory.errors import MissingPartsError
from locus_memory.storage import NewCheckpoint, StorageBackend
from locus_memory.testing.history import new, with_parts, write
from locus_memory.urls import parse_url
from tests.servers.redis import RedisServer
from tests.servers.redis_group import RedisGroup

IDS = [f"checkpoint {number}" for number in range(6)]
PARTS = [f"part {number}" for number in range(8)]


@pytest.fixture(params=["redis_server", "redis_cluster"])
def server(request: pytest.FixtureRequest) -> RedisServer | RedisGroup:
    found: RedisServer | RedisGroup = request.getfixturevalue(request.param)
    return found


Open = Callable[..., RedisBackend]


@pytest_asyncio.fixture
async def connect(server: RedisServer | RedisGroup, redis_prefix: str) -> AsyncIterator[Open]:
    """Makes backends on the same keys, with fields of the connection changed; all are closed at the end."""
    connection = parse_url(server.url())
    assert isinstance(connection, RedisConnection)
    async with AsyncExitStack() as opened:

        def make(**changes: Any) -> RedisBackend:
            storage = RedisBackend(connection.model_copy(update={"key_prefix": redis_prefix, **changes}))
            opened.push_async_callback(storage.close)
            return storage

        yield make


@pytest.fixture
def redis(connect: Open) -> RedisBackend:
    return connect()


one_server = pytest.mark.parametrize("server", ["redis_server"], indirect=True)


async def change(storage: StorageBackend, seed: int) -> object:
    """Do one thing, the same for the same seed; return what came of it."""
    chance = random.Random(seed)
    thread_id, namespace, checkpoint_id = chance.choice("ab"), chance.choice(["", "sub"]), chance.choice(IDS)
    kind = chance.randrange(10)
    if kind < 5:
        names = chance.sample(PARTS, chance.randrange(4))
        brought = {name: name.encode() for name in names if chance.random() < 0.6}
        try:
            await storage.put(new(checkpoint_id, *names, namespace=namespace, thread_id=thread_id, **brought))
        except MissingPartsError:
            return "missing"
        return "put"
    if kind < 7 and await storage.get_summary(thread_id, checkpoint_id, namespace=namespace):
        writes = [
            write(chance.choice(["x", "y"]), chance.choice([-2, -1, 0, 1]), chance.randbytes(3)) for _ in range(2)
        ]
        await storage.put_writes(thread_id, checkpoint_id, writes, namespace=namespace)
        return "writes"
    if kind < 9:
        return await storage.delete_checkpoint(thread_id, checkpoint_id, namespace=namespace)
    return None


async def everything(storage: StorageBackend) -> object:
    complete = {
        (thread_id, namespace): await storage.get_complete(thread_id, IDS, namespace=namespace)
        for thread_id in "ab"
        for namespace in ("", "sub")
    }
    return {
        place: [(each.summary.checkpoint_id, each.payload, dict(each.parts), each.writes) for each in found]
        for place, found in complete.items()
    }


async def test_any_sequence_of_changes_leaves_what_it_leaves_in_memory_and_in_the_end_nothing(
    redis: RedisBackend, server: RedisServer | RedisGroup, redis_prefix: str
) -> None:
    memory = MemoryBackend()
    outcomes = []
    for seed in range(400):
        outcomes.append(await change(memory, seed))
        for thread_id in "ab":
            # Only now it forgets parts of checkpoints that were replaced.
            await memory.delete_checkpoint(thread_id, "nobody")
        assert await change(redis, seed) == outcomes[-1], seed
        assert await everything(redis) == await everything(memory), seed
    assert {"put", "missing", True, False} <= set(outcomes)
    for thread_id in "ab":
        for namespace in ("", "sub"):
            for checkpoint_id in IDS:
                await redis.delete_checkpoint(thread_id, checkpoint_id, namespace=namespace)
    assert server.expiries(redis_prefix) == {}


async def test_a_thread_with_writes_alone_is_not_there_until_it_is_saved(redis: RedisBackend) -> None:
    for namespace in ("", "sub"):
        await redis.put_writes("t", "a", [write("task", 0)], namespace=namespace)
    assert await redis.list_threads(10) == await redis.list_threads_after(None, 10) == []
    assert await redis.list_latest(10) == []
    assert await redis.list_namespaces("t") == []
    assert not await redis.copy_thread("t", "copy")
    await redis.put(new("a"), expected_checkpoint_id=None)
    assert await redis.list_threads(10) == ["t"]
    assert await redis.list_namespaces("t") == [""]


async def test_deleting_what_is_not_there_leaves_the_writes_of_others(redis: RedisBackend) -> None:
    for namespace in ("", "sub"):
        await redis.put_writes("t", "a", [write("task", 0)], namespace=namespace)
    assert not await redis.delete_checkpoint("t", "a", namespace="nowhere")
    assert not await redis.delete_checkpoint("t", "a", namespace="sub")
    assert await redis.get_writes("t", "a", namespace="sub") == []
    assert await redis.get_writes("t", "a") == [write("task", 0)]


async def test_the_last_checkpoint_takes_the_whole_thread_along(
    redis: RedisBackend, server: RedisServer | RedisGroup, redis_prefix: str
) -> None:
    await redis.put(new("a", x=b"1"))
    await redis.put_writes("t", "never", [write("task", 0)], namespace="sub")
    assert await redis.delete_checkpoint("t", "a")
    assert server.expiries(redis_prefix) == {}


async def test_more_parts_and_writes_than_lua_takes_at_once(redis: RedisBackend) -> None:
    parts = {f"part {number}": b"%d" % number for number in range(9000)}
    writes = [write(f"task {number:04}", 0) for number in range(9000)]
    await redis.put(with_parts(new("a"), parts))
    await redis.put(new("b", *parts))
    await redis.put_writes("t", "b", writes)
    assert await redis.delete_checkpoint("t", "a")
    [found] = await redis.get_complete("t")
    assert found.parts == parts
    assert list(found.writes) == writes
    await redis.put(new("b"))
    with pytest.raises(MissingPartsError):
        await redis.put(new("c", "part 8999"))


async def test_more_checkpoints_than_one_script_returns_come_back_in_order(
    redis: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_history, "BATCH", 2)
    for number in range(5):
        await redis.put(with_parts(new(str(number)), {"shared": b"1"}))
    found = await redis.get_complete("t", list("40213"))
    assert [(each.summary.checkpoint_id, each.parts) for each in found] == [(n, {"shared": b"1"}) for n in "40213"]


@one_server
async def test_a_part_that_several_checkpoints_need_is_sent_once(redis: RedisBackend, server: RedisServer) -> None:
    await redis.put(new("0", large=b"x" * 100_000))
    for number in range(1, 50):
        await redis.put(new(str(number), "large"))
    with server.client() as client:
        before = client.info("stats")["total_net_output_bytes"]
        assert len(await redis.get_complete("t", [str(number) for number in range(50)])) == 50
        assert client.info("stats")["total_net_output_bytes"] - before < 150_000


@one_server
async def test_each_call_is_one_script_and_one_without_parts_looks_at_none(
    redis: RedisBackend, server: RedisServer
) -> None:
    async def commands(call: Any) -> dict[str, int]:
        with server.client() as client:
            client.config_resetstat()
            await call
            stats = client.info("commandstats")
        ignored = ("cmdstat_config", "cmdstat_client", "cmdstat_hello", "cmdstat_info", "cmdstat_auth")
        return {name[8:]: value["calls"] for name, value in stats.items() if not name.startswith(ignored)}

    for name in "ab":  # so that the scripts are known
        await redis.put(new(name, thread_id=name, x=b"1"))
        await redis.put(new(f"{name}2", thread_id=name))
        await redis.put_writes(name, "2", [write("task", 0)])
        await redis.get_complete(name)
    assert (await commands(redis.put(new("c", "x", y=b"1", thread_id="a"))))["evalsha"] == 1
    assert (await commands(redis.put_writes("a", "c", [write("task", 1)])))["evalsha"] == 1
    assert (await commands(redis.get_complete("a")))["evalsha"] == 1
    plain = await commands(redis.put(NewCheckpoint("a", "d", b"", {})))
    assert plain == {"evalsha": 1, "zrange": 1, "time": 1, "hset": 1, "zadd": 1, "zscore": 1}


async def test_pending_writes_postpone_the_expiry_of_the_whole_thread(
    connect: Open, server: RedisServer | RedisGroup, redis_prefix: str
) -> None:
    short, long = connect(ttl_seconds=60), connect(ttl_seconds=3600)
    await short.put(new("a", x=b"1"))
    await short.put(new("a", namespace="sub", x=b"1"))
    await long.put_writes("t", "b", [write("task", 0)], namespace="other")
    left = [left for key, left in server.expiries(redis_prefix).items() if "i:" not in key]
    assert len(left) == 6
    assert min(left) > 60


async def test_loading_completely_postpones_the_expiry_where_loading_does(
    connect: Open, server: RedisServer | RedisGroup, redis_prefix: str
) -> None:
    short = connect(ttl_seconds=60)
    long = connect(ttl_seconds=3600, refresh_ttl_on_read=True)
    await short.put(new("a", x=b"1"))
    assert await long.get_complete("t", ["nobody"]) == []
    assert {left > 60 for key, left in server.expiries(redis_prefix).items() if "i:" not in key} == {False}
    assert len(await long.get_complete("t")) == 1
    assert {left > 60 for key, left in server.expiries(redis_prefix).items() if "i:" not in key} == {True}


async def test_an_expired_thread_leaves_no_part_and_no_write(
    connect: Open, server: RedisServer | RedisGroup, redis_prefix: str
) -> None:
    short, lasting = connect(ttl_seconds=1), connect()
    await short.put(new("a", x=b"1"))
    await short.put_writes("t", "a", [write("task", 0)])
    await short.put_writes("alone", "a", [write("task", 0)])
    async with asyncio.timeout(10):
        while any("i:" not in key for key in server.expiries(redis_prefix)):  # noqa: ASYNC110 - the server's clock raises no event
            await asyncio.sleep(0.05)
    # Whoever comes next finds an index that still mentions the thread, but does not take it for living.
    await lasting.put_writes("t", "a", [write("later", 0)])
    assert await lasting.list_threads(10) == []
    assert await lasting.get_complete("t", ["a"]) == []
    assert await lasting.get_writes("t", "a") == [write("later", 0)]
    with pytest.raises(MissingPartsError):
        await lasting.put(new("b", "x"))
