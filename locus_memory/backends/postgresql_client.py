"""Connections of the PostgreSQL backend: one pool per event loop, tables on first use, errors translated."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError

from locus_memory.backends.postgresql_objects import DatabaseObject
from locus_memory.backends.postgresql_pool import ConnectionPool, InterruptibleConnection
from locus_memory.backends.postgresql_schema import SCHEMA_VERSION, ddl
from locus_memory.backends.postgresql_statements import Statements
from locus_memory.connection import PostgreSQLConnection, describe
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    CheckpointConflictError,
    CheckpointError,
    SchemaError,
    StateTooLargeError,
)
from locus_memory.loops import PerLoop

_CONNECT_TIMEOUT_SECONDS = 5


class NamedStatements(Protocol):
    """Statements for one schema; `version` reads the version of its tables."""

    def __getitem__(self, name: str) -> bytes:
        """Return the text of a statement."""


@dataclass(frozen=True, slots=True)
class Tables:
    """A set of tables that share a version: those of the checkpoints, or of a cross-thread store.

    Attributes:
        statements: Composes what is run on them, for a schema.
        ddl: Returns what creates them in a schema.
        version: The newest that this library knows.
    """

    statements: Callable[[str], NamedStatements]
    ddl: Callable[[str], tuple[DatabaseObject, ...]]
    version: int


_CHECKPOINTS = Tables(Statements, ddl, SCHEMA_VERSION)


class Client:
    """A borrowed connection that runs the named statements of one schema."""

    def __init__(self, connection: InterruptibleConnection, statements: NamedStatements) -> None:
        self._connection = connection
        self._statements = statements

    async def execute(self, name: str, parameters: Mapping[str, Any]) -> int:
        """Run a statement that returns no rows; return how many it touched."""
        return (await self._connection.execute(self._statements[name], parameters)).rowcount

    async def insert(self, name: str, parameters: Mapping[str, Any]) -> int:
        """Like `execute`; rows that exist already count as none inserted."""
        try:
            return await self.execute(name, parameters)
        except pg.UniqueViolation:
            return 0

    async def execute_with_parts(self, name: str, parameters: Mapping[str, Any]) -> int | None:
        """Like `execute`, for a put with parts; None where one of them is missing."""
        try:
            return await self.execute(name, parameters)
        except pg.InvalidTextRepresentation:
            return None

    async def fetch(self, name: str, parameters: Mapping[str, Any]) -> list[Any]:
        """Run a query and return its rows; results travel in binary, so payloads are not spelled out in hex."""
        cursor = await self._connection.execute(self._statements[name], parameters, binary=True)
        return await cursor.fetchall()

    async def transaction(self, steps: Iterable[tuple[str, Mapping[str, Any]]]) -> list[int]:
        """Run statements in one transaction and one round trip; return how many rows each touched."""
        # What a pipeline sends before it waits is one transaction by itself; BEGIN and COMMIT would be waited for.
        async with self._connection.pipeline():
            cursors = [await self._connection.execute(self._statements[name], parameters) for name, parameters in steps]
        return [cursor.rowcount for cursor in cursors]

    async def vacuum_batch(self, before: datetime, limit: int) -> int:
        """Delete old checkpoints of at most `limit` threads; return how many."""
        async with self._connection.transaction():
            rows = await self.fetch("lock_old_threads", {"before": before, "limit": limit})
            keys = {"keys": [row[0] for row in rows]}
            await self.execute("delete_old_writes", keys | {"before": before})
            deleted = await self.execute("delete_old", keys | {"before": before})
            await self.execute("delete_old_parts", keys)
            await self.execute("delete_empty", keys)
            await self.execute("repair_latest", keys)
        return deleted


class _Loop:
    """What belongs to one event loop."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool
        self.preparing = asyncio.Lock()


class Clients:
    """Lends clients on the running event loop; makes missing tables first."""

    def __init__(self, connection: PostgreSQLConnection, tables: Tables = _CHECKPOINTS) -> None:
        self.connection = connection
        self._tables = tables
        self._statements = tables.statements(connection.schema_name)
        self._prepared = connection.tables == "provisioned"
        self._loops: PerLoop[_Loop] = PerLoop(self._open, self._close, lambda loop: loop.pool.close())

    @property
    def version(self) -> int:
        """How often the document has changed."""
        return self._loops.version

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Lend a client; psycopg's errors become this library's."""
        loop = await self._loops.current()
        with _translated(self.connection):
            if not self._prepared:
                await self._prepare(loop)
            async with loop.pool.connection() as connection:
                yield Client(connection, self._statements)

    @asynccontextmanager
    async def bare_connection(self) -> AsyncIterator[InterruptibleConnection]:
        """Lend a connection for other statements than the named ones; makes no tables."""
        loop = await self._loops.current()
        with _translated(self.connection):
            async with loop.pool.connection() as connection:
                yield connection

    def use(self, connection: PostgreSQLConnection) -> None:
        """Go over to a document, if it is another one; each event loop does when it next wants a client."""
        if connection != self.connection:
            self.connection = connection
            self._statements = self._tables.statements(connection.schema_name)
            self._loops.renew()

    async def close(self) -> None:
        """Close the running loop's connections."""
        await self._loops.close()

    def _open(self) -> _Loop:
        connection = self.connection

        async def connect() -> InterruptibleConnection:
            with _certificates_file(connection.ca) as ca_file:
                return await InterruptibleConnection.connect(**_parameters(connection, ca_file), autocommit=True)

        return _Loop(ConnectionPool(connect, connection.pool_max_size))

    async def _close(self, loop: _Loop) -> None:
        loop.pool.close()

    async def _prepare(self, loop: _Loop) -> None:
        async with loop.preparing:
            if self._prepared:
                return
            async with loop.pool.connection() as connection:
                version = await self._version(connection)
                if version is None:
                    await _create_tables(connection, self.connection.schema_name, self._tables)
                elif version > self._tables.version:
                    raise SchemaError(
                        f"schema {self.connection.schema_name!r} has version {version} of the tables, this "
                        f"locus-memory knows up to {self._tables.version}: install a newer one"
                    )
            self._prepared = True

    async def _version(self, connection: InterruptibleConnection) -> int | None:
        try:
            row = await (await connection.execute(self._statements["version"])).fetchone()
        except (pg.UndefinedTable, pg.InvalidSchemaName):
            return None
        return row[0] if row else None


