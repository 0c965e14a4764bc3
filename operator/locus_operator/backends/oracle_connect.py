"""Connections to Oracle Database, and what its errors mean to the person who has to do something about them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import oracledb
from pydantic import SecretStr

from locus_memory.backends.oracle_client import connect_parameters
from locus_memory.backends.oracle_errors import (
    code_of,
    is_missing_privilege,
    is_passing,
    is_rejected_login,
    is_wrong_address,
    text_of,
)
from locus_memory.backends.oracle_pool import Session
from locus_memory.connection import OracleConnection
from locus_memory.errors import BindingError
from locus_operator.connections import Opener
from locus_operator.constants import ConditionReason
from locus_operator.errors import ProvisioningError, RefusedError, UnavailableError
from locus_operator.sources import AdminCredentials

CONNECT_SECONDS: Final = 10.0
CALL_SECONDS: Final = 10.0
WORK_SECONDS: Final = 45.0
"""Longest call that goes through data: an index of a large table, a user who is dropped with tables."""

_ROWS: Final = 500
"""Rows that one round trip brings at most."""

WALLET_PASSWORD: Final = "walletPassword"  # noqa: S105 - the key's name, no secret
WALLET_FILES: Final = ("tnsnames.ora", "sqlnet.ora", "ewallet.pem")
"""What python-oracledb's thin mode reads of a wallet, and what belongs to it; the other files are for other drivers."""

_HINTS: Final = {
    "ORA-00959": "correct spec.backend.oracle.tablespace",
    "ORA-01950": "the owner has no quota on its tablespace: correct spec.backend.oracle.tablespace and quota",
    "ORA-01536": "its quota is used up: raise spec.backend.oracle.quota",
    "ORA-65096": "this is the root of a container database: write the service of a pluggable database into dsn",
    "ORA-00972": "the database takes names of 30 bytes only: raise its parameter COMPATIBLE to 12.2 or more",
    "ORA-28003": "the profile's password rules refuse 30 random letters, digits, '-' and '_': loosen them",
}
# Another operator does the same at the same time, or somebody gave a name away in this moment.
_RACES: Final = ("ORA-01920", "ORA-00955", "ORA-01918")


@dataclass(frozen=True, slots=True)
class Wallet:
    """The files of a wallet, as the Secret holds them."""

    files: Mapping[str, str] = field(repr=False)
    password: str | None = field(repr=False)

    @classmethod
    def of(cls, data: Mapping[str, str], secret: str) -> Wallet:
        """Read it out of the data of a Secret.

        Raises:
            RefusedError: The Secret holds no file that the driver reads.
        """
        files = {name: data[name] for name in WALLET_FILES if name in data}
        if not files.keys() & {"tnsnames.ora", "ewallet.pem"}:
            raise RefusedError(
                ConditionReason.SECRET_INVALID,
                f"Secret {secret!r} (spec.backend.oracle.walletSecretRef) has neither tnsnames.ora nor ewallet.pem; it "
                f"has {', '.join(sorted(data)) or 'no keys'}. Create it from the files of the wallet: kubectl create "
                f"secret generic {secret} --from-file=tnsnames.ora --from-file=ewallet.pem "
                f"--from-literal={WALLET_PASSWORD}=...",
            )
        return cls(files, data.get(WALLET_PASSWORD))

    @contextmanager
    def unpacked(self) -> Iterator[str]:
        """Lend a directory that only this user can read: the driver takes wallets from files only."""
        with tempfile.TemporaryDirectory(prefix="locus-wallet-") as directory:
            for name, content in self.files.items():
                (Path(directory) / name).write_text(content)
            yield directory


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is and how it is reached."""

    dsn: str
    wallet: Wallet | None
    admin: AdminCredentials

    @property
    def address(self) -> str:
        """The database as messages name it."""
        return f"Oracle at {self.dsn}"

    @property
    def endpoint(self) -> tuple[object, ...]:
        """What the limit of connections is for: an alias means what the wallet's tnsnames.ora says."""
        names = self.wallet.files.get("tnsnames.ora") if self.wallet else None
        return ("oracle", self.dsn, names)

    @property
    def key(self) -> tuple[object, ...]:
        """What makes administrators' connections interchangeable."""
        wallet = (tuple(sorted(self.wallet.files.items())), self.wallet.password) if self.wallet else None
        return (self.admin.username, self.admin.password, wallet)

    def opener(self) -> Opener[Session]:
        """Say how administrators' connections begin and end."""

        async def reset(session: Session) -> None:
            if not session.usable:
                raise ConnectionError
            session.connection.call_timeout = int(CALL_SECONDS * 1000)
            await session.run(session.connection.ping())

        return Opener(self._open, reset, lambda session: session.log_off())

    async def connect(self, user: str, password: str) -> Session:
        """Open a session.

        Raises:
            oracledb.Error: The database is away or does not want the login.
            TimeoutError: It does not answer.
        """
        document = OracleConnection(dsn=self.dsn, username=user, password=SecretStr(password))
        if self.wallet is None:
            return await _connect(document)
        with self.wallet.unpacked() as directory:
            secret = None if self.wallet.password is None else SecretStr(self.wallet.password)
            return await _connect(document.model_copy(update={"wallet_location": directory, "wallet_password": secret}))

    def login_error(self, error: Exception) -> ProvisioningError:
        """Explain why the administrator could not connect."""
        admin = f"the administrator {self.admin.username!r} of Secret {self.admin.secret!r}"
        text = text_of(error)
        if code_of(error) == "ORA-01045":
            return RefusedError(
                ConditionReason.MISSING_PRIVILEGES,
                f"{self.address}: {admin} lacks CREATE SESSION (GRANT CREATE SESSION TO {self.admin.username})",
            )
        if is_rejected_login(error):
            return RefusedError(
                ConditionReason.AUTHENTICATION_FAILED,
                f"{self.address}: the database rejects {admin}: {text}. Correct user name and password in the Secret",
            )
        if is_wrong_address(error) or isinstance(error, BindingError) or "CERTIFICATE" in text:
            return RefusedError(
                ConditionReason.BACKEND_REFUSED,
                f"{self.address}: no connection can be made: {text}. Correct dsn and walletSecretRef in "
                "spec.backend.oracle",
            )
        return self.explain(error, "connect")

    def explain(self, error: Exception, purpose: str) -> ProvisioningError:
        """Say what an error of the driver means.

        Args:
            error: The driver's, which never quotes a statement.
            purpose: What was being done, for the message.
        """
        code, text = code_of(error), text_of(error) or "it does not answer"
        where = f"{self.address}: cannot {purpose}: {text}"
        if code in _RACES:
            return UnavailableError(f"{where}; somebody else has just done or undone it")
        if code in _HINTS:
            return RefusedError(ConditionReason.BACKEND_REFUSED, f"{where}; {_HINTS[code]}")
        if is_passing(error) or isinstance(error, (OSError, TimeoutError)):
            return UnavailableError(where)
        if is_missing_privilege(error):
            return RefusedError(
                ConditionReason.MISSING_PRIVILEGES,
                f"{where}; the administrator {self.admin.username!r} of Secret {self.admin.secret!r} may not do it",
            )
        return RefusedError(ConditionReason.BACKEND_REFUSED, where)

    async def _open(self) -> Session:
        try:
            return await self.connect(self.admin.username or "", self.admin.password)
        except (oracledb.Error, BindingError, OSError, TimeoutError) as error:
            raise self.login_error(error) from error


