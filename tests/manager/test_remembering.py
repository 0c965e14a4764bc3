"""What a manager keeps of conversations, on every server; with a model that answers the same every time."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from locus_memory.binding import URLBinding
from locus_memory.manager import LLMMemoryManager
from locus_memory.opening import open_store
from locus_memory.store_face import PortStore
from tests.manager.models import Scripted, assistant, delete_first, statements, update_first, user

PREFIX = ("users", "u42")
LISBON = [user("I live in Lisbon. I like tea."), assistant("Noted.")]


@pytest.fixture(params=["memory", "postgresql", "redis", "oracle"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty store of each kind."""
    if request.param == "memory":
        yield "memory:"
    elif request.param == "postgresql":
        yield request.getfixturevalue("postgresql_database").dsn()
    elif request.param == "redis":
        yield f"{request.getfixturevalue('redis_url')}?key_prefix=test-{secrets.token_hex(6)}:"
    else:
        yield request.getfixturevalue("oracle_store").url()


@pytest.fixture
async def store(url: str) -> AsyncIterator[PortStore]:
    """That store, with embeddings of two numbers."""
    async with open_store(URLBinding(url), dimension=2) as store:
        yield store


def manager_of(store: PortStore, model: Scripted | None = None, **options: Any) -> LLMMemoryManager:
    return LLMMemoryManager(store, model or Scripted(), namespace_prefix=PREFIX, model_name="scripted", **options)


async def everything(store: PortStore) -> dict[Any, Any]:
    found = {}
    for namespace in await store.list_namespaces():
        for item in await store.search(namespace, limit=1000):
            found[namespace, item.key] = (item.value, item.version, item.updated_at)
    return found


async def test_facts_become_memories_that_say_where_they_come_from(store: PortStore) -> None:
    manager = manager_of(store)
    changes = await manager.remember(LISBON, thread_id="t1", run_id="r1", checkpoint_id="c1")
    assert {memory.content for memory in changes.added} == {
        "The user said: I live in Lisbon",
        "The user said: I like tea",
    }
    assert {memory.key: memory for memory in await manager.memories()} == {each.key: each for each in changes.added}
    [source] = changes.added[0].sources
    assert (source.thread_id, source.run_id, source.checkpoint_id, source.model) == ("t1", "r1", "c1", "scripted")
    assert len(source.messages) == 1


async def test_a_conversation_that_is_given_again_changes_nothing_and_asks_no_model(store: PortStore) -> None:
    model = Scripted()
    await manager_of(store, model).remember(LISBON, thread_id="t1")
    before, asked = await everything(store), len(model.asked)
    again = await manager_of(store, model).remember(LISBON, thread_id="t1")
    assert (again.added, again.updated, again.retired) == ((), (), ())
    assert await everything(store) == before
    assert len(model.asked) == asked


async def test_of_a_longer_conversation_only_what_is_new_counts(store: PortStore) -> None:
    model = Scripted()
    manager = manager_of(store, model)
    await manager.remember(LISBON, thread_id="t1")
    changes = await manager.remember([*LISBON, user("I like trains")], thread_id="t1")
    assert [memory.content for memory in changes.added] == ["The user said: I like trains"]
    shown = model.asked[1][1]["messages"]
    assert [(each["new"], each["text"]) for each in shown] == [
        (False, "I live in Lisbon. I like tea."),
        (False, "Noted."),
        (True, "I like trains"),
    ]


async def test_the_same_fact_of_another_conversation_is_one_memory(store: PortStore) -> None:
    manager = manager_of(store)
    [first, _] = (await manager.remember(LISBON, thread_id="t1")).added
    changes = await manager.remember([user("I LIVE in  Lisbon")], thread_id="t2")
    assert changes.added == ()
    assert len(await manager.memories()) == 2
    assert first in await manager.memories()


async def test_two_replicas_at_once_remember_everything_once(store: PortStore, url: str) -> None:
    ready = asyncio.Barrier(4)

    class Together(Scripted):
        async def __call__(self, instructions: str, data: str) -> str:
            await ready.wait()
            return await super().__call__(instructions, data)

    await asyncio.gather(*[manager_of(store, Together()).remember(LISBON, thread_id="t1") for _ in range(4)])
    assert len(await manager_of(store).memories()) == 2


async def test_what_changed_is_replaced_and_its_history_kept(store: PortStore) -> None:
    manager = manager_of(store, Scripted(decide=update_first("The user lives in Porto.")))
    [old] = (await manager.remember([user("I live in Lisbon")], thread_id="t1")).added
    changes = await manager.remember([user("I moved to Porto")], thread_id="t2")
    assert changes.added == ()
    [new] = changes.updated
    assert new == (await manager.memories())[0]
    assert (new.key, new.content) == (old.key, "The user lives in Porto.")
    assert [earlier.content for earlier in new.history] == ["The user said: I live in Lisbon"]
    assert [source.thread_id for source in new.sources] == ["t1", "t2"]
    # What it said first may become true once more, beside it.
    manager = manager_of(store)
    [again] = (await manager.remember([user("I live in Lisbon")], thread_id="t3")).added
    assert again.key != old.key
    assert len(await manager.memories()) == 2


async def test_what_is_deleted_is_no_longer_recalled_but_kept_for_a_while(store: PortStore) -> None:
    manager = manager_of(store, Scripted(decide=delete_first), retired_days=1)
    await manager.remember([user("I like tea")], thread_id="t1")
    [gone] = (await manager.remember([user("I stopped drinking tea")], thread_id="t1")).retired
    assert await manager.recall("tea") == []
    assert await manager.retired() == [gone]
    item = await store.get_item((*PREFIX, "retired"), gone.key)
    assert item is not None
    assert item.expires_at is not None
    assert (item.expires_at - item.updated_at).total_seconds() == pytest.approx(24 * 3600, abs=1)


