"""The checkpoint server goes away under saving agents; behind it PostgreSQL stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.outages import Outages
from tests.servers.checkpoint import CheckpointServer
from tests.servers.postgresql import Database
from tests.servers.relay import Relay
from tests.servers.report import ServerReport


class TestHTTPOutage(Outages):
    @pytest.fixture
    def server(
        self, postgresql_database: Database, tmp_path: Path, server_report: ServerReport
    ) -> Iterator[CheckpointServer]:
        with CheckpointServer(postgresql_database.dsn(), directory=tmp_path / "server") as running:
            server_report.started("server", running.product, running.version)
            yield running

    @pytest.fixture
    def relay(self, server: CheckpointServer) -> Iterator[Relay]:
        with Relay(server.port).running() as running:
            yield running

    @pytest.fixture
    def url(self, server: CheckpointServer, relay: Relay) -> str:
        self._relay = relay
        return server.url.replace(f":{server.port}", f":{relay.port}")

    def drop_connections(self, server: CheckpointServer) -> int:
        return self._relay.drop()
