"""The contract, on Valkey and, over TLS, on Debian's Redis."""

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest

from locus_memory.backends import redis_checkpointer
from locus_memory.checkpointer import BaseCheckpointer, CheckpointerCapabilities
from locus_memory.testing import StorageBackendContract
from locus_memory.testing.base import Reopen
from locus_memory.testing.history import HistoryTests
from tests.servers.redis import RedisServer, TLSRedisServer
from tests.servers.redis_group import RedisGroup


class TestRedisCheckpointer(HistoryTests, StorageBackendContract):
    """A prefix for each test, on one server."""

    capabilities = CheckpointerCapabilities(
        metadata_query=True,
        vacuum=True,
        branching=True,
        list_threads=True,
        list_with_metadata=True,
        persistent_checkpoint_ids=True,
    )

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer | RedisGroup:
        return redis_server

    @pytest.fixture
    def reopen(self, server: RedisServer | RedisGroup, redis_prefix: str) -> Reopen:
        return lambda: redis_checkpointer(url=server.url(), key_prefix=redis_prefix)

    @pytest.fixture
    def checkpointer(self, reopen: Reopen) -> BaseCheckpointer:
        return reopen()

    @pytest.fixture
    def factory(self) -> Callable[..., BaseCheckpointer]:
        return redis_checkpointer

    @pytest.fixture
    def secrets(self, server: RedisServer | RedisGroup) -> Sequence[str]:
        return (server.password,)

    async def test_deleting_every_thread_leaves_no_key(
        self, checkpointer: BaseCheckpointer, server: RedisServer | RedisGroup, redis_prefix: str
    ) -> None:
        for thread_id in ("a", "b"):
            for checkpoint_id in ("1", "2"):
                await checkpointer.save({}, thread_id, checkpoint_id, {"tags": ["x", checkpoint_id]})
        assert await checkpointer.delete("a")
        assert await checkpointer.delete("b", "1")
        assert await checkpointer.delete("b", "2")
        assert server.expiries(redis_prefix) == {}


class TestRedisCheckpointerWithTTL(TestRedisCheckpointer):
    """The same, with threads that will expire."""

    capabilities: ClassVar[CheckpointerCapabilities] = CheckpointerCapabilities(
        metadata_query=True,
        vacuum=True,
        branching=True,
        ttl=True,
        list_threads=True,
        list_with_metadata=True,
        persistent_checkpoint_ids=True,
    )

    @pytest.fixture
    def reopen(self, server: RedisServer | RedisGroup, redis_prefix: str) -> Reopen:
        return lambda: redis_checkpointer(url=server.url(), key_prefix=redis_prefix, ttl_seconds=3600)

    async def test_an_expired_thread_is_gone_from_everywhere(
        self, server: RedisServer | RedisGroup, redis_prefix: str
    ) -> None:
        async with (
            redis_checkpointer(url=server.url(), key_prefix=redis_prefix, ttl_seconds=1) as short,
            redis_checkpointer(url=server.url(), key_prefix=redis_prefix) as lasting,
        ):
            await lasting.save({}, "stays", metadata={"tag": "x"})
            await short.save({}, "goes", "a", {"tag": "x"})
            await short.save({}, "goes", "b", {"tag": "x"})
            await _until_gone(lasting, "goes")
            assert await lasting.load("goes", "a") is None
            assert await lasting.list_checkpoints("goes") == []
            assert await lasting.list_threads() == ["stays"]
            assert [found["thread_id"] for found in await lasting.list_with_metadata()] == ["stays"]
            assert [found["thread_id"] for found in await lasting.query_by_metadata("tag", "x")] == ["stays"]
            assert await lasting.delete("stays")
        assert server.expiries(redis_prefix) == {}

    async def test_each_save_postpones_the_expiry_of_the_whole_thread(
        self, checkpointer: BaseCheckpointer, server: RedisServer | RedisGroup, redis_prefix: str
    ) -> None:
        async with redis_checkpointer(url=server.url(), key_prefix=redis_prefix, ttl_seconds=60) as short:
            await short.save({}, "t", "a")
        await checkpointer.save({}, "t", "b")
        remaining = [left for key, left in server.expiries(redis_prefix).items() if key.endswith(("order:", "data:"))]
        assert len(remaining) == 2
        assert min(remaining) > 60


class TestRedisCheckpointerOverTLS(TestRedisCheckpointer):
    """The server's certificate is verified."""

    @pytest.fixture
    def server(self, tls_redis_server: TLSRedisServer) -> TLSRedisServer:
        return tls_redis_server

    @pytest.fixture
    def reopen(self, server: TLSRedisServer, redis_prefix: str) -> Reopen:
        # Its address and login, but not its parameters: those are redis-py's, and ours take the certificate itself.
        url, authority = server.url().partition("?")[0], server.ca_file.read_text()
        return lambda: redis_checkpointer(url=url, key_prefix=redis_prefix, ca=authority)


async def _until_gone(checkpointer: BaseCheckpointer, thread_id: str) -> None:
    async with asyncio.timeout(10):
        while await checkpointer.exists(thread_id):  # noqa: ASYNC110 - the server's clock raises no event
            await asyncio.sleep(0.05)
