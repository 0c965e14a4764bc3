"""Oracle: python-oracledb, locus-sdk's checkpointer.

Without a database (`LOCUS_TEST_ORACLE_DSN`) they run on the emulator, which translates each statement for PostgreSQL in
this process, and has only what this library uses of the driver: then locus-sdk's is left out, and the figures compare
numbers of statements rather than times.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

import oracledb
from locus.core.state import AgentState
from locus.memory.backends.adapters import oracle_checkpointer as locus_checkpointer

from benchmarks.contenders import CLIENTS, Checkpointer, Contender, RawDriver
from benchmarks.suite import Suite
from locus_memory.backends import oracle_checkpointer
from tests.servers.oracle import REAL_DSN, EmulatedOracle, OracleStore, RealOracle, installed
from tests.servers.postgresql import PostgreSQLServer


class RawOracle(RawDriver):
    """python-oracledb inserting the conversation's JSON as a BLOB, and selecting it by its number; one statement."""

    def __init__(self, state: AgentState, store: OracleStore, role: Literal["raw", "floor"]) -> None:
        super().__init__(state, "python-oracledb", role)
        self._store = store
        self._table = f'"{store.table_name}_{role}"'
        self._numbers = itertools.count()
        self._latest: dict[str, int] = {}

    async def open(self) -> None:
        store = self._store
        # One connection for each caller, and no pool's work in between.
        self._free = [
            await oracledb.connect_async(user=store.user, password=store.password, dsn=store.dsn, **store.further)
            for _ in range(CLIENTS)
        ]
        for connection in self._free:
            connection.autocommit = True
            connection.outputtypehandler = _blobs_as_bytes
        await self._execute(f"CREATE TABLE {self._table} (id NUMBER(19) PRIMARY KEY, data BLOB NOT NULL)")

    async def save(self, thread_id: str) -> None:
        number = next(self._numbers)
        statement = f"INSERT INTO {self._table} (id, data) VALUES (:id, :data)"  # noqa: S608 - our own name
        await self._execute(statement, {"id": number, "data": self.encoded()})
        self._latest[thread_id] = number

    async def load(self, thread_id: str) -> object | None:
        connection = self._free.pop()
        with connection.cursor() as cursor:
            statement = f"SELECT data FROM {self._table} WHERE id = :id"  # noqa: S608 - our own name
            await cursor.execute(statement, {"id": self._latest[thread_id]})
            [row] = await cursor.fetchall()
        self._free.append(connection)
        return self.decoded(row[0])

    async def close(self) -> None:
        await self._execute(f"DROP TABLE {self._table}")
        for connection in self._free:
            await connection.close()

    async def _execute(self, statement: str, parameters: dict[str, Any] | None = None) -> None:
        connection = self._free.pop()
        with connection.cursor() as cursor:
            await cursor.execute(statement, parameters or {})
        self._free.append(connection)


def _blobs_as_bytes(cursor: Any, column: Any) -> Any:
    if column.type_code is oracledb.DB_TYPE_BLOB:
        return cursor.var(oracledb.DB_TYPE_LONG_RAW, arraysize=cursor.arraysize)
    return None


@asynccontextmanager
async def suite(state: AgentState) -> AsyncIterator[Suite]:
    """Everything that stores in Oracle."""
    with _database() as database, installed(database), database.store() as store:
        contenders: list[Contender] = [
            RawOracle(state, store, "raw"),
            RawOracle(state, store, "floor"),
            Checkpointer(state, "locus-memory", "ours", oracle_checkpointer(**store.arguments())),
        ]
        if not database.emulated:
            login = {"dsn": store.dsn, "user": store.user, "password": store.password, **store.further}
            peer = locus_checkpointer(**login, table_name=f"{store.table_name}_sdk")
            contenders.insert(2, Checkpointer(state, "locus-sdk oracle", "peer", peer))
        yield Suite(title="Oracle, emulated" if database.emulated else "Oracle", contenders=contenders, calls=0.1)


@contextmanager
def _database() -> Iterator[EmulatedOracle | RealOracle]:
    if os.environ.get(REAL_DSN):
        yield RealOracle()
        return
    with PostgreSQLServer() as server:
        yield EmulatedOracle(server)
