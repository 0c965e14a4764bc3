"""A primary goes away for good under a saving agent, and one of its replicas takes over."""

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from locus_memory.backends import redis_discovery
from locus_memory.backends.redis_keys import KeySpaces
from locus_memory.binding import URLBinding
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.opening import open_checkpointer
from tests.chaos.journal import SavingAgent
from tests.servers.redis_cluster import RedisCluster
from tests.servers.redis_group import Member
from tests.servers.redis_sentinel import RedisSentinels
from tests.servers.report import ServerReport

THREAD = "conversation"
SLOT = key_slot(KeySpaces("locus:", clustered=True).of(THREAD).prefix.encode())


def open_at(url: str) -> BaseCheckpointer:
    return open_checkpointer(URLBinding(url))


def check(saver: SavingAgent, url: str) -> None:
    async def run() -> None:
        async with open_at(url) as checkpointer:
            await saver.check(checkpointer)

    asyncio.run(run())


@pytest.fixture(scope="module")
def fragile_cluster(server_report: ServerReport) -> Iterator[RedisCluster]:
    """Two replicas for each primary: one can take over while the other one still makes a copy."""
    with RedisCluster(replicas=2, patience=1000) as cluster:
        server_report.started("fragile_cluster", cluster.product, cluster.version)
        yield cluster


@pytest.fixture(scope="module")
def fragile_sentinels(server_report: ServerReport) -> Iterator[RedisSentinels]:
    """Two replicas, as above."""
    with RedisSentinels(replicas=2, patience=1000) as sentinels:
        server_report.started("fragile_sentinels", sentinels.product, sentinels.version)
        yield sentinels


@pytest.fixture
def saver(tmp_path: Path, url: str) -> SavingAgent:
    return SavingAgent(tmp_path, url, thread=THREAD)


class Failovers:
    """The scenarios. Subclasses provide the fixtures ``group`` and ``url``, and `primary`."""

    def primary(self, group: RedisCluster | RedisSentinels) -> Member:
        """The server that has the thread."""
        raise NotImplementedError

    def wait_until_replaced(self, group: RedisCluster | RedisSentinels, old: Member) -> None:
        group.wait_until(lambda: self.primary(group) is not old, "a replica takes over")

    def test_a_killed_primary_is_replaced_and_nothing_acknowledged_is_lost(
        self, group: RedisCluster | RedisSentinels, url: str, saver: SavingAgent
    ) -> None:
        old = self.primary(group)
        with saver.running() as process:
            saver.wait_for_saves(20, process)
            old.kill()
            saver.wait_for_saves(20, process)
            assert self.primary(group) is not old
            # It comes back as a primary, and must not be taken for one.
            old.start()
            saver.wait_for_saves(200, process)
        assert saver.outages == []
        check(saver, url)

    def test_a_paused_primary_is_replaced_within_the_deadline_of_a_call(
        self, group: RedisCluster | RedisSentinels, url: str, saver: SavingAgent
    ) -> None:
        old = self.primary(group)
        with saver.running() as process:
            saver.wait_for_saves(20, process)
            old.pause()
            try:
                saver.wait_for_saves(20, process)
                assert self.primary(group) is not old
            finally:
                old.resume()
            saver.wait_for_saves(200, process)
        assert saver.outages == []
        check(saver, url)

    def test_handing_over_in_an_orderly_way_fails_no_call(
        self, group: RedisCluster | RedisSentinels, tmp_path: Path
    ) -> None:
        # Any of them may be chosen, so that each must have what is acknowledged.
        url = group.url(wait_replicas="2")
        saver = SavingAgent(tmp_path, url, thread=THREAD)
        with saver.running() as process:
            saver.wait_for_saves(20, process)
            group.promote(self.primary(group))
            saver.wait_for_saves(50, process)
        assert saver.outages == []
        check(saver, url)


class TestClusterFailover(Failovers):
    @pytest.fixture
    def group(self, fragile_cluster: RedisCluster) -> RedisCluster:
        fragile_cluster.settle()
        fragile_cluster.reset()
        return fragile_cluster

    @pytest.fixture
    def url(self, group: RedisCluster) -> str:
        return group.url(wait_replicas="1")

    def primary(self, group: RedisCluster | RedisSentinels) -> Member:
        assert isinstance(group, RedisCluster)
        return group.owner(SLOT)

    def test_a_slot_that_is_moved_is_refused_while_it_is_in_two_places_and_loses_nothing(
        self, group: RedisCluster, url: str, tmp_path: Path
    ) -> None:
        saver = SavingAgent(tmp_path, url, thread=THREAD, deadline=1)
        source = group.owner(SLOT)
        target = next(each for each in group.primaries if each is not source)
        with saver.running() as process:
            saver.wait_for_saves(20, process)
            group.begin_move(SLOT, source, target)
            assert group.move_keys(SLOT, source, target, 1) == 1
            saver.wait_for_outages(2)
            while group.move_keys(SLOT, source, target, 10):
                pass
            group.end_move(SLOT, source, target)
            saver.wait_for_saves(20, process)
        assert group.owner(SLOT) is target
        check(saver, url)


class TestSentinelFailover(Failovers):
    @pytest.fixture
    def group(self, fragile_sentinels: RedisSentinels) -> RedisSentinels:
        fragile_sentinels.settle()
        fragile_sentinels.reset()
        return fragile_sentinels

    @pytest.fixture
    def url(self, group: RedisSentinels) -> str:
        return group.url(wait_replicas="1")

    def primary(self, group: RedisCluster | RedisSentinels) -> Member:
        assert isinstance(group, RedisSentinels)
        return group.primary

    async def test_an_idle_connection_is_not_made_anew_to_a_primary_that_was_replaced(
        self, group: RedisSentinels, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Asking the Sentinels every now and then is the other protection, which is to be no help here.
        monkeypatch.setattr(redis_discovery, "_TRUSTED_SECONDS", math.inf)
        old = group.primary
        async with open_at(url) as checkpointer:
            await checkpointer.save({"n": 1}, THREAD)
            await asyncio.to_thread(old.kill)
            await asyncio.to_thread(self.wait_until_replaced, group, old)
            async with open_at(url) as another:
                await another.save({"n": 2}, THREAD)
            await asyncio.to_thread(old.start)
            assert await asyncio.to_thread(old.role) == "master", "it was told already what it is now"
            assert await checkpointer.load(THREAD) == {"n": 2}

    async def test_a_primary_that_was_replaced_while_it_lives_is_left_before_it_knows(
        self, group: RedisSentinels, url: str
    ) -> None:
        old = group.primary
        async with open_at(url) as checkpointer, open_at(url) as another:
            await checkpointer.save({"n": 1}, THREAD)
            await asyncio.to_thread(group.promote, old, coordinated=False)
            await another.save({"n": 2}, THREAD)
            async with asyncio.timeout(5):
                while await checkpointer.load(THREAD) != {"n": 2}:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.05)
            assert await asyncio.to_thread(old.role) == "master", "it was told already what it is now"
