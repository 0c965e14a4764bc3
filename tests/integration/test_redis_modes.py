"""What is particular to Redis below Sentinels and to a Cluster: logins, redirections, copies between slots."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis.crc import key_slot

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import redis_copy
from locus_memory.backends.redis import redis_checkpointer
from locus_memory.backends.redis_keys import APPLICATION_COMMANDS, CONNECTION_COMMANDS, TOPOLOGY_COMMANDS, KeySpaces
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    CheckpointConflictError,
    CheckpointError,
    MissingPartsError,
)
from locus_memory.retry import RetryPolicy
from locus_memory.testing.history import new, write
from tests.servers.redis_cluster import RedisCluster
from tests.servers.redis_group import Member, RedisGroup
from tests.servers.redis_sentinel import RedisSentinels

THREADS = [f"thread-{number}" for number in range(40)]


@pytest.fixture(params=["redis_cluster", "redis_sentinels"])
def group(request: pytest.FixtureRequest) -> RedisGroup:
    found: RedisGroup = request.getfixturevalue(request.param)
    return found


def space_of(prefix: str, thread: str) -> str:
    return KeySpaces(prefix, clustered=True).of(thread).prefix


def owner(cluster: RedisCluster, prefix: str, thread: str) -> Member:
    return cluster.owner(key_slot(space_of(prefix, thread).encode()))


async def fill(checkpointer: StorageBackendAdapter) -> None:
    await asyncio.gather(
        *(checkpointer.save({"in": name}, name, f"c-{name}", {"tag": "x"}) for name in THREADS),
    )


async def check_all(checkpointer: StorageBackendAdapter) -> None:
    assert await asyncio.gather(*map(checkpointer.load, THREADS)) == [{"in": name} for name in THREADS]
    assert await checkpointer.list_threads() == sorted(THREADS)
    assert [found["thread_id"] for found in await checkpointer.list_with_metadata(7)] == sorted(THREADS)[:7]
    found = await checkpointer.query_by_metadata("tag", "x")
    assert sorted(each["thread_id"] for each in found) == sorted(THREADS)
    assert [each["created_at"] for each in found] == sorted((each["created_at"] for each in found), reverse=True)


async def test_scripts_that_the_servers_have_forgotten_are_sent_again(group: RedisGroup, redis_prefix: str) -> None:
    async with redis_checkpointer(group.url(), key_prefix=redis_prefix) as checkpointer:
        for _ in range(2):
            await fill(checkpointer)
            for server in group.servers:
                server.send("SCRIPT", "FLUSH")
            await check_all(checkpointer)


async def test_the_documented_rights_suffice_for_every_call(group: RedisGroup, redis_prefix: str) -> None:
    user = f"agent-{secrets.token_hex(4)}"
    commands = (*APPLICATION_COMMANDS, *CONNECTION_COMMANDS, *TOPOLOGY_COMMANDS)
    keys = (f"~{redis_prefix}t:*", f"~{redis_prefix}i:*")
    for server in group.servers:
        server.send("ACL", "SETUSER", user, "on", ">pw", *keys, "-@all", *(f"+{command}" for command in commands))
    url = group.url(sentinel_password=group.password) if isinstance(group, RedisSentinels) else group.url()
    url = f"{url.partition('//')[0]}//{user}:pw@{url.rpartition('@')[2]}"
    replicas = 1 if isinstance(group, RedisSentinels) else 0
    async with redis_checkpointer(url, key_prefix=redis_prefix, ttl_seconds=60, wait_replicas=replicas) as limited:
        await fill(limited)
        await check_all(limited)
        for name in THREADS:
            await limited.storage.put(new(f"c-{name}", "x", "y", thread_id=name, x=b"1", y=b"2"))
            await limited.storage.put_writes(name, f"c-{name}", [write("task", -1), write("task", 0)])
            assert len((await limited.storage.get_complete(name))[0].writes) == 2
            assert len(await limited.storage.get_writes(name, f"c-{name}")) == 2
            assert await limited.copy_thread(name, f"copy of {name}")
            assert await limited.delete(name, f"c-{name}")
        assert await limited.vacuum(0) == len(THREADS)
    async with redis_checkpointer(url, key_prefix=f"not-{redis_prefix}", wait_replicas=replicas) as foreign:
        with pytest.raises(AuthenticationError, match="lacks a privilege"):
            await foreign.save({}, "t")


# --- Sentinels ---


@pytest.fixture(scope="module")
def open_sentinels() -> Iterator[RedisSentinels]:
    """Sentinels that have no logins, below servers that have."""
    with RedisSentinels(sentinel_password="") as sentinels:
        yield sentinels


async def test_sentinels_without_logins_are_asked_without(open_sentinels: RedisSentinels, redis_prefix: str) -> None:
    primary = open_sentinels.primary
    primary.send("ACL", "SETUSER", "agent", "on", ">pw", "~*", "+@all")
    _, scheme, rest = open_sentinels.url().partition("redis+sentinel://")
    url = f"{scheme}agent:pw@{rest.rpartition('@')[2]}"
    async with redis_checkpointer(url, key_prefix=redis_prefix) as checkpointer:
        await checkpointer.save({"n": 1}, "t")
        assert await checkpointer.load("t") == {"n": 1}


async def test_a_wrong_password_for_the_sentinels_is_said_to_be_one(redis_sentinels: RedisSentinels) -> None:
    async with redis_checkpointer(redis_sentinels.url(sentinel_password="wrong")) as checkpointer:
        with pytest.raises(AuthenticationError, match="Redis Sentinel at"):
            await checkpointer.load("t")


async def test_an_unknown_primary_is_said_to_be_one(redis_sentinels: RedisSentinels) -> None:
    url = redis_sentinels.url().replace("master_name=main", "master_name=other")
    async with redis_checkpointer(url) as checkpointer:
        with pytest.raises(CheckpointError, match="no primary named 'other'") as caught:
            await checkpointer.load("t")
    assert not caught.value.retryable


async def test_the_primary_is_found_as_long_as_one_sentinel_lives_and_used_when_none_does(redis_prefix: str) -> None:
    with RedisSentinels() as group:
        retry = RetryPolicy(deadline=1)
        async with redis_checkpointer(group.url(), key_prefix=redis_prefix, retry=retry) as connected:
            for sentinel in group.sentinels[:2]:
                sentinel.kill()
            await connected.save({"n": 1}, "t")
            group.sentinels[2].kill()
            assert await connected.load("t") == {"n": 1}
            async with redis_checkpointer(group.url(), key_prefix=redis_prefix, retry=retry) as another:
                with pytest.raises(BackendUnavailableError, match="Redis Sentinel at"):
                    await another.load("t")


def test_sentinels_need_the_name_of_the_primary() -> None:
    with pytest.raises(BindingError, match="master_name"):
        redis_checkpointer("redis+sentinel://localhost")


# --- Cluster ---


@pytest.mark.parametrize("changes", [{"url": "redis+cluster://localhost/1"}, {"key_prefix": "a{}b:"}])
def test_what_a_cluster_cannot_do_is_refused_at_once(changes: dict[str, Any]) -> None:
    with pytest.raises(BindingError):
        redis_checkpointer(**{"url": "redis+cluster://localhost", **changes})


async def test_a_cluster_is_not_taken_for_one_server(redis_cluster: RedisCluster, redis_prefix: str) -> None:
    async with redis_checkpointer(redis_cluster.servers[0].url(), key_prefix=redis_prefix) as checkpointer:
        with pytest.raises(CheckpointError, match=r"redis\+cluster://"):
            await fill(checkpointer)


async def test_threads_are_spread_over_all_primaries(redis_cluster: RedisCluster, redis_prefix: str) -> None:
    async with redis_checkpointer(redis_cluster.url(), key_prefix=redis_prefix) as checkpointer:
        await fill(checkpointer)
    shares = [len(server.expiries(redis_prefix)) for server in redis_cluster.primaries]
    assert min(shares) > sum(shares) // 10


@pytest.mark.parametrize("prefix", ["{one slot}:", "a{b:", "}{", "{", "ä{ö"])
async def test_braces_in_the_prefix_keep_a_thread_in_one_slot(redis_cluster: RedisCluster, prefix: str) -> None:
    prefix = f"{secrets.token_hex(3)}{prefix}"
    async with redis_checkpointer(redis_cluster.url(), key_prefix=prefix) as checkpointer:
        await fill(checkpointer)
        await check_all(checkpointer)
        assert await checkpointer.copy_thread(THREADS[0], "copy")


async def test_redirections_are_followed_when_slots_have_moved(redis_cluster: RedisCluster, redis_prefix: str) -> None:
    async with redis_checkpointer(redis_cluster.url(), key_prefix=redis_prefix) as checkpointer:
        await fill(checkpointer)
        source = owner(redis_cluster, redis_prefix, THREADS[0])
        target = next(each for each in redis_cluster.primaries if each is not source)
        slots = {key_slot(space_of(redis_prefix, name).encode()) for name in THREADS}
        mine = [slot for slot in slots if redis_cluster.owner(slot) is source]
        for slot in mine:
            redis_cluster.begin_move(slot, source, target)
            while redis_cluster.move_keys(slot, source, target, 10):
                pass
            redis_cluster.end_move(slot, source, target)
        await check_all(checkpointer)
        await fill(checkpointer)
        await check_all(checkpointer)


@pytest.fixture
def two_slots(redis_prefix: str) -> tuple[str, str]:
    """Two threads that no script reaches both of."""
    first = space_of(redis_prefix, THREADS[0])
    return THREADS[0], next(name for name in THREADS if space_of(redis_prefix, name) != first)


async def test_a_copy_to_another_slot_has_everything_and_leaves_nothing_else(
    redis_cluster: RedisCluster, redis_prefix: str, two_slots: tuple[str, str]
) -> None:
    source, dest = two_slots
    async with redis_checkpointer(redis_cluster.url(), key_prefix=redis_prefix) as checkpointer:
        for number in range(250):
            await checkpointer.save(
                {"n": number, "text": secrets.token_hex(20_000)}, source, f"c{number}", {"n": number}
            )
        assert await checkpointer.copy_thread(source, dest)
        names = await checkpointer.list_checkpoints(source, 1000)
        assert await checkpointer.list_checkpoints(dest, 1000) == names
        for name in names:
            assert await checkpointer.load(dest, name) == await checkpointer.load(source, name)
        assert {each["thread_id"] for each in await checkpointer.query_by_metadata("n", 7)} == {source, dest}
        assert (
            min(redis_cluster.expiries(redis_prefix).values())
            == -1
            == max(redis_cluster.expiries(redis_prefix).values())
        )
        with pytest.raises(CheckpointConflictError):
            await checkpointer.copy_thread(source, dest)
        assert await checkpointer.delete(source)
        assert await checkpointer.delete(dest)
    assert redis_cluster.expiries(redis_prefix) == {}


@pytest.mark.parametrize("change", ["replaced", "deleted", "appended"])
async def test_a_copy_to_another_slot_is_what_the_thread_was_at_one_moment(
    redis_cluster: RedisCluster,
    redis_prefix: str,
    two_slots: tuple[str, str],
    change: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, dest = two_slots
    async with redis_checkpointer(redis_cluster.url(), key_prefix=redis_prefix) as checkpointer:
        for number in range(3):
            await checkpointer.save({"n": number}, source, f"c{number}")
        read, tries = redis_copy.CrossSlotCopy._read, 0

        async def read_after_a_change(copy: redis_copy.CrossSlotCopy, portion: list[Any]) -> list[bytes]:
            nonlocal tries
            tries += 1
            if tries == 1:
                if change == "replaced":
                    await checkpointer.save({"n": "new"}, source, "c0")
                elif change == "deleted":
                    await checkpointer.delete(source, "c0")
                else:
                    await checkpointer.save({"n": 3}, source, "c3")
            return await read(copy, portion)

        monkeypatch.setattr(redis_copy.CrossSlotCopy, "_read", read_after_a_change)
        assert await checkpointer.copy_thread(source, dest)
        expected = {"replaced": ["c0", "c2", "c1"], "deleted": ["c2", "c1"], "appended": ["c2", "c1", "c0"]}
        assert await checkpointer.list_checkpoints(dest) == expected[change]
        assert tries == (1 if change == "appended" else 2)
        assert (await checkpointer.load(dest, "c0") == {"n": "new"}) == (change == "replaced")


async def test_a_copy_to_another_slot_has_parts_and_writes_and_knows_when_parts_are_needed_no_more(
    redis_cluster: RedisCluster, redis_prefix: str, two_slots: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, dest = two_slots
    monkeypatch.setattr(redis_copy, "_PORTION_FIELDS", 5)
    async with redis_checkpointer(redis_cluster.url(), key_prefix=redis_prefix) as checkpointer:
        storage = checkpointer.storage
        ids = [f"c{number}" for number in range(8)]
        for namespace in ("", "sub"):
            for name in ids:
                parts = {name: name.encode(), f"{name}|": b"x" * 1000}
                shared = ("c0",) if name != "c0" else ()
                await storage.put(new(name, *shared, thread_id=source, namespace=namespace, **parts))
                writes = [write(task, index, name.encode()) for task in ("é|", "2") for index in (0, -1, 1)]
                await storage.put_writes(source, name, writes, namespace=namespace)
        assert await checkpointer.copy_thread(source, dest)
        for namespace in ("", "sub"):
            original = await storage.get_complete(source, ids, namespace=namespace)
            copied = await storage.get_complete(dest, ids, namespace=namespace)
            assert [replace(each, summary=replace(each.summary, thread_id=source)) for each in copied] == original
            assert [(each.parts, each.writes) for each in copied] == [(each.parts, each.writes) for each in original]
            for name in ids[:-1]:
                await storage.delete_checkpoint(dest, name, namespace=namespace)
            with pytest.raises(MissingPartsError):
                await storage.put(new("d", "c1", thread_id=dest, namespace=namespace))
            await storage.put(new("d", "c0", thread_id=dest, namespace=namespace))
            assert await storage.delete_checkpoint(dest, "d", namespace=namespace)
            assert (await storage.get_complete(dest, namespace=namespace))[0].parts == original[-1].parts
        assert set(redis_cluster.expiries(redis_prefix).values()) == {-1}
        for name in ids:
            for namespace in ("", "sub"):
                await storage.delete_checkpoint(dest, name, namespace=namespace)
        assert await checkpointer.delete(source)
    assert redis_cluster.expiries(redis_prefix) == {}


@pytest.mark.parametrize("index", [-1, 1])
async def test_a_copy_to_another_slot_has_the_writes_of_one_moment(
    redis_cluster: RedisCluster,
    redis_prefix: str,
    two_slots: tuple[str, str],
    index: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, dest = two_slots
    async with redis_checkpointer(redis_cluster.url(), key_prefix=redis_prefix) as checkpointer:
        storage = checkpointer.storage
        before, after = write("task", -1, b"before"), write("task", index, b"after")
        await storage.put(new("a", thread_id=source))
        await storage.put_writes(source, "a", [before])
        read, tries = redis_copy.CrossSlotCopy._read, 0

        async def read_after_a_write(copy: redis_copy.CrossSlotCopy, portion: list[Any]) -> list[bytes]:
            nonlocal tries
            tries += 1
            await storage.put_writes(source, "a", [after])
            return await read(copy, portion)

        monkeypatch.setattr(redis_copy.CrossSlotCopy, "_read", read_after_a_write)
        assert await checkpointer.copy_thread(source, dest)
        # What was replaced makes it begin anew; what was added does not matter.
        assert await storage.get_writes(dest, "a") == ([after] if index < 0 else [before])
        assert tries == (2 if index < 0 else 1)
