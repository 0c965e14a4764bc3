"""What a plain user of the library left on Redis, taken over by the operator; and long-term memory, in every mode."""

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends.redis import redis_checkpointer
from locus_memory.connection import RedisConnection
from locus_memory.errors import BindingError
from locus_memory.opening import open_store
from locus_memory.store_backends.redis import RedisStore
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from tests.integration.operator.kinds import REDIS_GROUPS
from tests.integration.operator.redis_groups import redis_group_backend
from tests.integration.operator.redis_retention import HOUR, Kept, dated
from tests.integration.operator.stores import redis_backend


@pytest.fixture(params=["redis_server", *REDIS_GROUPS])
def kept(request: pytest.FixtureRequest) -> Kept:
    servers = request.getfixturevalue(request.param)
    servers.reset()
    make = redis_group_backend if request.param in REDIS_GROUPS else redis_backend
    return Kept(make(servers), servers)


def url(kept: Kept) -> str:
    return kept.servers.url()


async def test_the_librarys_own_prefix_is_adopted_with_its_data_and_beside_other_stores(kept: Kept) -> None:
    neighbour = kept.store.sibling()
    await neighbour.reconcile()
    async with redis_checkpointer(url(kept)) as before:  # `locus:`, as the library has it
        for number in range(10):
            await before.save({"n": number}, f"thread-{number}", metadata={"n": number})
    store = kept.store
    store.backend = {"redis": {**store.backend["redis"], "keyPrefix": "locus:"}}
    with pytest.raises(RefusedError, match=r"'locus:' holds data that belongs to no store.*adopt") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    store.adopt = True
    await store.reconcile()
    store.adopt = False
    assert not (await store.reconcile()).plan
    assert not (await neighbour.reconcile()).plan
    await neighbour.sibling().reconcile()  # nor does it lock out those to come
    async with store.checkpointer() as agent:
        assert len(await agent.list_threads()) == 10
        assert await agent.load("thread-7") == {"n": 7}
        assert await agent.query_by_metadata("n", 3)
    await store.release("Delete")
    assert not (await neighbour.reconcile()).plan


async def test_the_policy_holds_for_what_was_adopted(kept: Kept) -> None:
    async with redis_checkpointer(url(kept), key_prefix="app:") as before:
        assert isinstance(before, StorageBackendAdapter)
        await before.storage.put(dated("c", HOUR + 5, thread="old"))
        await before.storage.put(dated("c", HOUR - 60, thread="young"))
    kept.store.adopt = True
    kept.store.backend = {"redis": {**kept.store.backend["redis"], "keyPrefix": "app:"}}
    kept.store.spec = {"retention": {"maxAge": "1h"}}
    await kept.store.reconcile()
    assert await kept.sweep() == 1
    async with kept.store.checkpointer() as agent:
        assert await agent.list_threads() == ["young"]


async def test_long_term_memory_alone_is_data_too(kept: Kept) -> None:
    async with RedisStore(url(kept), key_prefix="app:") as before:
        await before.put(("user",), "fact", {"likes": "roses"})
    store = kept.store
    store.backend = {"redis": {**store.backend["redis"], "keyPrefix": "app:"}}
    store.spec = {"longTermMemory": {"enabled": True}}
    with pytest.raises(RefusedError, match="holds data that belongs to no store"):
        await store.reconcile()
    store.adopt = True
    await store.reconcile()
    async with open_store(store) as memory:
        assert (await memory.get(("user",), "fact")) is not None


async def test_long_term_memory_is_used_with_the_issued_login_and_cannot_be_read_by_a_sibling(kept: Kept) -> None:
    store, sibling = kept.store, kept.store.sibling()
    store.spec = {"longTermMemory": {"enabled": True, "embeddingDimension": 3}}
    done = await store.reconcile()
    await sibling.reconcile()
    assert (done.claims.long_term_memory or "").endswith("i:s:*")
    document = store.connection()
    assert document.long_term_memory is not None
    assert document.long_term_memory.embedding_dimension == 3
    async with open_store(store) as memory:
        await memory.put_with_embedding(("user",), "fact", {"likes": "roses"}, [1.0, 0.0, 0.0])
        await memory.put_with_embedding(("user",), "other", {"likes": "tulips"}, [0.0, 1.0, 0.0], ttl_seconds=600)
        found = await memory.search_by_embedding(("user",), [1.0, 0.1, 0.0], limit=1)
        assert [each.item.key for each in found] == ["fact"]
        assert await memory.delete(("user",), "other")
    keys = kept.expiries("i:s:data")
    assert keys
    login = sibling.connection()
    assert isinstance(login, RedisConnection)
    assert login.password is not None
    servers = getattr(kept.servers, "primaries", [kept.servers])
    for server in servers:
        with Redis.from_url(server.url(login.username, login.password.get_secret_value())) as client:
            for key in keys:
                with pytest.raises(NoPermissionError):
                    client.hgetall(key)


async def test_without_long_term_memory_the_binding_says_that_there_is_none(kept: Kept) -> None:
    done = await kept.store.reconcile()
    assert done.claims.long_term_memory is None
    with pytest.raises(BindingError, match="longTermMemory"):
        open_store(kept.store)
