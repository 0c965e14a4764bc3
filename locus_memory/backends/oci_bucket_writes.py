"""Pending writes: an object for each task, so that the tasks of a step never wait for each other.

A task's object is changed on the condition that nobody else has changed it. It belongs to an incarnation of the thread:
whoever writes makes sure, in the course of the call, that the thread is still that one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from locus_memory.backends.oci_bucket_client import Listed
from locus_memory.backends.oci_bucket_errors import ChangedError
from locus_memory.backends.oci_bucket_layout import writes_of, writes_on
from locus_memory.backends.oci_bucket_records import Head, frame, unframe
from locus_memory.backends.oci_bucket_threads import Threads, VanishedError
from locus_memory.errors import CorruptCheckpointError
from locus_memory.storage import PendingWrite

_MAX_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """A checkpoint that tasks write on, there or not."""

    thread_id: str
    namespace: str
    checkpoint_id: str


@dataclass(frozen=True, slots=True)
class Owner:
    """What an object with pending writes belongs to."""

    target: Target
    task_id: str


async def put_writes(threads: Threads, target: Target, writes: Sequence[PendingWrite]) -> None:
    """Store writes on the target's checkpoint, of any tasks; each task's at once."""
    head = threads.cached(target.thread_id)
    if head is None or not await _put_all(threads, head, target, writes, check=True):
        # A head that was read in this call need not be checked: what deletes the thread from now on came later.
        await _put_all(threads, await threads.begin(target.thread_id), target, writes, check=False)


async def _put_all(
    threads: Threads, head: Head, target: Target, writes: Sequence[PendingWrite], *, check: bool
) -> bool:
    """Store writes in a thread as it is in a head; tell whether it still was that thread."""
    tasks: dict[str, list[PendingWrite]] = {}
    for write in writes:
        tasks.setdefault(write.task_id, []).append(write)
    owners = [Owner(target, task_id) for task_id in tasks]
    data = threads.layout.data_of(target.thread_id)
    names = [data + _name(head.incarnation, owner) for owner in owners]
    stored = asyncio.gather(
        *(_put(threads, name, owner, tasks[owner.task_id]) for name, owner in zip(names, owners, strict=True))
    )
    lives, _ = await asyncio.gather(threads.lives(head) if check else _yes(), stored)
    if not lives:
        await threads.delete_all(names)
    return lives


async def _yes() -> bool:
    return True


async def _put(threads: Threads, name: str, owner: Owner, writes: list[PendingWrite]) -> None:
    kept: list[PendingWrite] = []
    etag: str | None = None
    while True:
        merged = merge(kept, writes)
        if merged == kept:
            return
        try:
            await threads.store.put(name, encode_writes(owner, merged), if_match=etag, if_absent=etag is None)
        except ChangedError:
            await asyncio.sleep(random.uniform(0, _MAX_PAUSE_SECONDS) if etag else 0)  # noqa: S311 - jitter, no secret
        else:
            return
        found = await threads.store.get(name)
        etag = found.etag if found else None
        kept = decode_writes(found.body, name, owner) if found else []


async def read_writes(threads: Threads, head: Head, namespace: str, checkpoint_id: str) -> tuple[PendingWrite, ...]:
    """Return the writes on a checkpoint, in their order.

    Raises:
        VanishedError: An object that was listed is not there.
        CorruptCheckpointError: One is damaged.
    """
    data = threads.layout.data_of(head.thread_id)
    garbage = set(head.garbage)
    objects = await list_writes(threads, head, namespace, checkpoint_id)
    names = [name for name, listed in objects if version(name, listed) not in garbage]
    found = await asyncio.gather(*(read_task(threads, head.thread_id, data + name) for name in names))
    for name, (owner, _) in zip(names, found, strict=True):
        if owner.target != Target(head.thread_id, namespace, checkpoint_id):
            raise CorruptCheckpointError(f"object {data + name!r} is damaged: it is that of {owner}")
    return tuple(sorted((write for _, writes in found for write in writes), key=lambda write: write.order))


async def list_writes(threads: Threads, head: Head, namespace: str, checkpoint_id: str) -> list[tuple[str, Listed]]:
    """Return the objects with writes on a checkpoint, by their names below the thread's data."""
    data = threads.layout.data_of(head.thread_id)
    start = data + writes_on(head.incarnation, namespace, checkpoint_id)
    pages = threads.store.list_all(start)
    return [(listed.name.removeprefix(data), listed) async for page in pages for listed in page]


