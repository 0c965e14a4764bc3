"""The contract on PostgreSQL, with pgvector and without, and over TLS."""

import secrets
from collections.abc import Callable, Iterator, Sequence

import pytest
from psycopg import sql

from locus_memory.store import BaseStore
from locus_memory.store_backends import PostgreSQLStore
from locus_memory.testing import StoreContract
from tests.servers.postgresql import Database, PostgreSQLServer, TLSPostgreSQLServer


class TestPostgreSQLStore(StoreContract):
    """Embeddings compared in SQL."""

    extension = ""

    @pytest.fixture(scope="class")
    @classmethod
    def database(cls, postgresql_server: PostgreSQLServer) -> Iterator[Database]:
        database = postgresql_server.create_database(f"test_{secrets.token_hex(6)}")
        if cls.extension:
            database.execute(sql.SQL(cls.extension))
        yield database
        database.drop()

    @pytest.fixture
    def factory(self, database: Database) -> Iterator[Callable[..., BaseStore]]:
        schema = f"test_{secrets.token_hex(6)}"
        yield lambda **options: PostgreSQLStore(dsn=database.dsn(), schema=schema, **options)
        database.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))

    @pytest.fixture
    def secrets(self, database: Database) -> Sequence[str]:
        return (database.server.password,)


class TestPostgreSQLStoreWithPgvector(TestPostgreSQLStore):
    """Embeddings compared by pgvector, which sits in a schema that is not on the search path."""

    extension = 'CREATE SCHEMA "Extensions"; CREATE EXTENSION vector SCHEMA "Extensions"'


class TestPostgreSQLStoreOverTLS(TestPostgreSQLStore):
    """The server's certificate is verified."""

    @pytest.fixture(scope="class")
    @classmethod
    def database(cls, tls_postgresql_server: TLSPostgreSQLServer) -> Iterator[Database]:
        database = tls_postgresql_server.create_database(f"test_{secrets.token_hex(6)}")
        yield database
        database.drop()
