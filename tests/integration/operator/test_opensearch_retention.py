"""Retention on OpenSearch: nothing younger than the policy goes, and a run ends in time."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from locus_memory.backends import opensearch_retention as library
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.storage import NewCheckpoint
from locus_operator import engine
from locus_operator.backends import opensearch_retention
from locus_operator.constants import ConditionType
from locus_operator.engine import Reconciled
from tests.integration.operator.opensearch_stores import index_of
from tests.integration.operator.stores import Store
from tests.servers.opensearch import OpenSearchServer


async def sweep(store: Store) -> Reconciled:
    done = await engine.reconcile(replace(store.request(), enforce_retention=True))
    store.binding = done.binding.data
    return done


async def save_at(checkpointer: BaseCheckpointer, thread: str, name: str, age: timedelta, namespace: str = "") -> None:
    """Save a checkpoint of this age, as a transfer from another store does."""
    written = NewCheckpoint(thread, name, b"{}", {}, namespace=namespace, created_at=datetime.now(UTC) - age)
    await checkpointer.storage.put(written)  # type: ignore[attr-defined]


async def test_what_is_older_goes_and_nothing_younger(opensearch_store: Store, opensearch: OpenSearchServer) -> None:
    opensearch_store.spec = {"retention": {"maxAge": "1h"}}
    await opensearch_store.reconcile()
    async with opensearch_store.checkpointer() as checkpointer:
        for minutes, name in ((600, "old"), (61, "just too old"), (59, "just young enough"), (0, "new")):
            await save_at(checkpointer, "thread", name, timedelta(minutes=minutes))
        await save_at(checkpointer, "gone", "newest of its thread", timedelta(hours=2))
        done = await sweep(opensearch_store)
        assert done.expired == 3
        assert await checkpointer.list_checkpoints("thread", 10) == ["new", "just young enough"]
        assert await checkpointer.list_threads() == ["thread"]
        # Neither are the payloads there any more, nor anything else of a thread that is gone.
        assert sum(each["kind"] == "checkpoint" for each in opensearch.documents(index_of(opensearch_store))) == 2
        assert (await sweep(opensearch_store)).expired == 0
    retention = next(each for each in done.conditions if each.type is ConditionType.RETENTION_ENFORCED)
    assert retention.status == "True"
    assert "older than 1h" in retention.message


async def test_what_is_exactly_as_old_as_the_policy_stays(
    opensearch_store: Store, opensearch: OpenSearchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)

    class StoppedClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "StoppedClock":
            return cls.fromtimestamp(moment.timestamp(), tz)

    monkeypatch.setattr(opensearch_retention, "datetime", StoppedClock)
    opensearch_store.spec = {"retention": {"maxAge": "1h"}}
    await opensearch_store.reconcile()
    async with opensearch_store.checkpointer() as checkpointer:
        for name, age in (("a microsecond older", timedelta(microseconds=1)), ("as old", timedelta())):
            written = NewCheckpoint("thread", name, b"{}", {}, created_at=moment - timedelta(hours=1) - age)
            await checkpointer.storage.put(written)  # type: ignore[attr-defined]
        assert (await sweep(opensearch_store)).expired == 1
        assert await checkpointer.list_checkpoints("thread", 10) == ["as old"]


async def test_writers_lose_nothing_while_it_runs(opensearch_store: Store, opensearch: OpenSearchServer) -> None:
    opensearch_store.spec = {"retention": {"maxAge": "1h", "maxCheckpointsPerThread": 50}}
    await opensearch_store.reconcile()
    async with opensearch_store.checkpointer() as checkpointer:
        threads = [f"thread-{number}" for number in range(4)]
        for thread in threads:
            for number in range(5):
                await save_at(checkpointer, thread, f"old-{number}", timedelta(hours=2))

        async def write(thread: str) -> None:
            for number in range(20):
                await checkpointer.save({"n": number}, thread, f"new-{number}")

        sweeps = asyncio.create_task(sweep(opensearch_store))
        await asyncio.gather(*map(write, threads))
        await sweeps
        await sweep(opensearch_store)
        for thread in threads:
            expected = [f"new-{number}" for number in reversed(range(20))]
            assert await checkpointer.list_checkpoints(thread, 100) == expected
            assert await checkpointer.load(thread, "new-0") == {"n": 0}


async def test_each_thread_keeps_its_newest(opensearch_store: Store, opensearch: OpenSearchServer) -> None:
    opensearch_store.spec = {"retention": {"maxCheckpointsPerThread": 3}}
    await opensearch_store.reconcile()
    async with opensearch_store.checkpointer() as checkpointer:
        for number in range(5):
            await checkpointer.save({"n": number}, "long", str(number))
        await checkpointer.save({"n": 0}, "short", "0")
        assert (await sweep(opensearch_store)).expired == 2
        assert await checkpointer.list_checkpoints("long", 10) == ["4", "3", "2"]
        assert await checkpointer.list_checkpoints("short", 10) == ["0"]
        assert (await sweep(opensearch_store)).expired == 0


async def test_a_run_that_has_no_time_left_goes_on_where_it_was(
    opensearch_store: Store, opensearch: OpenSearchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opensearch_store.spec = {"retention": {"maxAge": "1h", "maxCheckpointsPerThread": 1}}
    await opensearch_store.reconcile()
    async with opensearch_store.checkpointer() as checkpointer:
        for thread in "abc":
            for number in range(3):
                await checkpointer.save({"n": number}, thread, str(number))
    monkeypatch.setattr(opensearch_retention, "RETENTION_SECONDS", 0)
    # One thread a run: then the time is over.
    assert [(await sweep(opensearch_store)).expired for _ in range(4)] == [2, 2, 2, 0]


async def test_what_interrupted_saves_left_goes_with_what_is_as_old(
    opensearch_store: Store, opensearch: OpenSearchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_ORPHAN_AGE", 0)
    opensearch_store.spec = {"retention": {"maxAge": "1h"}}
    await opensearch_store.reconcile()
    index = index_of(opensearch_store)
    orphan = {"kind": "checkpoint", "thread_id": "thread", "document": "orphan", "written_at": 0}
    async with opensearch_store.checkpointer() as checkpointer:
        await checkpointer.save({"kept": True}, "thread")
        await checkpointer.storage._threads.bulk(  # type: ignore[attr-defined]
            [{"index": {"_id": "orphan", "routing": "x"}}, orphan]
        )
        assert (await sweep(opensearch_store)).expired == 0
        assert "orphan" not in [each["document"] for each in opensearch.documents(index)]
        assert await checkpointer.load("thread") == {"kept": True}
