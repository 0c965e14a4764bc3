"""The contract, in files."""

from pathlib import Path

import pytest

from locus_memory.backends.file import FileCheckpointer
from locus_memory.checkpointer import BaseCheckpointer, CheckpointerCapabilities
from locus_memory.testing import StorageBackendContract
from locus_memory.testing.base import Reopen
from locus_memory.testing.history import HistoryTests


class TestFileCheckpointer(HistoryTests, StorageBackendContract):
    """Readable JSON, as by default."""

    capabilities = CheckpointerCapabilities(
        search=True,
        metadata_query=True,
        vacuum=True,
        branching=True,
        list_threads=True,
        list_with_metadata=True,
        persistent_checkpoint_ids=True,
    )

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        return lambda: FileCheckpointer(tmp_path / "threads")

    @pytest.fixture
    def checkpointer(self, reopen: Reopen) -> BaseCheckpointer:
        return reopen()
