"""The contract, on the emulator of python-oracledb, or on the database that `LOCUS_TEST_ORACLE_DSN` names."""

import functools
from collections.abc import Callable, Sequence

import pytest

from locus_memory.backends import oracle_checkpointer
from locus_memory.checkpointer import BaseCheckpointer, CheckpointerCapabilities
from locus_memory.testing import StorageBackendContract
from locus_memory.testing.base import Reopen
from locus_memory.testing.history import HistoryTests
from tests.servers.oracle import OracleStore


class TestOracleCheckpointer(HistoryTests, StorageBackendContract):
    """A table name for each test, in one schema."""

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
    def reopen(self, oracle_store: OracleStore) -> Reopen:
        return lambda: oracle_checkpointer(**oracle_store.arguments())

    @pytest.fixture
    def checkpointer(self, reopen: Reopen) -> BaseCheckpointer:
        return reopen()

    @pytest.fixture
    def factory(self) -> Callable[..., BaseCheckpointer]:
        return functools.partial(oracle_checkpointer, "db.example.com/service")

    @pytest.fixture
    def secrets(self, oracle_store: OracleStore) -> Sequence[str]:
        return (oracle_store.password,)
