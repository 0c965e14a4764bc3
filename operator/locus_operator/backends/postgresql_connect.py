"""Connections to PostgreSQL, and what its errors mean to the person who has to do something about them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, pq
from psycopg import errors as pg

from locus_operator.api.backends import PostgreSQLBackend, SSLMode
from locus_operator.connections import Connections, Opener
from locus_operator.constants import ConditionReason
from locus_operator.errors import ProvisioningError, RefusedError, UnavailableError
from locus_operator.sources import AdminCredentials

_CONNECT_TIMEOUT_SECONDS: Final = 10
_LEAVE_TIMEOUT_SECONDS: Final = 1
# A lock that an agent's transaction holds is gone soon; one that stays is worth a message.
_SESSION: Final = "-c lock_timeout=10s -c statement_timeout=30s"

# libpq passes no SQLSTATE of a failed connection attempt on: its text is all there is.
_REJECTED: Final = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "authentication failed",
    'role "',
)
_UNTRUSTED: Final = (
    "certificate verify failed",
    "does not match host name",
    "does not support SSL",
    "no encryption",
    "root certificate file",
    "certificate",
)
_PASSING_CLASSES: Final = ("08", "40", "53", "55", "57")


@dataclass(frozen=True, slots=True)
class Server:
    """Where the database is and how it is reached.

    Attributes:
        ca: PEM bundle to trust, or None.
    """

    backend: PostgreSQLBackend
    ca: str | None = field(repr=False)

    @property
    def address(self) -> str:
        """The server as messages name it."""
        return f"PostgreSQL at {self.backend.host}:{self.backend.port}, database {self.backend.database!r}"

    @property
    def uses_system_certificates(self) -> bool:
        """Whether the server's certificate is checked against those that the machine trusts."""
        return self.ca is None and self.backend.ssl_mode is SSLMode.VERIFY_FULL

    async def connect(self, user: str, password: str) -> AsyncConnection[Any]:
        """Open a connection in autocommit mode.

        Raises:
            psycopg.OperationalError: The server is away or does not want the login.
        """
        with _certificates_file(self.ca) as file:
            root = "system" if self.uses_system_certificates else file
            return await AsyncConnection.connect(
                host=self.backend.host.strip("[]"),
                port=self.backend.port,
                dbname=self.backend.database,
                user=user,
                password=password,
                sslmode=str(self.backend.ssl_mode),
                application_name="locus-operator",
                connect_timeout=_CONNECT_TIMEOUT_SECONDS,
                client_encoding="UTF8",
                options=_SESSION,
                autocommit=True,
                # What is run here is run rarely, and on objects that come and go.
                prepare_threshold=None,
                sslrootcert=root,
            )

    @property
    def endpoint(self) -> tuple[str, int]:
        """Where connections are counted."""
        return self.backend.host, self.backend.port

    def lend(
        self, connections: Connections, login: AdminCredentials
    ) -> AbstractAsyncContextManager[AsyncConnection[Any]]:
        """Borrow the administrator's connection.

        Raises:
            RefusedError, UnavailableError: There is none.
        """

        async def connect() -> AsyncConnection[Any]:
            try:
                return await self.connect(login.username or "", login.password)
            except psycopg.Error as error:
                raise self.connect_error(error, login.username or "", login.secret) from error

        key = (self.backend.database, login.username, login.password, self.backend.ssl_mode, self.ca)
        return connections.lend(self.endpoint, key, Opener(connect, _reset, leave))

    def connect_error(self, error: psycopg.Error, user: str, secret: str) -> ProvisioningError:
        """Explain why the administrator could not connect."""
        text = _first_line(error)
        if is_wrong_password(error) or any(part in text for part in _REJECTED):
            return RefusedError(
                ConditionReason.AUTHENTICATION_FAILED,
                f"{self.address}: the server rejects the administrator {user!r} of Secret {secret!r}: {text}. Correct "
                "user name and password in the Secret",
            )
        if "does not exist" in text:
            return RefusedError(
                ConditionReason.BACKEND_REFUSED,
                f"{self.address}: the database does not exist: create it, or correct spec.backend.postgresql.database",
            )
        if "permission denied for database" in text:
            return RefusedError(
                ConditionReason.MISSING_PRIVILEGES,
                f"{self.address}: the administrator {user!r} of Secret {secret!r} lacks CONNECT on the database "
                f'(GRANT CONNECT ON DATABASE "{self.backend.database}" TO "{user}";)',
            )
        if any(part in text for part in _UNTRUSTED):
            return RefusedError(
                ConditionReason.BACKEND_REFUSED,
                f"{self.address}: no trusted TLS connection: {text}. Correct sslMode and ca in spec.backend.postgresql",
            )
        return UnavailableError(f"{self.address}: {text}")

    @contextmanager
    def explaining(self, purpose: str, advice: str = "") -> Iterator[None]:
        """Turn psycopg's errors into provisioning errors.

        Args:
            purpose: What was being done, for the message.
            advice: What to do where rows violate a constraint.
        """
        try:
            yield
        except psycopg.IntegrityError as error:
            found = self._explain(error, purpose)
            raise RefusedError(found.reason, f"{found}. {advice}" if advice else str(found)) from error
        except psycopg.Error as error:
            raise self._explain(error, purpose) from error

    def _explain(self, error: psycopg.Error, purpose: str) -> ProvisioningError:
        # Only the server's own sentence: libpq's text would also quote the statement.
        state, text = error.sqlstate, error.diag.message_primary or _first_line(error)
        where = f"{self.address}: cannot {purpose}: {text}"
        if state is None or state[:2] in _PASSING_CLASSES:
            return UnavailableError(where)
        if isinstance(error, pg.InsufficientPrivilege):
            return RefusedError(ConditionReason.MISSING_PRIVILEGES, where)
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        return RefusedError(ConditionReason.BACKEND_REFUSED, f"{where}{detail} [SQLSTATE {state}]")


async def leave(connection: AsyncConnection[Any]) -> None:
    """Disconnect; on return the server has forgotten the session, if it answers: the next one would be too many."""
    try:
        line = socket.socket(fileno=os.dup(connection.fileno()))
    except psycopg.OperationalError:
        # It is broken, and nobody is at the other end.
        return
    finally:
        # This tells the server and waits for nothing.
        await connection.close()
    with line:
        line.setblocking(False)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_LEAVE_TIMEOUT_SECONDS):
                while await asyncio.get_running_loop().sock_recv(line, 4096):
                    pass


async def _reset(connection: AsyncConnection[Any]) -> None:
    """Leave nothing of one store's run to the next: transaction, role, search_path, locks, temporary tables."""
    async with asyncio.timeout(_CONNECT_TIMEOUT_SECONDS):
        if connection.info.transaction_status is not pq.TransactionStatus.IDLE:
            await connection.rollback()
        await connection.execute("DISCARD ALL")


def is_wrong_password(error: psycopg.Error) -> bool:
    """Tell whether a connection attempt failed with SQLSTATE 28P01.

    A server that speaks another language is believed when it asked for the password and then refused: all other
    reasons to refuse a role are read from the catalogs.
    """
    text = str(error)
    if "password authentication failed" in text:
        return True
    asked = error.pgconn is not None and error.pgconn.used_password
    english = "FATAL:" in text or "server closed the connection" in text or "timeout" in text
    return asked and not english


def _first_line(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _certificates_file(certificates: str | None) -> Iterator[str | None]:
    """Give libpq, which reads certificates from files only, a file that exists in memory alone."""
    if certificates is None:
        yield None
        return
    descriptor = os.memfd_create("locus-operator-ca")
    try:
        os.write(descriptor, certificates.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
