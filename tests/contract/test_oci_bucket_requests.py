"""What each call costs in requests: the same in a small and in a large bucket."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import OCIBucketBackend
from tests.servers.oci import NAMESPACE, REGION, ObjectStorageServer

Call = Callable[[StorageBackendAdapter], Awaitable[object]]

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
    "delete the latest": (lambda c: c.delete("t", "last"), {"GetObject": 1, "PutObject": 1, "DeleteObject": 1}),
    "delete one that is not there": (lambda c: c.delete("t", "none"), {"GetObject": 1}),
    "list 3 threads": (lambda c: c.list_threads(3), {"ListObjects": 1}),
    "list 2 threads with metadata": (lambda c: c.list_with_metadata(2), {"ListObjects": 1, "GetObject": 2}),
}

PER_THREAD = 100
"""More than a head describes itself."""


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
        assert await _count(oci_server, bucket, delete, warm=True) == {"PutObject": 1, "DeleteObject": 1}


async def test_an_older_checkpoint_costs_one_request_more_to_find(
    oci_server: ObjectStorageServer, buckets: tuple[str, str]
) -> None:
    large = buckets[1]
    assert await _count(oci_server, large, lambda c: c.load("t", "c0")) == {"GetObject": 3}
    assert await _count(oci_server, large, lambda c: c.exists("t", "c0")) == {"GetObject": 2}
    assert await _count(oci_server, large, lambda c: c.delete("t", "c0")) == {
        "GetObject": 2,
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
