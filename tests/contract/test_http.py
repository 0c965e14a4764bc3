"""The contract through a real server on a real socket: in front of each backend, and as a process of its own."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import HTTPCheckpointer, MemoryCheckpointer
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.server.tokens import Tokens
from locus_memory.testing import order
from locus_memory.testing.base import Reopen
from tests.contract.test_file import TestFileCheckpointer
from tests.contract.test_memory import TestMemoryCheckpointer
from tests.contract.test_oci_bucket import TestOCIBucketCheckpointer
from tests.contract.test_opensearch import TestOpenSearchCheckpointer
from tests.contract.test_oracle import TestOracleCheckpointer
from tests.contract.test_postgresql import TestPostgreSQLCheckpointer
from tests.contract.test_redis import TestRedisCheckpointer
from tests.servers.checkpoint import CheckpointServer
from tests.servers.hosting import TOKEN, Host
from tests.servers.report import ServerReport


class OverHTTP:
    """Puts the server between a backend's suite and its backend; `open_store` is the suite's own `reopen`.

    Attributes:
        many: How many checkpoints "over a thousand" are. A backend shows that it has as many in its own suite; over
            HTTP no more is different than the size of answers, which is tried once.
    """

    many: ClassVar[int] = 120

    @pytest.fixture(autouse=True)
    def _many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(order, "MANY", self.many)

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


class TestHTTPCheckpointer(OverHTTP, TestFileCheckpointer):
    """`locus-memory serve` as users start it. The files that it serves are removed before each test."""

    @pytest.fixture(scope="class")
    @classmethod
    def directory(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("served") / "threads"

    @pytest.fixture(scope="class")
    @classmethod
    def checkpoint_server(
        cls, directory: Path, tmp_path_factory: pytest.TempPathFactory, server_report: ServerReport
    ) -> Iterator[CheckpointServer]:
        with CheckpointServer(f"file://{directory}", directory=tmp_path_factory.mktemp("server")) as server:
            server_report.started("checkpoint_server", server.product, server.version)
            yield server

    @pytest.fixture
    def reopen(self, checkpoint_server: CheckpointServer, directory: Path) -> Reopen:
        if directory.exists():
            shutil.rmtree(directory)
        return lambda: HTTPCheckpointer(checkpoint_server.url)

    @pytest.fixture
    def secrets(self, checkpoint_server: CheckpointServer) -> Sequence[str]:
        return (checkpoint_server.password,)


class TestMemoryOverHTTP(OverHTTP, TestMemoryCheckpointer):
    many = order.MANY

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
