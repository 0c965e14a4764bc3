"""Object Storage goes away under saving agents."""

import secrets
from collections.abc import Iterator

import pytest

from tests.chaos.outages import Outages
from tests.servers.oci import ObjectStorageServer
from tests.servers.report import ServerReport


@pytest.fixture(scope="module")
def fragile_oci(server_report: ServerReport) -> Iterator[ObjectStorageServer]:
    """An emulator of this module's own: other tests must not meet it stopped."""
    with ObjectStorageServer() as server:
        server_report.started("fragile_oci", server.product, server.version)
        yield server


class TestOCIBucketOutage(Outages):
    @pytest.fixture
    def server(self, fragile_oci: ObjectStorageServer) -> Iterator[ObjectStorageServer]:
        yield fragile_oci
        fragile_oci.restart()

    @pytest.fixture
    def url(self, server: ObjectStorageServer) -> str:
        bucket = f"test-{secrets.token_hex(6)}"
        server.create_bucket(bucket)
        return server.url(bucket)

    def drop_connections(self, server: ObjectStorageServer) -> int:
        return int(server.admin("DELETE", "connections"))
