"""How a store is called, when items expire, what another process finds, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from locus_memory.errors import InvalidArgumentError
from locus_memory.store import BaseStore
from locus_memory.testing.store_base import NAMESPACE, OTHER, ReopenStore, StoreFixtures, all_need, needs


@all_need("ttl")
class ExpiryTests(StoreFixtures):
    """`ttl_seconds`."""

    async def test_an_expired_item_is_gone_from_everywhere(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "goes", "word", ttl_seconds=0.3)
        await store.put(NAMESPACE, "stays", "word")
        await store.put(OTHER, "goes", "word", ttl_seconds=0.3)
        await _until_gone(store, OTHER, "goes")
        await _until_gone(store, NAMESPACE, "goes")
        assert await store.get(NAMESPACE, "goes") is None
        assert await store.get_batch([(NAMESPACE, "goes"), (NAMESPACE, "stays")]) == {(NAMESPACE, "stays"): "word"}
        assert await store.list(NAMESPACE) == ["stays"]
        assert [item.key for item in await store.search(NAMESPACE)] == ["stays"]
        assert [item.key for item in await store.search(NAMESPACE, "word")] == ["stays"]
        assert await store.list_namespaces() == [NAMESPACE]
        assert await store.delete(NAMESPACE, "goes") is False
        assert await store.clear_namespace(OTHER) == 0
        assert await store.clear_namespace(NAMESPACE) == 1

    @needs("semantic_search")
    async def test_an_expired_item_is_not_found_by_its_embedding(self, store: BaseStore) -> None:
        await store.put_with_embedding(NAMESPACE, "goes", "word", [1.0, 0.0, 0.0], ttl_seconds=0.2)
        await store.put_with_embedding(NAMESPACE, "stays", "word", [1.0, 0.0, 0.0])
        await _until_gone(store, NAMESPACE, "goes")
        found = await store.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0], 1)
        assert [result.item.key for result in found] == ["stays"]

    async def test_an_item_that_comes_after_an_expired_one_is_new(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "k", 1, ttl_seconds=0.2)
        old = await store.get_item(NAMESPACE, "k")
        await _until_gone(store, NAMESPACE, "k")
        await store.put(NAMESPACE, "k", 2)
        new = await store.get_item(NAMESPACE, "k")
        assert old is not None
        assert new is not None
        assert (new.version, new.expires_at) == (1, None)
        assert new.created_at > old.created_at

    async def test_an_item_tells_when_it_expires(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "k", 1, ttl_seconds=3600)
        item = await store.get_item(NAMESPACE, "k")
        assert item is not None
        assert item.expires_at is not None
        assert abs(item.expires_at - item.updated_at - timedelta(hours=1)) < timedelta(seconds=1)
        await store.put(NAMESPACE, "k", 1)
        item = await store.get_item(NAMESPACE, "k")
        assert item is not None
        assert item.expires_at is None

    async def test_a_store_has_a_time_to_live_of_its_own_that_a_put_overrides(
        self, factory: Callable[..., BaseStore]
    ) -> None:
        async with factory(ttl_seconds=3600) as store:
            await store.put(NAMESPACE, "default", 1)
            await store.put(NAMESPACE, "never", 1, ttl_seconds=None)
            await store.put_batch([(NAMESPACE, "sooner", 1, None)], ttl_seconds=60)
            expiries = {item.key: item.expires_at for item in await store.search(NAMESPACE)}
        assert expiries["never"] is None
        assert expiries["sooner"] is not None
        assert expiries["default"] is not None
        assert datetime.now(UTC) < expiries["sooner"] < expiries["default"]

    async def test_many_expired_items_hide_no_others(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "zz", "last")
        await store.put_batch([(NAMESPACE, f"k{n:04}", "word", None) for n in range(700)], ttl_seconds=0.5)
        await store.put(NAMESPACE, "z", "word")
        await _until_gone(store, NAMESPACE, "k0699")
        assert await store.list(NAMESPACE, 2) == ["z", "zz"]
        assert [item.key for item in await store.search(NAMESPACE, limit=2)] == ["z", "zz"]
        assert [item.key for item in await store.search(NAMESPACE, "word")] == ["z"]
        assert await store.clear_namespace(NAMESPACE) == 2

    @pytest.mark.parametrize("ttl", [0, -1, 0.0001, float("nan"), float("inf"), 1e11, True, "60"])
    async def test_what_is_no_time_to_live_is_refused(
        self, store: BaseStore, factory: Callable[..., BaseStore], ttl: Any
    ) -> None:
        with pytest.raises(InvalidArgumentError, match="ttl_seconds"):
            await store.put(NAMESPACE, "k", 1, ttl_seconds=ttl)
        with pytest.raises(InvalidArgumentError, match="ttl_seconds"):
            factory(ttl_seconds=ttl)


class StoreLifecycleTests(StoreFixtures):
    """Call shapes, representation, closing, event loops."""

    async def test_calls_by_position_and_by_keyword(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "a", 1, {"m": 1})
        await store.put(namespace=NAMESPACE, key="b", value=2, metadata=None)
        assert await store.get(namespace=NAMESPACE, key="a") == 1
        assert await store.list(namespace=NAMESPACE, limit=2) == ["a", "b"]
        assert len(await store.search(namespace=NAMESPACE, query=None, limit=3)) == 2
        assert await store.list_namespaces(prefix=None, limit=5) == [NAMESPACE]
        assert await store.exists(namespace=NAMESPACE, key="a")
        assert await store.delete(namespace=NAMESPACE, key="a")
        assert await store.clear_namespace(namespace=NAMESPACE) == 1

    @needs("semantic_search")
    async def test_calls_with_embeddings_by_position_and_by_keyword(self, store: BaseStore) -> None:
        await store.put_with_embedding(NAMESPACE, "c", 3, [1.0, 0.0, 0.0], {"m": 3})
        await store.put_with_embedding(namespace=NAMESPACE, key="d", value=4, embedding=[1.0, 0.0, 0.0], metadata={})
        assert len(await store.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0], 5, 0.5, {"m": 3})) == 1

    async def test_capabilities_are_what_works(self, store: BaseStore) -> None:
        capabilities = store.capabilities
        assert capabilities.search
        assert capabilities.ttl == ("ttl" not in self.lacking)
        assert capabilities.semantic_search == ("semantic_search" not in self.lacking)
        assert capabilities.list_namespaces
        with pytest.raises(AttributeError):
            capabilities.search = False  # type: ignore[misc]

    async def test_its_representation_names_it_and_shows_no_secret(
        self, store: BaseStore, secrets: Sequence[str]
    ) -> None:
        await store.put(NAMESPACE, "k", 1)
        text = f"{store!r} {store}"
        assert type(store).__name__ in text
        assert [secret for secret in secrets if secret in text] == []

    async def test_a_store_is_never_falsy(self, store: BaseStore) -> None:
        assert bool(store) is True

    async def test_an_unknown_option_is_an_error(self, factory: Callable[..., BaseStore]) -> None:
        with pytest.raises(TypeError, match="no_such_option"):
            factory(no_such_option=1)

    @needs("semantic_search")
    async def test_what_is_no_dimension_is_refused(self, factory: Callable[..., BaseStore]) -> None:
        for dimension in (0, -1, 16_001, True, "3"):
            with pytest.raises(InvalidArgumentError, match="dimension"):
                factory(dimension=dimension)

    async def test_closing_is_idempotent_and_a_later_call_reopens(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "k", 1)
        await store.close()
        await store.close()
        assert await store.get(NAMESPACE, "k") == 1

    async def test_one_store_serves_several_event_loops(self, store: BaseStore) -> None:
        async def use(number: int) -> None:
            for turn in range(5):
                await store.put(NAMESPACE, f"k{number}-{turn}", turn)
            await store.close()

        def run(number: int) -> None:
            asyncio.run(use(number))

        await asyncio.gather(*(asyncio.to_thread(run, number) for number in range(4)))
        assert len(await store.list(NAMESPACE)) == 20


class StorePersistenceTests(StoreFixtures):
    """What another process finds."""

    async def test_another_process_finds_the_items(self, store: BaseStore, reopen: ReopenStore) -> None:
        await store.put(NAMESPACE, "k\0/", {"text": "a\0b word"}, {"tag": "x\0"})
        await store.close()
        async with reopen() as other:
            item = await other.get_item(NAMESPACE, "k\0/")
            assert item is not None
            assert (item.value, item.metadata) == ({"text": "a\0b word"}, {"tag": "x\0"})
            assert await other.search(NAMESPACE, "word", metadata_filter={"tag": "x\0"}) == [item]

    @needs("semantic_search")
    async def test_another_process_finds_the_embeddings(self, store: BaseStore, reopen: ReopenStore) -> None:
        await store.put_with_embedding(NAMESPACE, "k", 1, [1.0, 2.0, 3.0])
        await store.close()
        async with reopen() as other:
            [found] = await other.search_by_embedding(NAMESPACE, [1.0, 2.0, 3.0])
            assert found.item == await other.get_item(NAMESPACE, "k")

    async def test_each_process_sees_what_the_other_does(self, store: BaseStore, reopen: ReopenStore) -> None:
        async with reopen() as other:
            await store.put(NAMESPACE, "a", 1)
            await other.put(NAMESPACE, "b", 2)
            await store.put(NAMESPACE, "b", 3)
            assert [item.key for item in await other.search(NAMESPACE)] == ["b", "a"]
            item = await other.get_item(NAMESPACE, "b")
            assert item is not None
            assert (item.value, item.version) == (3, 2)
            assert await other.delete(NAMESPACE, "a")
            assert not await store.exists(NAMESPACE, "a")


async def _until_gone(store: BaseStore, namespace: tuple[str, ...], key: str) -> None:
    async with asyncio.timeout(10):
        while await store.exists(namespace, key):  # noqa: ASYNC110 - the store's clock raises no event
            await asyncio.sleep(0.02)
