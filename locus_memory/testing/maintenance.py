"""Copying threads and deleting old checkpoints."""

from __future__ import annotations

import asyncio

import pytest

from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import CheckpointConflictError, CheckpointError
from locus_memory.testing.base import ContractFixtures, requires


class CopyTests(ContractFixtures):
    """`copy_thread`."""

    @requires("branching")
    async def test_a_copy_has_the_whole_history(self, checkpointer: BaseCheckpointer) -> None:
        for number in range(4):
            await checkpointer.save({"n": number, "text": "a\0b" * 1000}, "main", f"c{number}", {"n": number})
        await checkpointer.save({"n": 9}, "main", "c1", {"n": 9})
        assert await checkpointer.copy_thread("main", "branch") is True
        order = await checkpointer.list_checkpoints("main")
        assert await checkpointer.list_checkpoints("branch") == order == ["c1", "c3", "c2", "c0"]
        for name in order:
            assert await checkpointer.load("branch", name) == await checkpointer.load("main", name)
        assert await checkpointer.load("branch") == {"n": 9}

    @requires("branching")
    async def test_a_copy_and_its_source_go_their_own_ways(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({"n": 1}, "main", "a")
        await checkpointer.copy_thread("main", "branch")
        await checkpointer.save({"n": 2}, "branch", "b", expected_checkpoint_id="a")
        await checkpointer.save({"n": 3}, "main", "a")
        assert await checkpointer.list_checkpoints("main") == ["a"]
        assert await checkpointer.list_checkpoints("branch") == ["b", "a"]
        assert await checkpointer.load("branch", "a") == {"n": 1}
        await checkpointer.delete("main")
        assert await checkpointer.load("branch") == {"n": 2}

    @requires("branching")
    async def test_an_existing_destination_is_refused_and_left_alone(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({"n": 1}, "main", "a")
        await checkpointer.save({"n": 2}, "branch", "b")
        for destination in ("branch", "main"):
            with pytest.raises(CheckpointConflictError):
                await checkpointer.copy_thread("main", destination)
        assert await checkpointer.list_checkpoints("branch") == ["b"]
        assert await checkpointer.list_checkpoints("main") == ["a"]

    @requires("branching")
    async def test_copying_no_thread_gives_false(self, checkpointer: BaseCheckpointer) -> None:
        assert await checkpointer.copy_thread("main", "branch") is False
        assert not await checkpointer.exists("branch")

    @requires("branching")
    async def test_of_several_copies_to_one_destination_one_wins(self, checkpointer: BaseCheckpointer) -> None:
        for number in range(4):
            await checkpointer.save({"n": number}, f"main{number}")
        outcomes = await asyncio.gather(
            *(checkpointer.copy_thread(f"main{number}", "branch") for number in range(4)), return_exceptions=True
        )
        assert outcomes.count(True) == 1, outcomes
        assert sum(isinstance(outcome, CheckpointConflictError) for outcome in outcomes) == 3, outcomes
        assert await checkpointer.load("branch") == {"n": outcomes.index(True)}

    @requires("branching", "list_threads")
    async def test_a_copy_is_listed(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({}, "main")
        await checkpointer.copy_thread("main", "branch")
        assert await checkpointer.list_threads() == ["branch", "main"]

    @requires("branching", "metadata_query")
    async def test_a_copy_keeps_metadata_and_is_found_by_it(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({}, "main", "a", {"tags": ["x", "y"]})
        await checkpointer.copy_thread("main", "branch")
        assert await checkpointer.get_metadata("branch", "a") == {"tags": ["x", "y"]}
        found = await checkpointer.query_by_metadata("tags", "y")
        assert sorted(item["thread_id"] for item in found) == ["branch", "main"]
        await checkpointer.delete("branch")
        assert [item["thread_id"] for item in await checkpointer.query_by_metadata("tags", "y")] == ["main"]

    @requires("branching", "search")
    async def test_a_copy_is_found_by_search(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({"text": "needle"}, "main")
        await checkpointer.copy_thread("main", "branch")
        assert sorted(hit["thread_id"] for hit in await checkpointer.search("needle")) == ["branch", "main"]


class VacuumTests(ContractFixtures):
    """`vacuum`."""

    @requires("vacuum")
    async def test_fresh_checkpoints_stay(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({"n": 1}, "a")
        assert await checkpointer.vacuum() == 0
        assert await checkpointer.vacuum(older_than_days=30) == 0
        assert await checkpointer.load("a") == {"n": 1}

    @requires("vacuum")
    async def test_everything_older_than_now_goes_the_latest_included(self, checkpointer: BaseCheckpointer) -> None:
        for thread_id in ("a", "b", "c\0"):
            for checkpoint_id in ("1", "2"):
                await checkpointer.save({"text": "needle"}, thread_id, checkpoint_id, {"tag": "x"})
        assert await checkpointer.vacuum(0) == 6
        assert await checkpointer.load("a") is None
        assert not await checkpointer.exists("c\0")
        assert await checkpointer.vacuum(0) == 0
        capabilities = checkpointer.capabilities
        if capabilities.list_threads:
            assert await checkpointer.list_threads() == []
        if capabilities.metadata_query:
            assert await checkpointer.query_by_metadata("tag", "x") == []
        if capabilities.search:
            assert await checkpointer.search("needle") == []
        await checkpointer.save({"n": 1}, "a", "1", expected_checkpoint_id=None)
        assert await checkpointer.list_checkpoints("a") == ["1"]

    @requires("vacuum")
    async def test_nothing_stored_is_nothing_deleted(self, checkpointer: BaseCheckpointer) -> None:
        assert await checkpointer.vacuum(0) == 0

    @requires("vacuum")
    async def test_an_age_before_the_calendar_deletes_nothing(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({}, "a")
        for days in (3_650, 1_000_000, 10**12):
            try:
                assert await checkpointer.vacuum(days) == 0
            except CheckpointError:
                assert days > 3_650
        assert await checkpointer.exists("a")

    @requires("vacuum")
    async def test_a_negative_age_is_refused(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({}, "a")
        with pytest.raises(CheckpointError):
            await checkpointer.vacuum(-1)
        assert await checkpointer.exists("a")
