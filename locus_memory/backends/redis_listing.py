"""Listings of the Redis backend: pages of each key space, merged into one order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from locus_memory.backends.redis_lua import Script
from locus_memory.backends.redis_scripts import QUERY_BY_METADATA

if TYPE_CHECKING:
    from locus_memory.backends.redis_client import Client

PAGE = 200
"""Threads that one script looks at, at most: the server serves nobody else meanwhile."""

_FEWEST = 20


@dataclass(slots=True)
class _Cursor:
    """How far a key space has been read: rows not handed out yet, and the thread that its last page ended with."""

    prefix: str
    start: bytes
    rows: list[Any] = field(default_factory=list)
    last: bytes = b""
    exhausted: bool = False


async def in_order(
    client: Client, script: Script, start: str, wanted: int, thread_of: Callable[[Any], bytes]
) -> AsyncIterator[Any]:
    """Yield the rows that a paging script returns for all threads from `start` on, by the bytes of their ids.

    Args:
        client: Runs the script.
        script: Takes a start and a count; returns rows, and the last thread that it looked at or nothing.
        start: Text that the first thread begins with, or that sorts before it.
        wanted: Rows that the caller will probably take.
        thread_of: Tells the thread of a row.
    """
    spaces = client.spaces.all
    # Threads are spread evenly: twice its share, and some, of the first ones is hardly ever too little.
    count = min(PAGE, max(wanted, _FEWEST) if len(spaces) == 1 else 2 * wanted // len(spaces) + 8)
    cursors = [_Cursor(space.prefix, b"[" + start.encode()) for space in spaces]
    while cursors:
        low = [each for each in cursors if not each.exhausted and len(each.rows) <= count // 2]
        pages = await client.run_all(script, [(each.prefix, (each.start, count)) for each in low])
        for cursor, (rows, last) in zip(low, pages, strict=True):
            cursor.rows += rows
            cursor.exhausted = last is None
            if last is not None:
                cursor.last, cursor.start = last, b"(" + last
        # Beyond this, a space that was not read to its end may still have something to put in between.
        bound = min((each.last for each in cursors if not each.exhausted), default=None)
        ready = []
        for cursor in cursors:
            known = [row for row in cursor.rows if bound is None or thread_of(row) <= bound]
            cursor.rows = cursor.rows[len(known) :]
            ready += known
        for row in sorted(ready, key=thread_of):
            yield row
        cursors = [each for each in cursors if each.rows or not each.exhausted]


async def newest_with(client: Client, key: str, value: JsonValue, limit: int) -> list[Any]:
    """Return rows of thread, checkpoint id and summary whose metadata has the value, newest first.

    Within a key space the order is that of its server's clock; so it is between them.
    """
    spaces = client.spaces.all
    count = limit if len(spaces) == 1 else min(limit, 2 * limit // len(spaces) + 8)
    found: list[list[Any]] = [[] for _ in spaces]
    incomplete = list(range(len(spaces)))
    while True:
        calls = [(spaces[n].prefix, (spaces[n].metadata(key, value), count)) for n in incomplete]
        for n, rows in zip(incomplete, await client.run_all(QUERY_BY_METADATA, calls), strict=True):
            found[n] = rows
        newest = sorted((row for rows in found for row in rows), key=_microsecond, reverse=True)[:limit]
        # A space that returned all that it was asked for may hold more of the newest.
        oldest = _microsecond(newest[-1]) if len(newest) == limit else 0
        incomplete = [n for n in incomplete if len(found[n]) == count and _microsecond(found[n][-1]) >= oldest]
        if count == limit or not incomplete:
            return newest
        count = min(limit, 2 * count)


def _microsecond(row: Any) -> int:
    summary: bytes = row[2]
    return int(summary[: summary.index(b"[")])
