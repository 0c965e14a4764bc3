"""Connections of the Oracle backend: one pool per event loop, tables on first use, errors translated."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import oracledb

from locus_memory.backends.oracle_errors import NAME_IN_USE, NO_SUCH_TABLE, NOT_UNIQUE, code_of, translate
from locus_memory.backends.oracle_pool import ConnectionPool, Session
from locus_memory.backends.oracle_schema import IN_ORDER, SCHEMA_VERSION, DatabaseObject, Names, ddl
from locus_memory.backends.oracle_statements import SEARCH, Statements
from locus_memory.connection import OracleConnection
from locus_memory.errors import BackendUnavailableError, BindingError, SchemaError
from locus_memory.loops import PerLoop

_CONNECT_TIMEOUT_SECONDS = 5
_STATEMENT_CACHE = 60
"""More than there are statements: each is parsed once per connection."""

_MAX_FETCHED_ROWS = 500
"""Rows that one round trip brings at most."""

# Of None the driver would guess text, and parse the statement once for each guess.
_BIND_TYPES: Final = {
    "namespace": oracledb.DB_TYPE_RAW,
    "parent_id": oracledb.DB_TYPE_RAW,
    "before": oracledb.DB_TYPE_TIMESTAMP,
    "created_at": oracledb.DB_TYPE_TIMESTAMP,
}


class NamedStatements(Protocol):
    """Statements for one table name; `version` reads the version of its tables."""

    def __getitem__(self, name: str) -> str:
        """Return the text of a statement."""


@dataclass(frozen=True, slots=True)
class Tables:
    """A set of tables that share a version: those of the checkpoints, or of a cross-thread store.

    Attributes:
        names: Their names.
        statements: What is run on them.
        objects: What creates them.
        version: The newest that this library knows.
    """

    names: Names
    statements: NamedStatements
    objects: tuple[DatabaseObject, ...]
    version: int


def checkpoint_tables(connection: OracleConnection) -> Tables:
    """Return the tables of the checkpoints."""
    names = Names(connection.table_name, connection.owner)
    return Tables(names, Statements(names), ddl(connection.table_name, connection.owner), SCHEMA_VERSION)


class Client:
    """A borrowed session that runs the named statements of one table name."""

    def __init__(self, session: Session, statements: NamedStatements) -> None:
        self._session = session
        self._statements = statements

    async def execute(self, name: str, parameters: Mapping[str, Any], *, commit: bool = False) -> int:
        """Run a statement that returns no rows; return how many it touched.

        Args:
            name: Of the statement.
            parameters: Its binds.
            commit: Commit in the same round trip, if the statement succeeds.
        """
        with self._writing(commit, parameters) as cursor:
            await self._session.run(cursor.execute(self._statements[name], dict(parameters)))
            return int(cursor.rowcount)

    async def execute_unless_present(self, name: str, parameters: Mapping[str, Any], *, commit: bool = False) -> int:
        """Like `execute`; a row that exists already counts as none touched."""
        try:
            return await self.execute(name, parameters, commit=commit)
        except oracledb.IntegrityError as error:
            if code_of(error) != NOT_UNIQUE:
                raise
            if IN_ORDER in str(error):
                # Not this row exists, but one of its number. Taken for this row, it would be a save that is lost.
                raise SchemaError(
                    "the sequence of write order is behind the rows, as after an import: restart it beyond the highest "
                    f"write_order ({error})"
                ) from error
            return 0

    async def execute_many(self, name: str, rows: Sequence[Mapping[str, Any]], *, commit: bool = False) -> int:
        """Run a statement for each row of binds, in one round trip; return how many rows it touched."""
        with self._writing(commit, rows[0]) as cursor:
            await self._session.run(cursor.executemany(self._statements[name], [dict(row) for row in rows]))
            return int(cursor.rowcount)

    async def execute_many_unless_present(self, name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Like `execute_many`; False where another session has just inserted one of the rows: then roll back."""
        try:
            await self.execute_many(name, rows)
        except oracledb.IntegrityError as error:
            if code_of(error) == NOT_UNIQUE:
                return False
            raise
        return True

    async def fetch(self, name: str, parameters: Mapping[str, Any], rows: int = 1) -> list[Any]:
        """Run a query and return its rows; `rows` is how many to expect."""
        text = self._statements[name]
        # With autocommit the driver would commit a query as well, and release what it has locked.
        self._session.connection.autocommit = False
        with self._session.cursor() as cursor:
            # One more than expected, so that the server says in the same answer that there are no more.
            cursor.arraysize = cursor.prefetchrows = min(rows, _MAX_FETCHED_ROWS) + 1
            cursor.setinputsizes(**_types_of(parameters))
            await self._session.run(cursor.execute(text, dict(parameters)))
            return await self._session.run(cursor.fetchall())

    async def search(self, parameters: Mapping[str, Any], term_count: int, rows: int) -> list[Any]:
        """Run the search for so many words."""
        return await self.fetch(f"{SEARCH}{term_count}", parameters, rows)

    async def lock(self, name: str, parameters: Mapping[str, Any], rows: int = 1) -> list[Any]:
        """Run a query that locks its rows until the next commit."""
        self._session.in_transaction = True
        return await self.fetch(name, parameters, rows)

    async def commit(self) -> None:
        """Commit, where no statement has."""
        await self._session.run(self._session.connection.commit())
        self._session.in_transaction = False

    async def rollback(self) -> None:
        """Undo what was not committed."""
        await self._session.rollback()

    @contextmanager
    def _writing(self, commit: bool, parameters: Mapping[str, Any]) -> Iterator[oracledb.AsyncCursor]:
        self._session.connection.autocommit = commit
        self._session.in_transaction = True
        with self._session.cursor() as cursor:
            cursor.setinputsizes(**_types_of(parameters))
            yield cursor
        self._session.in_transaction = not commit


