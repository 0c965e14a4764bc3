"""The library's contract, on the checkpointer of `own_checkpointer.py`: two fixtures, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from own_checkpointer import SQLiteCheckpointer

from locus_memory.checkpointer import BaseCheckpointer, CheckpointerCapabilities
from locus_memory.testing import CheckpointerContract


class TestSQLiteCheckpointer(CheckpointerContract):
    # Declared here, so that losing one by accident fails rather than skips.
    capabilities = CheckpointerCapabilities(list_threads=True, persistent_checkpoint_ids=True)

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Callable[[], BaseCheckpointer]:
        return lambda: SQLiteCheckpointer(tmp_path / "threads.db")

    @pytest.fixture
    def checkpointer(self, reopen: Callable[[], BaseCheckpointer]) -> BaseCheckpointer:
        return reopen()
