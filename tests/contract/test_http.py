"""The contract through a real server on a real socket, in front of each backend."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import HTTPCheckpointer, MemoryCheckpointer
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.server.tokens import Tokens
from locus_memory.testing.base import Reopen
from tests.contract.test_file import TestFileCheckpointer
from tests.contract.test_memory import TestMemoryCheckpointer
from tests.contract.test_oci_bucket import TestOCIBucketCheckpointer
from tests.contract.test_opensearch import TestOpenSearchCheckpointer
from tests.contract.test_oracle import TestOracleCheckpointer
from tests.contract.test_postgresql import TestPostgreSQLCheckpointer
from tests.contract.test_redis import TestRedisCheckpointer
from tests.servers.hosting import TOKEN, Host


class OverHTTP:
    """Puts the server between a backend's suite and its backend; `open_store` is the suite's own `reopen`."""

    @pytest.fixture
    def reopen(self, open_store: Callable[[], StorageBackendAdapter], http_host: Host) -> Iterator[Reopen]:
        with http_host.serving(open_store(), Tokens(text=TOKEN)) as url:
            yield lambda: HTTPCheckpointer(url, {"Authorization": f"Bearer {TOKEN}"})

    @pytest.fixture
    def checkpointer(self, reopen: Reopen) -> BaseCheckpointer:
        return reopen()

    @pytest.fixture
    def factory(self) -> Callable[..., BaseCheckpointer]:
        def make(**arguments: Any) -> BaseCheckpointer:
            return HTTPCheckpointer("http://localhost", **arguments)

        return make

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        return (TOKEN,)


class TestMemoryOverHTTP(OverHTTP, TestMemoryCheckpointer):
    @pytest.fixture
    def open_store(self) -> type[MemoryCheckpointer]:
        return MemoryCheckpointer


class TestFileOverHTTP(OverHTTP, TestFileCheckpointer):
    open_store = TestFileCheckpointer.reopen


class TestOCIBucketOverHTTP(OverHTTP, TestOCIBucketCheckpointer):
    open_store = TestOCIBucketCheckpointer.reopen


class TestOpenSearchOverHTTP(OverHTTP, TestOpenSearchCheckpointer):
    open_store = TestOpenSearchCheckpointer.reopen


class TestOracleOverHTTP(OverHTTP, TestOracleCheckpointer):
    open_store = TestOracleCheckpointer.reopen


class TestPostgreSQLOverHTTP(OverHTTP, TestPostgreSQLCheckpointer):
    open_store = TestPostgreSQLCheckpointer.reopen


class TestRedisOverHTTP(OverHTTP, TestRedisCheckpointer):
    open_store = TestRedisCheckpointer.reopen


# Imported to be inherited from, not to be collected here again.
del TestFileCheckpointer, TestMemoryCheckpointer, TestOCIBucketCheckpointer, TestOpenSearchCheckpointer
del TestOracleCheckpointer, TestPostgreSQLCheckpointer, TestRedisCheckpointer
