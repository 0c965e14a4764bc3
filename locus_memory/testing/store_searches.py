"""Finding items by words, by metadata and by embeddings: the same items in the same order on every store."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locus_memory.errors import CapabilityNotSupportedError, InvalidArgumentError
from locus_memory.metadata import matches
from locus_memory.store import BaseStore
from locus_memory.testing.store_base import (
    DIMENSION,
    EXAMPLES,
    NAMESPACE,
    OTHER,
    ReopenStore,
    StoreFixtures,
    all_need,
    needs,
)

_WORDS = ["cat", "Cat", "dog", "Straße", "STRASSE", "naïve", "x_1", "日本", "42"]
_NUMBERS = st.floats(-100, 100, width=32).filter(lambda number: number == 0 or abs(number) > 1e-3)
_VECTORS = st.lists(_NUMBERS, min_size=DIMENSION, max_size=DIMENSION).filter(any)
_FIELDS: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    2.5,
    "1",
    "a",
    "a\0",
    [],
    ["a"],
    [1, "a"],
    {"x": 1},
    {"x": 1, "y": 2},
]


class SearchTests(StoreFixtures):
    """`search`."""

    async def test_without_words_all_items_are_found_last_written_first(self, store: BaseStore) -> None:
        for key in ("a", "b", "c", "d"):
            await store.put(NAMESPACE, key, key)
        await store.put(NAMESPACE, "b", "again")
        await store.put(OTHER, "elsewhere", "a")
        for query in (None, "", " ... "):
            assert [item.key for item in await store.search(NAMESPACE, query)] == ["b", "d", "c", "a"]
        assert [item.key for item in await store.search(NAMESPACE, limit=2)] == ["b", "d"]
        [newest] = await store.search(NAMESPACE, None, 1)
        assert (newest.namespace, newest.value, newest.version) == (NAMESPACE, "again", 2)

    async def test_an_item_must_contain_all_words_whatever_their_case(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "fact", {"note": "The user likes CATS, and Straßenbahnen."})
        for query in ("cats", "user LIKES", "cats STRASSENBAHNEN", "straßenbahnen!"):
            assert [item.key for item in await store.search(NAMESPACE, query)] == ["fact"]
        for query in ("cat", "cats dogs", "note", "likes_cats"):
            assert await store.search(NAMESPACE, query) == []

    async def test_more_occurrences_come_first_then_what_was_written_last(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "three", ["cat cat", {"k": "cat"}])
        await store.put(NAMESPACE, "one", "cat dog")
        await store.put(NAMESPACE, "two", "cat catalogue cat")
        await store.put(NAMESPACE, "one too", "a cat")
        assert [item.key for item in await store.search(NAMESPACE, "cat")] == ["three", "two", "one too", "one"]
        assert [item.key for item in await store.search(NAMESPACE, "cat", 2)] == ["three", "two"]

    async def test_what_was_replaced_is_not_found_by_its_old_words(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "k", "old words")
        await store.put(NAMESPACE, "k", "new words")
        assert await store.search(NAMESPACE, "old") == []
        assert [item.value for item in await store.search(NAMESPACE, "new")] == ["new words"]

    async def test_a_word_that_no_index_takes_is_not_found(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "k", f"short {'x' * 5000}")
        assert await store.search(NAMESPACE, "x" * 5000) == []
        assert [item.key for item in await store.search(NAMESPACE, "short")] == ["k"]

    async def test_a_text_of_very_many_words_is_stored(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "book", " ".join(f"word{number} again" for number in range(60_000)))
        assert [item.key for item in await store.search(NAMESPACE, "again word7")] == ["book"]

    @EXAMPLES
    @given(
        texts=st.lists(st.lists(st.sampled_from(_WORDS), max_size=6).map(" ".join), min_size=1, max_size=5),
        query=st.lists(st.sampled_from(_WORDS), min_size=1, max_size=2).map(" ".join),
        limit=st.integers(1, 4),
    )
    async def test_items_rank_by_the_words_that_they_contain(
        self, store: BaseStore, texts: list[str], query: str, limit: int
    ) -> None:
        await store.clear_namespace(NAMESPACE)
        for number, text in enumerate(texts):
            await store.put(NAMESPACE, str(number), text)
        terms = set(query.casefold().split())
        counts = [[text.casefold().split().count(term) for term in terms] for text in texts]
        ranked = sorted((-sum(each), -number) for number, each in enumerate(counts) if all(each))
        found = await store.search(NAMESPACE, query, limit)
        assert [item.key for item in found] == [str(-number) for _, number in ranked[:limit]]

    async def test_several_namespaces_are_searched_each_by_itself(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "a", "cat")
        await store.put(OTHER, "b", "dog")
        found = await store.search_many([OTHER, NAMESPACE, ("none",)], "cat", limit=3)
        assert [[item.key for item in items] for items in found] == [[], ["a"], []]


class FilterTests(StoreFixtures):
    """`metadata_filter`, which decides before the limit does."""

    async def test_the_filter_comes_before_the_limit(self, store: BaseStore) -> None:
        for number in range(30):
            tag = "rare" if number in (0, 1) else "common"
            await store.put(NAMESPACE, f"k{number}", "cat", {"tag": tag})
        rare = {"tag": "rare"}
        assert [item.key for item in await store.search(NAMESPACE, None, 2, metadata_filter=rare)] == ["k1", "k0"]
        assert [item.key for item in await store.search(NAMESPACE, "cat", 2, metadata_filter=rare)] == ["k1", "k0"]

    @needs("semantic_search")
    async def test_the_filter_comes_before_the_limit_of_the_most_alike(self, store: BaseStore) -> None:
        for number in range(30):
            tag = "rare" if number in (0, 1) else "common"
            await store.put_with_embedding(NAMESPACE, f"k{number}", "cat", [1.0, number, 0.0], {"tag": tag})
        rare = {"tag": "rare"}
        found = await store.search_by_embedding(NAMESPACE, [0.0, 1.0, 0.0], 2, metadata_filter=rare)
        assert [result.item.key for result in found] == ["k1", "k0"]

    async def test_all_fields_must_match(self, store: BaseStore) -> None:
        await store.put(NAMESPACE, "both", 1, {"a": 1, "b": ["x", "y"]})
        await store.put(NAMESPACE, "one", 1, {"a": 1})
        await store.put(NAMESPACE, "none", 1)
        assert len(await store.search(NAMESPACE, metadata_filter={})) == 3
        assert len(await store.search(NAMESPACE, metadata_filter={"a": 1})) == 2
        assert [item.key for item in await store.search(NAMESPACE, metadata_filter={"a": 1, "b": "y"})] == ["both"]
        assert await store.search(NAMESPACE, metadata_filter={"a": 1, "b": "z"}) == []
        assert await store.search(NAMESPACE, metadata_filter={"c": None}) == []

    @pytest.mark.parametrize("wanted", _FIELDS, ids=repr)
    async def test_a_field_matches_what_is_equal_or_contains_it(self, store: BaseStore, wanted: Any) -> None:
        for number, field in enumerate(_FIELDS):
            await store.put(NAMESPACE, f"{number:02}", 1, {"field": field})
        expected = [n for n, field in enumerate(_FIELDS) if matches({"field": field}, "field", wanted)]
        found = await store.search(NAMESPACE, limit=100, metadata_filter={"field": wanted})
        assert sorted(int(item.key) for item in found) == expected

    async def test_what_is_no_filter_is_refused(self, store: BaseStore) -> None:
        with pytest.raises(InvalidArgumentError, match="metadata"):
            await store.search(NAMESPACE, metadata_filter={"k": object()})  # type: ignore[dict-item]  # that is what is wrong


@all_need("semantic_search")
class EmbeddingTests(StoreFixtures):
    """`put_with_embedding` and `search_by_embedding`."""

    async def test_the_most_alike_come_first(self, store: BaseStore) -> None:
        await store.put_with_embedding(NAMESPACE, "same", {"n": 1}, [2.0, 0.0, 0.0], {"m": 1})
        await store.put_with_embedding(NAMESPACE, "near", {"n": 2}, embedding=[1.0, 1.0, 0.0])
        await store.put_with_embedding(NAMESPACE, "across", {"n": 3}, [0, 0, 5])
        await store.put_with_embedding(NAMESPACE, "against", {"n": 4}, (-1.0, 0.0, 0.0))
        await store.put(NAMESPACE, "without", {"n": 5})
        await store.put_with_embedding(OTHER, "elsewhere", {"n": 6}, [1.0, 0.0, 0.0])
        found = await store.search_by_embedding(NAMESPACE, query=[9.0, 0.0, 0.0], limit=5)
        assert [result.item.key for result in found] == ["same", "near", "across", "against"]
        assert [result.score for result in found] == pytest.approx([1, math.sqrt(0.5), 0, -1], abs=1e-6)
        assert [result.distance for result in found] == pytest.approx([0, 1 - math.sqrt(0.5), 1, 2], abs=1e-6)
        assert (found[0].item.value, found[0].item.metadata, found[0].item.namespace) == ({"n": 1}, {"m": 1}, NAMESPACE)

    async def test_the_query_may_be_named_as_locus_names_it(self, store: BaseStore) -> None:
        await store.put_with_embedding(NAMESPACE, "k", 1, [1.0, 0.0, 0.0])
        by_name = await store.search_by_embedding(NAMESPACE, query_embedding=[1.0, 0.0, 0.0], limit=1)
        by_position = await store.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0], 1, None, None)
        assert [each.item.key for each in by_name] == [each.item.key for each in by_position] == ["k"]

    async def test_the_threshold_is_included(self, store: BaseStore) -> None:
        await store.put_with_embedding(NAMESPACE, "same", 1, [0.3, 0.1, 0.7])
        await store.put_with_embedding(NAMESPACE, "half", 1, [1.0, 0.0, 0.0])
        query = [0.3, 0.1, 0.7]
        half = 0.3 / math.sqrt(0.09 + 0.01 + 0.49)
        for threshold, keys in (
            (1, ["same"]),
            (half, ["same", "half"]),
            (half + 1e-4, ["same"]),
            (-1, ["same", "half"]),
        ):
            found = await store.search_by_embedding(NAMESPACE, query, threshold=threshold)
            assert [result.item.key for result in found] == keys

    async def test_the_threshold_comes_before_the_limit_and_all_below_is_left_out(self, store: BaseStore) -> None:
        await store.put_with_embedding(NAMESPACE, "k", 1, [1.0, 0.0, 0.0])
        assert await store.search_by_embedding(NAMESPACE, [0.0, 1.0, 0.0], threshold=0.5) == []

    async def test_of_equals_the_last_written_comes_first(self, store: BaseStore) -> None:
        for key in ("a", "b", "c"):
            await store.put_with_embedding(NAMESPACE, key, 1, [1.0, 0.0, 0.0])
        await store.put_with_embedding(NAMESPACE, "b", 1, [1.0, 0.0, 0.0])
        found = await store.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0], 2)
        assert [result.item.key for result in found] == ["b", "c"]

    @EXAMPLES
    @given(vectors=st.lists(_VECTORS, min_size=1, max_size=6), query=_VECTORS, limit=st.integers(1, 6))
    async def test_every_store_ranks_alike(
        self, store: BaseStore, vectors: list[list[float]], query: list[float], limit: int
    ) -> None:
        await store.clear_namespace(NAMESPACE)
        for number, vector in enumerate(vectors):
            await store.put_with_embedding(NAMESPACE, str(number), number, vector)
        exact = [_cosine(vector, query) for vector in vectors]
        found = await store.search_by_embedding(NAMESPACE, query, limit)
        assert [result.score for result in found] == pytest.approx(sorted(exact, reverse=True)[:limit], abs=2e-6)
        assert [exact[int(result.item.key)] for result in found] == pytest.approx(
            [result.score for result in found], abs=2e-6
        )
        assert len({result.item.key for result in found}) == min(limit, len(vectors))

    async def test_numbers_of_any_size_are_compared(self, store: BaseStore) -> None:
        await store.put_with_embedding(NAMESPACE, "large", 1, [3e300, 4e300, 0.0])
        await store.put_with_embedding(NAMESPACE, "small", 1, [3e-300, 4e-300, 0.0])
        found = await store.search_by_embedding(NAMESPACE, [3.0, 4.0, 0.0])
        assert [result.score for result in found] == pytest.approx([1, 1], abs=1e-6)

    async def test_a_put_forgets_the_embedding_of_what_it_replaces(self, store: BaseStore) -> None:
        await store.put_with_embedding(NAMESPACE, "k", "cats", [1.0, 0.0, 0.0])
        await store.put(NAMESPACE, "k", "dogs")
        assert await store.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0]) == []
        await store.put_with_embedding(NAMESPACE, "k", "birds", [0.0, 1.0, 0.0])
        await store.put_with_embedding(NAMESPACE, "k", "fish", [0.0, 0.0, 1.0])
        [found] = await store.search_by_embedding(NAMESPACE, [0.0, 0.0, 1.0])
        assert (found.item.value, found.item.version) == ("fish", 4)
        await store.delete(NAMESPACE, "k")
        assert await store.search_by_embedding(NAMESPACE, [0.0, 0.0, 1.0]) == []

    @pytest.mark.parametrize(
        "embedding",
        [[], [1.0], [1.0] * 4, [0.0] * 3, [math.nan, 1, 1], [math.inf, 1, 1], ["a", 1, 1], None, 3, "abc"],
        ids=repr,
    )
    async def test_what_is_no_embedding_is_refused(self, store: BaseStore, embedding: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="embedding"):
            await store.put_with_embedding(NAMESPACE, "k", 1, embedding)
        with pytest.raises(InvalidArgumentError, match="query"):
            await store.search_by_embedding(NAMESPACE, embedding)
        assert not await store.exists(NAMESPACE, "k")

    @pytest.mark.parametrize("threshold", [1.1, -1.1, math.nan, "high", True])
    async def test_what_is_no_threshold_is_refused(self, store: BaseStore, threshold: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="threshold"):
            await store.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0], threshold=threshold)

    async def test_without_a_dimension_there_are_no_embeddings(
        self, factory: Callable[..., BaseStore], store: BaseStore
    ) -> None:
        assert store.capabilities.semantic_search
        assert store.capabilities.embedding_dimension == DIMENSION
        async with factory() as plain:
            assert not plain.capabilities.semantic_search
            await plain.put(NAMESPACE, "k", 1)
            with pytest.raises(CapabilityNotSupportedError, match=r"store\.capabilities"):
                await plain.put_with_embedding(NAMESPACE, "k", 1, [1.0, 0.0, 0.0])
            with pytest.raises(CapabilityNotSupportedError, match="semantic_search"):
                await plain.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0])

    async def test_a_store_without_a_dimension_replaces_embeddings_as_well(
        self, factory: Callable[..., BaseStore], store: BaseStore, reopen: ReopenStore
    ) -> None:
        await store.put_with_embedding(NAMESPACE, "k", "cats", [1.0, 0.0, 0.0])
        async with factory() as plain:
            await plain.put(NAMESPACE, "k", "dogs")
        async with reopen() as again:
            assert await again.get(NAMESPACE, "k") == "dogs"
            assert await again.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0]) == []


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))
