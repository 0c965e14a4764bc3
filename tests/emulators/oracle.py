"""Emulates python-oracledb's asynchronous thin mode on PostgreSQL: no Oracle server can run where the tests do.

The driver's own types, constants, errors and parsing of connect strings stay in use; only the network and the server
are others. It keeps what bites in Oracle: '' is NULL, long binds in expressions are ORA-01461, LOBs come as locators,
DDL commits, a failed statement undoes itself and not its transaction, a cancelled call waits for the server, and SQL
that Oracle 19c would refuse is refused (`oracle_lint`). A login is a role of PostgreSQL, and its schema has its name.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import oracledb
import psycopg
from oracledb import errors

from tests.emulators.oracle_admin import create, verify
from tests.emulators.oracle_admin import run as administer
from tests.emulators.oracle_cursor import EmulatedCursor
from tests.emulators.oracle_errors import oracle_error, raise_not_connected, raise_translated
from tests.emulators.oracle_sql import Translation

_NAME = "connect_async"
_real_connect = oracledb.connect_async


class _Connection(psycopg.AsyncConnection[Any]):
    """Waits for the server when it is cancelled, as the driver does, unless it was terminated."""

    terminated = False

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        if self.terminated:
            self.pgconn.finish()
        else:
            await super().cancel_safe(timeout=timeout)


class EmulatedConnection:
    """What `oracledb.AsyncConnection` offers, as far as the library uses it."""

    round_trips = 0
    """Of all connections of this process."""

    open_connections = 0
    """Of this process."""

    version = "23.9.0.25.7"
    max_identifier_length = 128

    def __init__(self, connection: _Connection, user: str, *, administrator: bool) -> None:
        self._connection = connection
        self.me = user
        self._administrator = administrator
        self._busy = False
        self._closed = False
        self.call_timeout = 0
        self.autocommit = False
        self.outputtypehandler: Any = None
        self.lobs: dict[tuple[int, int], bool] = {}
        EmulatedConnection.open_connections += 1

    def cursor(self) -> EmulatedCursor:
        self._verify_open()
        return EmulatedCursor(self)

    def is_healthy(self) -> bool:
        return not self._closed and not self._connection.closed

    async def commit(self) -> None:
        await self._end("COMMIT")

    async def rollback(self) -> None:
        await self._end("ROLLBACK")

    async def ping(self) -> None:
        await self.run("SELECT 1", {})

    async def close(self) -> None:
        self._verify_open()
        if self._in_transaction:
            await self.rollback()
        self._forget()
        await self._connection.close()

    def terminate(self) -> None:
        """Close the socket; a call that is under way does it when it is cancelled."""
        self._connection.terminated = True
        self._forget()
        if not self._busy:
            self._connection.pgconn.finish()

    async def execute(self, statement: Translation, binds: list[dict[str, Any]]) -> psycopg.AsyncCursor[Any]:
        """Run a translated statement once for each row of binds, with Oracle's rules for transactions."""
        self._verify_open()
        if self._administrator:
            await verify(self, statement)
        if statement.kind == "ddl":
            await self._end("COMMIT")
            if self._administrator:
                await create(self, statement)
                return self._connection.cursor()
            return await self.run(statement.text, {}, creates=True)
        changes = statement.kind == "dml" or statement.locks
        if changes and not self._in_transaction and not (self.autocommit and len(binds) == 1):
            await self.run("BEGIN", {})
        if not self._in_transaction:
            return await self.run(statement.text, binds[0])
        await self.run("SAVEPOINT statement", {})
        try:
            cursor = await self.run(statement.text, *binds)
        except oracledb.Error:
            if self.is_healthy():
                await self.run("ROLLBACK TO statement", {})
            raise
        await self.run("COMMIT" if self.autocommit else "RELEASE statement", {})
        return cursor

    async def administer(self, statement: str) -> None:
        """Run a statement of an administrator, which commits like other DDL."""
        EmulatedConnection.round_trips += 1
        await self._end("COMMIT")
        await administer(self, statement)

    async def run(self, text: str, *binds: dict[str, Any], creates: bool = False) -> psycopg.AsyncCursor[Any]:
        """Run a statement of PostgreSQL; errors become Oracle's."""
        self._busy = True
        try:
            cursor = self._connection.cursor(binary=True)
            async with asyncio.timeout(self.call_timeout / 1000 or None):
                if len(binds) == 1:
                    await cursor.execute(text.encode(), binds[0] or None)
                else:
                    await cursor.executemany(text.encode(), binds)
        except TimeoutError:
            # The driver asks the server to stop; one that does not even answer that has lost its connection.
            self._busy = False
            self.terminate()
            errors._raise_err(errors.ERR_CALL_TIMEOUT_EXCEEDED, timeout=self.call_timeout)
        except psycopg.Error as error:
            self._busy = False
            raise_translated(error, creates=creates, visible=await self._may_see(error))
        finally:
            self._busy = False
        return cursor

    async def _may_see(self, error: psycopg.Error) -> bool:
        if error.sqlstate != "42501" or self._in_transaction:
            return False
        relation = (error.diag.message_primary or "").rpartition(" ")[2]
        asked = await self._connection.execute(
            "SELECT bool_or(has_table_privilege(oid, 'SELECT, INSERT, UPDATE, DELETE')) FROM pg_class "
            "WHERE relname = %s AND relkind = 'r'",
            (relation,),
        )
        return bool((await asked.fetchone() or [False])[0])

    @property
    def _in_transaction(self) -> bool:
        return self._connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE

    async def _end(self, how: str) -> None:
        self._verify_open()
        EmulatedConnection.round_trips += 1
        if self._in_transaction:
            await self.run(how, {})

    def _verify_open(self) -> None:
        if self._closed:
            raise oracledb.InterfaceError("DPY-1001: not connected to database")

    def _forget(self) -> None:
        if not self._closed:
            self._closed = True
            EmulatedConnection.open_connections -= 1


