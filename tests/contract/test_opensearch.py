"""The contract, on a server that shows writes to searches only after a refresh."""

from collections.abc import Callable, Sequence

import pytest

from locus_memory.backends import opensearch_checkpointer
from locus_memory.checkpointer import BaseCheckpointer, CheckpointerCapabilities
from locus_memory.testing import StorageBackendContract
from locus_memory.testing.base import Reopen
from locus_memory.testing.history import HistoryTests
from tests.servers.opensearch import OpenSearchServer


class TestOpenSearchCheckpointer(HistoryTests, StorageBackendContract):
    """An index for each test."""

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
    def server(self, opensearch_server: OpenSearchServer) -> OpenSearchServer:
        return opensearch_server

    @pytest.fixture
    def reopen(self, server: OpenSearchServer, opensearch_index: str) -> Reopen:
        return lambda: opensearch_checkpointer(
            server.address, opensearch_index, username="admin", password=server.password, ca_certs=server.ca
        )

    @pytest.fixture
    def checkpointer(self, reopen: Reopen) -> BaseCheckpointer:
        return reopen()

    @pytest.fixture
    def factory(self) -> Callable[..., BaseCheckpointer]:
        return opensearch_checkpointer

    @pytest.fixture
    def secrets(self, server: OpenSearchServer) -> Sequence[str]:
        return (server.password,)

    async def test_deleting_every_thread_leaves_no_document(
        self, checkpointer: BaseCheckpointer, server: OpenSearchServer, opensearch_index: str
    ) -> None:
        for thread_id in ("a", "b"):
            for checkpoint_id in ("1", "2", "1"):
                await checkpointer.save({"text": "word"}, thread_id, checkpoint_id, {"tags": ["x", checkpoint_id]})
        assert len(server.documents(opensearch_index)) == 6
        assert await checkpointer.delete("a")
        assert await checkpointer.delete("b", "1")
        assert await checkpointer.delete("b", "2")
        assert server.documents(opensearch_index) == []


class TestOpenSearchCheckpointerOverTLS(TestOpenSearchCheckpointer):
    """The server's certificate is verified."""

    @pytest.fixture
    def server(self, tls_opensearch_server: OpenSearchServer) -> OpenSearchServer:
        return tls_opensearch_server
