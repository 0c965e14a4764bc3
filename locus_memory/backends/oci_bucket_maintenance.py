"""What walks through whole threads: copying them, and cleaning up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from locus_memory.backends.oci_bucket_client import PAGE, Listed
from locus_memory.backends.oci_bucket_histories import History
from locus_memory.backends.oci_bucket_layout import new_incarnation, new_payload, writes_on
from locus_memory.backends.oci_bucket_listing import in_order
from locus_memory.backends.oci_bucket_parts import read_part, write_part
from locus_memory.backends.oci_bucket_records import Entry, Head, decode_header, encode_header, split_payload
from locus_memory.backends.oci_bucket_threads import Changed, Threads, VanishedError
from locus_memory.backends.oci_bucket_writes import copy_writes, version
from locus_memory.errors import CheckpointConflictError
from locus_memory.storage import NewCheckpoint

_COPIES_AT_ONCE: Final = 4
"""Each holds a payload in memory."""

_IN_FLIGHT: Final = timedelta(hours=1)
"""What nothing refers to, and is older, belongs to no call that may still be running."""

_FOREVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a thread may keep.

    Attributes:
        before: Checkpoints that were written earlier go.
        keep: How many of each namespace stay, the newest ones; None: all.
    """

    before: datetime = _FOREVER
    keep: int | None = None


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
    if known.head is not None and not known.head.empty:
        raise _exists(destination)
    head = Head(destination, new_incarnation(), source.head.next_sequence)
    places = asyncio.Semaphore(_COPIES_AT_ONCE)
    parts = await _copy_parts(threads, source.head, head, entries, places)
    tail = await asyncio.gather(
        *(
            _copy_entry(
                threads,
                source.head.thread_id,
                head,
                replace(entry, parts=tuple(parts[part] for part in entry.parts)),
                number,
                places,
            )
            for number, entry in enumerate(entries)
        )
    )
    await copy_writes(threads, source.head, head, places)
    history = History(threads, replace(head, tail=tuple(tail)), _FOREVER)
    await history.fold()

    async def edit(current: Head | None) -> Changed[bool]:
        if current is not None and current.incarnation == head.incarnation:
            # A request that was sent twice on its way: the first was carried out, the answer is the second's.
            return Changed(current, True)
        if current is not None and not current.empty:
            raise _exists(destination)
        return Changed(history.head, True)

    try:
        done = await threads.update(destination, edit, known)
    except CheckpointConflictError:
        await _delete_incarnation(threads, head)
        raise
    if known.head is not None:
        # It had writes and no checkpoint.
        await _delete_incarnation(threads, known.head)
    return done


async def _delete_incarnation(threads: Threads, head: Head) -> None:
    async for page in threads.store.list_all(f"{threads.layout.data_of(head.thread_id)}{head.incarnation}/"):
        await threads.delete_all(listed.name for listed in page)


async def _copy_parts(
    threads: Threads, source: Head, head: Head, entries: list[Entry], places: asyncio.Semaphore
) -> dict[bytes, bytes]:
    """Copy the parts that checkpoints need; return their new ids."""
    wanted = {part: entry.namespace for entry in entries for part in entry.parts}

    async def copy_part(part: bytes, namespace: str) -> bytes:
        async with places:
            return await write_part(threads, head, namespace, *await read_part(threads, source, namespace, part))

    copied = await asyncio.gather(*(copy_part(part, namespace) for part, namespace in wanted.items()))
    return dict(zip(wanted, copied, strict=True))


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
    abandoned = datetime.now(UTC) - _IN_FLIGHT
    deleted, known = 0, set[str]()
    async for page in in_order(threads, threads.layout.heads, PAGE, _FOREVER):
        for thread_id in page:
            data = threads.layout.data_of(thread_id)
            known.add(data)
            # First, so that what a thread consists of by then is known to its head when that is read.
            stored = [listed async for page in threads.store.list_all(data) for listed in page]
            deleted += await _sweep_thread(threads, thread_id, Limits(before), abandoned, stored)
    known |= await _sweep_empty_heads(threads, min(before, abandoned))
    async for directories in threads.store.list_directories(threads.layout.data):
        for data in directories:
            if data not in known:
                await threads.delete_all([listed.name async for listed in _listed_before(threads, data, abandoned)])
    return deleted


async def _sweep_empty_heads(threads: Threads, before: datetime) -> set[str]:
    """Delete threads without checkpoints that nobody wrote to since a time; return where data of the others are."""
    left = set[str]()
    async for page in threads.store.list_level(threads.layout.heads):
        for listed in page:
            data = threads.layout.data_of_head(listed.name)
            if data is None:
                continue
            old = listed.size == 0 and listed.modified < before
            if not (old and await threads.bury_old(listed.name, data, before)):
                left.add(data)
    return left


async def expire(threads: Threads, thread_id: str, limits: Limits) -> int:
    """Delete the checkpoints of a thread that are beyond some limits; return how many.

    A thread that has none of them costs one request.
    """
    known = await threads.read(thread_id)
    if known.head is None or not _may_exceed(known.head, limits):
        return 0
    data = threads.layout.data_of(thread_id)
    stored = [listed async for page in threads.store.list_all(data) for listed in page]
    return await _sweep_thread(threads, thread_id, limits, datetime.now(UTC) - _IN_FLIGHT, stored)


def _may_exceed(head: Head, limits: Limits) -> bool:
    if any(each.created_at < limits.before for each in head.tail) or any(
        page.oldest < limits.before for page in head.pages
    ):
        return True
    in_tail = Counter(entry.namespace for entry in head.tail)
    in_pages = sum(len(page.prints) for page in head.pages)
    # How many of a page are of which namespace, only the page tells.
    return limits.keep is not None and max(in_tail.values(), default=0) + in_pages > limits.keep


async def _sweep_thread(
    threads: Threads, thread_id: str, limits: Limits, abandoned: datetime, stored: list[Listed]
) -> int:
    data = threads.layout.data_of(thread_id)
    writes: dict[str, list[str]] = {}
    for listed in stored:
        name = listed.name.removeprefix(data)
        writes.setdefault(_directory(name), []).append(version(name, listed))
    old = [listed for listed in stored if listed.modified < abandoned]

    async def edit(head: Head | None) -> Changed[tuple[int, set[str], str]]:
        if head is None:
            return Changed(None, (0, set(), ""))
        history = History(threads, head, _FOREVER)
        gone = await history.remove_before(limits.before)
        if limits.keep is not None:
            gone += await history.keep_newest(limits.keep)
        await history.drop_parts()
        for entry in gone:
            history.discard(writes.get(writes_on(head.incarnation, entry.namespace, entry.checkpoint_id), ()))
        used = {data + name async for name in history.names()} if old else set()
        return Changed(history.head, (len(gone), used, f"{data}{head.incarnation}/w/"))

    threads.forget(thread_id)
    removed, used, pending = await threads.update(thread_id, edit)
    await threads.delete_versions(
        (listed.name, listed.etag)
        for listed in old
        if listed.name not in used
        and _directory(listed.name) not in used
        # The checkpoint of these may still come.
        and not (pending and listed.name.startswith(pending) and listed.modified >= limits.before)
    )
    return removed


def _directory(name: str) -> str:
    return f"{name.rpartition('/')[0]}/"


async def _listed_before(threads: Threads, data: str, time: datetime) -> AsyncIterator[Listed]:
    async for page in threads.store.list_all(data):
        for listed in page:
            if listed.modified < time:
                yield listed
