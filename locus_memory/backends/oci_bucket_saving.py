"""Saving a checkpoint: what it consists of first, then, all at once, the head that names it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from locus_memory.backends.oci_bucket_histories import History
from locus_memory.backends.oci_bucket_layout import new_incarnation, new_payload, part_object
from locus_memory.backends.oci_bucket_parts import upload_parts
from locus_memory.backends.oci_bucket_records import Entry, Head, encode_header, new_entry
from locus_memory.backends.oci_bucket_threads import Changed, Threads
from locus_memory.checkpointer import UNCHECKED, Unchecked
from locus_memory.errors import CheckpointConflictError, MissingPartsError
from locus_memory.storage import NewCheckpoint


async def save(
    threads: Threads,
    checkpoint: NewCheckpoint,
    expected: str | Unchecked | None,
    history_of: Callable[[Head], History],
    shared_since: datetime,
) -> None:
    """Write a checkpoint and make it the latest; see `StorageBackend.put`.

    Args:
        threads: Where.
        checkpoint: What.
        expected: Id of the latest.
        history_of: Looks through a thread as it is in a head.
        shared_since: Parts that were stored earlier count as missing: they may expire before the checkpoint does.

    Raises:
        CheckpointConflictError: The latest is not the expected one.
        MissingPartsError: A part is neither new nor stored.
    """
    thread_id = checkpoint.thread_id
    known = await threads.known(thread_id)
    # Never the incarnation that was read: its data go when the thread is deleted meanwhile.
    born = Head(thread_id, new_incarnation())
    first = known.head or born
    uploads = {first.incarnation: await _upload(threads, checkpoint, first)}

    async def edit(head: Head | None) -> Changed[str | None]:
        history = history_of(head or born)
        there = await history.find(checkpoint.checkpoint_id, checkpoint.namespace)
        if head is not None and there is not None and there.name in {each.name for each in uploads.values()}:
            # A request that was sent twice on its way: the first was carried out, the answer is the second's.
            return Changed(head, head.incarnation)
        if expected is not UNCHECKED:
            await _compare(history, checkpoint, expected)
        own = history.head.incarnation
        if own not in uploads:
            # The thread was deleted and begun again meanwhile.
            uploads[own] = await _upload(threads, checkpoint, history.head)
        entry = await _with_shared_parts(checkpoint, uploads[own], history, shared_since)
        await history.remove(checkpoint.checkpoint_id, checkpoint.namespace)
        await history.append(entry)
        await history.drop_parts()
        return Changed(history.head, own)

    try:
        used = await threads.update(thread_id, edit, known)
    except (CheckpointConflictError, MissingPartsError):
        await _discard(threads, thread_id, uploads, None)
        raise
    await _discard(threads, thread_id, uploads, used)


async def _compare(history: History, checkpoint: NewCheckpoint, expected: str | Unchecked | None) -> None:
    latest = await history.find(None, checkpoint.namespace)
    latest_id = latest.checkpoint_id if latest else None
    if latest_id != expected:
        raise CheckpointConflictError(
            f"thread {checkpoint.thread_id!r}: the latest checkpoint is {latest_id!r}, not {expected!r} as expected"
        )


async def _upload(threads: Threads, checkpoint: NewCheckpoint, head: Head) -> Entry:
    header, name = encode_header(checkpoint), new_payload(head.incarnation, head.next_sequence)
    entry = new_entry(checkpoint, name, len(header), checkpoint.created_at or datetime.now(UTC))
    data = threads.layout.data_of(checkpoint.thread_id)
    parts, _ = await asyncio.gather(
        upload_parts(threads, checkpoint, head), threads.store.put(data + name, [header, checkpoint.payload])
    )
    return replace(entry, parts=parts)


async def _with_shared_parts(checkpoint: NewCheckpoint, entry: Entry, history: History, since: datetime) -> Entry:
    """Have an entry name the parts that are stored already, beside its new ones."""
    names = {name for name in checkpoint.part_names if name not in checkpoint.parts}
    if not names:
        return entry
    found = await history.parts(checkpoint.namespace, names, since)
    if missing := names - found.keys():
        raise MissingPartsError(
            f"thread {checkpoint.thread_id!r}, checkpoint {checkpoint.checkpoint_id!r}: part {min(missing)!r} that "
            "it needs is not there any more"
        )
    return replace(entry, parts=(*entry.parts, *found.values()))


async def _discard(threads: Threads, thread_id: str, uploads: dict[str, Entry], used: str | None) -> None:
    """Delete uploads that no head has come to name."""
    data = threads.layout.data_of(thread_id)
    for incarnation, entry in uploads.items():
        if incarnation != used:
            parts = (part_object(incarnation, part) for part in entry.parts)
            await threads.delete_all(data + name for name in (entry.name, *parts))
