"""The history of a thread: write order, replacing, deleting."""

from __future__ import annotations

import asyncio

from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.testing.base import ContractFixtures

THREAD = "thread"
MANY = 1_103
"""More than one page of 1,000, which is where object stores and search engines cut."""


class OrderTests(ContractFixtures):
    """Latest is what was written last."""

    async def test_nothing_stored_reads_as_none(self, checkpointer: BaseCheckpointer) -> None:
        assert await checkpointer.load(THREAD) is None
        assert await checkpointer.load(THREAD, "c") is None
        assert await checkpointer.list_checkpoints(THREAD) == []
        assert not await checkpointer.exists(THREAD)
        assert not await checkpointer.exists(THREAD, "c")
        assert not await checkpointer.delete(THREAD)
        assert not await checkpointer.delete(THREAD, "c")

    async def test_the_latest_is_the_one_written_last(self, checkpointer: BaseCheckpointer) -> None:
        # Faster than any clock ticks, and with ids whose own order says otherwise.
        written = [f"{(number * 37) % 101:03}" for number in range(40)]
        for checkpoint_id in written:
            await checkpointer.save({"id": checkpoint_id}, THREAD, checkpoint_id)
        assert await checkpointer.load(THREAD) == {"id": written[-1]}
        assert await checkpointer.list_checkpoints(THREAD, limit=100) == written[::-1]

    async def test_each_checkpoint_keeps_its_own_state(self, checkpointer: BaseCheckpointer) -> None:
        first = await checkpointer.save({"n": 1}, THREAD)
        second = await checkpointer.save({"n": 2}, THREAD)
        assert first != second
        assert await checkpointer.load(THREAD, first) == {"n": 1}
        assert await checkpointer.load(THREAD, second) == {"n": 2}
        assert await checkpointer.load(THREAD, "other") is None
        assert await checkpointer.exists(THREAD, first)
        assert not await checkpointer.exists(THREAD, "other")

    async def test_saving_an_existing_id_replaces_it_and_makes_it_the_latest(
        self, checkpointer: BaseCheckpointer
    ) -> None:
        for checkpoint_id in "abc":
            await checkpointer.save({"id": checkpoint_id}, THREAD, checkpoint_id)
        assert await checkpointer.save({"id": "a again"}, THREAD, "a") == "a"
        assert await checkpointer.list_checkpoints(THREAD) == ["a", "c", "b"]
        assert await checkpointer.load(THREAD) == {"id": "a again"}
        await checkpointer.save({"id": "a once more"}, THREAD, "a")
        assert await checkpointer.list_checkpoints(THREAD) == ["a", "c", "b"]
        assert await checkpointer.load(THREAD, "a") == {"id": "a once more"}

    async def test_listing_is_limited_and_newest_first(self, checkpointer: BaseCheckpointer) -> None:
        for number in range(12):
            await checkpointer.save({}, THREAD, f"c{number}")
        assert await checkpointer.list_checkpoints(THREAD) == [f"c{number}" for number in range(11, 1, -1)]
        assert await checkpointer.list_checkpoints(THREAD, 1) == ["c11"]
        assert len(await checkpointer.list_checkpoints(THREAD, limit=50)) == 12

    async def test_deleting_the_latest_makes_the_one_before_it_the_latest(self, checkpointer: BaseCheckpointer) -> None:
        for checkpoint_id in "abc":
            await checkpointer.save({"id": checkpoint_id}, THREAD, checkpoint_id)
        assert await checkpointer.delete(THREAD, "c")
        assert await checkpointer.load(THREAD) == {"id": "b"}
        assert await checkpointer.load(THREAD, "c") is None
        assert not await checkpointer.exists(THREAD, "c")
        assert not await checkpointer.delete(THREAD, "c")
        await checkpointer.save({"id": "d"}, THREAD, "d", expected_checkpoint_id="b")
        assert await checkpointer.list_checkpoints(THREAD) == ["d", "b", "a"]

    async def test_deleting_an_older_checkpoint_leaves_the_latest(self, checkpointer: BaseCheckpointer) -> None:
        for checkpoint_id in "abc":
            await checkpointer.save({"id": checkpoint_id}, THREAD, checkpoint_id)
        assert await checkpointer.delete(THREAD, "b")
        assert await checkpointer.load(THREAD) == {"id": "c"}
        assert await checkpointer.list_checkpoints(THREAD) == ["c", "a"]

    async def test_deleting_the_last_checkpoint_leaves_no_thread(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({}, THREAD, "a")
        assert await checkpointer.delete(THREAD, "a")
        assert not await checkpointer.exists(THREAD)
        assert not await checkpointer.delete(THREAD)
        assert await checkpointer.load(THREAD) is None
        if checkpointer.capabilities.list_threads:
            assert await checkpointer.list_threads() == []

    async def test_deleting_a_thread_leaves_nothing_of_it(self, checkpointer: BaseCheckpointer) -> None:
        for checkpoint_id in "abc":
            await checkpointer.save({"text": "needle"}, THREAD, checkpoint_id, {"tag": "x"})
        await checkpointer.save({"n": 1}, "other")
        assert await checkpointer.delete(THREAD)
        assert not await checkpointer.exists(THREAD)
        assert await checkpointer.load(THREAD, "a") is None
        assert await checkpointer.list_checkpoints(THREAD) == []
        assert not await checkpointer.delete(THREAD)
        capabilities = checkpointer.capabilities
        if capabilities.metadata_query:
            assert await checkpointer.get_metadata(THREAD) is None
            assert await checkpointer.query_by_metadata("tag", "x") == []
        if capabilities.search:
            assert await checkpointer.search("needle") == []
        if capabilities.list_threads:
            assert await checkpointer.list_threads() == ["other"]
        if capabilities.list_with_metadata:
            assert [found["thread_id"] for found in await checkpointer.list_with_metadata()] == ["other"]
        assert await checkpointer.load("other") == {"n": 1}

    async def test_a_thread_can_be_written_again_after_its_deletion(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({"n": 1}, THREAD, "a")
        await checkpointer.delete(THREAD)
        await checkpointer.save({"n": 2}, THREAD, "b", expected_checkpoint_id=None)
        assert await checkpointer.list_checkpoints(THREAD) == ["b"]
        assert await checkpointer.load(THREAD) == {"n": 2}

    async def test_a_thread_of_over_a_thousand_checkpoints_is_listed_and_deleted_whole(
        self, checkpointer: BaseCheckpointer
    ) -> None:
        written = [f"c{number}" for number in range(MANY)]
        for start in range(0, MANY, 20):
            await asyncio.gather(*(checkpointer.save({}, THREAD, name) for name in written[start : start + 20]))
        listed = await checkpointer.list_checkpoints(THREAD, limit=MANY + 10)
        assert sorted(listed) == sorted(written)
        assert await checkpointer.delete(THREAD)
        assert await checkpointer.list_checkpoints(THREAD, limit=MANY) == []
        assert not await checkpointer.exists(THREAD, written[0])
        assert not await checkpointer.exists(THREAD, written[-1])
