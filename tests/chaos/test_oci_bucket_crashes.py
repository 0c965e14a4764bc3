"""A process that dies between any two requests to the bucket: whole checkpoints, and the next call recovers.

The emulator stops answering after the n-th request, which is what the death of the process looks like from there;
with `drop-after` the n-th is carried out and never answered.
"""

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import OCIBucketBackend
from locus_memory.errors import BackendUnavailableError, CheckpointConflictError
from locus_memory.storage import NewCheckpoint, PendingWrite, StorageBackend
from tests.servers.oci import NAMESPACE, REGION, ObjectStorageServer

OLD = 10
"""More than a head describes itself in these tests: the oldest are in a page."""

LOADED = ("new", "c9", "c8", "c5", "c3", "c0")
"""Touched by a call, or beside what is; the others are only listed."""

Call = Callable[[StorageBackend], Awaitable[object]]
Stored = tuple[bytes, dict[str, bytes], list[PendingWrite]]
States = dict[str, Stored | None]

WRITES = [PendingWrite("task", 0, "channel", b"value"), PendingWrite("task", 1, "channel", b"value")]


def checkpoint(name: str, payload: bytes = b"old") -> NewCheckpoint:
    """Make a checkpoint with a part of its own and one that the first has brought."""
    parts = {name: payload} | ({"shared": b"all"} if name == "c0" else {})
    return NewCheckpoint("t", name, payload, {}, parts=parts, part_names=(name, "shared"))


def stored(name: str, payload: bytes = b"old", *, writes: bool = True) -> Stored:
    """What comes back of it."""
    return (payload, {name: payload, "shared": b"all"}, WRITES if writes else [])


async def vacuum_older(storage: StorageBackend) -> int:
    """Delete all but the newest five."""
    return await storage.vacuum((await storage.list_checkpoints("t", 5))[-1].created_at)


CALLS: dict[str, Call] = {
    "put": lambda storage: storage.put(checkpoint("new", b"new")),
    "replace": lambda storage: storage.put(checkpoint("c9", b"new")),
    "replace in a page": lambda storage: storage.put(checkpoint("c3", b"new")),
    "delete the latest": lambda storage: storage.delete_checkpoint("t", "c9"),
    "delete in a page": lambda storage: storage.delete_checkpoint("t", "c3"),
    "delete the thread": lambda storage: storage.delete_thread("t"),
    "copy": lambda storage: storage.copy_thread("t", "u"),
    "vacuum": lambda storage: storage.vacuum(datetime.now(UTC)),
    "vacuum what is older": vacuum_older,
    "writes on a thread": lambda storage: storage.put_writes("t", "early", WRITES),
    "writes on no thread": lambda storage: storage.put_writes("u", "early", WRITES),
}


