"""Starts saving processes, and compares what they were promised with what is stored."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from locus_memory.checkpointer import BaseCheckpointer
from tests.chaos.saver import state_of
from tests.servers.processes import Child, wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
ALL = 1_000_000


class SavingAgent:
    """One thread of checkpoints, written by one process after the other.

    Args:
        directory: for journal and log.
        url: of the store.
        thread: id of the thread.
        size: of a state, in characters.
        deadline: of each call, in seconds.
    """

    def __init__(self, directory: Path, url: str, *, thread: str, size: int = 2_000, deadline: float = 10) -> None:
        self.journal = directory / "journal"
        self.journal.touch()
        self.log = directory / "saver.log"
        self.thread = thread
        self.size = size
        self.deadline = deadline
        self._url = url

    @contextmanager
    def running(self) -> Iterator[Child]:
        """Run the process; at the end it is killed, unless it has ended by itself, which is an error."""
        tried = self.numbers("trying")
        command = [
            *(sys.executable, "-m", "tests.chaos.saver", f"--journal={self.journal}", f"--thread={self.thread}"),
            *(f"--first={max(tried, default=-1) + 1}", f"--size={self.size}", f"--deadline={self.deadline}"),
        ]
        environment = os.environ | {"LOCUS_CHECKPOINT_URL": self._url}
        process = Child("saver", command, log=self.log, environment=environment, cwd=REPOSITORY)
        try:
            yield process
            assert process.running, f"the saving process ended by itself:\n{process.log_tail()}"
        finally:
            process.kill()

    def entries(self) -> list[dict[str, Any]]:
        """The journal so far."""
        # A line that crosses a page of the file can be read before all of it is there.
        *lines, _ = self.journal.read_text().split("\n")
        return [json.loads(line) for line in lines]

    def numbers(self, event: str, call: str | None = None) -> list[int]:
        """Numbers of the checkpoints with such entries, in order."""
        return [each["number"] for each in self.entries() if each["event"] == event and each.get("call") == call]

    @property
    def acknowledged(self) -> list[int]:
        """Checkpoints whose save returned."""
        return self.numbers("answered", "save")

    @property
    def outages(self) -> list[dict[str, Any]]:
        """Calls that raised `BackendUnavailableError`."""
        return [each for each in self.entries() if each["event"] == "unavailable"]

    def wait_for_saves(self, count: int, process: Child, timeout: float = 30) -> None:
        """Wait until this many more saves were acknowledged."""
        before = len(self.acknowledged)
        process.wait_until_ready(lambda: len(self.acknowledged) >= before + count, timeout=timeout)

    def wait_for_outages(self, count: int, timeout: float = 30) -> None:
        """Wait until this many more calls were told that the backend is away."""
        before = len(self.outages)
        wait_for(lambda: len(self.outages) >= before + count, timeout=timeout, what=f"{count} calls fail")

    async def check(self, checkpointer: BaseCheckpointer) -> None:
        """Compare journal and store: nothing acknowledged is lost, nothing is stored that was not tried.

        Every stored checkpoint is whole, in the order of the saves, and no outage was taken for absence.
        """
        assert [each for each in self.entries() if each["event"] == "empty"] == []
        acknowledged, tried = self.acknowledged, set(self.numbers("trying"))
        assert acknowledged
        stored = [int(each) for each in reversed(await checkpointer.list_checkpoints(self.thread, ALL))]
        assert [number for number in stored if number in set(acknowledged)] == acknowledged
        # The outcome of a save that raised, or that died with its process, is open.
        assert set(stored) <= tried
        assert len(stored) == len(set(stored))
        for number in stored:
            assert await checkpointer.load(self.thread, str(number)) == state_of(number, self.size)
        latest = await checkpointer.load(self.thread)
        assert latest == state_of(stored[-1], self.size)
        assert stored[-1] >= acknowledged[-1]
