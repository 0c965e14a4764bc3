"""The contract, on the emulator of python-oracledb, or on the database that `LOCUS_TEST_ORACLE_DSN` names."""

from collections.abc import Callable, Sequence

import pytest

from locus_memory.store import BaseStore
from locus_memory.store_backends import OracleStore
from locus_memory.store_backends.oracle import ITEMS_SUFFIX
from locus_memory.testing import StoreContract
from tests.servers.oracle import OracleStore as Database


class TestOracleStore(StoreContract):
    """A table name for each test, in one schema."""

    @pytest.fixture
    def factory(self, oracle_store: Database) -> Callable[..., BaseStore]:
        arguments = oracle_store.arguments() | {"table_name": f"{oracle_store.table_name}{ITEMS_SUFFIX}"}
        return lambda **options: OracleStore(**arguments, **options)

    @pytest.fixture
    def secrets(self, oracle_store: Database) -> Sequence[str]:
        return (oracle_store.password,)
