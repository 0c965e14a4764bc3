"""Processes killed with SIGKILL while they save: what was acknowledged is there, and nothing is torn."""

import itertools
import os
import time
from pathlib import Path

from locus_memory.backends import FileCheckpointer
from locus_memory.binding import URLBinding
from locus_memory.opening import open_checkpointer
from locus_memory.testing.crash import check_history, kill_at_event, kill_while_saving

OPENER = "locus_memory:checkpointer"
STORE_OPENER = "tests.contract.opener:checkpointer"


async def test_what_was_acknowledged_before_a_kill_is_there(store_url: str) -> None:
    for round_number in range(4):
        thread_id = f"t{round_number}"
        crash = kill_while_saving(
            STORE_OPENER, thread_id, saves=3 + round_number, environ={"LOCUS_CHECKPOINT_URL": store_url}
        )
        assert crash.killed
        async with open_checkpointer(URLBinding(store_url)) as checkpointer:
            await check_history(checkpointer, thread_id, crash.acknowledged)
            await checkpointer.save({}, thread_id)


async def test_a_file_save_killed_at_any_step_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    directory = tmp_path / "threads"
    environ = {"LOCUS_CHECKPOINT_URL": f"file://{directory}"}
    events_before, events_after = 0, 0
    for event in itertools.count(1):
        thread_id = f"t{event}"
        crash = kill_at_event(OPENER, thread_id, event, environ=environ)
        async with FileCheckpointer(directory) as checkpointer:
            if not crash.killed:
                break
            await check_history(checkpointer, thread_id, crash.acknowledged)
            replaced = await checkpointer.exists(thread_id, "c1")
            events_before, events_after = events_before + (not replaced), events_after + replaced
            assert thread_id in await checkpointer.list_threads(limit=1000)
            # The dead writer's lock is free, and its place can be written.
            await checkpointer.save({}, thread_id, "next", expected_checkpoint_id="c1" if replaced else "c0")
    # Both sides of the rename were tried.
    assert events_before >= 4
    assert events_after >= 1


async def test_what_a_killed_writer_left_is_cleaned_up_once_it_is_old(tmp_path: Path) -> None:
    left = [tmp_path / ".tmp-old", tmp_path / ".tmp-new"]
    for path in left:
        path.write_text("torn")
    two_hours_ago = time.time() - 7200
    os.utime(left[0], (two_hours_ago, two_hours_ago))
    checkpointer = FileCheckpointer(tmp_path)
    assert await checkpointer.list_threads() == []
    await checkpointer.save({}, "t")
    assert await checkpointer.list_threads() == ["t"]
    assert [path.exists() for path in left] == [False, True]
