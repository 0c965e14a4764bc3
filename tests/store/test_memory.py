"""The contract on the store in memory, in a coroutine and without an event loop."""

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from locus_memory.store import BaseStore, InMemoryStore
from locus_memory.testing import StoreContract


class TestInMemoryStore(StoreContract):
    """With `await`."""

    persistent = False

    @pytest.fixture
    def factory(self) -> Callable[..., BaseStore]:
        return InMemoryStore


class WithoutLoop(InMemoryStore):
    """Makes every call in a thread in which no event loop runs, as synchronous code does."""


def _in_thread(name: str) -> Callable[..., Any]:
    method = getattr(InMemoryStore, name)

    @functools.wraps(method)
    async def call(store: InMemoryStore, *args: Any, **kwargs: Any) -> Any:
        def run() -> Any:
            result = method(store, *args, **kwargs)
            assert not inspect.isawaitable(result)
            return result

        return await asyncio.to_thread(run)

    return call


CALLS = [name for name, method in vars(BaseStore).items() if inspect.iscoroutinefunction(method) and name[0] != "_"]
for _name in CALLS:
    setattr(WithoutLoop, _name, _in_thread(_name))


class TestInMemoryStoreWithoutLoop(TestInMemoryStore):
    """Without `await`: the same promises."""

    @pytest.fixture
    def factory(self) -> Callable[..., BaseStore]:
        return WithoutLoop


def test_every_call_of_a_store_can_be_made_without_a_loop() -> None:
    assert set(CALLS) >= {"put", "get", "delete", "list", "search", "put_with_embedding", "get_batch", "close"}
    assert [name for name in CALLS if name not in vars(InMemoryStore)] == []


def test_the_example_of_the_seed() -> None:
    store = InMemoryStore()
    store.put(("locus_memory", "user"), "role", {"content": "Senior Python engineer"})
    hit = store.get(("locus_memory", "user"), "role")
    assert type(hit) is dict
    assert hit == {"content": "Senior Python engineer"}
    assert store.get(("locus_memory", "user"), "name") is None


def test_a_call_without_await_in_a_coroutine_does_nothing_and_says_so() -> None:
    store = InMemoryStore()

    async def forget_to_await() -> None:
        store.put(("a",), "k", 1)

    with pytest.warns(RuntimeWarning, match="never awaited"):
        asyncio.run(forget_to_await())
    assert not store.exists(("a",), "k")
