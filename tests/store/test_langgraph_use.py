"""LangGraph's store as its users meet it: in graphs, with lives, filters and pages, beside other agents."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from langgraph.store.base import GetOp, InvalidNamespaceError, PutOp, SearchOp

import locus_memory.langgraph
from locus_memory.binding import URLBinding
from locus_memory.errors import BackendUnavailableError, BindingNotFoundError, InvalidArgumentError
from locus_memory.langgraph import LangGraphStore
from locus_memory.opening import open_store
from locus_memory.retry import RetryPolicy
from locus_memory.store import InMemoryStore
from locus_memory.store_backends import PostgreSQLStore
from locus_memory.store_port import StoreBackend

USER = ("memories", "u42")


def embed(texts: Sequence[str]) -> list[list[float]]:
    return [[0.1 + text.count("tea"), 0.1 + text.count("coffee")] for text in texts]


INDEX: Any = {"dims": 2, "embed": embed, "fields": ["text"]}


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[LangGraphStore]:
    """LangGraph's store on each server, with semantic search."""
    store = LangGraphStore(open_store(URLBinding(store_url), dimension=2), index=INDEX)
    yield store
    await store.aclose()


@pytest.mark.parametrize("store_url", ["postgresql", "redis"], indirect=True)
def test_a_graph_recalls_what_another_process_remembered(store_url: str) -> None:
    def run(*arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "tests.store.memory_graph", *arguments],
            env={**os.environ, "LOCUS_CHECKPOINT_URL": store_url},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    run("tell", "ada", "monday", "drinks tea")
    run("tell", "bob", "tuesday", "drinks coffee")
    assert run("ask", "ada", "wednesday", "tea or coffee?") == ["drinks tea"]


async def test_a_filtered_search_finds_what_lies_far_behind(store: LangGraphStore) -> None:
    await store.abatch([PutOp(USER, "rare", {"text": "tea", "kind": "rare"})])
    await store.abatch([PutOp(USER, f"k{number}", {"text": "tea tea", "kind": "usual"}) for number in range(450)])
    for query in (None, "tea"):
        [found] = await store.asearch(("memories",), query=query, filter={"kind": "rare"})
        assert found.key == "rare"
        page = await store.asearch(USER, query=query, filter={"kind": {"$ne": "rare"}}, limit=30, offset=440)
        assert len(page) == 10


