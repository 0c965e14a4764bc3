"""locus-sdk's own code on our stores: it calls by position and by keyword, and reads what comes back."""

import pytest
from locus.memory.manager import LLMMemoryManager, Memory, MemoryType
from locus.memory.store import NamespacedStore, StoreContext

from locus_memory.binding import URLBinding
from locus_memory.opening import open_store
from locus_memory.store import BaseStore, InMemoryStore


@pytest.fixture(params=["memory", "server"])
def store(request: pytest.FixtureRequest) -> BaseStore:
    if request.param == "memory":
        return InMemoryStore(dimension=2)
    return open_store(URLBinding(request.getfixturevalue("postgresql_database").dsn()), dimension=2)


async def test_a_context_of_a_node(store: BaseStore) -> None:
    async with store:
        context = StoreContext(store, user_id="u42", session_id="s1")  # type: ignore[arg-type]  # it calls, and checks no type
        await context.remember("theme", {"theme": "dark"}, {"source": "chat"})
        await context.remember_with_embedding("cats", {"note": "likes cats"}, [1.0, 0.0])
        await context.set_global("limit", 10)
        assert await context.get_user_memory("theme") == {"theme": "dark"}
        assert await context.get_global("limit") == 10
        assert [item.key for item in await context.search_memories("dark")] == ["theme"]
        [found] = await context.search_memories_semantic([1.0, 0.0], 3, 0.5)
        assert found.item.key == "cats"
        assert found.score == pytest.approx(1.0)
        assert await context.forget("theme")
        assert await context.get_user_memory("theme") is None


async def test_a_namespaced_store(store: BaseStore) -> None:
    async with store:
        user = NamespacedStore(store, ("users", "u42"))  # type: ignore[arg-type]  # it calls, and checks no type
        await user.put("a", 1)
        await user.scoped("deep").put("b", 2)
        assert await user.list_keys() == ["a"]
        assert await user.exists("a")
        assert [item.value for item in await user.search()] == [1]
        assert await user.clear() == 1
        assert await user.scoped("deep").get("b") == 2


async def test_the_manager_of_memories(store: BaseStore) -> None:
    async with store:
        manager = LLMMemoryManager(store)  # type: ignore[arg-type]  # it calls, and checks no type
        facts = [
            Memory(key="role", type=MemoryType.USER, content="Senior Python engineer"),
            Memory(key="pet", type=MemoryType.USER, content="has a cat named Ada"),
        ]
        await manager.save(facts)
        await manager.save(facts)
        assert {memory.key for memory in await manager.retrieve()} == {"role", "pet"}
        assert (await manager.retrieve_relevant("cat"))[0].key == "pet"
