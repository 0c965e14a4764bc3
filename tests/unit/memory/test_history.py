"""Thread histories and the pattern language: pure functions."""

import logging
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locus_memory.errors import CorruptCheckpointError
from locus_memory.history import Entry, ThreadHistory, find_by_metadata, first_matching, rank
from locus_memory.storage import CheckpointSummary, PendingWrite

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def history(thread_id: str, *minutes: int) -> ThreadHistory[bytes]:
    """A history whose checkpoints are named after the minute at which a clock says they were written."""
    made: ThreadHistory[bytes] = ThreadHistory(thread_id)
    for minute in minutes:
        when = NOON + timedelta(minutes=minute)
        made.put(Entry(CheckpointSummary(thread_id, f"{thread_id}{minute}", {"tag": "x"}, when), b""))
    return made


def test_the_clock_has_no_say_in_the_order_of_a_thread() -> None:
    made = history("a", 3, 1, 2)
    assert [entry.summary.checkpoint_id for entry in made.newest_first()] == ["a2", "a1", "a3"]


def test_a_query_merges_threads_by_time_and_keeps_the_order_within_each() -> None:
    found = find_by_metadata([history("a", 1, 9, 4), history("b", 2, 5)], "tag", "x", 10)
    ids = [summary.checkpoint_id for summary in found]
    assert sorted(ids) == ["a1", "a4", "a9", "b2", "b5"]
    assert [each for each in ids if each[0] == "a"] == ["a4", "a9", "a1"]
    assert [each for each in ids if each[0] == "b"] == ["b5", "b2"]
    assert len(find_by_metadata([history("a", 1, 9, 4)], "tag", "x", 2)) == 2


def test_deletion_by_age_says_how_many_and_leaves_no_empty_namespace() -> None:
    made = history("a", 1, 9, 4)
    assert made.delete_before(NOON + timedelta(minutes=4)) == 1
    assert [entry.summary.checkpoint_id for entry in made.newest_first()] == ["a4", "a9"]
    assert made.delete_before(NOON + timedelta(hours=1)) == 2
    assert made.namespaces == {}


def test_the_newest_are_those_written_last_whatever_their_time() -> None:
    made = history("a", 1, 9, 4)
    made.put_writes("a1", [PendingWrite("task", 0, "channel", b"")])
    made.put_writes("a4", [PendingWrite("task", 0, "channel", b"")])
    assert made.keep_newest(2) == 1
    assert [entry.summary.checkpoint_id for entry in made.newest_first()] == ["a4", "a9"]
    assert list(made.writes) == [("", "a4")]
    assert made.keep_newest(2) == 0


def test_the_newest_of_one_namespace_are_kept_whatever_is_in_another() -> None:
    made = history("a", 1, 2)
    other = CheckpointSummary("a", "inner", {}, NOON, "sub")
    made.put(Entry(other, b""))
    assert made.keep_newest(1) == 1
    assert made.get("inner", "sub") is not None


def test_a_damaged_state_is_left_out_of_a_search_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def text_of(payload: bytes) -> str:
        if payload == b"damaged":
            raise CorruptCheckpointError("no JSON")
        return payload.decode()

    latest = [(CheckpointSummary(name, "c", {}, NOON), name.encode()) for name in ("damaged", "needle")]
    with caplog.at_level(logging.WARNING):
        hits = rank(latest, ["needle"], 10, text_of)
    assert [hit.summary.thread_id for hit in hits] == ["needle"]
    assert "'damaged' is not searchable: no JSON" in caplog.text


@given(st.text("ab*\n"), st.text("ab*.\n", max_size=6))
def test_a_pattern_matches_what_the_regular_expression_matches(thread_id: str, pattern: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), thread_id, re.DOTALL)
    assert first_matching([thread_id], pattern, 1) == ([thread_id] if expected else [])


def test_a_hostile_pattern_takes_no_time_to_speak_of() -> None:
    # A regular expression would try every way to place forty stars in so many letters.
    assert first_matching(["a" * 1000], "*a" * 40 + "*b", 1) == []


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True), st.integers(1, 5))
def test_the_first_ids_are_those_with_the_least_bytes(thread_ids: list[str], limit: int) -> None:
    assert first_matching(thread_ids, "*", limit) == sorted(thread_ids, key=str.encode)[:limit]
