"""`locus_memory.store()`: found like a checkpointer, beside its checkpoints, with its keys."""

import base64
import json
import secrets
from pathlib import Path

import pytest

import locus_memory
from locus_memory.binding import DirectoryBinding, URLBinding
from locus_memory.envelope import is_encrypted
from locus_memory.errors import BindingError, BindingNotFoundError, CapabilityNotSupportedError
from locus_memory.opening import open_checkpointer, open_store
from locus_memory.store import BaseStore
from locus_memory.store_face import PortStore, StoreOptions

NAMESPACE = ("memory", "u42")


async def test_the_bound_store_is_opened(monkeypatch: pytest.MonkeyPatch, store_url: str) -> None:
    monkeypatch.setenv("LOCUS_CHECKPOINT_URL", store_url)
    async with locus_memory.store(dimension=3) as store:
        await store.put_with_embedding(NAMESPACE, "fact", {"note": "user likes cats"}, [1.0, 0.0, 0.0])
    async with locus_memory.store(dimension=3) as store:
        [found] = await store.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0])
        assert found.item.value == {"note": "user likes cats"}


async def test_items_and_checkpoints_live_side_by_side(store_url: str) -> None:
    async with open_checkpointer(URLBinding(store_url)) as checkpointer, open_store(URLBinding(store_url)) as store:
        await checkpointer.save({"n": 1}, "thread")
        await store.put(NAMESPACE, "thread", {"n": 2})
        assert await checkpointer.load("thread") == {"n": 1}
        assert await checkpointer.list_threads() == ["thread"]
        assert await store.list_namespaces() == [NAMESPACE]
        assert await checkpointer.delete("thread")
        assert await store.get(NAMESPACE, "thread") == {"n": 2}
        await checkpointer.save({"n": 3}, "thread")
        assert await store.clear_namespace(NAMESPACE) == 1
        assert await checkpointer.load("thread") == {"n": 3}


def test_a_store_is_chosen_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("support", "sales"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text("memory")
        (tmp_path / name / "connection.json").write_text(json.dumps({"version": 1, "type": "memory"}))
    monkeypatch.setenv("SERVICE_BINDING_ROOT", str(tmp_path))
    assert isinstance(locus_memory.store("support"), BaseStore)
    with pytest.raises(BindingError, match="several stores"):
        locus_memory.store()
    with pytest.raises(BindingNotFoundError, match="other"):
        locus_memory.store("other")


async def test_a_binding_of_type_memory_has_a_store_that_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUS_CHECKPOINT_URL", "memory:")
    async with locus_memory.store(ttl_seconds=60) as store:
        await store.put(NAMESPACE, "k", 1)
        assert await store.get(NAMESPACE, "k") == 1


@pytest.mark.parametrize("url", ["file:///tmp/threads", "https://example.com/base"])
def test_a_backend_without_a_store_says_so(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LOCUS_CHECKPOINT_URL", url)
    with pytest.raises(BindingError, match="no cross-thread store"):
        locus_memory.store()


def provisioned(directory: Path, **fields: object) -> DirectoryBinding:
    """A binding as the operator writes it."""
    document = {"version": 1, "type": "postgresql", "tables": "provisioned", **fields}
    (directory / "type").write_text("postgresql")
    (directory / "connection.json").write_text(json.dumps(document))
    return DirectoryBinding(directory)


def test_a_store_that_was_not_provisioned_says_what_to_ask_for(tmp_path: Path) -> None:
    with pytest.raises(BindingError, match=r"no long-term memory: write spec\.longTermMemory"):
        open_store(provisioned(tmp_path))


@pytest.mark.parametrize(("options", "dimension"), [({}, 3), ({"dimension": 3}, 3), ({"dimension": None}, None)])
def test_the_provisioned_dimension_is_the_default(tmp_path: Path, options: StoreOptions, dimension: int | None) -> None:
    binding = provisioned(tmp_path, long_term_memory={"embedding_dimension": 3})
    assert open_store(binding, **options).capabilities.embedding_dimension == dimension


def test_another_dimension_than_the_provisioned_one_is_refused(tmp_path: Path) -> None:
    binding = provisioned(tmp_path, long_term_memory={"embedding_dimension": 1024})
    with pytest.raises(BindingError, match=r"embeddings of 1024 numbers, not 768"):
        open_store(binding, dimension=768)


def test_a_store_that_was_provisioned_without_a_dimension_takes_any(tmp_path: Path) -> None:
    binding = provisioned(tmp_path, long_term_memory={})
    assert open_store(binding).capabilities.embedding_dimension is None
    assert open_store(binding, dimension=5).capabilities.embedding_dimension == 5


def test_module_and_function_share_the_name() -> None:
    from locus_memory.store import InMemoryStore

    assert callable(locus_memory.store)
    assert InMemoryStore.__module__ == "locus_memory.store_memory"
    with pytest.raises(ImportError):
        from locus_memory.store import NoSuchStore  # noqa: F401


async def test_values_are_encrypted_with_the_keys_of_the_binding(store_url: str) -> None:
    old, new = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
    async with open_store(URLBinding(store_url), encryption_key=old, dimension=3) as store:
        await store.put_with_embedding(NAMESPACE, "k", "a secret word", [1.0, 0.0, 0.0], {"tag": "open"})
        [stored] = await store.backend.get([(NAMESPACE, "k")])
        assert is_encrypted(stored.payload)
        assert b"secret" not in stored.payload
    rotated = store_url + f"&encryption_keys={new},{old}".replace("+", "%2B")
    async with open_store(URLBinding(rotated), dimension=3) as store:
        await store.put(NAMESPACE, "l", "another secret word", {"tag": "open"})
        assert await store.get(NAMESPACE, "k") == "a secret word"
        found = await store.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0], metadata_filter={"tag": "open"})
        assert [each.item.value for each in found] == ["a secret word"]
        assert {item.key for item in await store.search(NAMESPACE, metadata_filter={"tag": "open"})} == {"k", "l"}
        await _search_only_where_no_word_is_stored(store)


async def _search_only_where_no_word_is_stored(store: PortStore) -> None:
    if store.capabilities.search:
        assert not store.backend.stores_words
        assert [item.key for item in await store.search(NAMESPACE, "another")] == ["l"]
        return
    with pytest.raises(CapabilityNotSupportedError, match="search"):
        await store.search(NAMESPACE, "another")