async def test_what_is_to_be_forgotten_is_not_remembered_itself(store: PortStore) -> None:
    def asks_to_forget(data: Any) -> Any:
        return {"facts": [{"type": "user", "content": "The user wants tea forgotten", "sources": [1], "forget": True}]}

    manager = manager_of(store, Scripted(extract=asks_to_forget))
    assert (await manager.remember([user("Forget that")], thread_id="t1")).added == ()
    await manager_of(store).remember([user("I like tea")], thread_id="t2")
    changes = await manager_of(store, Scripted(asks_to_forget, lambda data: {"decisions": []})).remember(
        [user("Forget the tea")], thread_id="t3"
    )
    assert (changes.added, changes.updated, changes.retired) == ((), (), ())


async def test_beyond_the_bound_those_that_changed_longest_ago_are_retired(store: PortStore) -> None:
    manager = manager_of(store, max_memories=3)
    for number in range(5):
        await manager.remember([user(f"I like number {number}")], thread_id=f"t{number}")
    assert [memory.content[-1] for memory in await manager.memories()] == ["4", "3", "2"]
    assert {memory.content[-1] for memory in await manager.retired()} == {"0", "1"}


async def test_erasure_leaves_nothing_of_a_user_and_everything_of_others(store: PortStore) -> None:
    manager = manager_of(store, Scripted(decide=delete_first))
    other = LLMMemoryManager(store, Scripted(), namespace_prefix=("users", "u43"))
    await other.remember(LISBON, thread_id="t1")
    others = await everything(store)
    await manager.remember([user("I like tea")], thread_id="t1")
    await manager.remember([user("I hate tea")], thread_id="t1")
    await manager.remember([user("I like milk")], thread_id="t2")
    assert await manager.forget_all() == 2
    assert await everything(store) == others
    assert await manager.recall("milk") == []


async def test_one_memory_can_be_erased(store: PortStore) -> None:
    manager = manager_of(store)
    [home, tea] = (await manager.remember(LISBON, thread_id="t1")).added
    assert await manager.forget(home.key)
    assert not await manager.forget(home.key)
    assert await manager.memories() == [tea]


async def test_recall_by_words_prefers_rare_ones(store: PortStore) -> None:
    manager = manager_of(store)
    await manager.remember([user("I like tea. I like trains. I like Lisbon. I like milk")], thread_id="t1")
    assert [memory.content for memory in await manager.recall("Do I like trains?", 1)] == [
        "The user said: I like trains"
    ]
    assert len(await manager.recall("nothing of it")) == 4
    assert len(await manager.recall(limit=2)) == 2


async def test_recall_by_embeddings(store: PortStore) -> None:
    async def embed(texts: Any) -> list[list[float]]:
        return [[0.1 + text.count("tea"), 0.1 + text.count("train")] for text in texts]

    manager = manager_of(store, embed=embed)
    await manager.remember([user("I like tea. I go by train")], thread_id="t1")
    assert [memory.content for memory in await manager.recall("train", 1)] == ["The user said: I go by train"]
    assert [memory.content for memory in await manager.recall("tea")] == [
        "The user said: I like tea",
        "The user said: I go by train",
    ]


async def test_a_process_that_dies_before_it_noted_the_conversation_makes_up_for_it(
    store: PortStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = manager_of(store)
    put = store.put

    async def dies(namespace: Any, *arguments: Any, **options: Any) -> None:
        if namespace[-1] == "conversations":
            raise ConnectionAbortedError
        await put(namespace, *arguments, **options)

    monkeypatch.setattr(store, "put", dies)
    with pytest.raises(ConnectionAbortedError):
        await manager.remember(LISBON, thread_id="t1")
    monkeypatch.undo()
    kept = await manager.memories()
    assert len(kept) == 2
    assert (await manager.remember(LISBON, thread_id="t1")).added == ()
    assert await manager.memories() == kept


async def test_scopes_are_apart(store: PortStore) -> None:
    manager = manager_of(store, Scripted(statements))
    with manager.scoped(("users", "u43")):
        await manager.remember(LISBON, thread_id="t1")
    assert await manager.memories() == []
    with manager.scoped(("users", "u43")):
        assert len(await manager.memories()) == 2


async def test_calls_of_the_store_are_few(store: PortStore, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str) -> Any:
        call = getattr(store.backend, name)

        async def count(*arguments: Any) -> Any:
            calls.append(name)
            return await call(*arguments)

        return count

    for name in ("get", "put", "delete", "search", "nearest"):
        monkeypatch.setattr(store.backend, name, counted(name))
    manager = manager_of(store)

    async def calls_of(work: Any) -> list[str]:
        calls.clear()
        await work
        return list(calls)

    assert await calls_of(manager.remember(LISBON, thread_id="t1")) == ["get", "search", "put", "put"]
    assert await calls_of(manager.remember(LISBON, thread_id="t1")) == ["get"]
    assert await calls_of(manager.remember([*LISBON, user("Thanks")], thread_id="t1")) == ["get", "put"]
    assert await calls_of(manager.remember([user("I go by train")], thread_id="t2")) == ["get", "search", "put", "put"]
    assert await calls_of(manager.recall("tea")) == ["search"]