async def test_items_without_embeddings_come_behind_those_that_have_one_on_every_page(store: LangGraphStore) -> None:
    await store.aput(USER, "tea", {"text": "tea"})
    for number in range(3):
        await store.aput(USER, f"plain {number}", {"text": "tea"}, index=False)
    await store.aput(USER, "coffee", {"text": "coffee"})
    pages = [await store.asearch(USER, query="tea", limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [[item.key for item in page] for page in pages] == [["tea", "coffee"], ["plain 2", "plain 1"], ["plain 0"]]
    assert [item.score is None for page in pages for item in page] == [False, False, True, True, True]


async def test_reading_prolongs_the_life_of_what_expires(store: LangGraphStore) -> None:
    await store.aput(USER, "k", {"text": "tea"}, ttl=10)
    backend = store._store.backend

    async def seconds_left_after(read: Awaitable[Any]) -> float:
        [item] = await backend.get([(USER, "k")])
        await backend.touch([(item, 60.0)])
        assert await read
        [item] = await backend.get([(USER, "k")])
        assert item.expires_at is not None
        return (item.expires_at - item.updated_at).total_seconds()

    assert await seconds_left_after(store.aget(USER, "k", refresh_ttl=False)) < 100
    assert await seconds_left_after(store.asearch(USER, refresh_ttl=False)) < 100
    assert await seconds_left_after(store.aget(USER, "k")) > 590
    assert await seconds_left_after(store.asearch(USER)) > 590
    assert await seconds_left_after(store.asearch(("memories",), query="tea")) > 590


async def test_items_expire_after_so_many_minutes(store: LangGraphStore) -> None:
    await store.aput(USER, "k", {"text": "tea"}, ttl=0.05 / 60)
    await store.aput(USER, "stays", {"text": "tea"})
    async with asyncio.timeout(5):
        while await store.aget(USER, "k", refresh_ttl=False):
            pass
    assert [item.key for item in await store.asearch(USER, query="tea")] == ["stays"]


def test_the_default_life_and_whether_reads_prolong_it_are_configured() -> None:
    backend = InMemoryStore()
    store = LangGraphStore(backend, ttl={"default_ttl": 10, "refresh_on_read": False})
    store.put(USER, "default", {})
    store.put(USER, "forever", {}, ttl=None)
    before = backend.get_item(USER, "default").expires_at
    assert before is not None
    store.get(USER, "default")
    assert backend.get_item(USER, "default").expires_at == before
    store.get(USER, "default", refresh_ttl=True)
    assert backend.get_item(USER, "default").expires_at > before
    assert backend.get_item(USER, "forever").expires_at is None


class Counting:
    """Counts the calls of a backend."""

    def __init__(self, backend: StoreBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for name in (
            "get",
            "put",
            "touch",
            "delete",
            "search",
            "nearest",
            "newest_below",
            "nearest_below",
            "list_namespaces",
        ):
            monkeypatch.setattr(backend, name, self._counted(name, getattr(backend, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*arguments: Any) -> Any:
            self.calls.append(name)
            return await call(*arguments)

        return counted


async def test_batches_are_few_calls(postgresql_database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with PostgreSQLStore(dsn=postgresql_database.dsn(), dimension=2) as backend:
        store = LangGraphStore(backend, index=INDEX)
        counting = Counting(backend.backend, monkeypatch)
        await store.abatch([PutOp(USER, f"k{number}", {"text": "tea"}) for number in range(50)])
        assert counting.calls == ["put"]
        counting.calls.clear()
        await store.aget(USER, "k1")
        await store.asearch(("memories",), query="tea", limit=50)
        await store.asearch((), limit=10, filter={"text": "tea"})
        await store.alist_namespaces(prefix=("memories",))
        assert counting.calls == ["get", "nearest_below", "newest_below", "list_namespaces"]
        await store.abatch([PutOp(USER, f"plain {number}", {"text": "tea"}, index=False) for number in range(10)])
        counting.calls.clear()
        assert len(await store.asearch(USER, query="tea", limit=60)) == 60
        assert counting.calls == ["nearest_below", "newest_below"]


async def test_fifty_gets_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = InMemoryStore()
    store, counting = LangGraphStore(backend), Counting(backend.backend, monkeypatch)
    await store.abatch([PutOp(USER, f"k{number}", {"n": number}, ttl=1) for number in range(50)])
    found = await store.abatch([GetOp(USER, f"k{number}") for number in range(50)])
    assert [item.value["n"] for item in found] == list(range(50))  # type: ignore[union-attr]  # items, all of them
    assert counting.calls == ["put", "get", "touch"]


async def test_a_batch_reads_what_was_there_before_it(store: LangGraphStore) -> None:
    await store.aput(USER, "k", {"text": "old"})
    found = await store.abatch(
        [PutOp(USER, "k", {"text": "lost"}), SearchOp(USER), PutOp(USER, "k", {"text": "new"}), PutOp(USER, "no", None)]
    )
    assert [item.value for item in found[1]] == [{"text": "old"}]  # type: ignore[union-attr]  # the answer to a search
    item = await store.aget(USER, "k")
    assert item is not None
    assert item.value == {"text": "new"}
    assert item.created_at < item.updated_at


async def test_items_are_those_of_every_other_agent(store: LangGraphStore, store_url: str) -> None:
    async with open_store(URLBinding(store_url)) as plain:
        await plain.put(USER, "ours", {"text": "from an agent"}, {"tag": 1})
        await plain.put(USER, "number", 7)
        await store.aput(USER, "theirs", {"text": "from a graph"})
        assert {item.key: item.value for item in await store.asearch(USER)} == {
            "ours": {"text": "from an agent"},
            "number": 7,
            "theirs": {"text": "from a graph"},
        }
        assert [item.key for item in await store.asearch(USER, filter={"text": {"$ne": "from a graph"}})] == [
            "number",
            "ours",
        ]
        assert await plain.get(USER, "theirs") == {"text": "from a graph"}


async def test_arguments_are_checked_before_anything_is_written() -> None:
    backend = InMemoryStore()
    store = LangGraphStore(backend)
    with pytest.raises(InvalidArgumentError, match="not come back equal"):
        await store.abatch([PutOp(USER, "a", {"n": 1}), PutOp(USER, "b", {"n": (1, 2)})])
    with pytest.raises(InvalidArgumentError, match=r"\$in"):
        await store.asearch(USER, filter={"n": {"$in": [1]}})
    with pytest.raises(InvalidArgumentError, match="limit, offset"):
        await store.asearch(USER, offset=-1)
    with pytest.raises(InvalidNamespaceError):
        await store.aput(("with.dot",), "a", {})
    with pytest.raises(InvalidArgumentError, match="none of LangGraph's operations"):
        await store.abatch(["put"])  # type: ignore[list-item]  # on purpose
    assert await store.asearch(()) == []


@pytest.mark.parametrize("index", [{"dims": 2}, {"embed": embed}, {"dims": 0, "embed": embed}])
def test_an_index_needs_a_dimension_and_what_embeds(index: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="dim"):
        LangGraphStore(InMemoryStore(), index=index)


async def test_embeddings_of_another_dimension_are_refused_and_nothing_is_written() -> None:
    store = LangGraphStore(InMemoryStore(), index={"dims": 3, "embed": embed})
    with pytest.raises(InvalidArgumentError, match="embedding: 2 numbers"):
        await store.aput(USER, "k", {"text": "tea"})
    assert await store.aget(USER, "k") is None


async def test_a_text_that_points_nowhere_is_found_like_one_that_is_not_embedded() -> None:
    store = LangGraphStore(
        InMemoryStore(),
        index={"dims": 2, "embed": lambda texts: [[float(len(text)), 0.0] for text in texts], "fields": ["text"]},
    )
    await store.aput(USER, "empty", {"text": ""})
    await store.aput(USER, "full", {"text": "tea"})
    assert [(item.key, item.score) for item in await store.asearch(USER, query="x")] == [("full", 1.0), ("empty", None)]


async def test_an_outage_is_an_error_and_never_an_empty_answer() -> None:
    store = LangGraphStore(
        PostgreSQLStore(host="127.0.0.1", port=1, user="u", password="p", database="d", retry=RetryPolicy(deadline=0.3))
    )
    with pytest.raises(BackendUnavailableError):
        await store.aget(USER, "k")
    with pytest.raises(BackendUnavailableError):
        await store.asearch(USER)
    with pytest.raises(BackendUnavailableError):
        await store.adelete(USER, "k")


def test_nothing_bound_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCUS_CHECKPOINT_URL", "LOCUS_CHECKPOINT_STORE", "SERVICE_BINDING_ROOT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BindingNotFoundError):
        locus_memory.langgraph.store()


def test_the_sync_methods_work_within_a_running_loop_as_well() -> None:
    store = LangGraphStore(InMemoryStore(), index=INDEX)

    async def within() -> None:
        store.put(USER, "k", {"text": "tea"})
        assert [item.key for item in await store.asearch(USER, query="tea")] == ["k"]

    asyncio.run(within())
    store.close()
    assert store.list_namespaces() == [USER]
    store.delete(USER, "k")
    assert store.list_namespaces() == []
    store.close()