class _Loop:
    """What belongs to one event loop."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool
        self.preparing = asyncio.Lock()


class Clients:
    """Lends clients on the running event loop; makes missing tables first."""

    def __init__(
        self, connection: OracleConnection, tables_of: Callable[[OracleConnection], Tables] = checkpoint_tables
    ) -> None:
        _check_no_login(connection.dsn)
        self.connection = connection
        self._tables_of = tables_of
        self._tables = tables_of(connection)
        self._prepared = connection.tables == "provisioned"
        self._loops: PerLoop[_Loop] = PerLoop(
            self._open, lambda loop: loop.pool.close(), lambda loop: loop.pool.drain()
        )

    @property
    def version(self) -> int:
        """How often the document has changed."""
        return self._loops.version

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Lend a client; the driver's errors become this library's."""
        loop = await self._loops.current()
        connection = self.connection
        try:
            if not self._prepared:
                await self._prepare(loop)
            async with loop.pool.session() as session:
                yield Client(session, self._tables.statements)
        except oracledb.Error as error:
            where = f"Oracle at {connection.dsn}"
            raise translate(error, where, connection.username, self._tables.names.qualified()) from error
        except OSError as error:
            raise BackendUnavailableError(f"Oracle at {connection.dsn}: {error.strerror or error}") from error

    def use(self, connection: OracleConnection) -> None:
        """Go over to a document, if it is another one; each event loop does when it next wants a client."""
        if connection != self.connection:
            _check_no_login(connection.dsn)
            self._tables = self._tables_of(connection)
            self.connection = connection
            self._loops.renew()

    async def close(self) -> None:
        """Close the running loop's connections."""
        await self._loops.close()

    def _open(self) -> _Loop:
        connection = self.connection

        async def connect() -> oracledb.AsyncConnection:
            opened: oracledb.AsyncConnection = await oracledb.connect_async(**connect_parameters(connection))
            opened.outputtypehandler = _lobs_as_values
            return opened

        return _Loop(ConnectionPool(connect, connection.pool_max_size))

    async def _prepare(self, loop: _Loop) -> None:
        async with loop.preparing:
            if self._prepared:
                return
            async with loop.pool.session() as session:
                client = Client(session, self._tables.statements)
                version = await _version(client)
                if version is None:
                    await self._create(session)
                    version = await _version(client)
            names = self._tables.names
            if version is None:
                raise BackendUnavailableError(f"the tables of {names.qualified()} are being created by another")
            if version > self._tables.version:
                raise SchemaError(
                    f"{names.qualified('_SCHEMA')} has version {version} of the tables, this locus-memory knows "
                    f"up to {self._tables.version}: install a newer one"
                )
            self._prepared = True

    async def _create(self, session: Session) -> None:
        for item in self._tables.objects:
            with session.cursor() as cursor:
                try:
                    await session.run(cursor.execute(item.statement))
                except oracledb.DatabaseError as error:
                    # Another replica was faster; all go through the same objects in the same order.
                    if code_of(error) != NAME_IN_USE:
                        raise


