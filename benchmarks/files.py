"""Files and memory: a plain write with fsync, locus-sdk's checkpointers."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from locus.core.state import AgentState
from locus.memory.backends.file import FileCheckpointer as LocusFileCheckpointer
from locus.memory.backends.memory import MemoryCheckpointer as LocusMemoryCheckpointer

from benchmarks.contenders import Checkpointer, Contender, RawDriver
from benchmarks.suite import Suite
from locus_memory.backends import FileCheckpointer, MemoryCheckpointer


class RawFile(RawDriver):
    """One new file for each save, written with fsync, in a thread; the newest one is loaded."""

    def __init__(self, state: AgentState, directory: Path, role: Literal["raw", "floor"]) -> None:
        super().__init__(state, "file and fsync", role)
        self._directory = directory / role
        self._numbers = itertools.count()
        self._latest: dict[str, Path] = {}

    async def open(self) -> None:
        self._directory.mkdir()

    async def save(self, thread_id: str) -> None:
        path = self._directory / f"{thread_id}-{next(self._numbers)}"
        await asyncio.to_thread(_write, path, self.encoded())
        self._latest[thread_id] = path

    async def load(self, thread_id: str) -> object | None:
        return self.decoded(await asyncio.to_thread(self._latest[thread_id].read_bytes))

    async def close(self) -> None:
        """Nothing is open."""


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class Dictionary(Contender):
    """The least that a checkpointer in memory does: JSON text in a dictionary, so that nothing is shared."""

    name = "dict and pydantic"
    role = "raw"

    async def open(self) -> None:
        self._latest: dict[str, bytes] = {}

    async def save(self, thread_id: str) -> None:
        self._latest[thread_id] = self.state.model_dump_json().encode()

    async def load(self, thread_id: str) -> object | None:
        return AgentState.model_validate_json(self._latest[thread_id])

    async def close(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def file_suite(state: AgentState) -> AsyncIterator[Suite]:
    """Everything that stores in files."""
    with tempfile.TemporaryDirectory(prefix="locus-benchmark-") as name:
        directory = Path(name)
        compressed = FileCheckpointer(directory / "compressed", compression=True)
        yield Suite(
            title="Files",
            contenders=[
                RawFile(state, directory, "raw"),
                RawFile(state, directory, "floor"),
                # Without fsync, and not safe between processes: faster, and not the same promise.
                Checkpointer(state, "locus-sdk file", "peer", LocusFileCheckpointer(directory / "sdk")),
                Checkpointer(state, "locus-memory", "ours", FileCheckpointer(directory / "ours")),
                Checkpointer(state, "locus-memory, compressed", "variant", compressed),
            ],
            calls=0.25,
        )


@asynccontextmanager
async def memory_suite(state: AgentState) -> AsyncIterator[Suite]:
    """Everything that stores in memory."""
    yield Suite(
        title="Memory",
        contenders=[
            Dictionary(state),
            # Keeps a reference to the state instead of a copy.
            Checkpointer(state, "locus-sdk memory", "peer", LocusMemoryCheckpointer()),
            Checkpointer(state, "locus-memory", "ours", MemoryCheckpointer()),
        ],
    )
