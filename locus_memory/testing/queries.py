"""Listing threads, querying metadata, searching."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import JsonValue

from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import CheckpointError
from locus_memory.testing.base import ContractFixtures, requires


def threads_of(found: list[dict[str, Any]]) -> list[str]:
    """Return the thread ids of a result, in its order."""
    return [item["thread_id"] for item in found]


class ListingTests(ContractFixtures):
    """`list_threads` and `list_with_metadata`."""

    @requires("list_threads")
    async def test_threads_are_listed_once_in_byte_order(self, checkpointer: BaseCheckpointer) -> None:
        for thread_id in ("b", "a", "é", "Z", "a1", "🎉", "\uffff", "b"):
            await checkpointer.save({}, thread_id)
        assert await checkpointer.list_threads() == ["Z", "a", "a1", "b", "é", "\uffff", "🎉"]

    @requires("list_threads")
    async def test_listing_nothing_gives_nothing(self, checkpointer: BaseCheckpointer) -> None:
        assert await checkpointer.list_threads() == []
        assert await checkpointer.list_threads(pattern="a*") == []

    @requires("list_threads")
    async def test_listing_threads_is_limited(self, checkpointer: BaseCheckpointer) -> None:
        for number in range(12):
            await checkpointer.save({}, f"t{number:02}")
        assert await checkpointer.list_threads(limit=3) == ["t00", "t01", "t02"]
        assert await checkpointer.list_threads(2, "*1*") == ["t01", "t10"]
        with pytest.raises(CheckpointError):
            await checkpointer.list_threads(limit=0)

    @requires("list_threads")
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*", ["a", "app/1", "app/2", "app1", "xapp/1", "xapp/1y"]),
            ("app/*", ["app/1", "app/2"]),
            ("*app/1", ["app/1", "xapp/1"]),
            ("*pp/1*", ["app/1", "xapp/1", "xapp/1y"]),
            ("a*1", ["app/1", "app1"]),
            ("*a*p*1*", ["app/1", "app1", "xapp/1", "xapp/1y"]),
            ("a", ["a"]),
            ("**", ["a", "app/1", "app/2", "app1", "xapp/1", "xapp/1y"]),
            ("app/1*1", []),
            ("A*", []),
            ("", []),
        ],
    )
    async def test_a_star_in_a_pattern_is_any_run_of_characters(
        self, checkpointer: BaseCheckpointer, pattern: str, expected: list[str]
    ) -> None:
        for thread_id in ("a", "app/1", "app/2", "app1", "xapp/1", "xapp/1y"):
            await checkpointer.save({}, thread_id)
        assert await checkpointer.list_threads(pattern=pattern) == expected

    @requires("list_threads")
    @pytest.mark.parametrize(
        "literal", ["%", "_", "?", "[", "]", "[a-z]", "\\", ".", "\0", "%%", "^", "$", "{}", "\\%", "+"]
    )
    async def test_everything_but_a_star_stands_for_itself(self, checkpointer: BaseCheckpointer, literal: str) -> None:
        await checkpointer.save({}, f"x{literal}y")
        await checkpointer.save({}, "xay")
        await checkpointer.save({}, "xy")
        assert await checkpointer.list_threads(pattern=f"x{literal}y") == [f"x{literal}y"]
        assert await checkpointer.list_threads(pattern=f"*{literal}y") == [f"x{literal}y"]
        assert await checkpointer.list_threads(pattern=f"x{literal}*") == [f"x{literal}y"]

    @requires("list_threads")
    async def test_a_pattern_that_no_id_can_have_is_refused_or_matches_nothing(
        self, checkpointer: BaseCheckpointer
    ) -> None:
        await checkpointer.save({}, "t")
        for pattern in ("\ud800", "t*\udfff"):
            try:
                found = await checkpointer.list_threads(pattern=pattern)
            except CheckpointError:
                continue
            assert found == []

    @requires("list_threads")
    async def test_a_star_matches_line_breaks_and_null_characters(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({}, "a\n\0b")
        assert await checkpointer.list_threads(pattern="a*b") == ["a\n\0b"]

    @requires("list_with_metadata")
    async def test_threads_are_listed_with_the_metadata_of_their_latest_checkpoint(
        self, checkpointer: BaseCheckpointer
    ) -> None:
        before = datetime.now(UTC)
        await checkpointer.save({}, "b", "b1", {"n": 1})
        await checkpointer.save({}, "a", "a1", {"n": 2})
        await checkpointer.save({}, "a", "a2", {"n": 3, "tags": ["x"]})
        await checkpointer.save({}, "c", "c1")
        found = await checkpointer.list_with_metadata()
        assert [(item["thread_id"], item["checkpoint_id"], item["metadata"]) for item in found] == [
            ("a", "a2", {"n": 3, "tags": ["x"]}),
            ("b", "b1", {"n": 1}),
            ("c", "c1", {}),
        ]
        # The server's clock may differ a little from ours.
        assert all(abs(item["created_at"] - before) < timedelta(minutes=5) for item in found)
        assert threads_of(await checkpointer.list_with_metadata(limit=2)) == ["a", "b"]

    @requires("list_with_metadata")
    async def test_listing_with_metadata_follows_a_deletion(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({}, "a", "a1", {"n": 1})
        await checkpointer.save({}, "a", "a2", {"n": 2})
        await checkpointer.delete("a", "a2")
        [found] = await checkpointer.list_with_metadata()
        assert (found["checkpoint_id"], found["metadata"]) == ("a1", {"n": 1})


class MetadataTests(ContractFixtures):
    """`get_metadata` and `query_by_metadata`."""

    @requires("metadata_query")
    async def test_metadata_of_a_checkpoint(self, checkpointer: BaseCheckpointer) -> None:
        metadata: dict[str, JsonValue] = {
            "s": "a\0b🎉",
            "n": 1.5,
            "list": [1, "x", None],
            "deep": {"a": {"b": []}},
            "none": None,
            "yes": True,
        }
        await checkpointer.save({}, "t", "c1", metadata)
        await checkpointer.save({}, "t", "c2", {"n": 2})
        await checkpointer.save({}, "t", "c3")
        assert await checkpointer.get_metadata("t", "c1") == metadata
        assert await checkpointer.get_metadata("t", "c2") == {"n": 2}
        assert await checkpointer.get_metadata("t") == {}
        assert await checkpointer.get_metadata("t", "other") is None
        assert await checkpointer.get_metadata("other") is None

    @requires("metadata_query")
    async def test_saving_again_replaces_the_metadata(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({}, "t", "c", {"old": 1})
        await checkpointer.save({}, "t", "c", {"new": 1})
        assert await checkpointer.get_metadata("t", "c") == {"new": 1}
        assert await checkpointer.query_by_metadata("old", 1) == []
        assert threads_of(await checkpointer.query_by_metadata("new", 1)) == ["t"]
        await checkpointer.save({}, "t", "c")
        assert await checkpointer.query_by_metadata("new", 1) == []

    @requires("metadata_query")
    async def test_a_query_finds_every_matching_checkpoint_newest_first(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({}, "b", "1", {"tag": "x"})
        await checkpointer.save({}, "a", "2", {"tag": "x", "more": 1})
        await checkpointer.save({}, "b", "3", {"tag": "y"})
        await checkpointer.save({}, "b", "4", {"tag": "x"})
        found = await checkpointer.query_by_metadata("tag", "x")
        assert [(item["thread_id"], item["checkpoint_id"]) for item in found] == [("b", "4"), ("a", "2"), ("b", "1")]
        assert found[1]["metadata"] == {"tag": "x", "more": 1}
        assert found[0]["created_at"] >= found[2]["created_at"]
        limited = await checkpointer.query_by_metadata("tag", "x", limit=2)
        assert [item["checkpoint_id"] for item in limited] == ["4", "2"]

    @requires("metadata_query")
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("x", "x"),
            ("x\0y", "x\0y"),
            (["a", "b"], "b"),
            (["a", "b"], ["a", "b"]),
            ([["a"], "b"], ["a"]),
            ([{"k": 1}], {"k": 1}),
            ({"b": 2, "a": [1]}, {"a": [1], "b": 2}),
            (1, 1.0),
            (1.0, 1),
            (0.1, 0.1),
            (2**53, 2**53),
            (True, True),
            (None, None),
            ([None], None),
            ("", ""),
            ({}, {}),
            ([], []),
            ("y" * 3000, "y" * 3000),
            (["%", "_", "*"], "*"),
        ],
    )
    async def test_a_field_matches(self, checkpointer: BaseCheckpointer, field: JsonValue, value: JsonValue) -> None:
        await checkpointer.save({}, "t", metadata={"field": field})
        assert threads_of(await checkpointer.query_by_metadata("field", value)) == ["t"]

    @requires("metadata_query")
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            (1, True),
            (True, 1),
            (0, False),
            (1, "1"),
            ("true", True),
            (None, "null"),
            ("x", "X"),
            ("x ", "x"),
            ("x", ["x"]),
            (["a", "b"], ["b", "a"]),
            (["a", "b"], ["a"]),
            ([["a"]], "a"),
            ({"a": 1}, {}),
            ({"a": 1, "b": 2}, {"a": 1}),
            ({"a": 1}, 1),
            ([{"a": 1, "b": 2}], {"a": 1}),
            ([], None),
            ("x\0y", "x"),
            ("a%", "ab"),
        ],
    )
    async def test_a_field_does_not_match(
        self, checkpointer: BaseCheckpointer, field: JsonValue, value: JsonValue
    ) -> None:
        await checkpointer.save({}, "t", metadata={"field": field})
        assert await checkpointer.query_by_metadata("field", value) == []

    @requires("metadata_query")
    async def test_field_names_stand_for_themselves(self, checkpointer: BaseCheckpointer) -> None:
        names = ("a.b", "a", "$", "a\0b", 'a"b', "a'b", "é", "", "a b", "A")
        for number, name in enumerate(names):
            await checkpointer.save({}, f"t{number}", metadata={name: "v"})
        await checkpointer.save({}, "nested", metadata={"outer": {"a": "v"}})
        for number, name in enumerate(names):
            assert threads_of(await checkpointer.query_by_metadata(name, "v")) == [f"t{number}"], name

    @requires("metadata_query")
    async def test_a_query_follows_deletions(self, checkpointer: BaseCheckpointer) -> None:
        for checkpoint_id in "abc":
            await checkpointer.save({}, "t", checkpoint_id, {"tag": "x"})
        await checkpointer.delete("t", "b")
        found = await checkpointer.query_by_metadata("tag", "x")
        assert [item["checkpoint_id"] for item in found] == ["c", "a"]

    @requires("metadata_query")
    async def test_a_query_for_what_json_cannot_hold_is_refused(self, checkpointer: BaseCheckpointer) -> None:
        with pytest.raises(CheckpointError):
            await checkpointer.query_by_metadata("tag", "\ud800")
        with pytest.raises(CheckpointError):
            await checkpointer.query_by_metadata("tag", "x", limit=0)


class SearchTests(ContractFixtures):
    """`search`."""

    @requires("search")
    async def test_all_words_must_occur_anywhere_in_the_state(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({"a": "We fly to Tokyo", "deep": [{"b": "in spring"}]}, "t1", "c1", {"n": 1})
        await checkpointer.save({"a": "Tokyo in autumn"}, "t2")
        await checkpointer.save({"a": "nothing of it"}, "t3")
        assert sorted(threads_of(await checkpointer.search("tokyo"))) == ["t1", "t2"]
        [hit] = await checkpointer.search("SPRING tokyo")
        assert (hit["thread_id"], hit["checkpoint_id"], hit["metadata"]) == ("t1", "c1", {"n": 1})
        assert hit["score"] > 0
        assert await checkpointer.search("tokyo winter") == []
        assert await checkpointer.search("tok") == []

    @requires("search")
    async def test_more_occurrences_are_a_better_match(self, checkpointer: BaseCheckpointer) -> None:
        for thread_id, times in (("two", 2), ("five", 5), ("one", 1)):
            await checkpointer.save({"text": " ".join(["needle hay"] * times)}, thread_id)
        found = await checkpointer.search("needle")
        assert threads_of(found) == ["five", "two", "one"]
        assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
        assert threads_of(await checkpointer.search("needle", limit=2)) == ["five", "two"]

    @requires("search")
    async def test_equal_matches_are_newest_first(self, checkpointer: BaseCheckpointer) -> None:
        for thread_id in ("b", "c", "a"):
            await checkpointer.save({"text": "needle"}, thread_id)
        assert threads_of(await checkpointer.search("needle")) == ["a", "c", "b"]

    @requires("search")
    async def test_only_the_current_state_is_searched(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({"text": "needle"}, "t", "a")
        assert threads_of(await checkpointer.search("needle")) == ["t"]
        await checkpointer.save({"text": "pin"}, "t", "b")
        assert await checkpointer.search("needle") == []
        assert threads_of(await checkpointer.search("pin")) == ["t"]
        await checkpointer.delete("t", "b")
        assert threads_of(await checkpointer.search("needle")) == ["t"]
        assert await checkpointer.search("pin") == []
        await checkpointer.save({"text": "pearl"}, "t", "a")
        assert threads_of(await checkpointer.search("pearl")) == ["t"]
        assert await checkpointer.search("needle") == []

    @requires("search")
    async def test_messages_are_searched_by_their_content(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({"messages": [{"role": "user", "content": "Kyoto"}], "agent": "travel"}, "t")
        assert threads_of(await checkpointer.search("kyoto")) == ["t"]
        assert await checkpointer.search("user") == []

    @requires("search")
    @pytest.mark.parametrize("text", ["añejo", "日本", "ελιά", "straße", "under_score", "x1", "null\0char"])
    async def test_words_of_any_script_are_found(self, checkpointer: BaseCheckpointer, text: str) -> None:
        await checkpointer.save({"text": f"before {text} after"}, "t")
        await checkpointer.save({"text": "before after"}, "u")
        assert threads_of(await checkpointer.search(text)) == ["t"]
        assert threads_of(await checkpointer.search(text.upper())) == ["t"]

    @requires("search")
    @pytest.mark.parametrize(
        "query", ["'needle'", "needle & !hay", "needle | x", '"needle"', "needle:*", "(needle", "needle\\"]
    )
    async def test_operators_of_query_languages_are_no_words(self, checkpointer: BaseCheckpointer, query: str) -> None:
        await checkpointer.save({"text": "needle in the hay x"}, "t")
        await checkpointer.save({"text": "needles"}, "u")
        assert threads_of(await checkpointer.search(query)) == ["t"]

    @requires("search")
    async def test_a_query_without_words_is_refused(self, checkpointer: BaseCheckpointer) -> None:
        for query in ("", "  ", "!?"):
            with pytest.raises(CheckpointError):
                await checkpointer.search(query)
