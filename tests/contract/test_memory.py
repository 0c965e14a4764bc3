"""The contract, in memory."""

import pytest

from locus_memory.backends.memory import MemoryCheckpointer
from locus_memory.checkpointer import CheckpointerCapabilities
from locus_memory.testing import StorageBackendContract
from locus_memory.testing.history import HistoryTests


class TestMemoryCheckpointer(HistoryTests, StorageBackendContract):
    """Everything but persistence."""

    capabilities = CheckpointerCapabilities(
        search=True, metadata_query=True, vacuum=True, branching=True, list_threads=True, list_with_metadata=True
    )

    @pytest.fixture
    def checkpointer(self) -> MemoryCheckpointer:
        return MemoryCheckpointer()
