"""PostgreSQL goes away under saving agents."""

import secrets
from collections.abc import Iterator

import pytest
from psycopg import sql

from tests.chaos.outages import Outages
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.report import ServerReport


@pytest.fixture(scope="module")
def fragile_postgresql(server_report: ServerReport) -> Iterator[PostgreSQLServer]:
    """A server of this module's own, durable: other tests must not meet it stopped."""
    with PostgreSQLServer() as server:
        server_report.started("fragile_postgresql", server.product, server.version)
        yield server


class TestPostgreSQLOutage(Outages):
    @pytest.fixture
    def server(self, fragile_postgresql: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
        yield fragile_postgresql
        fragile_postgresql.restart()

    @pytest.fixture
    def url(self, server: PostgreSQLServer) -> str:
        database = server.create_database(f"test_{secrets.token_hex(6)}")
        return database.dsn()

    def drop_connections(self, server: PostgreSQLServer) -> int:
        ask = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'locus-memory'"
        return len(server.execute(sql.SQL(ask)))
