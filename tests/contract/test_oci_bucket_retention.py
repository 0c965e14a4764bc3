"""What retention takes out of a bucket, thread by thread, and what it must leave: also beside writers."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from locus_memory.backends.oci_bucket import OCIBucketStorage
from locus_memory.backends.oci_bucket_client import ObjectStore
from locus_memory.backends.oci_bucket_maintenance import Limits, expire
from locus_memory.backends.oci_bucket_threads import Threads
from locus_memory.connection import OCIBucketConnection
from locus_memory.errors import MissingPartsError
from locus_memory.storage import NewCheckpoint
from locus_memory.testing.history import new, with_parts, write
from tests.servers.oci import ObjectStorageServer

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def checkpoint(checkpoint_id: str, age: timedelta, namespace: str = "") -> NewCheckpoint:
    return NewCheckpoint("t", checkpoint_id, b"state", {}, namespace, None, created_at=NOW - age)


@pytest.fixture
async def storage(oci_server: ObjectStorageServer, oci_bucket: str) -> AsyncIterator[OCIBucketStorage]:
    document = OCIBucketConnection.model_validate(oci_server.document(oci_bucket))
    storage = OCIBucketStorage(lambda: document)
    yield storage
    await storage.close()


@pytest.fixture
async def threads(oci_server: ObjectStorageServer, oci_bucket: str) -> AsyncIterator[Threads]:
    """The threads as the operator sees them: through requests of its own."""
    store = ObjectStore(OCIBucketConnection.model_validate(oci_server.document(oci_bucket)), 10)
    threads = Threads(store)
    yield threads
    await threads.close()
    await store.close()


async def ids(storage: OCIBucketStorage, namespace: str = "") -> list[str]:
    return [each.checkpoint_id for each in await storage.list_checkpoints("t", 1000, namespace=namespace)]


async def test_what_is_exactly_as_old_as_the_limit_stays(storage: OCIBucketStorage, threads: Threads) -> None:
    limit = NOW - DAY
    for name, age in (
        ("older", DAY + timedelta(microseconds=1)),
        ("equal", DAY),
        ("younger", DAY - timedelta(microseconds=1)),
    ):
        await storage.put(checkpoint(name, age))
    assert await expire(threads, "t", Limits(limit)) == 1
    assert await ids(storage) == ["younger", "equal"]
    assert await expire(threads, "t", Limits(limit)) == 0


async def test_a_thread_within_its_limits_costs_one_request(
    storage: OCIBucketStorage, threads: Threads, oci_server: ObjectStorageServer
) -> None:
    await storage.put(checkpoint("a", DAY))
    oci_server.admin("DELETE", "requests")
    assert await expire(threads, "t", Limits(NOW - 2 * DAY, keep=1)) == 0
    assert await expire(threads, "nobody", Limits(NOW, keep=1)) == 0
    assert oci_server.admin("GET", "requests") == {"GetObject": 2}


async def test_the_newest_of_each_namespace_stay_whatever_is_in_pages(
    storage: OCIBucketStorage, threads: Threads, oci_server: ObjectStorageServer, oci_bucket: str
) -> None:
    for number in range(100):
        await storage.put(checkpoint(f"c{number:03}", DAY))
        if number % 10 == 0:
            await storage.put(checkpoint(f"n{number:03}", DAY, "inner"))
    assert await expire(threads, "t", Limits(keep=7)) == 93 + 3
    assert await ids(storage) == [f"c{number:03}" for number in range(99, 92, -1)]
    assert await ids(storage, "inner") == [f"n{number:03}" for number in range(90, 20, -10)]
    assert len([name for name in oci_server.objects(oci_bucket, "data/") if "/c/" in name]) == 14
    assert await expire(threads, "t", Limits(keep=7)) == 0


async def test_a_thread_that_is_old_goes_with_all_that_it_has(
    storage: OCIBucketStorage, threads: Threads, oci_server: ObjectStorageServer, oci_bucket: str
) -> None:
    await storage.put(new("a", x=b"1"))
    await storage.put_writes("t", "a", [write("task", 0)])
    assert await expire(threads, "t", Limits(datetime.now(UTC) + DAY)) == 1
    assert oci_server.objects(oci_bucket) == []
    assert await storage.get("t") is None
    await storage.put(checkpoint("b", timedelta()))
    assert await ids(storage) == ["b"]


async def test_a_part_that_younger_checkpoints_need_stays(storage: OCIBucketStorage, threads: Threads) -> None:
    await storage.put(new("a", x=b"1"))
    await storage.put(new("b", "x"))
    [latest, _] = await storage.list_checkpoints("t", 2)
    assert await expire(threads, "t", Limits(latest.created_at)) == 1
    assert await parts(storage, "b") == {"x": b"1"}


async def test_a_writer_loses_nothing_beside_it(storage: OCIBucketStorage, threads: Threads) -> None:
    for number in range(5):
        await storage.put(checkpoint(f"old{number}", 2 * DAY))

    async def save() -> None:
        for number in range(10):
            await storage.put(checkpoint(f"young{number}", timedelta()))

    removed, _ = await asyncio.gather(expire(threads, "t", Limits(NOW - DAY)), save())
    assert removed == 5
    assert await ids(storage) == [f"young{number}" for number in range(9, -1, -1)]


@pytest.mark.parametrize(("part_age", "shared"), [(None, False), (2 * 3600, True)])
async def test_parts_that_are_kept_longer_do_not_make_checkpoints_expire_early(
    oci_server: ObjectStorageServer,
    oci_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    part_age: int | None,
    shared: bool,
) -> None:
    fields = {"retention": {"max_age_seconds": 3600}, "part_age_seconds": part_age}
    document = OCIBucketConnection.model_validate({**oci_server.document(oci_bucket), **fields})
    storage = OCIBucketStorage(lambda: document)
    for name, age in (("a", 3601), ("b", 3000)):
        earlier = SimpleNamespace(now=lambda zone, age=age: datetime.now(zone) - timedelta(seconds=age))
        monkeypatch.setattr("locus_memory.backends.oci_bucket_parts.datetime", earlier)
        await storage.put(with_parts(new(name), {name: b"part"}))
        monkeypatch.undo()
    assert (await storage.get("t", "a") is not None) == shared
    assert await storage.get("t", "b") is not None
    with pytest.raises(MissingPartsError):
        await storage.put(new("c", "a"))
    if shared:
        await storage.put(new("c", "b"))
        assert await parts(storage, "c") == {"b": b"part"}
    else:
        with pytest.raises(MissingPartsError):
            await storage.put(new("c", "b"))
    await storage.close()


async def parts(storage: OCIBucketStorage, checkpoint_id: str) -> dict[str, bytes]:
    [found] = await storage.get_complete("t", [checkpoint_id])
    return dict(found.parts)
