"""Traps of parts and pending writes in a bucket: what others do meanwhile, what is left behind, what expires."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from locus_memory.errors import CorruptCheckpointError, MissingPartsError
from locus_memory.storage import StorageBackend
from locus_memory.testing.history import new, with_parts, write
from tests.contract.test_oci_bucket_traps import Bucket
from tests.servers.oci import NAMESPACE, ObjectStorageServer

MONTH = timedelta(days=30)


@pytest.fixture
async def bucket(oci_server: ObjectStorageServer, oci_bucket: str) -> AsyncIterator[Bucket]:
    opened = Bucket(oci_server, oci_bucket)
    yield opened
    opened.sdk.base_client.session.close()
    oci_server.admin("DELETE", "faults")
    oci_server.admin("PUT", "settings", {"clock_ahead_seconds": 0})


@pytest.fixture
async def one(bucket: Bucket) -> AsyncIterator[StorageBackend]:
    async with bucket.open() as checkpointer:
        yield checkpointer.storage


@pytest.fixture
async def other(bucket: Bucket) -> AsyncIterator[StorageBackend]:
    async with bucket.open() as checkpointer:
        yield checkpointer.storage


def kinds(bucket: Bucket) -> str:
    """Letters of the kinds of objects in a thread's data: checkpoints, pages, b for parts, writes."""
    return "".join(sorted(name.split("/")[3] for name in bucket.objects("data/")))


async def test_no_part_and_no_write_outlives_what_needed_it(bucket: Bucket, one: StorageBackend) -> None:
    await one.put(new("a", x=b"1", y=b"2"))
    await one.put_writes("t", "a", [write("task", 0), write("other", 0)])
    await one.put(new("b", "y", z=b"3"))
    await one.put_writes("t", "b", [write("task", 0)])
    assert kinds(bucket) == "bbbccwww"
    assert await one.delete_checkpoint("t", "a")
    assert kinds(bucket) == "bbcw"
    await one.put(new("b", "y", u=b"4", v=b"5"))
    assert kinds(bucket) == "bbbcw"
    await one.put(new("c"))
    [latest] = await one.list_checkpoints("t", 1)
    assert await one.vacuum(latest.created_at) == 1
    assert kinds(bucket) == "c"


async def test_a_refused_save_leaves_nothing(bucket: Bucket, one: StorageBackend) -> None:
    await one.put(new("a", x=b"1"))
    with pytest.raises(MissingPartsError):
        await one.put(new("b", "gone", y=b"2"))
    assert kinds(bucket) == "bc"


async def test_a_part_is_found_in_a_page_and_kept_for_it(bucket: Bucket, one: StorageBackend) -> None:
    await one.put(new("first", x=b"1", y=b"2"))
    await one.put(new("second", "y"))
    for number in range(80):
        await one.put(new(f"c{number}"))
    await one.put(new("again", "x"))
    assert (await one.get_complete("t"))[0].parts == {"x": b"1"}
    assert await one.delete_checkpoint("t", "first")
    assert [each.parts for each in await one.get_complete("t", ["again", "second"])] == [{"x": b"1"}, {"y": b"2"}]
    assert await one.delete_checkpoint("t", "again")
    assert kinds(bucket).count("b") == 1


async def test_the_newest_32_are_in_the_head_whenever_a_page_was_written(bucket: Bucket, one: StorageBackend) -> None:
    for number in range(65):
        await one.put(new(f"c{number}"))
    bucket.server.admin("DELETE", "requests")
    assert await one.get_summary("t", "c33") is not None
    assert bucket.server.admin("GET", "requests") == {"GetObject": 1}


async def test_writes_reach_the_thread_that_took_the_place_of_a_remembered_one(
    bucket: Bucket, one: StorageBackend, other: StorageBackend
) -> None:
    await one.put(new("a"))
    assert await other.delete_thread("t")
    await other.put(new("a"))
    await one.put_writes("t", "a", [write("task", 0)])
    assert await other.get_writes("t", "a") == [write("task", 0)]
    assert kinds(bucket) == "cw"
    assert await other.delete_thread("t")
    await one.put_writes("t", "a", [write("task", 1)])
    assert await other.get_writes("t", "a") == [write("task", 1)]
    assert await other.list_threads(10) == []


async def test_a_thread_begun_by_a_checkpoint_and_by_writes_at_once_has_both(bucket: Bucket) -> None:
    async with bucket.open() as a, bucket.open() as b:
        for turn in range(5):
            thread_id = f"t{turn}"
            await asyncio.gather(
                a.storage.put(new("a", thread_id=thread_id, x=b"1"), expected_checkpoint_id=None),
                *(b.storage.put_writes(thread_id, "a", [write(f"task {number}", 0)]) for number in range(3)),
            )
            [found] = await b.storage.get_complete(thread_id)
            assert found.parts == {"x": b"1"}
            assert len(found.writes) == 3
        assert len(await a.storage.list_threads(10)) == 5


