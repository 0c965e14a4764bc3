"""The contract suite that this library's own backends pass, for checkpointers and cross-thread stores of your own.

Needs pytest, pytest-asyncio and hypothesis. `locus_memory` itself imports nothing of it.
"""

import pytest

# Before they are imported: a failing assertion then shows the values that it compared.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{topic}"
        for topic in (
            *("states", "identifiers", "order", "concurrency", "queries", "maintenance", "lifecycle", "port"),
            *("history", "transfers"),
            *("store_items", "store_searches", "store_lifecycle"),
        )
    )
)

from locus_memory.testing.contract import CheckpointerContract, StorageBackendContract  # noqa: E402
from locus_memory.testing.history import HistoryTests  # noqa: E402
from locus_memory.testing.store_contract import StoreContract  # noqa: E402

__all__ = ["CheckpointerContract", "HistoryTests", "StorageBackendContract", "StoreContract"]
