"""The contract, on PostgreSQL 18 and, over TLS, on Debian's PostgreSQL."""

import secrets
from collections.abc import Callable, Iterator, Sequence

import pytest
from psycopg import sql

from locus_memory.backends import postgresql_checkpointer
from locus_memory.backends.postgresql_client import Clients, parse_dsn
from locus_memory.checkpointer import BaseCheckpointer, CheckpointerCapabilities
from locus_memory.errors import CheckpointError
from locus_memory.testing import StorageBackendContract
from locus_memory.testing.base import Reopen
from locus_memory.testing.history import HistoryTests
from tests.servers.postgresql import Database, PostgreSQLServer, TLSPostgreSQLServer


class TestPostgreSQLCheckpointer(HistoryTests, StorageBackendContract):
    """A schema for each test, in one database."""

    capabilities = CheckpointerCapabilities(
        search=True,
        metadata_query=True,
        vacuum=True,
        branching=True,
        list_threads=True,
        list_with_metadata=True,
        persistent_checkpoint_ids=True,
    )

    @pytest.fixture(scope="class")
    @classmethod
    def database(cls, postgresql_server: PostgreSQLServer) -> Iterator[Database]:
        yield from _temporary_database(postgresql_server)

    @pytest.fixture
    def reopen(self, database: Database) -> Iterator[Reopen]:
        schema = f"test_{secrets.token_hex(6)}"
        yield lambda: postgresql_checkpointer(dsn=database.dsn(), schema=schema)
        database.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))

    @pytest.fixture
    def checkpointer(self, reopen: Reopen) -> BaseCheckpointer:
        return reopen()

    @pytest.fixture
    def factory(self) -> Callable[..., BaseCheckpointer]:
        return postgresql_checkpointer

    @pytest.fixture
    def secrets(self, database: Database) -> Sequence[str]:
        return (database.server.password,)


class TestPostgreSQLCheckpointerOverTLS(TestPostgreSQLCheckpointer):
    """The server's certificate is verified."""

    @pytest.fixture(scope="class")
    @classmethod
    def database(cls, tls_postgresql_server: TLSPostgreSQLServer) -> Iterator[Database]:
        yield from _temporary_database(tls_postgresql_server)

    async def test_the_connection_is_encrypted(self, checkpointer: BaseCheckpointer, database: Database) -> None:
        await checkpointer.save({}, "t")
        sessions = database.execute(
            sql.SQL(
                "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        assert sessions
        assert all(encrypted for (encrypted,) in sessions)


def _temporary_database(server: PostgreSQLServer) -> Iterator[Database]:
    database = server.create_database(f"test_{secrets.token_hex(6)}")
    yield database
    database.drop()


async def test_statements_sent_at_once_are_one_transaction(postgresql_database: Database) -> None:
    clients = Clients(parse_dsn(postgresql_database.dsn()))
    key = {"thread_id": "t", "namespace": "", "checkpoint_id": "c", "task_ids": ["a"], "task_paths": [""]}
    write = key | {"indexes": [0], "channels": ["x"], "payloads": [b"1"]}
    async with clients.client() as client:
        with pytest.raises(CheckpointError):
            async with clients.client() as other:
                # The second one fails: it is no query.
                await other.transaction([("put_first_writes", write), ("search", {"query": "'", "limit": 1})])
        assert await client.fetch("get_writes", key) == []
        await client.transaction([("put_first_writes", write)])
        assert len(await client.fetch("get_writes", key)) == 1
    await clients.close()
