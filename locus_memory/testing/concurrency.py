"""Several writers, tasks, threads and event loops at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import CheckpointConflictError
from locus_memory.testing.base import ContractFixtures, Reopen, requires

THREAD = "thread"


class ConcurrencyTests(ContractFixtures):
    """Nothing is lost and nothing is torn."""

    async def test_compare_and_set_refuses_a_stale_writer(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({"n": 1}, THREAD, "a", expected_checkpoint_id=None)
        await checkpointer.save({"n": 2}, THREAD, "b", expected_checkpoint_id="a")
        for stale in (None, "a", "never"):
            with pytest.raises(CheckpointConflictError):
                await checkpointer.save({"n": 3}, THREAD, "c", expected_checkpoint_id=stale)
        assert await checkpointer.list_checkpoints(THREAD) == ["b", "a"]
        assert await checkpointer.load(THREAD) == {"n": 2}

    async def test_compare_and_set_on_no_thread_refuses_any_id(self, checkpointer: BaseCheckpointer) -> None:
        with pytest.raises(CheckpointConflictError):
            await checkpointer.save({}, THREAD, "b", expected_checkpoint_id="a")
        assert not await checkpointer.exists(THREAD)

    async def test_a_refused_save_of_an_existing_id_leaves_it_as_it_is(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({"n": 1}, THREAD, "a")
        await checkpointer.save({"n": 2}, THREAD, "b")
        with pytest.raises(CheckpointConflictError):
            await checkpointer.save({"n": 3}, THREAD, "a", expected_checkpoint_id="a")
        assert await checkpointer.load(THREAD, "a") == {"n": 1}
        assert await checkpointer.list_checkpoints(THREAD) == ["b", "a"]

    @pytest.mark.parametrize("first", [None, "start"])
    async def test_of_eight_writers_that_compare_exactly_one_wins(
        self, checkpointer: BaseCheckpointer, first: str | None
    ) -> None:
        if first is not None:
            await checkpointer.save({"writer": -1}, THREAD, first)
        outcomes = await asyncio.gather(
            *(
                checkpointer.save({"writer": number}, THREAD, f"w{number}", expected_checkpoint_id=first)
                for number in range(8)
            ),
            return_exceptions=True,
        )
        winners = [outcome for outcome in outcomes if isinstance(outcome, str)]
        losers = [outcome for outcome in outcomes if isinstance(outcome, CheckpointConflictError)]
        assert (len(winners), len(losers)) == (1, 7), outcomes
        assert await checkpointer.list_checkpoints(THREAD) == [winners[0], *([first] if first else [])]
        assert await checkpointer.load(THREAD) == {"writer": int(winners[0][1:])}

    async def test_fifty_concurrent_saves_are_all_there(self, checkpointer: BaseCheckpointer) -> None:
        ids = [f"c{number}" for number in range(50)]
        await asyncio.gather(*(checkpointer.save({"id": name}, THREAD, name) for name in ids))
        listed = await checkpointer.list_checkpoints(THREAD, limit=100)
        assert sorted(listed) == sorted(ids)
        assert await checkpointer.load(THREAD) == {"id": listed[0]}
        states = await asyncio.gather(*(checkpointer.load(THREAD, name) for name in ids))
        assert states == [{"id": name} for name in ids]

    async def test_fifty_concurrent_saves_of_one_id_leave_one(self, checkpointer: BaseCheckpointer) -> None:
        await asyncio.gather(*(checkpointer.save({"n": number}, THREAD, "same") for number in range(50)))
        assert await checkpointer.list_checkpoints(THREAD) == ["same"]
        latest = await checkpointer.load(THREAD)
        assert latest is not None
        assert latest == await checkpointer.load(THREAD, "same")

    async def test_saves_and_deletes_at_once_leave_a_latest_that_is_listed_first(
        self, checkpointer: BaseCheckpointer
    ) -> None:
        kept = await checkpointer.save({"id": "kept"}, THREAD, "kept")

        async def come_and_go(number: int) -> None:
            name = f"c{number}"
            await checkpointer.save({"id": name}, THREAD, name)
            assert await checkpointer.load(THREAD) is not None
            if number % 2:
                assert await checkpointer.delete(THREAD, name)

        await asyncio.gather(*(come_and_go(number) for number in range(24)))
        listed = await checkpointer.list_checkpoints(THREAD, limit=100)
        assert sorted(listed) == sorted([kept, *(f"c{number}" for number in range(0, 24, 2))])
        assert await checkpointer.load(THREAD) == {"id": listed[0]}
        await checkpointer.save({}, THREAD, "next", expected_checkpoint_id=listed[0])

    async def test_saves_while_the_thread_is_deleted_are_there_whole_or_not_at_all(
        self, checkpointer: BaseCheckpointer
    ) -> None:
        saves = [checkpointer.save({"n": number}, THREAD, f"c{number}") for number in range(20)]
        deletions = [checkpointer.delete(THREAD) for _ in range(5)]
        mixed = [call for pair in zip(saves[::4], deletions, strict=True) for call in pair]
        await asyncio.gather(*mixed, *(save for number, save in enumerate(saves) if number % 4))
        listed = await checkpointer.list_checkpoints(THREAD, limit=100)
        for name in listed:
            assert await checkpointer.load(THREAD, name) == {"n": int(name[1:])}
        assert await checkpointer.exists(THREAD) == bool(listed)
        assert (await checkpointer.load(THREAD) is None) == (not listed)

    async def test_event_loops_in_several_threads_share_one_checkpointer(self, checkpointer: BaseCheckpointer) -> None:
        async def turn(number: int) -> Any:
            # Closing after each run is what locus-sdk's run_sync does.
            await checkpointer.save({"n": number}, f"t{number}")
            loaded = await checkpointer.load(f"t{number}")
            await checkpointer.close()
            return loaded

        def two_runs(number: int) -> list[Any]:
            return [asyncio.run(turn(number)), asyncio.run(turn(number + 100))]

        results = await asyncio.gather(*(asyncio.to_thread(two_runs, number) for number in range(4)))
        assert results == [[{"n": number}, {"n": number + 100}] for number in range(4)]
        assert await checkpointer.load("t103") == {"n": 103}

    @requires("persistent_checkpoint_ids")
    async def test_compare_and_set_holds_between_processes(
        self, checkpointer: BaseCheckpointer, reopen: Reopen
    ) -> None:
        latest = await checkpointer.save({"n": 0}, THREAD, "start")
        async with reopen() as other:
            for turn in range(3):
                for replica in (checkpointer, other):
                    # Whoever remembers what it has read now remembers the same as the other.
                    assert await replica.load(THREAD) == {"n": turn}
                outcomes = await asyncio.gather(
                    *(
                        replica.save({"n": turn + 1}, THREAD, f"{turn}{name}{number}", expected_checkpoint_id=latest)
                        for number in range(4)
                        for name, replica in (("a", checkpointer), ("b", other))
                    ),
                    return_exceptions=True,
                )
                winners = [outcome for outcome in outcomes if isinstance(outcome, str)]
                losers = [outcome for outcome in outcomes if isinstance(outcome, CheckpointConflictError)]
                assert (len(winners), len(losers)) == (1, 7), outcomes
                latest = winners[0]
