"""OpenSearch goes away under saving agents.

What dies, pauses and drops connections is the front: requests are cut off in the middle, before or after they took
effect. osmem behind it keeps documents in memory, so a machine's crash cannot be tried here.
"""

from collections.abc import Iterator

import pytest

from tests.chaos.outages import Outages
from tests.servers.opensearch import OpenSearchServer
from tests.servers.report import ServerReport


@pytest.fixture(scope="module")
def fragile_opensearch(server_report: ServerReport) -> Iterator[OpenSearchServer]:
    """A server of this module's own."""
    with OpenSearchServer() as server:
        server_report.started("fragile_opensearch", server.product, server.version)
        yield server


class TestOpenSearchOutage(Outages):
    @pytest.fixture
    def server(self, fragile_opensearch: OpenSearchServer) -> Iterator[OpenSearchServer]:
        yield fragile_opensearch
        fragile_opensearch.restart()

    @pytest.fixture
    def url(self, server: OpenSearchServer, opensearch_index: str) -> str:
        return server.url(opensearch_index)

    def drop_connections(self, server: OpenSearchServer) -> int:
        return server.drop_connections()