def _types_of(binds: Mapping[str, Any]) -> dict[str, Any]:
    # Of a datetime the driver would make a DATE, which has whole seconds only.
    return {name: oracledb.DB_TYPE_TIMESTAMP for name, value in binds.items() if isinstance(value, datetime)}


async def _connect(document: OracleConnection) -> Session:
    arguments = connect_parameters(document) | {"program": "locus-operator"}
    # A listener that accepts and says nothing is waited for without end, whatever tcp_connect_timeout says.
    async with asyncio.timeout(CONNECT_SECONDS):
        connection: Any = await oracledb.connect_async(**arguments)
    return Session(connection)


class Administrator:
    """A borrowed session that runs an administrator's statements; the driver's errors become provisioning errors."""

    def __init__(self, session: Session, database: Database) -> None:
        self._session = session
        self._database = database

    @property
    def release(self) -> int:
        """Number of the database's release, such as 19 or 23."""
        return int(str(self._session.connection.version).partition(".")[0])

    @property
    def longest_name(self) -> int:
        """Bytes that a name may have; 30 with an old COMPATIBLE."""
        return int(self._session.connection.max_identifier_length or 128)

    async def rows(self, purpose: str, statement: str, **binds: Any) -> list[Any]:
        """Return the rows of a query."""
        with self.explaining(purpose):
            return await self.query(statement, **binds)

    async def query(self, statement: str, **binds: Any) -> list[Any]:
        """Return the rows of a query; raises the driver's errors."""
        self._session.connection.call_timeout = int(CALL_SECONDS * 1000)
        self._session.connection.autocommit = False
        with self._session.cursor() as cursor:
            cursor.arraysize = cursor.prefetchrows = _ROWS
            cursor.setinputsizes(**_types_of(binds))
            await self._session.run(cursor.execute(statement, binds))
            return await self._session.run(cursor.fetchall())

    async def dimensions(self, statement: str) -> int | None:
        """Return how many numbers the first column's vectors have, as the driver describes it."""
        with self.explaining("describe the table of embeddings"), self._session.cursor() as cursor:
            await self._session.run(cursor.execute(statement, {}))
            [column] = cursor.description or []
            found: int | None = column.vector_dimensions
            return found

    async def run(self, purpose: str, statement: str, *, seconds: float = CALL_SECONDS) -> None:
        """Run DDL, which commits."""
        with self.explaining(purpose):
            await self.execute(statement, seconds=seconds)

    async def execute(self, statement: str, *, seconds: float = CALL_SECONDS) -> None:
        """Run DDL; raises the driver's errors."""
        self._session.connection.call_timeout = int(seconds * 1000)
        with self._session.cursor() as cursor:
            await self._session.run(cursor.execute(statement))

    async def change(self, statement: str, rows: list[dict[str, Any]]) -> int:
        """Run DML for each row of binds, in the transaction that `commit` ends; return how many rows it touched."""
        self._session.connection.call_timeout = int(CALL_SECONDS * 1000)
        self._session.connection.autocommit = False
        self._session.in_transaction = True
        with self._session.cursor() as cursor:
            cursor.setinputsizes(**_types_of(rows[0]))
            await self._session.run(cursor.executemany(statement, rows))
            return int(cursor.rowcount)

    async def commit(self) -> None:
        """Commit what `change` did."""
        await self._session.run(self._session.connection.commit())
        self._session.in_transaction = False

    @contextmanager
    def explaining(self, purpose: str) -> Iterator[None]:
        """Turn the driver's errors into provisioning errors."""
        try:
            yield
        except (oracledb.Error, OSError) as error:
            raise self._database.explain(error, purpose) from error
