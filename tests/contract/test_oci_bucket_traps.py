"""Traps of object storage, one test each: paging, time, names, what others do to a bucket, large states."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import oci  # type: ignore[import-untyped]
import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import OCIBucketBackend
from locus_memory.errors import AuthenticationError, BackendUnavailableError, CorruptCheckpointError, StateTooLargeError
from locus_memory.retry import RetryPolicy
from locus_memory.storage import NewCheckpoint
from tests.servers.oci import NAMESPACE, REGION, ObjectStorageServer


class Bucket:
    """A bucket, opened as often as wanted and written to behind the backs of those who opened it."""

    def __init__(self, server: ObjectStorageServer, name: str) -> None:
        self.server = server
        self.name = name
        self.sdk = server.client()

    def open(self, **arguments: Any) -> StorageBackendAdapter:
        options = {"retry": RetryPolicy(deadline=20), **self.server.key.fields(), **arguments}
        return OCIBucketBackend(self.name, NAMESPACE, region=REGION, service_endpoint=self.server.endpoint, **options)

    def objects(self, prefix: str = "") -> list[str]:
        return self.server.objects(self.name, prefix)

    def fault(self, effect: str, **fields: Any) -> None:
        self.server.admin("DELETE", "requests")
        self.server.admin("POST", "faults", {"effect": effect, **fields})

    async def arrived(self, puts: int) -> None:
        """Wait until this many PUTs have arrived since the last fault was set."""
        async with asyncio.timeout(10):
            while self.server.admin("GET", "requests").get("PutObject", 0) < puts:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)

    def advance(self, days: int) -> None:
        self.server.admin("POST", "clock", {"advance_days": days})


@pytest.fixture
async def bucket(oci_server: ObjectStorageServer, oci_bucket: str) -> AsyncIterator[Bucket]:
    opened = Bucket(oci_server, oci_bucket)
    yield opened
    opened.sdk.base_client.session.close()
    oci_server.admin("DELETE", "faults")
    oci_server.admin("PUT", "settings", {"clock_ahead_seconds": 0})


async def test_the_public_name_of_the_seed_is_a_checkpointer(bucket: Bucket) -> None:
    async with bucket.open() as checkpointer:
        assert isinstance(checkpointer, OCIBucketBackend)
        assert bool(checkpointer)
        assert await checkpointer.save({"n": 1}, "t", "c") == "c"


async def test_more_threads_than_a_page_are_listed_in_order(bucket: Bucket) -> None:
    async with bucket.open() as checkpointer:
        await checkpointer.save({}, "seed")
        names = [f"t{number:04}" for number in range(2005)]
        # Past the library: two thousand saves would take their time, and listing looks at names alone.
        heads = [f"threads/{name}" for name in names]
        bucket.server.admin("POST", "fill", {"bucket": bucket.name, "object": "threads/seed", "names": heads})
        assert await checkpointer.list_threads(3000) == ["seed", *names]
        assert await checkpointer.list_threads(1003, "t*") == names[:1003]
        bucket.server.admin("DELETE", "requests")
        assert await checkpointer.list_threads(3, "t1*") == ["t1000", "t1001", "t1002"]
        assert await checkpointer.list_threads(3, "seed") == ["seed"]
        assert await checkpointer.list_threads(3, "see") == []
        assert bucket.server.admin("GET", "requests") == {"ListObjects": 3}


async def test_long_ids_that_begin_alike_are_listed_in_order(bucket: Bucket) -> None:
    ids = [f"{'x' * 700}{number}" for number in (3, 1, 2)] + ["é" * 300 + end for end in "cab"]
    ids += ["x" * 639, "x" * 640, "x" * 641, "y", "w", "x" * 700]
    async with bucket.open() as checkpointer:
        for thread_id in ids:
            await checkpointer.save({}, thread_id)
        assert await checkpointer.list_threads(100) == sorted(ids, key=str.encode)
        for limit in range(1, len(ids)):
            assert await checkpointer.list_threads(limit) == sorted(ids, key=str.encode)[:limit]
        assert await checkpointer.list_threads(100, f"{'x' * 700}*2") == ["x" * 700 + "2"]
        latest = await checkpointer.list_with_metadata(4)
        assert [each["thread_id"] for each in latest] == sorted(ids, key=str.encode)[:4]


async def test_one_prefix_below_another_is_another_store(bucket: Bucket) -> None:
    prefixes = ("", "a", "a/", "ab", "a/threads", "threads/", "a b/é+%2F")
    stores = [bucket.open(prefix=prefix) for prefix in prefixes]
    for store, prefix in zip(stores, prefixes, strict=True):
        await store.save({"prefix": prefix}, prefix or "none")
    for store, prefix in zip(stores, prefixes, strict=True):
        assert await store.load(prefix or "none") == {"prefix": prefix}
        # "a" and "a/" are one.
        expected = ["a", "a/"] if prefix in ("a", "a/") else [prefix or "none"]
        assert await store.list_threads() == expected
    assert await stores[0].vacuum(0) == 1
    for store, prefix in list(zip(stores, prefixes, strict=True))[1:]:
        assert await store.load(prefix) == {"prefix": prefix}
        await store.close()
    await stores[0].close()


async def test_latest_is_the_write_order_though_the_clock_goes_back(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    years = itertools.count(2030, -1)
    clock = SimpleNamespace(now=lambda zone: datetime(next(years), 1, 1, tzinfo=zone))
    async with bucket.open() as checkpointer:
        monkeypatch.setattr("locus_memory.backends.oci_bucket_saving.datetime", clock)
        for name in "abc":
            await checkpointer.save({"id": name}, "t", name)
        monkeypatch.undo()
        assert await checkpointer.list_checkpoints("t") == ["c", "b", "a"]
        assert await checkpointer.load("t") == {"id": "c"}


async def test_a_lifecycle_rule_that_is_declared_lets_threads_expire(bucket: Bucket) -> None:
    models = oci.object_storage.models
    rule = models.ObjectLifecycleRule(
        name="old",
        action="DELETE",
        time_amount=30,
        time_unit="DAYS",
        is_enabled=True,
        target="objects",
        object_name_filter=models.ObjectNameFilter(inclusion_prefixes=["prod/"]),
    )
    policy = models.PutObjectLifecyclePolicyDetails(items=[rule])
    bucket.sdk.put_object_lifecycle_policy(NAMESPACE, bucket.name, policy)
    async with bucket.open(prefix="prod/", retention_days=30) as checkpointer:
        assert checkpointer.capabilities.ttl
        await checkpointer.save({"n": 1}, "t")
        bucket.sdk.put_object(NAMESPACE, bucket.name, "foreign", b"kept")
        bucket.advance(29)
        assert await checkpointer.load("t") == {"n": 1}
        bucket.advance(2)
        assert await checkpointer.load("t") is None
        assert await checkpointer.list_threads() == []
        assert bucket.objects() == ["foreign"]
        await checkpointer.save({"n": 2}, "t", expected_checkpoint_id=None)
        assert await checkpointer.load("t") == {"n": 2}


async def test_what_has_expired_is_gone_at_once_although_no_rule_has_run(bucket: Bucket) -> None:
    old = NewCheckpoint("t", "old", b"\x01{}", {"n": 1})
    async with bucket.open(retention_days=30) as checkpointer:
        await checkpointer.storage.put(old)
        await _age(bucket, "t", days=31)
    async with bucket.open(retention_days=30) as checkpointer:
        assert await checkpointer.load("t") is None
        assert not await checkpointer.exists("t", "old")
        assert await checkpointer.list_checkpoints("t") == []
        assert await checkpointer.list_with_metadata() == []
        await checkpointer.save({"n": 2}, "t", "new", expected_checkpoint_id=None)
        assert await checkpointer.list_checkpoints("t") == ["new"]


async def _age(bucket: Bucket, thread_id: str, days: int) -> None:
    """Make a thread's checkpoints older, in its head."""
    name = f"threads/{thread_id}"
    document = json.loads(bucket.sdk.get_object(NAMESPACE, bucket.name, name).data.content)
    for entry in document["tail"]:
        entry["time"] -= days * 86_400 * 10**6
    bucket.sdk.put_object(NAMESPACE, bucket.name, name, json.dumps(document).encode())