def reopened(server: ObjectStorageServer, bucket: str) -> StorageBackendAdapter:
    """Open a bucket as a new process would."""
    return OCIBucketBackend(
        bucket,
        NAMESPACE,
        region=REGION,
        service_endpoint=server.endpoint,
        pool_max_size=4,
        **server.key.fields(),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def filled(oci_server: ObjectStorageServer) -> Iterator[str]:
    """A bucket with one thread; tests use copies."""
    bucket = f"test-{secrets.token_hex(6)}"
    oci_server.create_bucket(bucket)

    async def fill() -> None:
        async with reopened(oci_server, bucket) as checkpointer:
            for number in range(OLD):
                await checkpointer.storage.put(checkpoint(f"c{number}"))
                await checkpointer.storage.put_writes("t", f"c{number}", WRITES)

    with pytest.MonkeyPatch.context() as patched:
        # Fewer requests show the same.
        patched.setattr("locus_memory.backends.oci_bucket_histories.TAIL", 8)
        patched.setattr("locus_memory.backends.oci_bucket_histories.PAGE_ENTRIES", 4)
        # What is left behind is old enough for vacuum as soon as it is written.
        oci_server.admin("PUT", "settings", {"clock_ahead_seconds": -7200})
        asyncio.run(fill())
        yield bucket
    oci_server.admin("PUT", "settings", {"clock_ahead_seconds": 0})


@pytest.mark.parametrize("effect", ["drop-before", "drop-after"])
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_dies_after_any_request_leaves_the_thread_as_before_or_after_it(
    oci_server: ObjectStorageServer, filled: str, call: str, effect: str
) -> None:
    names = [f"c{number}" for number in reversed(range(OLD))]
    before = {name: stored(name) if name in LOADED else None for name in names}
    outcome = expected(call, before)
    deaths = 0
    for requests in steps():
        bucket = f"test-{secrets.token_hex(6)}"
        oci_server.admin("POST", "copy", {"from": filled, "to": bucket})
        died = await dies(oci_server, bucket, CALLS[call], effect, requests)
        deaths += died
        async with reopened(oci_server, bucket) as checkpointer:
            storage = checkpointer.storage
            if died:
                assert await everything(storage) in ((before, {}, [], []), outcome)
                await repeat(call, storage)
            found = await everything(storage)
            assert found == outcome
            assert list(found[0]) == list(outcome[0])
            for thread_id in "tu":
                await storage.put(NewCheckpoint(thread_id, "later", b"", {}))
                assert await storage.delete_thread(thread_id)
            await storage.vacuum(datetime.now(UTC) - timedelta(days=30))
        assert oci_server.objects(bucket) == []
        if not died:
            break
    assert deaths >= 2


def steps() -> Iterator[int]:
    """Every request of a call that makes few; of one that makes many ever fewer."""
    return itertools.chain(range(8), (8 * 3**power for power in itertools.count()))


async def dies(server: ObjectStorageServer, bucket: str, call: Call, effect: str, requests: int) -> bool:
    """Make a call that gets no answers after some; tell whether it needed more."""
    async with reopened(server, bucket) as checkpointer:
        server.admin("POST", "faults", {"effect": effect, "skip": requests, "count": 1})
        server.admin("POST", "faults", {"effect": "drop-before", "skip": requests, "count": 10**6})
        try:
            # The storage below the checkpointer repeats nothing.
            await call(checkpointer.storage)
        except BackendUnavailableError:
            return True
        finally:
            # What a process does at the same time dies with it.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others, return_exceptions=True)
            server.admin("DELETE", "faults")
        return False


async def repeat(call: str, storage: StorageBackend) -> None:
    """Make the call again in another process, as whoever got no answer does."""
    if call == "copy" and await storage.get("u") is not None:
        with pytest.raises(CheckpointConflictError):
            await CALLS[call](storage)
    elif not (call == "vacuum what is older" and len(await storage.list_checkpoints("t", OLD)) < OLD):
        await CALLS[call](storage)


async def history(storage: StorageBackend, thread_id: str) -> States:
    """List a thread, newest first, and load some of it."""
    names = [summary.checkpoint_id for summary in await storage.list_checkpoints(thread_id, 200)]
    states: States = dict.fromkeys(names)
    for found in await storage.get_complete(thread_id, [name for name in names if name in LOADED]):
        states[found.summary.checkpoint_id] = (found.payload, dict(found.parts), list(found.writes))
    # What has been deleted has left no writes.
    for name in {"c9", "c3", "c0"} - states.keys():
        assert await storage.get_writes(thread_id, name) == []
    return states


async def everything(storage: StorageBackend) -> tuple[States, States, list[PendingWrite], list[PendingWrite]]:
    """Load the thread, its copy, and the writes that precede a checkpoint of each."""
    found = await history(storage, "t"), await history(storage, "u")
    assert await storage.list_threads(9) == [name for name, states in zip("tu", found, strict=True) if states]
    return (*found, await storage.get_writes("t", "early"), await storage.get_writes("u", "early"))


def expected(call: str, thread: States) -> tuple[States, States, list[PendingWrite], list[PendingWrite]]:
    """What there is after a call."""

    def without(*names: str) -> States:
        return {key: state for key, state in thread.items() if key not in names}

    threads: dict[str, tuple[States, States]] = {
        "put": ({"new": stored("new", b"new", writes=False), **thread}, {}),
        "replace": ({"c9": stored("c9", b"new"), **without("c9")}, {}),
        "replace in a page": ({"c3": stored("c3", b"new"), **without("c3")}, {}),
        "delete the latest": (without("c9"), {}),
        "delete in a page": (without("c3"), {}),
        "copy": (thread, thread),
        "vacuum what is older": (without(*(f"c{number}" for number in range(5))), {}),
        "writes on a thread": (thread, {}),
        "writes on no thread": (thread, {}),
    }
    early = [WRITES if call == f"writes on {what}" else [] for what in ("a thread", "no thread")]
    return (*threads.get(call, ({}, {})), early[0], early[1])