async def _create_tables(connection: InterruptibleConnection, schema: str, tables: Tables) -> None:
    async with connection.transaction():
        # IF NOT EXISTS alone is no protection: two sessions that create the same table at once collide.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('locus-memory ' || %s, 0))", (schema,))
        found = await connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,))
        if found.rowcount == 0:
            await connection.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(psycopg.sql.Identifier(schema)))
        for item in tables.ddl(schema):
            await connection.execute(item.statement)


def parse_dsn(dsn: str) -> PostgreSQLConnection:
    """Turn a libpq connection string or URL into a document."""
    try:
        known = {
            "host": "host",
            "port": "port",
            "dbname": "database",
            "user": "username",
            "sslmode": "ssl_mode",
        }
        parts = {key: value for key, value in conninfo_to_dict(dsn).items() if value is not None}
        fields: dict[str, Any] = {known[key]: parts.pop(key) for key in list(parts) if key in known}
        if "password" in parts:
            fields["password"] = parts.pop("password")
        return PostgreSQLConnection(**fields, parameters={key: str(value) for key, value in parts.items()})
    except psycopg.ProgrammingError:
        # libpq quotes the text that it cannot parse, which may hold the password.
        raise BindingError(
            "dsn: no connection string that libpq understands; write postgresql://user:password@host:port/database "
            "with special characters percent-encoded"
        ) from None
    except ValidationError as error:
        raise BindingError(f"dsn: {describe(error)}") from None


def _parameters(connection: PostgreSQLConnection, ca_file: str | None) -> dict[str, Any]:
    return {
        "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        "application_name": "locus-memory",
        **connection.parameters,
        "host": connection.host,
        "port": connection.port,
        "dbname": connection.database,
        "user": connection.username,
        "password": connection.password.get_secret_value() if connection.password else None,
        "sslmode": connection.ssl_mode,
        "client_encoding": "UTF8",
        **({"sslrootcert": ca_file} if ca_file else {}),
    }


@contextmanager
def _certificates_file(certificates: str | None) -> Iterator[str | None]:
    """Give libpq, which reads certificates from files only, a file that exists in memory alone."""
    if certificates is None:
        yield None
        return
    descriptor = os.memfd_create("locus-memory-ca")
    try:
        os.write(descriptor, certificates.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextmanager
def _translated(connection: PostgreSQLConnection) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except psycopg.Error as error:
        where = f"PostgreSQL at {connection.host}:{connection.port}, database {connection.database!r}"
        raise _translate(error, where, connection) from error
    except OSError as error:
        raise BackendUnavailableError(
            f"PostgreSQL at {connection.host}:{connection.port}: {error.strerror or error}"
        ) from error


# Of https://www.postgresql.org/docs/current/errcodes-appendix.html, what may pass by itself:
# connection exceptions, transaction rollbacks, insufficient resources, operator intervention.
_PASSING_CLASSES = ("08", "40", "53", "57")
_REJECTED_LOGIN = ("28000", "28P01")
# A failed connection attempt carries no SQLSTATE in libpq: its text is all there is.
_REJECTED_LOGIN_TEXTS = (
    "password authentication failed",
    "no password supplied",
    "is not permitted to log in",
    "no pg_hba.conf entry",
    "authentication failed",
    'role "',
)


def _translate(error: psycopg.Error, where: str, connection: PostgreSQLConnection) -> CheckpointError:
    state, text = (
        error.sqlstate,
        str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
    )
    if state in _REJECTED_LOGIN or (state is None and any(part in str(error) for part in _REJECTED_LOGIN_TEXTS)):
        return AuthenticationError(f"{where}: the login {connection.username!r} is rejected: {text}")
    if isinstance(error, pg.InsufficientPrivilege):
        return AuthenticationError(f"{where}: the login {connection.username!r} lacks a privilege: {text}")
    if isinstance(error, (pg.UndefinedTable, pg.InvalidSchemaName, pg.UndefinedColumn)):
        return SchemaError(
            f"{where}: {text}; the tables of schema {connection.schema_name!r} are missing or of another version "
            "(the operator creates provisioned ones again at its next sweep)"
        )
    if state is None and 'database "' in str(error) and "does not exist" in str(error):
        return SchemaError(f"{where}: {text}")
    if isinstance(error, (pg.ProgramLimitExceeded, pg.OutOfMemory)) and state != "53200":
        return StateTooLargeError(f"{where}: {text}")
    if isinstance(error, pg.UniqueViolation):
        return CheckpointConflictError(f"{where}: {text}")
    if (
        isinstance(error, (psycopg.OperationalError, pg.ReadOnlySqlTransaction))
        or (state or "")[:2] in _PASSING_CLASSES
    ):
        return BackendUnavailableError(f"{where}: {text}")
    return CheckpointError(f"{where}: {text}")
