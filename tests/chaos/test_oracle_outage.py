"""The server behind the Oracle emulator goes away under saving agents.

A real database is not stopped for a test; what the driver itself does without a server is in
`tests/integration/test_oracle_driver.py`.
"""

from collections.abc import Iterator

import pytest
from psycopg import sql

from tests.chaos.outages import Outages
from tests.servers.oracle import EmulatedOracle, installed
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.report import ServerReport


@pytest.fixture(scope="module")
def fragile_oracle(server_report: ServerReport) -> Iterator[PostgreSQLServer]:
    """A server of this module's own, durable: other tests must not meet it stopped."""
    with PostgreSQLServer() as server:
        server_report.started("fragile_oracle", "Oracle emulated on PostgreSQL", server.version)
        yield server


class TestOracleOutage(Outages):
    @pytest.fixture
    def server(self, fragile_oracle: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
        yield fragile_oracle
        fragile_oracle.restart()

    @pytest.fixture
    def url(self, server: PostgreSQLServer) -> Iterator[str]:
        oracle = EmulatedOracle(server, durable=True)
        with installed(oracle):
            yield oracle.new_store().url()

    def drop_connections(self, server: PostgreSQLServer) -> int:
        ask = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'locus-memory'"
        return len(server.execute(sql.SQL(ask)))
