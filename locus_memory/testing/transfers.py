"""What moving threads between stores needs of the storage port: enumeration of everything, and times that are kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from locus_memory.storage import StorageBackend
from locus_memory.testing.base import ContractFixtures, requires
from locus_memory.testing.port import NAMESPACES, new

LONG_AGO = datetime(2019, 3, 31, 1, 59, 59, 123456, tzinfo=UTC)


class TransferTests(ContractFixtures):
    """`transfers`, `list_threads_after`, `list_namespaces`, `NewCheckpoint.created_at`."""

    @pytest_asyncio.fixture
    async def transferable(self, storage: StorageBackend) -> StorageBackend:
        """The backend, if threads can be moved into and out of it."""
        await storage.discover()
        if not storage.transfers:
            pytest.skip(f"{type(storage).__name__} does not say that it transfers")
        return storage

    async def test_transfers_is_said_exactly_when_it_works(self, storage: StorageBackend) -> None:
        await storage.discover()
        if storage.transfers:
            assert await storage.list_threads_after(None, 10) == []
            assert await storage.list_namespaces("t") == []
        else:
            with pytest.raises(NotImplementedError):
                await storage.list_threads_after(None, 10)
            with pytest.raises(NotImplementedError):
                await storage.list_namespaces("t")

    async def test_pages_of_threads_hold_each_thread_once_and_in_order(self, transferable: StorageBackend) -> None:
        names = [
            "a",
            "A",
            "a/b",
            "a%",
            "\0",
            "\x01",
            "\x02",
            "ä",
            "🎉",
            "\uffff",
            "z" * 1000,
            *(f"t{n}" for n in range(30)),
        ]
        for name in names:
            await transferable.put(new(name, "c"))
            await transferable.put(new(name, "c", namespace="sub"))
        await transferable.put(new("only-sub", "c", namespace="sub"))
        expected = sorted([*names, "only-sub"], key=str.encode)
        for limit in (1, 7, len(expected), 1000):
            found: list[str] = []
            while page := await transferable.list_threads_after(found[-1] if found else None, limit):
                assert len(page) <= limit
                found += page
                if len(page) < limit:
                    break
            assert found == expected
            assert await transferable.list_threads_after(found[-1], limit) == []

    async def test_a_page_begins_behind_a_thread_that_is_gone(self, transferable: StorageBackend) -> None:
        for name in ("a", "b", "c"):
            await transferable.put(new(name, "c"))
        await transferable.delete_thread("b")
        assert await transferable.list_threads_after("b", 10) == ["c"]
        assert await transferable.list_threads_after("a\0", 10) == ["c"]
        assert await transferable.list_threads_after(None, 10) == ["a", "c"]

    async def test_the_namespaces_of_a_thread_are_listed_while_they_hold_something(
        self, transferable: StorageBackend
    ) -> None:
        for namespace in NAMESPACES:
            await transferable.put(new("t", "c", namespace=namespace))
        await transferable.put(new("t/", "c", namespace="other"))
        assert await transferable.list_namespaces("t") == sorted(NAMESPACES, key=str.encode)
        await transferable.delete_checkpoint("t", "c", namespace="sub")
        assert "sub" not in await transferable.list_namespaces("t")
        await transferable.delete_thread("t")
        assert await transferable.list_namespaces("t") == []
        assert await transferable.list_namespaces("t/") == ["other"]

    async def test_a_checkpoint_from_elsewhere_keeps_its_time(self, transferable: StorageBackend) -> None:
        written = replace(new("t", "old", namespace="sub"), created_at=LONG_AGO)
        await transferable.put(written)
        await transferable.put(new("t", "new", namespace="sub"))
        summaries = await transferable.list_checkpoints("t", 10, namespace="sub")
        assert [summary.checkpoint_id for summary in summaries] == ["new", "old"]
        assert summaries[1].created_at == LONG_AGO
        assert summaries[1].created_at.utcoffset() == timedelta(0)
        assert abs(summaries[0].created_at - datetime.now(UTC)) < timedelta(minutes=5)
        # Saved again, it is as new as any.
        await transferable.put(replace(written, created_at=None))
        saved_again = await transferable.get_summary("t", "old", namespace="sub")
        assert saved_again is not None
        assert abs(saved_again.created_at - datetime.now(UTC)) < timedelta(minutes=5)

    async def test_the_latest_is_the_one_written_last_whatever_its_time(self, transferable: StorageBackend) -> None:
        await transferable.put(replace(new("t", "a"), created_at=LONG_AGO + timedelta(days=1)))
        await transferable.put(replace(new("t", "b"), created_at=LONG_AGO), expected_checkpoint_id="a")
        latest = await transferable.get("t")
        assert latest is not None
        assert latest.summary.checkpoint_id == "b"
        assert [each.checkpoint_id for each in await transferable.list_checkpoints("t", 10)] == ["b", "a"]

    @requires("vacuum")
    async def test_vacuum_goes_by_the_time_that_was_kept(self, transferable: StorageBackend) -> None:
        await transferable.put(replace(new("t", "old"), created_at=LONG_AGO))
        await transferable.put(new("t", "new"))
        assert await transferable.vacuum(LONG_AGO) == 0
        assert await transferable.vacuum(LONG_AGO + timedelta(microseconds=1)) == 1
        assert [each.checkpoint_id for each in await transferable.list_checkpoints("t", 10)] == ["new"]

    @requires("metadata_query")
    async def test_a_query_puts_checkpoints_from_elsewhere_where_their_time_says(
        self, transferable: StorageBackend
    ) -> None:
        await transferable.put(new("new", "c", metadata={"tag": "x"}))
        await transferable.put(replace(new("old", "c", metadata={"tag": "x"}), created_at=LONG_AGO))
        found = await transferable.query_by_metadata("tag", "x", 10)
        assert [summary.thread_id for summary in found] == ["new", "old"]
