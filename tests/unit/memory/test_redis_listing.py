"""Listings that are merged from many key spaces, and the slots that Cluster nodes tell of."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from locus_memory.backends.redis_discovery import Owners
from locus_memory.backends.redis_keys import BUCKETS, KeyLayout, KeySpaces
from locus_memory.backends.redis_listing import in_order, newest_with
from locus_memory.backends.redis_lua import Script
from locus_memory.backends.redis_scripts import LIST_THREADS
from locus_memory.connection import HostAddress

SPACES = KeySpaces("p:", clustered=True)


class Stored:
    """Answers like the scripts, from lists; counts the round trips."""

    def __init__(self, rows: dict[str, list[Any]]) -> None:
        self.spaces = SPACES
        self.rows = rows
        self.rounds = 0

    async def run_all(self, script: Script, calls: Sequence[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        self.rounds += 1
        return [self._page(prefix, *arguments) for prefix, arguments in calls]

    def _page(self, prefix: str, start: Any, count: int) -> Any:
        rows = self.rows.get(prefix, [])
        if isinstance(start, str):
            return rows[:count]
        begin = start[1:]
        page = [row for row in rows if (row >= begin if start.startswith(b"[") else row > begin)][:count]
        # Every fifth one has expired: the page tells where it ended, but not of that thread.
        return [[row for row in page if sum(row) % 5], page[-1] if page else None]


@given(st.sets(st.binary(min_size=1, max_size=3), max_size=400), st.integers(1, 50))
async def test_threads_of_all_spaces_come_in_one_order(threads: set[bytes], buckets: int) -> None:
    rows: dict[str, list[bytes]] = {}
    for thread in sorted(threads):
        rows.setdefault(SPACES.all[crc32(thread) % buckets].prefix, []).append(thread)
    stored: Any = Stored(rows)
    found = [row async for row in in_order(stored, LIST_THREADS, "", 10, lambda row: row)]
    assert found == sorted(row for row in threads if sum(row) % 5)


async def test_the_first_threads_of_many_are_listed_in_one_round() -> None:
    names = [f"thread-{number}" for number in range(20_000)]
    rows: dict[str, list[bytes]] = {}
    for name in sorted(names):
        rows.setdefault(SPACES.of(name).prefix, []).append(name.encode())
    stored: Any = Stored(rows)
    found = []
    async for row in in_order(stored, LIST_THREADS, "", 50, lambda row: row):
        found.append(row)
        if len(found) == 50:
            break
    assert found == sorted(name.encode() for name in names if sum(name.encode()) % 5)[:50]
    assert stored.rounds == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 1000)), max_size=300), st.integers(1, 120))
async def test_the_newest_of_all_spaces_come_first(written: list[tuple[int, int]], limit: int) -> None:
    rows: dict[str, list[Any]] = {}
    for bucket, microsecond in sorted(written, key=lambda each: -each[1]):
        rows.setdefault(SPACES.all[bucket].prefix, []).append([b"t", b"c", b"%d[]" % microsecond])
    stored: Any = Stored(rows)
    found = await newest_with(stored, "key", "value", limit)
    expected = sorted((microsecond for _, microsecond in written), reverse=True)[:limit]
    assert [row[2] for row in found] == [b"%d[]" % microsecond for microsecond in expected]


def test_buckets_never_change() -> None:
    # Whoever changes one of these loses all threads that were saved before.
    assert BUCKETS == 128
    assert SPACES.of("thread").prefix == "p:t:{3-3ba729}:"
    assert KeySpaces("p:", clustered=False).all == (KeyLayout("p:"),)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
def test_keys_of_buckets_are_within_the_reach_of_the_operators_users(prefix: str) -> None:
    for space in KeySpaces(prefix, clustered=True).all[:3]:
        for key in (space.threads, space.expiry, *space.data_prefixes, space.metadata("k", "v")):
            assert key.startswith(KeyLayout(prefix).data_prefixes[0])


@given(st.lists(st.integers(0, 16384), min_size=2, max_size=10, unique=True).map(sorted), st.integers(0, 16383))
def test_the_owner_of_a_slot_is_who_has_its_range(bounds: list[int], slot: int) -> None:
    nodes = [HostAddress(host="node", port=1 + number) for number in range(len(bounds))]
    # Every other range belongs to nobody.
    ranges = [(low, high - 1, node) for (low, high), node in zip(pairwise(bounds), nodes, strict=False)][::2]
    expected = next((node for low, high, node in ranges if low <= slot <= high), None)
    assert Owners(tuple(ranges)).owner(slot) == expected