async def test_one_task_in_two_processes_keeps_the_first_write_at_each_position(
    one: StorageBackend, other: StorageBackend
) -> None:
    await one.put_writes("t", "a", [write("task", 0, b"first"), write("task", -1, b"first")])
    await asyncio.gather(
        *(store.put_writes("t", "a", [write("task", 0, b"late"), write("task", 1 + number, b"%d" % number)])
          for number in range(6) for store in (one, other))
    )  # fmt: skip
    found = await one.get_writes("t", "a")
    assert [(each.index, each.payload) for each in found] == [
        (-1, b"first"),
        (0, b"first"),
        *((1 + number, b"%d" % number) for number in range(6)),
    ]


async def test_a_repeated_request_changes_no_write(bucket: Bucket, one: StorageBackend) -> None:
    for value in (b"1", b"2"):
        bucket.fault("twice", kinds=["PutObject"], count=2)
        await one.put_writes("t", "a", [write("task", 0, value), write("task", -1, value)])
    assert await one.get_writes("t", "a") == [write("task", -1, b"2"), write("task", 0, b"1")]


async def test_a_part_that_is_deleted_meanwhile_is_missed_and_not_named(
    bucket: Bucket, one: StorageBackend, other: StorageBackend
) -> None:
    await one.put(new("a", x=b"1"))
    await one.put(new("b"))
    await other.get("t")
    bucket.fault("delay", kinds=["PutObject"], name="threads/*", seconds=0.5)
    saving = asyncio.create_task(one.put(new("c", "x")))
    await bucket.arrived(puts=2)
    assert await other.delete_checkpoint("t", "a")
    with pytest.raises(MissingPartsError):
        await saving
    assert [each.checkpoint_id for each in await other.list_checkpoints("t", 9)] == ["b"]
    assert kinds(bucket) == "c"


async def test_a_part_that_another_process_has_just_stored_is_no_missing_one(
    one: StorageBackend, other: StorageBackend
) -> None:
    await one.put(new("a"))
    await other.put(new("b", x=b"1"))
    await one.put(new("c", "x"))
    assert (await other.get_complete("t"))[0].parts == {"x": b"1"}


async def test_a_part_or_write_that_somebody_damaged_or_deleted_is_an_error(
    bucket: Bucket, one: StorageBackend
) -> None:
    await one.put(new("a", x=b"1"))
    await one.put_writes("t", "a", [write("task", 0)])
    [part] = [name for name in bucket.objects("data/") if "/b/" in name]
    [written] = [name for name in bucket.objects("data/") if "/w/" in name]
    whole = {name: bucket.sdk.get_object(NAMESPACE, bucket.name, name).data.content for name in (part, written)}
    for name in (part, written):
        for damaged in (b"", whole[name][:-1], whole[name] + b"!", whole[part if name == written else written]):
            bucket.sdk.put_object(NAMESPACE, bucket.name, name, damaged)
            with pytest.raises(CorruptCheckpointError, match="damaged"):
                await one.get_complete("t")
        bucket.sdk.put_object(NAMESPACE, bucket.name, name, whole[name])
    bucket.sdk.delete_object(NAMESPACE, bucket.name, part)
    with pytest.raises(CorruptCheckpointError, match="missing"):
        await one.get_complete("t")


async def test_vacuum_keeps_writes_that_wait_for_their_checkpoint_until_they_are_old(
    bucket: Bucket, one: StorageBackend
) -> None:
    long = "x" * 700
    bucket.server.admin("PUT", "settings", {"clock_ahead_seconds": -7200})
    await one.put(new("a"))
    for thread_id in ("t", "none", long):
        await one.put_writes(thread_id, "waiting", [write("task", 0)])
    now = datetime.now(UTC)
    assert await one.vacuum(now - timedelta(days=1)) == 0
    for thread_id in ("t", "none", long):
        assert await one.get_writes(thread_id, "waiting") == [write("task", 0)]
    await one.put(new("b"))
    bucket.server.admin("PUT", "settings", {"clock_ahead_seconds": 0})
    await one.put_writes("none", "waiting", [write("young", 0)])
    assert await one.vacuum(now - timedelta(minutes=5)) == 0
    assert await one.get_writes("none", "waiting") == [write("task", 0), write("young", 0)]
    assert kinds(bucket) == "ccww"
    assert bucket.objects("threads/") == ["threads/none", "threads/t"]


async def test_a_part_is_stored_again_before_a_lifecycle_rule_could_delete_it(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bucket.open(retention_days=30) as checkpointer:
        storage = checkpointer.storage
        long_ago = SimpleNamespace(now=lambda zone: datetime.now(zone) - MONTH / 10 - timedelta(seconds=1))
        monkeypatch.setattr("locus_memory.backends.oci_bucket_parts.datetime", long_ago)
        await storage.put(new("a", x=b"1"))
        monkeypatch.undo()
        with pytest.raises(MissingPartsError):
            await storage.put(new("b", "x"))
        await storage.put(with_parts(new("b"), {"x": b"1"}))
        await storage.put(new("c", "x"))
        older = SimpleNamespace(now=lambda zone: datetime.now(zone) - MONTH - timedelta(seconds=1))
        monkeypatch.setattr("locus_memory.backends.oci_bucket_parts.datetime", older)
        await storage.put(new("expired", y=b"1"))
        monkeypatch.undo()
        assert await storage.get("t", "expired") is None
        assert [each.parts for each in await storage.get_complete("t")] == [{"x": b"1"}]
