"""What each call costs in requests: the same in a small and in a large bucket."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import OCIBucketBackend
from locus_memory.storage import NewCheckpoint, PendingWrite
from tests.servers.oci import NAMESPACE, REGION, ObjectStorageServer

Call = Callable[[StorageBackendAdapter], Awaitable[object]]

WRITE = PendingWrite("task", 0, "channel", b"value")

# The table in docs/backends/oci-bucket.md. Each call is the first of a process, unless its name says otherwise.
COSTS: dict[str, tuple[Call, dict[str, int]]] = {
    "first save of a thread": (lambda c: c.save({}, "new"), {"GetObject": 1, "PutObject": 2}),
    "save": (lambda c: c.save({}, "t"), {"GetObject": 1, "PutObject": 2}),
    "compare-and-set": (
        lambda c: c.save({}, "t", expected_checkpoint_id="last"),
        {"GetObject": 1, "PutObject": 2},
    ),
    "replacing the latest": (lambda c: c.save({}, "t", "last"), {"GetObject": 1, "PutObject": 2, "DeleteObject": 1}),
    "load the latest": (lambda c: c.load("t"), {"GetObject": 2}),
    "load one of the newest 32 by id": (lambda c: c.load("t", "last"), {"GetObject": 2}),
    "load one that is not there": (lambda c: c.load("t", "none"), {"GetObject": 1}),
    "load no thread": (lambda c: c.load("none"), {"GetObject": 1}),
    "exists": (lambda c: c.exists("t"), {"GetObject": 1}),
    "exists by id": (lambda c: c.exists("t", "last"), {"GetObject": 1}),
    "list the newest": (lambda c: c.list_checkpoints("t", 3), {"GetObject": 1}),
    "delete the latest": (
        lambda c: c.delete("t", "last"),
        {"GetObject": 1, "ListObjects": 1, "PutObject": 1, "DeleteObject": 1},
    ),
    "delete one that is not there": (lambda c: c.delete("t", "none"), {"GetObject": 1, "ListObjects": 1}),
    "first step of a graph": (lambda c: c.storage.put(checkpoint("new", "new", 3)), {"GetObject": 1, "PutObject": 5}),
    "load a checkpoint with its history": (lambda c: c.storage.get_complete("t"), {"GetObject": 2, "ListObjects": 1}),
    "pending writes": (lambda c: c.storage.put_writes("t", "last", [WRITE]), {"GetObject": 1, "PutObject": 1}),
    "pending writes before the first checkpoint": (
        lambda c: c.storage.put_writes("new", "last", [WRITE]),
        {"GetObject": 1, "PutObject": 2},
    ),
    "no pending writes": (lambda c: c.storage.get_writes("t", "last"), {"GetObject": 1, "ListObjects": 1}),
    "list 3 threads": (lambda c: c.list_threads(3), {"ListObjects": 1}),
    "list 2 threads with metadata": (lambda c: c.list_with_metadata(2), {"ListObjects": 1, "GetObject": 2}),
}

PER_THREAD = 100
"""More than a head describes itself."""


def checkpoint(thread_id: str, checkpoint_id: str, parts: int) -> NewCheckpoint:
    """Make a checkpoint with so many new parts."""
    new = {f"part {number} of {checkpoint_id}": b"data" for number in range(parts)}
    return NewCheckpoint(thread_id, checkpoint_id, b"\x01{}", {}, parts=new, part_names=tuple(new))


def reopened(server: ObjectStorageServer, bucket: str) -> StorageBackendAdapter:
    """Open a bucket as a new process would."""
    return OCIBucketBackend(
        bucket,
        NAMESPACE,
        region=REGION,
        service_endpoint=server.endpoint,
        **server.key.fields(),  # type: ignore[arg-type]
    )


async def _fill(server: ObjectStorageServer, threads: int, per_thread: int) -> str:
    """Make a bucket with this many checkpoints in thread `t` and in each other thread."""
    bucket = f"test-{secrets.token_hex(6)}"
    server.create_bucket(bucket)

    async def fill(thread_id: str) -> None:
        for number in range(per_thread - 1):
            await checkpointer.save({"n": number}, thread_id, f"c{number}")
        await checkpointer.save({}, thread_id, "last", {"n": 1})

    async with reopened(server, bucket) as checkpointer:
        await asyncio.gather(*(fill(f"t{number or ''}") for number in range(threads)))
    return bucket


@pytest.fixture(scope="module")
def buckets(oci_server: ObjectStorageServer) -> tuple[str, str]:
    """A bucket with 15 checkpoints in 3 threads of 5, and one with 2,000 in 20 threads of 100."""
    return asyncio.run(_fill(oci_server, 3, 5)), asyncio.run(_fill(oci_server, 20, PER_THREAD))


async def _count(server: ObjectStorageServer, bucket: str, call: Call, *, warm: bool = False) -> dict[str, int]:
    copy = f"test-{secrets.token_hex(6)}"
    server.admin("POST", "copy", {"from": bucket, "to": copy})
    async with reopened(server, copy) as checkpointer:
        if warm:
            await checkpointer.load("t")
        server.admin("DELETE", "requests")
        await call(checkpointer)
        counted: dict[str, int] = server.admin("GET", "requests")
    return counted


@pytest.mark.parametrize("name", COSTS)
async def test_a_call_costs_the_same_in_a_bucket_with_few_and_with_two_thousand_checkpoints(
    oci_server: ObjectStorageServer, buckets: tuple[str, str], name: str
) -> None:
    call, cost = COSTS[name]
    for bucket in buckets:
        assert await _count(oci_server, bucket, call) == cost


async def test_a_process_that_knows_the_thread_saves_with_two_requests(
    oci_server: ObjectStorageServer, buckets: tuple[str, str]
) -> None:
    for bucket in buckets:
        for call in (COSTS["save"][0], COSTS["compare-and-set"][0]):
            assert await _count(oci_server, bucket, call, warm=True) == {"PutObject": 2}
        delete = COSTS["delete the latest"][0]
        cost = {"ListObjects": 1, "PutObject": 1, "DeleteObject": 1}
        assert await _count(oci_server, bucket, delete, warm=True) == cost
        write = COSTS["pending writes"][0]
        assert await _count(oci_server, bucket, write, warm=True) == {"PutObject": 1, "HeadObject": 1}


async def test_a_step_of_a_graph_writes_an_object_for_each_new_part_and_none_for_the_others(
    oci_server: ObjectStorageServer, buckets: tuple[str, str]
) -> None:
    async def steps(checkpointer: StorageBackendAdapter) -> None:
        storage = checkpointer.storage
        await storage.put(checkpoint("t", "1", 10))
        oci_server.admin("DELETE", "requests")
        shared = tuple(f"part {number} of 1" for number in range(10))
        await storage.put(replace(checkpoint("t", "2", 2), part_names=(*shared, "part 0 of 2", "part 1 of 2")))
        assert oci_server.admin("GET", "requests") == {"PutObject": 4}
        await storage.put_writes("t", "2", [WRITE, replace(WRITE, index=1)])
        oci_server.admin("DELETE", "requests")
        [found] = await storage.get_complete("t")
        assert (len(found.parts), len(found.writes)) == (12, 2)

    for bucket in buckets:
        assert await _count(oci_server, bucket, steps) == {"GetObject": 2 + 12 + 1, "ListObjects": 1}


async def test_an_older_checkpoint_costs_one_request_more_to_find(
    oci_server: ObjectStorageServer, buckets: tuple[str, str]
) -> None:
    large = buckets[1]
    assert await _count(oci_server, large, lambda c: c.load("t", "c0")) == {"GetObject": 3}
    assert await _count(oci_server, large, lambda c: c.exists("t", "c0")) == {"GetObject": 2}
    five = ["last", "c0", "c1", "c2", "c3"]
    for bucket, pages in zip(buckets, (0, 1), strict=True):
        cost = {"GetObject": 1 + pages + len(five), "ListObjects": len(five)}
        assert await _count(oci_server, bucket, lambda c: c.storage.get_complete("t", five)) == cost
    assert await _count(oci_server, large, lambda c: c.delete("t", "c0")) == {
        "GetObject": 2,
        "ListObjects": 1,
        "PutObject": 2,
        "DeleteObject": 2,
    }


async def test_one_save_in_thirty_two_writes_a_page_as_well(
    oci_server: ObjectStorageServer, buckets: tuple[str, str]
) -> None:
    async def save(checkpointer: StorageBackendAdapter) -> None:
        for _ in range(64):
            await checkpointer.save({}, "t")

    assert await _count(oci_server, buckets[1], save, warm=True) == {"PutObject": 2 * 64 + 2}


async def test_deleting_a_thread_costs_a_request_per_object_and_no_more_than_three(
    oci_server: ObjectStorageServer, buckets: tuple[str, str]
) -> None:
    for bucket, objects in zip(buckets, (5, PER_THREAD + 2), strict=True):
        cost = {"GetObject": 1, "PutObject": 1, "ListObjects": 1, "DeleteObject": objects + 1}
        assert await _count(oci_server, bucket, lambda c: c.delete("t")) == cost
