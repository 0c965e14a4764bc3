"""What walks through whole threads: copying them, and cleaning up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from locus_memory.backends.oci_bucket_client import PAGE, Listed
from locus_memory.backends.oci_bucket_histories import History
from locus_memory.backends.oci_bucket_layout import new_incarnation, new_payload
from locus_memory.backends.oci_bucket_listing import in_order
from locus_memory.backends.oci_bucket_records import Entry, Head, decode_header, encode_header, split_payload
from locus_memory.backends.oci_bucket_threads import Changed, Threads, VanishedError
from locus_memory.errors import CheckpointConflictError
from locus_memory.storage import NewCheckpoint

_COPIES_AT_ONCE: Final = 4
"""Each holds a payload in memory."""

_IN_FLIGHT: Final = timedelta(hours=1)
"""What nothing refers to, and is older, belongs to no call that may still be running."""

_FOREVER: Final = datetime.min.replace(tzinfo=UTC)


async def copy(threads: Threads, source: History, destination: str) -> bool:
    """Copy the history of a thread; False when it has none.

    Raises:
        CheckpointConflictError: The destination exists; nothing of it was changed.
        VanishedError: The source has changed meanwhile.
    """
    entries = [entry async for entry in source.newest_first()][::-1]
    if not entries:
        return False
    known = await threads.read(destination)
    if known.head is not None:
        raise _exists(destination)
    head = Head(destination, new_incarnation(), source.head.next_sequence)
    places = asyncio.Semaphore(_COPIES_AT_ONCE)
    tail = await asyncio.gather(
        *(
            _copy_entry(threads, source.head.thread_id, head, entry, number, places)
            for number, entry in enumerate(entries)
        )
    )
    history = History(threads, replace(head, tail=tuple(tail)), _FOREVER)
    await history.fold()

    async def edit(current: Head | None) -> Changed[bool]:
        if current is not None and current.incarnation == head.incarnation:
            # A request that was sent twice on its way: the first was carried out, the answer is the second's.
            return Changed(current, True)
        if current is not None:
            raise _exists(destination)
        return Changed(history.head, True)

    try:
        return await threads.update(destination, edit, known)
    except CheckpointConflictError:
        data = f"{threads.layout.data_of(destination)}{head.incarnation}/"
        async for page in threads.store.list_all(data):
            await threads.delete_all(listed.name for listed in page)
        raise


async def _copy_entry(
    threads: Threads, source: str, head: Head, entry: Entry, sequence: int, places: asyncio.Semaphore
) -> Entry:
    name = threads.layout.data_of(source) + entry.name
    async with places:
        found = await threads.store.get(name)
        if found is None:
            raise VanishedError(name)
        metadata = decode_header(found.body, entry, source)
        payload = split_payload(found.body, entry, source)
        header = encode_header(
            NewCheckpoint(head.thread_id, entry.checkpoint_id, payload, metadata, entry.namespace, entry.parent_id)
        )
        copied = replace(entry, name=new_payload(head.incarnation, sequence), header_bytes=len(header))
        await threads.store.put(threads.layout.data_of(head.thread_id) + copied.name, [header, payload])
    return copied


def _exists(thread_id: str) -> CheckpointConflictError:
    return CheckpointConflictError(f"thread {thread_id!r} exists already: delete it first")


async def sweep(threads: Threads, before: datetime) -> int:
    """Delete checkpoints written before a time, and what calls that died have left; return how many checkpoints."""
    # First, so that what a thread consists of by then is known to its head when that is read.
    abandoned = datetime.now(UTC) - _IN_FLIGHT
    deleted, known = 0, set[str]()
    async for page in in_order(threads, threads.layout.heads, PAGE, _FOREVER):
        for thread_id in page:
            data = threads.layout.data_of(thread_id)
            known.add(data)
            stored = [listed async for listed in _listed_before(threads, data, abandoned)]
            deleted += await _sweep_thread(threads, thread_id, before, stored)
    async for directories in threads.store.list_directories(threads.layout.data):
        for data in directories:
            if data not in known:
                await threads.delete_all([listed.name async for listed in _listed_before(threads, data, abandoned)])
    return deleted


async def _sweep_thread(threads: Threads, thread_id: str, before: datetime, stored: list[Listed]) -> int:
    data = threads.layout.data_of(thread_id)

    async def edit(head: Head | None) -> Changed[tuple[int, set[str]]]:
        if head is None:
            return Changed(None, (0, set()))
        history = History(threads, head, _FOREVER)
        removed = await history.remove_before(before)
        return Changed(history.head, (removed, {data + name async for name in history.names()} if stored else set()))

    threads.forget(thread_id)
    removed, used = await threads.update(thread_id, edit)
    await threads.delete_all(listed.name for listed in stored if listed.name not in used)
    return removed


async def _listed_before(threads: Threads, data: str, time: datetime) -> AsyncIterator[Listed]:
    async for page in threads.store.list_all(data):
        for listed in page:
            if listed.modified < time:
                yield listed
