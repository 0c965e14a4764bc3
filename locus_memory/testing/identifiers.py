"""Any text is a thread id, and two different ones never meet."""

from __future__ import annotations

from typing import Any

import pytest

from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import CheckpointError
from locus_memory.testing.base import ContractFixtures, requires

LONGEST = "é" * 512
"""1,024 bytes in UTF-8."""

# Each of these has been mistaken for another one by some checkpointer: by a separator that is not escaped, by a
# file system or a collation that folds case or spaces, by a pattern language, or by a cut at 255 bytes.
AWKWARD_IDS = (
    "a/1", "a_1", "a:1", "a%1", "a*1", "a?1", "a\\1", "a\0001", "a{1}", "a[1]", "a|1", "a 1", "a%2F1", "a%2f1",
    "x:y:z", "x:y", "y:z", "Alice", "alice", "ALICE", "alice ", " alice", ".", "..", "../a", "/", "~", "*", "%", "_",
    "?", "{}", "\\", "\0", "\0\0", "'", '"', "$1", "--", "nul", "con", "🎉", "é", "e\u0301", "ß", "ss", "日本", "\n",
    "\t", "\uffff", "\U0001f600\u200d", "l" * 255, "l" * 256, "l" * 1024, "l" * 1023 + "m", "L" * 1024, LONGEST,
    LONGEST[:-1] + "è", "#" * 300, "#" * 301,
)  # fmt: skip


class IdentifierTests(ContractFixtures):
    """Thread ids and checkpoint ids."""

    async def test_awkward_thread_ids_never_meet(self, checkpointer: BaseCheckpointer) -> None:
        for number, thread_id in enumerate(AWKWARD_IDS):
            await checkpointer.save({"n": number}, thread_id, "c")
        loaded = {thread_id: await checkpointer.load(thread_id) for thread_id in AWKWARD_IDS}
        assert loaded == {thread_id: {"n": number} for number, thread_id in enumerate(AWKWARD_IDS)}

    async def test_deleting_an_awkward_thread_deletes_no_other(self, checkpointer: BaseCheckpointer) -> None:
        for thread_id in AWKWARD_IDS:
            await checkpointer.save({}, thread_id)
        for thread_id in AWKWARD_IDS[::2]:
            assert await checkpointer.delete(thread_id)
        left = [thread_id for thread_id in AWKWARD_IDS if await checkpointer.exists(thread_id)]
        assert left == list(AWKWARD_IDS[1::2])

    async def test_awkward_checkpoint_ids_never_meet(self, checkpointer: BaseCheckpointer) -> None:
        for number, checkpoint_id in enumerate(AWKWARD_IDS):
            assert await checkpointer.save({"n": number}, "t", checkpoint_id) == checkpoint_id
        assert await checkpointer.list_checkpoints("t", limit=100) == list(reversed(AWKWARD_IDS))
        for number, checkpoint_id in enumerate(AWKWARD_IDS):
            assert await checkpointer.load("t", checkpoint_id) == {"n": number}

    async def test_thread_and_checkpoint_id_do_not_run_together(self, checkpointer: BaseCheckpointer) -> None:
        pairs = [("x:y", "z"), ("x", "y:z"), ("x/y", "z"), ("x", "y/z"), ("x|y", "z"), ("x", "y|z"), ("x\0y", "z")]
        for number, (thread_id, checkpoint_id) in enumerate(pairs):
            await checkpointer.save({"n": number}, thread_id, checkpoint_id)
        for number, (thread_id, checkpoint_id) in enumerate(pairs):
            assert await checkpointer.load(thread_id, checkpoint_id) == {"n": number}
        assert not await checkpointer.exists("x", "z")

    @requires("list_threads")
    async def test_awkward_thread_ids_are_listed_as_they_are(self, checkpointer: BaseCheckpointer) -> None:
        for thread_id in AWKWARD_IDS:
            await checkpointer.save({}, thread_id)
        assert await checkpointer.list_threads(limit=1000) == sorted(AWKWARD_IDS, key=str.encode)

    @pytest.mark.parametrize("bad", ["", "l" * 1025, LONGEST + "x", "a\ud800", None, 7, b"bytes"])
    async def test_an_id_out_of_bounds_is_refused(self, checkpointer: BaseCheckpointer, bad: Any) -> None:
        with pytest.raises(CheckpointError):
            await checkpointer.save({}, bad)
        with pytest.raises(CheckpointError):
            await checkpointer.load(bad)
        with pytest.raises(CheckpointError):
            await checkpointer.exists(bad)
        with pytest.raises(CheckpointError):
            await checkpointer.delete(bad)
        with pytest.raises(CheckpointError):
            await checkpointer.list_checkpoints(bad)

    @pytest.mark.parametrize("bad", ["", "l" * 1025, "a\ud800", 7])
    async def test_a_checkpoint_id_out_of_bounds_is_refused(self, checkpointer: BaseCheckpointer, bad: Any) -> None:
        with pytest.raises(CheckpointError):
            await checkpointer.save({}, "t", bad)
        with pytest.raises(CheckpointError):
            await checkpointer.load("t", bad)
        assert not await checkpointer.exists("t")

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_a_limit_below_one_is_refused(self, checkpointer: BaseCheckpointer, limit: int) -> None:
        with pytest.raises(CheckpointError):
            await checkpointer.list_checkpoints("t", limit)
