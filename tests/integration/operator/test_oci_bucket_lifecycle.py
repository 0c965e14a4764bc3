"""Retention as days go by: nothing younger than the policy goes, and what goes is not found, rather than damaged."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import oci  # type: ignore[import-untyped]
import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends.oci_bucket import OCIBucketStorage
from locus_memory.errors import CheckpointError
from locus_memory.storage import NewCheckpoint
from locus_memory.testing.history import new, with_parts
from locus_operator import engine
from locus_operator.connections import Connections
from locus_operator.constants import ConditionReason, ConditionType
from tests.integration.operator.oci_stores import BucketStore
from tests.servers.oci import NAMESPACE

BOTH = ["oci_bucket_store", "oci_prefix_store"]
MODULES = ("oci_bucket", "oci_bucket_saving", "oci_bucket_parts", "oci_bucket_maintenance")


class Calendar:
    """The emulator's clock and the library's, which go together."""

    def __init__(self, store: BucketStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self._server = store.server
        self._ahead = timedelta()
        clock = SimpleNamespace(now=lambda zone: datetime.now(zone) + self._ahead, min=datetime.min)
        for module in MODULES:
            monkeypatch.setattr(f"locus_memory.backends.{module}.datetime", clock)

    def advance(self, **time: float) -> None:
        self._ahead += timedelta(**time)
        self._server.admin("POST", "clock", {"advance_seconds": timedelta(**time).total_seconds()})


@pytest.fixture(params=BOTH)
def each_store(request: pytest.FixtureRequest) -> BucketStore:
    found: BucketStore = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def calendar(each_store: BucketStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calendar]:
    yield Calendar(each_store, monkeypatch)
    each_store.server.admin("PUT", "settings", {"clock_ahead_seconds": 0})


def storage_of(store: BucketStore) -> OCIBucketStorage:
    """The library's own backend with the binding's document."""
    checkpointer = store.checkpointer()
    assert isinstance(checkpointer, StorageBackendAdapter)
    assert isinstance(checkpointer.storage, OCIBucketStorage)
    return checkpointer.storage


async def ids(storage: OCIBucketStorage, thread_id: str = "t") -> list[str]:
    return [each.checkpoint_id for each in await storage.list_checkpoints(thread_id, 1000)]


def applied(done: engine.Reconciled) -> tuple[ConditionReason, str]:
    found = next(each for each in done.conditions if each.type is ConditionType.RETENTION_ENFORCED)
    return found.reason, found.message


async def test_rules_delete_what_is_old_and_nothing_younger(each_store: BucketStore, calendar: Calendar) -> None:
    store = each_store
    store.spec = {"retention": {"maxAge": "10d"}}
    done = await store.reconcile()
    assert applied(done)[0] is ConditionReason.RETENTION_APPLIED
    storage = storage_of(store)
    for day in range(25):
        await storage.put(NewCheckpoint("t", f"day{day:02}", b"state", {}, "", None))
        calendar.advance(days=1)
        # What was written at the beginning of each day: the one of ten days ago is ten days old now.
        assert await ids(storage) == [f"day{each:02}" for each in range(day, max(-1, day - 9), -1)][:10]
        latest = await storage.get("t")
        assert latest is not None
        assert latest.summary.checkpoint_id == f"day{day:02}"
    assert len([name for name in store.server.objects(store.bucket, store.prefix) if "/c/" in name]) == 9
    await storage.close()


async def test_a_thread_that_has_gone_is_not_found_and_can_begin_again(
    each_store: BucketStore, calendar: Calendar
) -> None:
    store = each_store
    store.spec = {"retention": {"maxAge": "10d"}}
    await store.reconcile()
    one, other = storage_of(store), storage_of(store)
    await one.put(NewCheckpoint("t", "old", b"state", {}, "", None))
    calendar.advance(days=11)
    assert store.server.objects(store.bucket, f"{store.prefix}threads/") == []
    assert await other.get("t") is None
    assert await other.list_threads(10) == []
    # This one still has the head in its memory.
    await one.put(NewCheckpoint("t", "new", b"state", {}, "", None))
    assert await ids(other) == ["new"]
    calendar.advance(days=9)
    assert await ids(other) == ["new"]
    for each in (one, other):
        await each.close()


async def test_parts_that_younger_checkpoints_share_outlive_them(each_store: BucketStore, calendar: Calendar) -> None:
    store = each_store
    store.spec = {"retention": {"maxAge": "10d"}}
    await store.reconcile()
    storage = storage_of(store)
    await storage.put(with_parts(new("a"), {"x": b"part"}))
    calendar.advance(hours=23)
    await storage.put(new("b", "x"))
    calendar.advance(days=9, hours=20)
    [found] = await storage.get_complete("t", ["b"])
    assert dict(found.parts) == {"x": b"part"}
    calendar.advance(days=2)
    assert await storage.get_complete("t") == []
    assert store.server.objects(store.bucket, f"{store.prefix}data/") == []
    await storage.close()


async def test_an_archived_checkpoint_says_so_and_its_thread_goes_on(
    each_store: BucketStore, calendar: Calendar
) -> None:
    store = each_store
    store.spec = {"retention": {"archiveAfter": "5d", "maxAge": "30d"}}
    await store.reconcile()
    storage = storage_of(store)
    for number in range(70):
        await storage.put(NewCheckpoint("t", f"c{number:02}", b"state", {"n": number}, "", None))
    calendar.advance(days=6)
    with pytest.raises(CheckpointError, match="restore it"):
        await storage.get("t")
    assert len(await ids(storage)) == 70
    await storage.put(with_parts(new("after"), {"x": b"part"}))
    latest = await storage.get("t")
    assert latest is not None
    assert latest.summary.checkpoint_id == "after"
    calendar.advance(days=25)
    assert await ids(storage) == ["after"]
    await storage.close()


async def test_claims_and_objects_of_others_are_as_old_as_they_like(
    oci_prefix_store: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sibling = oci_prefix_store, oci_prefix_store.sibling()
    store.spec = {"retention": {"maxAge": "1d"}}
    for each in (store, sibling):
        await each.reconcile()
        async with each.checkpointer() as checkpointer:
            await checkpointer.save({"kept": True}, "t")
    client = store.server.client()
    client.put_object(NAMESPACE, "shared", f"{store.prefix}report.pdf", b"")
    upload = oci.object_storage.models.CreateMultipartUploadDetails(object="theirs")
    client.create_multipart_upload(NAMESPACE, "shared", upload)
    calendar = Calendar(store, monkeypatch)
    calendar.advance(days=400)
    assert store.server.objects("shared", f"{store.prefix}") == [f"{store.prefix}report.pdf"]
    assert len(client.list_multipart_uploads(NAMESPACE, "shared").data) == 1
    async with sibling.checkpointer() as checkpointer:
        assert await checkpointer.load("t") == {"kept": True}
    for each in (store, sibling):
        assert not (await each.reconcile()).plan
    store.server.admin("PUT", "settings", {"clock_ahead_seconds": 0})


async def test_previous_versions_and_stale_uploads_go(oci_bucket_store: BucketStore) -> None:
    store = oci_bucket_store
    store.change(versioning="Enabled")
    store.spec = {"retention": {"maxAge": "3d"}}
    done = await store.reconcile()
    assert "previous versions of what was replaced or deleted stay for 3 days more" in applied(done)[1]
    async with store.checkpointer() as checkpointer:
        for number in range(3):
            await checkpointer.save({"n": number}, "t")
    client = store.server.client()
    upload = oci.object_storage.models.CreateMultipartUploadDetails(object="half")
    client.create_multipart_upload(NAMESPACE, store.bucket, upload)

    def left() -> tuple[int, int]:
        versions = client.list_object_versions(NAMESPACE, store.bucket).data.items
        return len(versions), len(client.list_multipart_uploads(NAMESPACE, store.bucket).data)

    assert left() == (6, 1)
    for _ in range(8):
        store.server.admin("POST", "clock", {"advance_days": 1})
    assert left() == (0, 0)
    store.server.admin("PUT", "settings", {"clock_ahead_seconds": 0})


# --- the sweep ---


def aged(thread_id: str, checkpoint_id: str, **age: float) -> NewCheckpoint:
    """A checkpoint that was written a while ago."""
    written = datetime.now(UTC) - timedelta(**age)
    return NewCheckpoint(thread_id, checkpoint_id, b"state", {}, "", None, created_at=written)


async def swept(store: BucketStore, **options: Any) -> engine.Reconciled:
    return await engine.reconcile(replace(store.request(), enforce_retention=True, **options))


async def test_ages_that_are_no_whole_days_are_swept_to_the_second(each_store: BucketStore) -> None:
    store = each_store
    store.spec = {"retention": {"maxAge": "90m"}}
    done = await store.reconcile()
    reason, message = applied(done)
    assert reason is ConditionReason.RETENTION_APPLIED
    assert "the sweep deletes checkpoints older than 90m, and a lifecycle rule deletes checkpoints 1 days" in message
    storage = storage_of(store)
    for number in range(3):
        await storage.put(aged(f"t{number}", "older", minutes=90, seconds=5))
        await storage.put(aged(f"t{number}", "younger", minutes=89))
    await storage.put(aged("gone", "older", minutes=91))
    assert (await swept(store)).expired == 4
    assert store.server.objects(store.bucket, f"{store.prefix}threads/gone") == []
    for number in range(3):
        assert await ids(storage, f"t{number}") == ["younger"]
    assert (await swept(store)).expired == 0
    await storage.close()


async def test_so_many_checkpoints_of_each_thread_stay(each_store: BucketStore) -> None:
    store = each_store
    store.spec = {"retention": {"maxCheckpointsPerThread": 2, "maxAge": "30d"}}
    assert "the sweep keeps the newest 2 checkpoints" in applied(await store.reconcile())[1]
    storage = storage_of(store)
    for number in range(5):
        await storage.put(NewCheckpoint("many", f"c{number}", b"state", {}, "", None))
    await storage.put(NewCheckpoint("few", "c0", b"state", {}, "", None))
    assert (await swept(store)).expired == 3
    assert (await ids(storage, "many"), await ids(storage, "few")) == (["c4", "c3"], ["c0"])
    await storage.close()


async def test_whole_days_need_no_sweep(each_store: BucketStore) -> None:
    store = each_store
    store.spec = {"retention": {"maxAge": "30d"}}
    await store.reconcile()
    store.server.admin("DELETE", "requests")
    assert (await swept(store)).expired == 0
    assert "HeadObject" not in store.server.admin("GET", "requests")
    assert store.server.admin("GET", "requests")["ListObjects"] == 2


async def test_a_damaged_thread_does_not_keep_the_others(oci_bucket_store: BucketStore) -> None:
    store = oci_bucket_store
    store.spec = {"retention": {"maxAge": "90m"}}
    await store.reconcile()
    storage = storage_of(store)
    for thread_id in ("a", "b", "c"):
        await storage.put(aged(thread_id, "older", hours=2))
    store.server.client().put_object(NAMESPACE, store.bucket, "threads/b", b"damaged")
    done = await swept(store)
    assert done.expired == 2
    assert any("'threads/b' is damaged" in warning for warning in done.warnings)
    await storage.close()


async def test_a_run_that_is_short_of_time_is_continued_by_the_next(
    oci_bucket_store: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, connections = oci_bucket_store, Connections()
    store.spec = {"retention": {"maxAge": "90m"}}
    await store.reconcile()
    storage = storage_of(store)
    for number in range(5):
        await storage.put(aged(f"t{number}", "older", hours=2))
    monkeypatch.setattr("locus_operator.backends.oci_bucket_sweep._BATCH", 2)
    for expired in (2, 2, 1):
        # Time for one batch.
        clock = iter([0.0, 1.0, 100.0])
        monkeypatch.setattr("locus_operator.backends.oci_bucket_sweep.time", SimpleNamespace(monotonic=clock.__next__))
        assert (await swept(store, connections=connections)).expired == expired
    await storage.close()
    await connections.close()
