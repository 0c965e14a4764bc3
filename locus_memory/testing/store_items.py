"""Items come back as they were given, stand for themselves alone, and are gone when they are deleted."""

from __future__ import annotations

import asyncio
import secrets as random_names
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from locus_memory.errors import CheckpointError, InvalidArgumentError, StateTooLargeError
from locus_memory.store import BaseStore, Namespace
from locus_memory.store_arguments import MAX_VALUE_BYTES
from locus_memory.testing.identifiers import AWKWARD_IDS, LONGEST
from locus_memory.testing.store_base import (
    EXAMPLES,
    METADATA,
    NAMESPACE,
    NAMESPACES,
    OTHER,
    VALUES,
    StoreFixtures,
    needs,
)


class ValueTests(StoreFixtures):
    """What is put is what is got."""

    @EXAMPLES
    @given(value=VALUES, metadata=METADATA)
    async def test_any_json_value_comes_back_equal(
        self, store: BaseStore, value: JsonValue, metadata: dict[str, JsonValue]
    ) -> None:
        await store.put(NAMESPACE, "any", value, metadata)
        item = await store.get_item(NAMESPACE, "any")
        assert item is not None
        assert (item.value, item.metadata) == (value, metadata)
        assert repr(item.value) == repr(value)  # 1, 1.0 and True are equal, and not the same
        assert await store.get(NAMESPACE, "any") == value

    async def test_a_value_is_not_shared_with_who_put_it(self, store: BaseStore) -> None:
        value: dict[str, Any] = {"tags": ["a"]}
        metadata: dict[str, Any] = {"tags": ["a"]}
        await store.put(NAMESPACE, "k", value, metadata)
        value["tags"].append("b")
        metadata["tags"].append("b")
        item = await store.get_item(NAMESPACE, "k")
        assert item is not None
        assert (item.value, item.metadata) == ({"tags": ["a"]}, {"tags": ["a"]})

    async def test_a_value_is_not_shared_with_who_got_it(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "k", {"tags": ["a"]}, {"tags": ["a"]})
        for _ in range(2):
            item = await store.get_item(NAMESPACE, "k")
            assert item is not None
            assert (item.value, item.metadata) == ({"tags": ["a"]}, {"tags": ["a"]})
            item.value["tags"].append("b")
            item.metadata["tags"].append("b")
            [found] = await store.search(NAMESPACE)
            found.value["tags"].append("b")

    async def test_a_stored_none_is_there(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "nothing", None)
        assert await store.get(NAMESPACE, "nothing") is None
        assert await store.exists(NAMESPACE, "nothing")
        item = await store.get_item(NAMESPACE, "nothing")
        assert item is not None
        assert item.value is None
        assert await store.get_batch([(NAMESPACE, "nothing"), (NAMESPACE, "absent")]) == {(NAMESPACE, "nothing"): None}
        assert await store.list(NAMESPACE) == ["nothing"]
        assert [found.key for found in await store.search(NAMESPACE)] == ["nothing"]
        assert await store.delete(NAMESPACE, "nothing")

    async def test_what_was_never_put_is_absent(self, store: BaseStore) -> None:
        assert await store.get(NAMESPACE, "k") is None
        assert await store.get_item(NAMESPACE, "k") is None
        assert await store.exists(NAMESPACE, "k") is False
        assert await store.delete(NAMESPACE, "k") is False
        assert await store.list(NAMESPACE) == []
        assert await store.search(NAMESPACE) == []
        assert await store.search(NAMESPACE, "word") == []
        assert await store.get_batch([(NAMESPACE, "k")]) == {}
        assert await store.clear_namespace(NAMESPACE) == 0

    async def test_a_put_replaces_value_and_metadata(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "k", {"n": 1}, {"a": 1})
        await store.put(NAMESPACE, "k", {"n": 2}, {"b": 2})
        item = await store.get_item(NAMESPACE, "k")
        assert item is not None
        assert (item.value, item.metadata) == ({"n": 2}, {"b": 2})
        await store.put(NAMESPACE, "k", {"n": 3})
        item = await store.get_item(NAMESPACE, "k")
        assert item is not None
        assert item.metadata == {}

    async def test_an_item_tells_when_and_how_often_it_was_written(self, store: BaseStore) -> None:
        before = datetime.now(UTC) - timedelta(minutes=1)
        await store.put(NAMESPACE, "k", 1)
        first = await store.get_item(NAMESPACE, "k")
        await store.put(NAMESPACE, "k", 2)
        second = await store.get_item(NAMESPACE, "k")
        assert first is not None
        assert second is not None
        assert (first.namespace, first.key, first.version, second.version) == (NAMESPACE, "k", 1, 2)
        assert before < first.created_at == second.created_at <= second.updated_at
        assert first.created_at <= first.updated_at <= second.updated_at < before + timedelta(minutes=2)
        assert first.created_at.utcoffset() == timedelta(0)
        await store.delete(NAMESPACE, "k")
        await store.put(NAMESPACE, "k", 3)
        again = await store.get_item(NAMESPACE, "k")
        assert again is not None
        assert again.version == 1
        assert again.created_at >= second.updated_at

    @pytest.mark.parametrize("size", [1000, 100_000, 3_000_000])
    async def test_large_values_come_back(self, store: BaseStore, size: int) -> None:
        value: JsonValue = {"text": random_names.token_hex(size // 2)}
        await store.put(NAMESPACE, "large", value)
        assert await store.get(NAMESPACE, "large") == value

    async def test_a_value_over_the_limit_is_refused(self, store: BaseStore) -> None:
        with pytest.raises(StateTooLargeError, match="value"):
            await store.put(NAMESPACE, "huge", "x" * MAX_VALUE_BYTES)
        assert not await store.exists(NAMESPACE, "huge")

    @pytest.mark.parametrize(
        "value",
        [
            (1, 2),
            {1: "a"},
            {"a": (1,)},
            {"a"},
            b"bytes",
            float("nan"),
            float("inf"),
            "\ud800",
            datetime(2026, 1, 1, tzinfo=UTC),
            object(),
        ],
        # Not by `repr`: processes that share the tests have to call them by the same names.
        ids=["tuple", "int key", "tuple within", "set", "bytes", "nan", "inf", "surrogate", "datetime", "object"],
    )
    async def test_what_would_not_come_back_equal_is_refused(self, store: BaseStore, value: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="value"):
            await store.put(NAMESPACE, "k", value)
        assert not await store.exists(NAMESPACE, "k")

    async def test_what_no_parser_would_read_is_refused(self, store: BaseStore) -> None:
        deep: JsonValue = 1
        for _ in range(190):
            deep = [deep]
        await store.put(NAMESPACE, "deep", deep)
        assert await store.get(NAMESPACE, "deep") == deep
        with pytest.raises(InvalidArgumentError, match="value"):
            await store.put(NAMESPACE, "deeper", [[[[[[[[[[[deep]]]]]]]]]]])
        assert await store.list(NAMESPACE) == ["deep"]


class NamespaceTests(StoreFixtures):
    """Namespaces and keys of any text, that never meet."""

    @EXAMPLES
    @given(places=st.sets(st.tuples(NAMESPACES, st.sampled_from(["k", "/", "a/b", "é"])), min_size=2, max_size=6))
    async def test_different_places_never_meet(self, store: BaseStore, places: set[tuple[Namespace, str]]) -> None:
        for number, (namespace, key) in enumerate(places):
            await store.put(namespace, key, number)
        for number, (namespace, key) in enumerate(places):
            assert await store.get(namespace, key) == number
        listed = await store.list_namespaces(limit=1000)
        assert set(listed) == {namespace for namespace, _ in places}
        for namespace in set(listed):
            own = sorted((key for each, key in places if each == namespace), key=str.encode)
            assert await store.list(namespace) == own
            assert await store.clear_namespace(namespace) == len(own)

    async def test_parts_do_not_run_together(self, store: BaseStore) -> None:
        places = [
            (("a/b",), "k"), (("a", "b"), "k"), (("a",), "b/k"), (("a",), "b:k"), (("a%2Fb",), "k"), (("a:b",), "k"),
            (("a|b",), "k"), (("a\0b",), "k"), (("a\0", "b"), "k"), (("a", "\0b"), "k"), (("a%00b",), "k"),
            (("a\1b",), "k"), (("A", "b"), "k"), (("a", "b "), "k"), (("a b",), "k"), (("a", "b", "k"), "k"),
            (("b", "a"), "k"), (("a.b",), "k"), (("e\u0301",), "k"), (("é",), "k"), (("*",), "k"), (("_",), "k"),
        ]  # fmt: skip
        for number, (namespace, key) in enumerate(places):
            await store.put(namespace, key, number)
        for number, (namespace, key) in enumerate(places):
            assert await store.get(namespace, key) == number
            assert await store.list(namespace) == sorted(each for space, each in places if space == namespace)
        assert await store.get_batch(places) == {place: number for number, place in enumerate(places)}

    async def test_awkward_keys_never_meet(self, store: BaseStore) -> None:
        for number, key in enumerate(AWKWARD_IDS):
            await store.put(NAMESPACE, key, number)
        assert await store.list(NAMESPACE, 1000) == sorted(AWKWARD_IDS, key=str.encode)
        for number, key in enumerate(AWKWARD_IDS):
            assert await store.get(NAMESPACE, key) == number
        for key in AWKWARD_IDS[::2]:
            assert await store.delete(NAMESPACE, key)
        assert await store.list(NAMESPACE, 1000) == sorted(AWKWARD_IDS[1::2], key=str.encode)

    async def test_a_namespace_stands_for_itself_alone(self, store: BaseStore) -> None:
        for namespace in (("memory",), NAMESPACE, (*NAMESPACE, "deep")):
            await store.put(namespace, "k", {"text": f"word {len(namespace)}"})
        for namespace in (("memory",), NAMESPACE, (*NAMESPACE, "deep")):
            assert [item.namespace for item in await store.search(namespace)] == [namespace]
            assert [item.namespace for item in await store.search(namespace, "word")] == [namespace]
        assert await store.clear_namespace(("memory",)) == 1
        assert await store.exists(NAMESPACE, "k")

    async def test_namespaces_are_listed_with_those_below_a_prefix(self, store: BaseStore) -> None:
        there = [("a",), ("a", "b"), ("a", "b", "c"), ("a!",), ("ab",), ("b",), ("a%", "b"), ("a/b",)]
        for namespace in there:
            await store.put(namespace, "k", 1)
            await store.put(namespace, "l", 1)
        everything = await store.list_namespaces()
        assert everything == [("a",), ("a!",), ("a%", "b"), ("a/b",), ("a", "b"), ("a", "b", "c"), ("ab",), ("b",)]
        assert await store.list_namespaces(()) == everything
        assert await store.list_namespaces(("a",)) == [("a",), ("a", "b"), ("a", "b", "c")]
        assert await store.list_namespaces(("a", "b")) == [("a", "b"), ("a", "b", "c")]
        assert await store.list_namespaces(("a", "c")) == []
        assert await store.list_namespaces(limit=2) == everything[:2]
        assert await store.list_namespaces(("a",), 2) == [("a",), ("a", "b")]

    async def test_a_namespace_without_items_is_not_listed(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "k", 1)
        await store.put(OTHER, "k", 1)
        await store.delete(NAMESPACE, "k")
        assert await store.list_namespaces() == [OTHER]
        await store.clear_namespace(OTHER)
        assert await store.list_namespaces() == []

    async def test_the_longest_names_are_stored(self, store: BaseStore) -> None:
        namespace = ("é" * 511, "x")
        await store.put(namespace, LONGEST, 1)
        await store.put((namespace[0], "y"), LONGEST[:-1] + "è", 2)
        assert await store.get(namespace, LONGEST) == 1
        assert await store.list_namespaces((namespace[0],)) == [namespace, (namespace[0], "y")]

    @pytest.mark.parametrize(
        "namespace",
        [(), ("",), ("a", ""), ("a", 1), ["a"], "a", None, ("a\ud800",), ("x" * 1025,), ("%" * 400,)],
        ids=repr,
    )
    async def test_what_is_no_namespace_is_refused(self, store: BaseStore, namespace: Any) -> None:
        for call in _calls(store, namespace, "k"):
            with pytest.raises(InvalidArgumentError, match="namespace"):
                await call()

    @pytest.mark.parametrize("key", ["", None, 7, b"k", "a\ud800", LONGEST + "x"], ids=repr)
    async def test_what_is_no_key_is_refused(self, store: BaseStore, key: Any) -> None:
        for call in _calls(store, NAMESPACE, key)[:6]:
            with pytest.raises(InvalidArgumentError, match="key"):
                await call()

    @pytest.mark.parametrize("limit", [0, -1, True, 1.5, None])
    async def test_a_limit_below_one_is_refused(self, store: BaseStore, limit: Any) -> None:
        for call in (store.list, store.list_keys, store.list_namespaces):
            with pytest.raises(InvalidArgumentError, match="limit"):
                await call(NAMESPACE, limit=limit)
        with pytest.raises(InvalidArgumentError, match="limit"):
            await store.search(NAMESPACE, limit=limit)


class ListingTests(StoreFixtures):
    """Listing, batches, clearing."""

    async def test_keys_are_listed_in_the_order_of_their_bytes(self, store: BaseStore) -> None:
        keys = ["b", "a", "B", "é", "aa", "\U0001f600", "\uffff", "10", "9"]
        for key in keys:
            await store.put(NAMESPACE, key, key)
        await store.put(OTHER, "elsewhere", 1)
        assert await store.list(NAMESPACE) == sorted(keys, key=str.encode)
        assert await store.list(NAMESPACE, 3) == sorted(keys, key=str.encode)[:3]
        assert await store.list_keys(NAMESPACE, limit=3) == sorted(keys, key=str.encode)[:3]

    async def test_many_items_are_listed_searched_and_cleared_whole(self, store: BaseStore) -> None:
        keys = [f"k{number:04}" for number in range(1201)]
        await store.put_batch([(NAMESPACE, key, {"text": f"word {key}"}, None) for key in keys])
        assert await store.list(NAMESPACE, 5000) == keys
        assert [item.key for item in await store.search(NAMESPACE, limit=5000)] == keys[::-1]
        assert [item.key for item in await store.search(NAMESPACE, "k0000")] == ["k0000"]
        assert len(await store.search(NAMESPACE, "word", 5000)) == 1201
        assert len(await store.get_batch([(NAMESPACE, key) for key in keys])) == 1201
        assert await store.clear_namespace(NAMESPACE) == 1201
        assert await store.list(NAMESPACE) == []

    async def test_a_batch_is_written_in_its_order(self, store: BaseStore) -> None:
        await store.put_batch(
            [
                (NAMESPACE, "a", 1, None),
                (OTHER, "a", 2, {"m": 1}),
                (NAMESPACE, "b", 3, None),
                (NAMESPACE, "a", 4, {"m": 2}),
            ]
        )
        item = await store.get_item(NAMESPACE, "a")
        assert item is not None
        assert (item.value, item.metadata, item.version) == (4, {"m": 2}, 2)
        places = [(NAMESPACE, "a"), (OTHER, "a"), (NAMESPACE, "b"), (OTHER, "b"), (NAMESPACE, "a")]
        assert await store.get_batch(places) == {(NAMESPACE, "a"): 4, (OTHER, "a"): 2, (NAMESPACE, "b"): 3}
        await store.put_batch([])
        assert await store.get_batch([]) == {}

    @needs("transactions")
    async def test_a_batch_with_something_invalid_writes_nothing(self, store: BaseStore) -> None:
        with pytest.raises(CheckpointError):
            await store.put_batch([(NAMESPACE, "a", 1, None), (NAMESPACE, "b", object(), None)])  # type: ignore[list-item]  # that is what is wrong
        assert await store.list(NAMESPACE) == []

    async def test_deleting_one_item_deletes_no_other(self, store: BaseStore) -> None:
        for namespace in (NAMESPACE, OTHER):
            for key in ("a", "b"):
                await store.put(namespace, key, 1)
        assert await store.delete(NAMESPACE, "a") is True
        assert await store.delete(NAMESPACE, "a") is False
        assert await store.list(NAMESPACE) == ["b"]
        assert await store.list(OTHER) == ["a", "b"]
        assert await store.clear_namespace(OTHER) == 2
        assert await store.list(NAMESPACE) == ["b"]


class ConcurrencyTests(StoreFixtures):
    """Many writers at once."""

    async def test_no_write_of_many_is_lost(self, store: BaseStore) -> None:
        await asyncio.gather(*(store.put(NAMESPACE, f"k{n:02}", n) for n in range(40)))
        assert await store.list(NAMESPACE) == [f"k{n:02}" for n in range(40)]
        assert await store.get_batch([(NAMESPACE, f"k{n:02}") for n in range(40)]) == {
            (NAMESPACE, f"k{n:02}"): n for n in range(40)
        }

    async def test_writers_of_one_item_are_counted_one_by_one(self, store: BaseStore) -> None:
        await asyncio.gather(*(store.put(NAMESPACE, "k", n, {"n": n}) for n in range(20)))
        item = await store.get_item(NAMESPACE, "k")
        assert item is not None
        assert item.version == 20
        assert item.metadata == {"n": item.value}

    async def test_batches_that_overlap_do_not_wait_for_each_other(self, store: BaseStore) -> None:
        keys = [f"k{n}" for n in range(30)]
        batches = [[(NAMESPACE, key, n, None) for key in (keys, keys[::-1])[n % 2]] for n in range(8)]
        await asyncio.gather(*(store.put_batch(batch) for batch in batches))
        items = [await store.get_item(NAMESPACE, key) for key in keys]
        assert {item.version for item in items if item is not None} == {8}


def _calls(store: BaseStore, namespace: Any, key: Any) -> list[Callable[[], Any]]:
    return [
        lambda: store.put(namespace, key, 1),
        lambda: store.get(namespace, key),
        lambda: store.get_item(namespace, key),
        lambda: store.exists(namespace, key),
        lambda: store.delete(namespace, key),
        lambda: store.put_batch([(namespace, key, 1, None)]),
        lambda: store.list(namespace),
        lambda: store.search(namespace),
        lambda: store.clear_namespace(namespace),
    ]