async def test_a_payload_that_somebody_deleted_is_an_error_and_not_an_empty_thread(bucket: Bucket) -> None:
    async with bucket.open() as checkpointer:
        await checkpointer.save({"n": 1}, "t", "a")
        await checkpointer.save({"n": 2}, "t", "b")
        newest, _ = bucket.objects("data/")
        bucket.sdk.delete_object(NAMESPACE, bucket.name, newest)
        with pytest.raises(CorruptCheckpointError, match="retention"):
            await checkpointer.load("t")
        assert await checkpointer.load("t", "a") == {"n": 1}
        assert await checkpointer.delete("t", "b")
        assert await checkpointer.load("t") == {"n": 1}


async def test_names_of_checkpoints_sort_newest_first(bucket: Bucket) -> None:
    async with bucket.open() as checkpointer:
        for number in range(12):
            await checkpointer.save({}, "t", f"c{number}")
        bodies = [bucket.sdk.get_object(NAMESPACE, bucket.name, name).data.content for name in bucket.objects("data/")]
        assert [f'"id":"c{number}"'.encode() in body for number, body in zip(range(11, -1, -1), bodies, strict=True)]


async def test_vacuum_removes_what_dead_writers_left_once_it_is_old(bucket: Bucket) -> None:
    async with bucket.open() as checkpointer:
        for number in range(70):
            await checkpointer.save({"n": number}, "t", f"c{number}")
        kept = bucket.objects()
        life = next(name for name in kept if "/c/" in name).partition("/c/")[0]
        left = [f"{life}/c/0-dead", f"{life}/p/dead", f"data/{'0' * 32}/dead/c/0-dead"]
        for name in left:
            bucket.sdk.put_object(NAMESPACE, bucket.name, name, b"left")
        assert await checkpointer.vacuum(30) == 0
        assert sorted(bucket.objects()) == sorted([*kept, *left])
        # The emulator's objects are dated by its clock: two hours ago is where these were written.
        bucket.server.admin("PUT", "settings", {"clock_ahead_seconds": -7200})
        for name in left:
            bucket.sdk.put_object(NAMESPACE, bucket.name, name, b"left")
        assert await checkpointer.vacuum(30) == 0
        assert bucket.objects() == kept
        assert await checkpointer.load("t", "c0") == {"n": 0}


