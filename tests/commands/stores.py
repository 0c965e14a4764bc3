"""Stores filled for tests of the commands."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.binding import URLBinding
from locus_memory.commands.running import Calls
from locus_memory.commands.transfer_readers import StoreReader
from locus_memory.commands.transfer_records import digest
from locus_memory.opening import open_checkpointer
from locus_memory.storage import NewCheckpoint, PendingWrite

T = TypeVar("T")

LONG_AGO = datetime(2020, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[StorageBackendAdapter]:
    """Open a store for as long as a test needs it."""
    checkpointer = open_checkpointer(URLBinding(url))
    assert isinstance(checkpointer, StorageBackendAdapter)
    async with checkpointer:
        yield checkpointer


def on(url: str, work: Callable[[StorageBackendAdapter], Awaitable[T]]) -> T:
    """Do something with a store, from a test that is no coroutine."""

    async def run() -> T:
        async with opened(url) as checkpointer:
            return await work(checkpointer)

    return asyncio.run(run())


async def fill(
    checkpointer: StorageBackendAdapter, *, threads: int = 3, checkpoints: int = 4, history: bool = True
) -> None:
    """Save threads with several namespaces, parents, awkward ids, payloads of any bytes, and times in the past.

    Args:
        checkpointer: The store.
        threads: How many.
        checkpoints: Of each thread and namespace.
        history: With parts and pending writes.
    """
    writes = [PendingWrite("task", 0, "channel", b"\0value"), PendingWrite("task", -1, "error", b"x", "a/b")]
    for thread in range(threads):
        for namespace in ("", "sub|graph"):
            for number in range(checkpoints):
                await checkpointer.storage.put(new(thread, number, namespace, history=history))
            if history:
                await checkpointer.storage.put_writes(
                    thread_name(thread), f"c{checkpoints - 1}", writes, namespace=namespace
                )


def thread_name(number: int) -> str:
    """Name a thread of `fill`: no two are alike on a file system that folds case."""
    return ("user/", "User/", "a\0b🎉", "x" * 300)[number % 4] + str(number)


def new(thread: int, number: int, namespace: str = "", *, history: bool = False) -> NewCheckpoint:
    """Make a checkpoint of `fill`."""
    payload = b'\x01{"text":"needle %d"}' % number if number % 2 == 0 else bytes(range(256)) * (number + 1)
    parts = {"messages": b"\0shared"} if history and number == 0 else {}
    return NewCheckpoint(
        thread_id=thread_name(thread),
        checkpoint_id=f"c{number}",
        payload=payload,
        metadata={"n": number, "half": number / 2, "whole": 1.0, "big": 1e300, "tags": ["ä", None, {"deep": [True]}]},
        namespace=namespace,
        parent_id=f"c{number - 1}" if number else None,
        parts=parts | ({f"part-{number}": b"own"} if history else {}),
        part_names=("messages", f"part-{number}") if history else (),
        created_at=LONG_AGO + timedelta(microseconds=number, days=thread),
    )


async def contents(checkpointer: StorageBackendAdapter) -> dict[str, dict[str, list[str]]]:
    """Return everything in a store: by thread and namespace the hashes of its checkpoints, oldest first."""
    reader = StoreReader(Calls.on(checkpointer, 30))
    found: dict[str, dict[str, list[str]]] = {}
    async for thread_id in reader.threads():
        for namespace, summaries in (await reader.outline(thread_id)).items():
            ids = [summary.checkpoint_id for summary in summaries]
            found.setdefault(thread_id, {})[namespace] = [
                digest(stored) async for stored in reader.checkpoints(thread_id, namespace, ids)
            ]
    return found


def fill_store(url: str, *, threads: int = 3, checkpoints: int = 4, history: bool = True) -> None:
    """Do `fill` from a test that is no coroutine."""
    on(url, lambda store: fill(store, threads=threads, checkpoints=checkpoints, history=history))


def contents_of(url: str) -> dict[str, dict[str, list[str]]]:
    """Return the `contents` of a store to a test that is no coroutine."""
    return on(url, contents)