async def _version(client: Client) -> int | None:
    try:
        [[version]] = await client.fetch("version", {})
    except oracledb.DatabaseError as error:
        if code_of(error) == NO_SUCH_TABLE:
            return None
        raise
    return None if version is None else int(version)


def connect_parameters(connection: OracleConnection) -> dict[str, Any]:
    """Return the arguments of `oracledb.connect_async`.

    Raises:
        BindingError: The certificates are none.
    """
    wallet = None if connection.wallet_location is None else str(Path(connection.wallet_location).expanduser())
    config_dir = None if connection.config_dir is None else str(Path(connection.config_dir).expanduser())
    parameters: dict[str, Any] = {
        "dsn": connection.dsn,
        "user": connection.username,
        "password": connection.password.get_secret_value() if connection.password else None,
        # A wallet as Autonomous Database hands it out has tnsnames.ora in it.
        "config_dir": config_dir or wallet,
        "wallet_location": wallet,
        "wallet_password": connection.wallet_password.get_secret_value() if connection.wallet_password else None,
        "ssl_server_dn_match": connection.ssl_server_dn_match,
        "ssl_server_cert_dn": connection.ssl_server_cert_dn,
        "ssl_context": None if connection.ca is None else _ssl_context(connection.ca, connection.ssl_server_dn_match),
        "tcp_connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        # Retrying is the caller's, within its deadline.
        "retry_count": 0,
        "stmtcachesize": _STATEMENT_CACHE,
        "program": "locus-memory",
    }
    return {name: value for name, value in parameters.items() if value is not None}


def _check_no_login(dsn: str) -> None:
    if "@" in dsn and not dsn.lstrip().startswith("("):
        # It is shown in messages and representations.
        raise BindingError("dsn: write it without login; user and password have fields of their own")


def _ssl_context(certificates: str, match_name: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=certificates)
    except (ssl.SSLError, ValueError) as error:
        raise BindingError(f"ca: no certificates in PEM: {error}") from None
    context.check_hostname = match_name
    return context


def _lobs_as_values(cursor: oracledb.AsyncCursor, column: oracledb.FetchInfo) -> oracledb.Var | None:
    """Fetch LOBs as bytes and text with their rows, whatever the process-wide `oracledb.defaults` say."""
    if column.type_code is oracledb.DB_TYPE_BLOB:
        return cursor.var(oracledb.DB_TYPE_LONG_RAW, arraysize=cursor.arraysize)
    if column.type_code is oracledb.DB_TYPE_CLOB:
        return cursor.var(oracledb.DB_TYPE_LONG, arraysize=cursor.arraysize)
    return None


def _types_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kind for name, kind in _BIND_TYPES.items() if name in parameters}