async def test_a_write_that_arrives_after_its_caller_gave_up_changes_nothing_that_came_later(bucket: Bucket) -> None:
    async with bucket.open() as impatient, bucket.open() as other:
        await other.save({"n": 0}, "t", "a")
        await impatient.load("t")
        bucket.fault("delay", kinds=["PutObject"], name="threads/*", seconds=1)
        late = asyncio.create_task(impatient.save({"n": 1}, "t", "late"))
        await bucket.arrived(puts=2)
        late.cancel()
        await other.save({"n": 2}, "t", "b")
        await asyncio.sleep(1)
        assert await other.list_checkpoints("t") == ["b", "a"]
        await impatient.save({"n": 3}, "t", "c", expected_checkpoint_id="b")
        assert await other.load("t") == {"n": 3}


async def test_a_save_into_a_thread_that_is_deleted_meanwhile_is_there_whole(bucket: Bucket) -> None:
    async with bucket.open() as one, bucket.open() as other:
        await one.save({"n": 0}, "t")
        bucket.fault("delay", kinds=["PutObject"], name="threads/*", seconds=1)
        saving = asyncio.create_task(one.save({"n": 1}, "t", "new"))
        await bucket.arrived(puts=2)
        assert await other.delete("t")
        assert await saving == "new"
        assert await other.list_checkpoints("t") == ["new"]
        assert await other.load("t") == {"n": 1}
        assert len(bucket.objects("data/")) == 1


