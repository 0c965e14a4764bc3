"""Uses a store as an agent would, on a thread that nobody else uses, and leaves nothing behind."""

from __future__ import annotations

import secrets
import statistics
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Final, TypeVar

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.commands.running import Calls
from locus_memory.diagnosis import Finding, Level
from locus_memory.errors import AuthenticationError, CheckpointError

T = TypeVar("T")

PREFIX: Final = "locus-memory-doctor-"
"""A probe's thread begins with this."""

_ROUNDS: Final = 7

_STATE: Final = {"messages": [{"role": "user", "content": "Is anybody there? " * 30}]}


class Probe:
    """Saves, loads, lists and deletes.

    Attributes:
        latency_ms: Median of each call, milliseconds; None until the probe has come to its end.
    """

    def __init__(self, checkpointer: StorageBackendAdapter, calls: Calls) -> None:
        self._checkpointer = checkpointer
        self._calls = calls
        self._thread = f"{PREFIX}{secrets.token_hex(16)}"
        self._times: dict[str, list[float]] = {}
        self.latency_ms: dict[str, float] | None = None

    async def run(self, report_error: Callable[[CheckpointError], None]) -> list[Finding]:
        """Use the store; what fails is reported and not raised."""
        saved = False
        try:
            # Not measured: it pays for connections, tables and scripts, and tells whether anything works.
            await self._checkpointer.save(_STATE, self._thread, "warm-up")
            saved = True
            findings = await self._rounds()
        except CheckpointError as error:
            report_error(error)
            findings = await self._whether_it_reads(error)
        finally:
            # Saved or not: a save whose answer was lost may have been carried out.
            left = await self._clean_up(saved=saved)
        return findings + left

    async def _rounds(self) -> list[Finding]:
        checkpointer, thread = self._checkpointer, self._thread
        for number in range(_ROUNDS):
            await self._timed("save", checkpointer.save(_STATE, thread, f"c{number}", {"probe": True}))
            loaded = await self._timed("load", checkpointer.load(thread))
            listed = await self._timed("list", checkpointer.list_checkpoints(thread))
            if loaded != _STATE or listed[0] != f"c{number}":
                return [
                    Finding(
                        Level.ERROR,
                        "wrong-answer",
                        "what was loaded is not what had just been saved",
                        "check that nothing on the way caches, or answers from a replica that lags behind",
                    )
                ]
        await self._timed("delete", checkpointer.delete(thread))
        if await checkpointer.exists(thread):
            return [Finding(Level.ERROR, "not-deleted", "a thread that was deleted is still there", "see above")]
        self.latency_ms = {name: round(statistics.median(times), 3) for name, times in self._times.items()}
        return [Finding(Level.OK, "works", "a thread was saved, loaded, listed and deleted")]

    async def _whether_it_reads(self, error: CheckpointError) -> list[Finding]:
        if not isinstance(error, AuthenticationError):
            return []
        try:
            await self._calls("look-up", lambda storage: storage.get(self._thread))
        except CheckpointError:
            return []
        return [
            Finding(
                Level.ERROR,
                "read-only",
                "reading works and writing is refused: agents can load conversations and cannot save them",
                "give the agent's login the right to write, or bind the login that has it",
            )
        ]

    async def _clean_up(self, *, saved: bool) -> list[Finding]:
        if self.latency_ms is not None:
            return []
        try:
            await self._checkpointer.delete(self._thread)
        except CheckpointError as error:
            if not saved:
                return []
            return [
                Finding(
                    Level.WARNING,
                    "left-behind",
                    f"the thread {self._thread!r} could not be deleted: {error}",
                    f"delete it later: locus-memory delete {self._thread}",
                )
            ]
        return []

    async def _timed(self, name: str, call: Awaitable[T]) -> T:
        started = perf_counter()
        result = await call
        self._times.setdefault(name, []).append((perf_counter() - started) * 1000)
        return result