async def connect_async(dsn: str, **arguments: Any) -> EmulatedConnection:
    """Connect as `oracledb.connect_async` does: host and port are PostgreSQL's, the service is a database."""
    parameters = oracledb.ConnectParams(**arguments)
    parameters.parse_connect_string(dsn)
    if arguments.get("password") is None:
        raise oracle_error(1017)
    _read_wallet(parameters)
    host, port, service = parameters.host, parameters.port, parameters.service_name
    assert isinstance(host, str)
    assert isinstance(port, int)
    user = str(arguments.get("user")).lower()
    login = {"user": user, "password": arguments["password"]}
    try:
        connection = await _Connection.connect(
            host=host, port=port, dbname=str(service), application_name="locus-memory", autocommit=True, **login
        )
    except psycopg.OperationalError as error:
        raise_not_connected(error, service, host, port)
    # An administrator, and nobody else, is a superuser.
    asked = await connection.execute(
        "SELECT set_config('search_path', %s, false), current_setting('is_superuser') = 'on', \"ACCOUNT_STATUS\" "
        'FROM (SELECT 1) one LEFT JOIN "SYS"."USER_USERS" ON true',
        (f'"{user.upper()}", "SYS"',),
    )
    _, administrator, status = await asked.fetchone() or ("", False, None)
    if (status or "").startswith("EXPIRED"):
        await connection.close()
        raise oracle_error(28001)
    return EmulatedConnection(connection, user.upper(), administrator=administrator)


def _read_wallet(parameters: oracledb.ConnectParams) -> None:
    """Complain of a wallet that is not there, as the driver does when it talks TLS."""
    if parameters.protocol == "tcps" and isinstance(parameters.wallet_location, str):
        file = Path(parameters.wallet_location) / "ewallet.pem"
        if not file.exists():
            errors._raise_err(errors.ERR_WALLET_FILE_MISSING, name=str(file))


def install() -> None:
    """Put the emulator in the driver's place, in this process."""
    vars(oracledb)[_NAME] = connect_async


def uninstall() -> None:
    """Undo `install`."""
    vars(oracledb)[_NAME] = _real_connect