async def test_64_mebibytes_come_back_and_hold_up_nobody(bucket: Bucket) -> None:
    payload = random.Random(3).randbytes(64 * 2**20)
    pauses: list[float] = []

    async def tick() -> None:
        while True:
            begin = time.monotonic()
            await asyncio.sleep(0.01)
            pauses.append(time.monotonic() - begin)

    async with bucket.open() as checkpointer:
        await checkpointer.save({}, "small")
        ticking = asyncio.create_task(tick())
        await checkpointer.storage.put(NewCheckpoint("t", "c", payload, {}))
        stored = await checkpointer.storage.get("t")
        ticking.cancel()
    assert stored is not None
    assert stored.payload == payload
    # A copy of all of it, or its digest, takes longer than this; the machine of the tests is a busy one.
    assert sorted(pauses)[len(pauses) // 2] < 0.05
    assert len(pauses) > 5


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (429, "TooManyRequests", BackendUnavailableError),
        (500, "InternalServerError", BackendUnavailableError),
        (503, "ServiceUnavailable", BackendUnavailableError),
        (413, "RequestEntityTooLarge", StateTooLargeError),
        (401, "NotAuthenticated", AuthenticationError),
        (404, "NotAuthorizedOrNotFound", AuthenticationError),
    ],
)
async def test_a_refusal_is_the_right_error(bucket: Bucket, status: int, code: str, error: type[Exception]) -> None:
    async with bucket.open() as checkpointer:
        await checkpointer.save({"n": 1}, "t")
        bucket.fault("status", status=status, code=code)
        with pytest.raises(error, match=rf"{bucket.name}.*{status} {code}"):
            await checkpointer.storage.get("t")
        assert await checkpointer.load("t") == {"n": 1}


@pytest.mark.parametrize("status", [429, 503])
async def test_throttling_is_waited_out_and_no_breaker_opens(bucket: Bucket, status: int) -> None:
    async with bucket.open() as checkpointer:
        await checkpointer.save({"n": 1}, "t")
        bucket.fault("status", status=status, count=15)
        async with asyncio.timeout(20):
            assert await asyncio.gather(*(checkpointer.load("t") for _ in range(12))) == [{"n": 1}] * 12


async def test_a_race_that_the_service_reports_as_a_conflict_is_run_again(bucket: Bucket) -> None:
    async with bucket.open() as checkpointer:
        await checkpointer.save({"n": 1}, "t", "a")
        bucket.fault(
            "status", status=409, code="ConcurrentObjectUpdate", kinds=["PutObject"], name="threads/*", count=2
        )
        await checkpointer.save({"n": 2}, "t", "b", expected_checkpoint_id="a")
        assert await checkpointer.list_checkpoints("t") == ["b", "a"]


@pytest.mark.parametrize("expected", [None, "a"])
async def test_a_write_that_was_repeated_on_its_way_is_no_conflict_and_keeps_its_payload(
    bucket: Bucket, expected: str | None
) -> None:
    async with bucket.open() as checkpointer:
        if expected is not None:
            await checkpointer.save({"n": 1}, "t", expected)
        bucket.fault("twice", kinds=["PutObject"], name="threads/*")
        await checkpointer.save({"n": 2}, "t", "b", expected_checkpoint_id=expected)
        assert await checkpointer.load("t") == {"n": 2}
        bucket.fault("twice", kinds=["PutObject"], name="threads/*")
        await checkpointer.save({"n": 3}, "t", "b")
        assert await checkpointer.load("t") == {"n": 3}
        assert await checkpointer.list_checkpoints("t") == (["b"] if expected is None else ["b", expected])


async def test_a_copy_whose_last_write_was_repeated_on_its_way_is_whole(bucket: Bucket) -> None:
    async with bucket.open() as checkpointer:
        await checkpointer.save({"n": 1}, "t", "a")
        bucket.fault("twice", kinds=["PutObject"], name="threads/*")
        assert await checkpointer.copy_thread("t", "u") is True
        assert await checkpointer.load("u") == {"n": 1}


async def test_a_deletion_that_failed_half_way_is_finished_when_it_is_repeated(bucket: Bucket) -> None:
    async with bucket.open(retry=RetryPolicy(deadline=5)) as checkpointer:
        for name in "ab":
            await checkpointer.save({"id": name}, "t", name)
        bucket.fault("status", kinds=["DeleteObject"])
        await checkpointer.delete("t", "b")
        assert len(bucket.objects("data/")) == 1
        bucket.fault("status", kinds=["DeleteObject"])
        await checkpointer.delete("t")
        assert bucket.objects() == []
