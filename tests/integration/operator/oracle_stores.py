"""Stores on Oracle under test: on the emulator, or on the database that the environment names."""

from __future__ import annotations

from typing import Any, Final

import oracledb

from locus_memory.connection import OracleConnection
from locus_operator.backends.oracle_preflight import PRIVILEGES, RETENTION
from tests.integration.operator.stores import Store
from tests.servers.oracle import EmulatedOracle, RealOracle

OPERATOR_PRIVILEGES: Final = (
    *PRIVILEGES,
    *RETENTION,
    "SELECT ANY DICTIONARY",
    "CREATE SESSION",
    "ALTER SYSTEM",
    "DROP ANY TABLE",
)
"""Of an operator's administrator that is no DBA, with the right to pass CREATE SESSION on."""


def oracle_backend(oracle: EmulatedOracle | RealOracle, admin: tuple[str, str], **fields: Any) -> Store:
    """A store on Oracle that this administrator provisions."""
    backend = {"adminSecretRef": {"name": "admin"}, "dsn": oracle.dsn, **fields}
    username, password = admin
    return Store({"oracle": backend}, {"admin": {"username": username, "password": password}})


def users_of(store: Store) -> dict[str, str]:
    """Owner and logins as the data dictionary shows them, to fill into statements."""
    owner = store.backend["oracle"].get("owner", store.names.base).upper()
    a, b = (name.upper() for name in store.names.logins)
    return {"o": owner, "a": a, "b": b}


class OracleSession:
    """A session of somebody, to look and to sabotage with."""

    def __init__(self, dsn: str, user: str, password: str) -> None:
        self._arguments = {"dsn": dsn, "user": user, "password": password}
        self._connection: Any = None

    @classmethod
    def of_admin(cls, store: Store) -> OracleSession:
        """A session of the store's administrator."""
        admin = store.sources["admin"]
        return cls(store.backend["oracle"]["dsn"], admin["username"], admin["password"])

    @classmethod
    def of_agent(cls, store: Store) -> OracleSession:
        """A session as an agent has it."""
        document = store.connection()
        assert isinstance(document, OracleConnection)
        assert document.username is not None
        assert document.password is not None
        return cls(document.dsn, document.username, document.password.get_secret_value())

    async def __aenter__(self) -> OracleSession:
        self._connection = await oracledb.connect_async(**self._arguments)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def run(self, *statements: str) -> None:
        for statement in statements:
            with self._connection.cursor() as cursor:
                await cursor.execute(statement)
        await self._connection.commit()

    async def rows(self, statement: str, **binds: Any) -> list[Any]:
        with self._connection.cursor() as cursor:
            await cursor.execute(statement, binds)
            found: list[Any] = await cursor.fetchall()
            return found