def version(name: str, listed: Listed) -> str:
    """Name an object with writes such that one which replaces it is not meant; see `Head.garbage`."""
    return f"{name}?{listed.etag}"


async def copy_writes(threads: Threads, source: Head, destination: Head, places: asyncio.Semaphore) -> None:
    """Copy all pending writes of a thread into another.

    Raises:
        VanishedError: The source has changed meanwhile.
    """
    data, garbage = threads.layout.data_of(source.thread_id), set(source.garbage)

    async def copy(name: str) -> None:
        async with places:
            owner, writes = await read_task(threads, source.thread_id, name)
            copied = replace(owner, target=replace(owner.target, thread_id=destination.thread_id))
            place = threads.layout.data_of(destination.thread_id) + _name(destination.incarnation, copied)
            await threads.store.put(place, encode_writes(copied, writes))

    async for page in threads.store.list_all(f"{data}{source.incarnation}/w/"):
        names = [each.name for each in page if version(each.name.removeprefix(data), each) not in garbage]
        await asyncio.gather(*map(copy, names))


async def read_task(threads: Threads, thread_id: str, name: str) -> tuple[Owner, list[PendingWrite]]:
    """Read an object with writes."""
    found = await threads.store.get(name)
    if found is None:
        raise VanishedError(name)
    return _decode(found.body, name, thread_id)


def merge(kept: Iterable[PendingWrite], writes: Iterable[PendingWrite]) -> list[PendingWrite]:
    """Return what stays of a task's writes: the first at each position, but the last at a negative one."""
    merged = {write.index: write for write in kept}
    for write in writes:
        if write.index < 0:
            merged[write.index] = write
        else:
            merged.setdefault(write.index, write)
    return list(merged.values())


def encode_writes(owner: Owner, writes: Sequence[PendingWrite]) -> list[bytes]:
    """Write what a task has written, in pieces to be joined."""
    document = {
        "thread": owner.target.thread_id,
        "namespace": owner.target.namespace,
        "checkpoint": owner.target.checkpoint_id,
        "task": owner.task_id,
        "writes": [
            {"index": each.index, "channel": each.channel, "path": each.task_path, "size": len(each.payload)}
            for each in writes
        ],
    }
    return [frame(document), *(each.payload for each in writes)]


def decode_writes(body: bytes, name: str, owner: Owner) -> list[PendingWrite]:
    """Read what `encode_writes` wrote.

    Raises:
        CorruptCheckpointError: It is damaged, cut off, or another task's.
    """
    found, writes = _decode(body, name, owner.target.thread_id)
    if found != owner:
        raise CorruptCheckpointError(f"object {name!r} is damaged: it is that of {found}")
    return writes


def _decode(body: bytes, name: str, thread_id: str) -> tuple[Owner, list[PendingWrite]]:
    try:
        document, position = unframe(body)
        target = Target(document["thread"], document["namespace"], document["checkpoint"])
        owner = Owner(target, document["task"])
        if target.thread_id != thread_id:
            raise ValueError(f"it is of thread {target.thread_id!r}")
        writes = []
        for each in document["writes"]:
            end = position + each["size"]
            writes.append(_write(owner, each, body[position:end]))
            position = end
        if position != len(body):
            raise ValueError(f"{len(body):,} bytes")
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(f"object {name!r} is damaged: {error!r}") from error
    return owner, writes


def _write(owner: Owner, document: dict[str, Any], payload: bytes) -> PendingWrite:
    return PendingWrite(owner.task_id, document["index"], document["channel"], payload, document["path"])


def _name(incarnation: str, owner: Owner) -> str:
    return writes_of(incarnation, owner.target.namespace, owner.target.checkpoint_id, owner.task_id)
