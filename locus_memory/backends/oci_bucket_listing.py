"""Listing threads in the order of their ids' bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Final

from locus_memory.backends.oci_bucket_client import PAGE, Listed
from locus_memory.backends.oci_bucket_threads import Threads
from locus_memory.history import first_matching
from locus_memory.storage import CheckpointSummary

_AT_ONCE: Final = 32


async def thread_ids(threads: Threads, limit: int, pattern: str, since: datetime) -> list[str]:
    """Return at most `limit` thread ids that match a pattern, of threads written to since a time."""
    literal, star, rest = pattern.partition("*")
    if not star:
        return [pattern] if pattern and await _is_listed(threads, threads.layout.head(pattern), since) else []
    found: list[str] = []
    # Nothing is filtered out of what a pattern like "abc*" lists, so that no more than the limit need be listed.
    size = min(PAGE, limit) if rest.strip("*") == "" else PAGE
    async for page in in_order(threads, threads.layout.heads_starting_with(literal), size, since):
        found += first_matching(page, pattern, limit - len(found))
        if len(found) == limit:
            break
    return found


async def _is_listed(threads: Threads, name: str, since: datetime) -> bool:
    async for page in threads.store.list_level(name, 1):
        return any(listed.name == name and _alive(listed, since) for listed in page)
    return False


def _alive(listed: Listed, since: datetime) -> bool:
    # An empty head stands for a thread that is being deleted.
    return listed.size > 0 and listed.modified >= since


async def latest_of_threads(
    threads: Threads, limit: int, since: datetime, latest: Callable[[str], Awaitable[CheckpointSummary | None]]
) -> list[CheckpointSummary]:
    """Return the latest checkpoints of the first `limit` threads that have one in the empty namespace."""
    found: list[CheckpointSummary] = []
    async for page in in_order(threads, threads.layout.heads, min(PAGE, limit), since):
        for start in range(0, len(page), _AT_ONCE):
            summaries = await asyncio.gather(*(latest(thread_id) for thread_id in page[start : start + _AT_ONCE]))
            found += [summary for summary in summaries if summary is not None]
            if len(found) >= limit:
                return found[:limit]
    return found


async def thread_ids_after(threads: Threads, thread_id: str | None, limit: int, since: datetime) -> list[str]:
    """Return the next `limit` thread ids behind one; None to begin."""
    layout, found, start = threads.layout, list[str](), None
    if thread_id is not None:
        head = layout.head(thread_id)
        # Among long ids that begin alike, the name does not say which come behind.
        start = layout.shared_part(head) or head
    async for page in in_order(threads, layout.heads, min(PAGE, limit + 1), since, start):
        found += [each for each in page if thread_id is None or each.encode() > thread_id.encode()]
        if len(found) >= limit:
            break
    return found[:limit]


async def in_order(
    threads: Threads, prefix: str, size: int, since: datetime, start: str | None = None
) -> AsyncIterator[list[str]]:
    """List thread ids in the order of their bytes.

    Names of short ids say what the ids are and sort as they do. Long ids are in the heads; those whose names begin
    alike are read together and sorted.
    """
    layout, waiting, part = threads.layout, list[str](), ""
    async for page in threads.store.list_level(prefix, size, start):
        ids: list[str] = []
        for listed in page:
            if not _alive(listed, since):
                continue
            shared = layout.shared_part(listed.name)
            if waiting and shared != part:
                ids += await _read_ids(threads, waiting)
                waiting = []
            if shared is not None:
                waiting, part = [*waiting, listed.name], shared
            elif (thread_id := layout.thread_of(listed.name)) is not None:
                ids.append(thread_id)
        yield ids
    yield await _read_ids(threads, waiting)


async def _read_ids(threads: Threads, names: list[str]) -> list[str]:
    ids: list[str] = []
    for start in range(0, len(names), _AT_ONCE):
        heads = await asyncio.gather(*(threads.read_head(name) for name in names[start : start + _AT_ONCE]))
        ids += [head.thread_id for head in heads if head is not None]
    return sorted(ids, key=str.encode)
