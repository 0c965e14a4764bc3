"""What is compared: raw drivers, locus-sdk's checkpointers, LangGraph's savers, and this library.

Each contender gets the same conversation in the form that it takes, and saves a new checkpoint each time.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any, Literal

import redis.asyncio
from locus.core.state import AgentState
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

Role = Literal["raw", "floor", "peer", "ours"]
"""What figures are compared as; `floor` is a raw driver that also turns the state into bytes and back."""


CLIENTS = 8
"""Concurrent callers in the measurement of throughput."""


class Contender(ABC):
    """Saves and loads the conversation under a thread id; `role` says what its figures are compared as."""

    name: str
    role: Role

    def __init__(self, state: AgentState) -> None:
        self.state = state

    @abstractmethod
    async def open(self) -> None:
        """Connect, and create what is needed."""

    @abstractmethod
    async def save(self, thread_id: str) -> None:
        """Save the conversation as a new checkpoint."""

    @abstractmethod
    async def load(self, thread_id: str) -> object | None:
        """Load the latest checkpoint."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""


class RawDriver(Contender):
    """A driver without a library around it."""

    def __init__(self, state: AgentState, driver: str, role: Literal["raw", "floor"]) -> None:
        super().__init__(state)
        self.name = f"raw {driver}" if role == "raw" else f"{driver} and pydantic"
        self.role = role
        self._data = state.model_dump_json().encode()

    def encoded(self) -> bytes:
        """Return the conversation as JSON: made beforehand for `raw`, and on each call for `floor`."""
        return self._data if self.role == "raw" else self.state.model_dump_json().encode()

    def decoded(self, data: Any) -> object:
        """Return what a caller of `load` wants: for `raw` the bytes alone."""
        return data if self.role == "raw" else AgentState.model_validate_json(data)


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


class RawRedis(RawDriver):
    """redis-py with SET and GET of the conversation's JSON."""

    def __init__(self, state: AgentState, url: str, role: Literal["raw", "floor"]) -> None:
        super().__init__(state, "redis-py", role)
        self._url = url

    async def open(self) -> None:
        self._client = redis.asyncio.Redis.from_url(self._url)

    async def save(self, thread_id: str) -> None:
        await self._client.set(f"{self.role}:{thread_id}", self.encoded())

    async def load(self, thread_id: str) -> object | None:
        data = await self._client.get(f"{self.role}:{thread_id}")
        return data and self.decoded(data)

    async def close(self) -> None:
        await self._client.aclose()


class Checkpointer(Contender):
    """Any checkpointer with locus-sdk's `save` and `load`: its own ones, and ours."""

    def __init__(self, state: AgentState, name: str, role: Role, checkpointer: Any) -> None:
        super().__init__(state)
        self.name, self.role = name, role
        self._checkpointer = checkpointer

    async def open(self) -> None:
        await self._checkpointer.save(self.state, "warm-up")

    async def save(self, thread_id: str) -> None:
        await self._checkpointer.save(self.state, thread_id)

    async def load(self, thread_id: str) -> object | None:
        loaded: object | None = await self._checkpointer.load(thread_id)
        return loaded

    async def close(self) -> None:
        await self._checkpointer.close()


class LangGraph(Contender):
    """A LangGraph saver: the conversation as one channel whose version changes with each checkpoint."""

    role: Role = "peer"

    def __init__(self, state: AgentState, name: str, saver: Any) -> None:
        super().__init__(state)
        self.name = name
        self._saver = saver
        self._messages = [message.model_dump(mode="json") for message in state.messages]
        self._numbers = itertools.count(1)

    async def open(self) -> None:
        if hasattr(self._saver, "setup"):
            await self._saver.setup()

    async def save(self, thread_id: str) -> None:
        from langgraph.checkpoint.base import empty_checkpoint

        version = f"{next(self._numbers):032}.0"
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"messages": self._messages}
        checkpoint["channel_versions"] = {"messages": version}
        await self._saver.aput(
            {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}, checkpoint, {}, {"messages": version}
        )

    async def load(self, thread_id: str) -> object | None:
        loaded: object | None = await self._saver.aget_tuple({"configurable": {"thread_id": thread_id}})
        return loaded

    async def close(self) -> None:
        """The saver's connections are closed by whoever made them."""


def postgresql_contenders(state: AgentState, dsn: str, pool: AsyncConnectionPool[Any]) -> list[Contender]:
    """Return everything that stores in PostgreSQL; `pool` is for LangGraph's saver, as its documentation has it."""
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from locus.memory.backends.adapters import postgresql_checkpointer as locus_checkpointer
    from locus.memory.backends.pg_checkpointer import PgCheckpointer

    from locus_memory.backends import postgresql_checkpointer

    return [
        RawPostgreSQL(state, dsn, "raw"),
        RawPostgreSQL(state, dsn, "floor"),
        Checkpointer(state, "locus-sdk postgresql", "peer", locus_checkpointer(dsn=dsn, schema_name="locus_sdk")),
        Checkpointer(state, "locus-sdk PgCheckpointer", "peer", PgCheckpointer(dsn, schema="locus_pg")),
        LangGraph(state, "LangGraph postgres", AsyncPostgresSaver(pool)),
        Checkpointer(state, "locus-memory", "ours", postgresql_checkpointer(dsn, schema="locus_memory")),
    ]


def redis_contenders(state: AgentState, url: str) -> list[Contender]:
    """Return everything that stores in Redis."""
    from langgraph_checkpoint_plainredis import AsyncRedisSaver
    from locus.memory.backends.adapters import redis_checkpointer as locus_checkpointer

    from locus_memory.backends import redis_checkpointer

    return [
        RawRedis(state, url, "raw"),
        RawRedis(state, url, "floor"),
        Checkpointer(state, "locus-sdk redis", "peer", locus_checkpointer(url=url)),
        LangGraph(state, "LangGraph plain Redis", AsyncRedisSaver(url=url)),
        Checkpointer(state, "locus-memory", "ours", redis_checkpointer(url, key_prefix="locus-memory:")),
    ]
