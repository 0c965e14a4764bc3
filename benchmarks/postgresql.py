"""PostgreSQL: psycopg, locus-sdk's two checkpointers, LangGraph's saver."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from locus.core.state import AgentState
from locus.memory.backends.adapters import postgresql_checkpointer as locus_checkpointer
from locus.memory.backends.pg_checkpointer import PgCheckpointer
from psycopg import AsyncConnection, sql
from psycopg_pool import AsyncConnectionPool

from benchmarks.contenders import CLIENTS, Checkpointer, LangGraph, RawDriver
from benchmarks.graph import OUR_SAVER, stored_bytes
from benchmarks.suite import Suite
from locus_memory.backends import postgresql_checkpointer
from locus_memory.langgraph import LangGraphSaver
from tests.servers.postgresql import Database, PostgreSQLServer


class RawPostgreSQL(RawDriver):
    """psycopg inserting, and selecting by primary key, the conversation's JSON; one statement each."""

    def __init__(self, state: AgentState, dsn: str, role: Literal["raw", "floor"]) -> None:
        super().__init__(state, "psycopg", role)
        self._dsn = dsn
        self._numbers = itertools.count()

    async def open(self) -> None:
        # One connection for each caller, and no pool's work in between.
        self._free = [await AsyncConnection.connect(self._dsn, autocommit=True) for _ in range(CLIENTS)]
        await self._free[0].execute(
            "CREATE TABLE IF NOT EXISTS raw_checkpoints "
            "(thread_id text, number bigint, data bytea, PRIMARY KEY (thread_id, number))"
        )
        await self._free[0].execute("ALTER TABLE raw_checkpoints ALTER data SET STORAGE EXTERNAL")

    async def save(self, thread_id: str) -> None:
        connection = self._free.pop()
        await connection.execute(
            "INSERT INTO raw_checkpoints VALUES (%s, %s, %s)",
            (f"{self.role} {thread_id}", next(self._numbers), self.encoded()),
        )
        self._free.append(connection)

    async def load(self, thread_id: str) -> object | None:
        connection = self._free.pop()
        cursor = await connection.execute(
            "SELECT data FROM raw_checkpoints WHERE thread_id = %s ORDER BY number DESC LIMIT 1",
            (f"{self.role} {thread_id}",),
            binary=True,
        )
        row = await cursor.fetchone()
        self._free.append(connection)
        return row and self.decoded(row[0])

    async def close(self) -> None:
        for connection in self._free:
            await connection.close()


@asynccontextmanager
async def suite(state: AgentState) -> AsyncIterator[Suite]:
    """Everything that stores in PostgreSQL."""
    with PostgreSQLServer() as server:
        dsn = server.dsn()
        async with _pool(dsn) as pool:
            yield Suite(
                title=f"PostgreSQL {server.version}",
                contenders=[
                    RawPostgreSQL(state, dsn, "raw"),
                    RawPostgreSQL(state, dsn, "floor"),
                    Checkpointer(
                        state, "locus-sdk postgresql", "peer", locus_checkpointer(dsn=dsn, schema_name="locus_sdk")
                    ),
                    Checkpointer(state, "locus-sdk PgCheckpointer", "peer", PgCheckpointer(dsn, schema="locus_pg")),
                    LangGraph(state, "LangGraph postgres", AsyncPostgresSaver(pool)),
                    Checkpointer(state, "locus-memory", "ours", postgresql_checkpointer(dsn, schema="locus_memory")),
                    LangGraph(state, OUR_SAVER, LangGraphSaver(postgresql_checkpointer(dsn, schema="saver")), "saver"),
                ],
                p50_bound=1.3,
                throughput_bounds={"": 3.0},
                saver_peers="LangGraph",
                count_bytes=lambda: _sizes(server, state),
            )


async def _sizes(server: PostgreSQLServer, state: AgentState) -> dict[str, int]:
    theirs, ours = server.create_database("theirs"), server.create_database("ours")
    async with _pool(theirs.dsn()) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        sizes = await stored_bytes({"LangGraph postgres": saver}, state, lambda _: _size(theirs))
    checkpointer = postgresql_checkpointer(ours.dsn())
    async with checkpointer:
        sizes |= await stored_bytes({OUR_SAVER: LangGraphSaver(checkpointer)}, state, lambda _: _size(ours))
    return sizes


def _size(database: Database) -> int:
    """Tables with their indexes and everything that is stored beside them."""
    statement = "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_stat_user_tables"
    return int(database.execute(sql.SQL(statement))[0][0])


def _pool(dsn: str) -> AsyncConnectionPool[Any]:
    """Make the pool of LangGraph's saver, as its documentation has it."""
    options = {"autocommit": True, "prepare_threshold": 0}
    return AsyncConnectionPool(dsn, min_size=CLIENTS, max_size=CLIENTS, open=False, kwargs=options)
