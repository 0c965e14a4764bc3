"""A checkpointer of your own: conversations in one SQLite file.

Five methods make a checkpointer; this one has two optional operations as well, and says so in `capabilities`.
`locus_memory.testing` brings the tests that the library's own backends pass:

    pip install "locus-memory[testing]" locus-sdk
    pytest examples/test_own_checkpointer.py

Pass it to an agent as it is: `Agent(..., checkpointer=SQLiteCheckpointer("threads.db"))`.
"""

import asyncio
import re
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from locus_memory.arguments import check_id, check_ids, check_limit, checked_metadata, utf8_size
from locus_memory.checkpointer import UNCHECKED, BaseCheckpointer, CheckpointerCapabilities
from locus_memory.codec import StateCodec
from locus_memory.errors import BackendUnavailableError, CheckpointConflictError

T = TypeVar("T")

# Ids are bytes: a text column would fold nothing either, but some functions of SQLite stop at a U+0000 in a text.
# The number gives the order of writes; AUTOINCREMENT never hands one out twice.
TABLE = """
CREATE TABLE IF NOT EXISTS checkpoints (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    thread_id BLOB NOT NULL,
    checkpoint_id BLOB NOT NULL,
    state BLOB NOT NULL,
    metadata BLOB NOT NULL,
    UNIQUE (thread_id, checkpoint_id)
)
"""


class SQLiteCheckpointer(BaseCheckpointer):
    """Keeps all threads in one SQLite file, for the processes of one machine.

    Args:
        path: The file; created with the first call.
        state_type: What `load` returns; see `locus_memory.codec.StateCodec`.
    """

    def __init__(self, path: str | Path, *, state_type: Any = None) -> None:
        self._path = Path(path).absolute()
        self._codec = StateCodec(state_type)

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        return CheckpointerCapabilities(list_threads=True, persistent_checkpoint_ids=True)

    async def save(
        self,
        state: Any,
        thread_id: str,
        checkpoint_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        expected_checkpoint_id: Any = UNCHECKED,
    ) -> str:
        check_ids(thread_id, checkpoint_id)
        checkpoint_id = checkpoint_id or uuid.uuid4().hex
        # Everything that can be wrong with the arguments comes to light before anything is written.
        payload, details = self._codec.encode(state), self._codec.encode(checked_metadata(metadata))
        key = (thread_id.encode(), checkpoint_id.encode())

        def write(connection: sqlite3.Connection) -> None:
            latest = connection.execute(
                "SELECT checkpoint_id FROM checkpoints WHERE thread_id = ? ORDER BY number DESC LIMIT 1", key[:1]
            ).fetchone()
            found = latest[0].decode() if latest else None
            if expected_checkpoint_id is not UNCHECKED and found != expected_checkpoint_id:
                raise CheckpointConflictError(f"the latest checkpoint of {thread_id!r} is {found!r}")
            # REPLACE deletes the row of that id and inserts a new one: it becomes the latest.
            connection.execute(
                "REPLACE INTO checkpoints (thread_id, checkpoint_id, state, metadata) VALUES (?, ?, ?, ?)",
                (*key, payload, details),
            )

        await self._transaction(write)
        return checkpoint_id

    async def load(self, thread_id: str, checkpoint_id: str | None = None) -> Any | None:
        check_ids(thread_id, checkpoint_id)
        wanted, key = _where(thread_id, checkpoint_id)
        query = f"SELECT state FROM checkpoints WHERE {wanted} ORDER BY number DESC LIMIT 1"  # noqa: S608 - no input
        rows = await self._query(query, key)
        return self._codec.decode(rows[0][0]) if rows else None

    async def list_checkpoints(self, thread_id: str, limit: int = 10) -> list[str]:
        check_id("thread_id", thread_id)
        check_limit(limit)
        rows = await self._query(
            "SELECT checkpoint_id FROM checkpoints WHERE thread_id = ? ORDER BY number DESC LIMIT ?",
            (thread_id.encode(), limit),
        )
        return [row[0].decode() for row in rows]

    async def exists(self, thread_id: str, checkpoint_id: str | None = None) -> bool:
        check_ids(thread_id, checkpoint_id)
        wanted, key = _where(thread_id, checkpoint_id)
        return bool(await self._query(f"SELECT 1 FROM checkpoints WHERE {wanted} LIMIT 1", key))  # noqa: S608 - no input

    async def delete(self, thread_id: str, checkpoint_id: str | None = None) -> bool:
        check_ids(thread_id, checkpoint_id)
        wanted, key = _where(thread_id, checkpoint_id)
        statement = f"DELETE FROM checkpoints WHERE {wanted}"  # noqa: S608 - no input
        return await self._transaction(lambda connection: connection.execute(statement, key).rowcount > 0)

    async def list_threads(self, limit: int = 100, pattern: str = "*") -> list[str]:
        check_limit(limit)
        utf8_size("pattern", pattern)
        matching = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
        # Bytes sort as the contract wants it: by UTF-8, the same on every machine.
        rows = await self._query("SELECT DISTINCT thread_id FROM checkpoints ORDER BY thread_id", ())
        return [name for name in (row[0].decode() for row in rows) if matching.fullmatch(name)][:limit]

    async def close(self) -> None:
        """Nothing stays open between two calls."""

    async def _query(self, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return await self._transaction(lambda connection: connection.execute(statement, parameters).fetchall())

    async def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # SQLite blocks: never on the event loop.
        return await asyncio.to_thread(self._run, work)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with closing(sqlite3.connect(self._path, timeout=10, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(TABLE)
                result = work(connection)
                connection.execute("COMMIT")
                return result
        except sqlite3.OperationalError as error:
            # Never None or an empty list: the agent would start the conversation afresh, and overwrite it.
            raise BackendUnavailableError(f"SQLite file {self._path}: {error}") from error


def _where(thread_id: str, checkpoint_id: str | None) -> tuple[str, tuple[bytes, ...]]:
    if checkpoint_id is None:
        return "thread_id = ?", (thread_id.encode(),)
    return "thread_id = ? AND checkpoint_id = ?", (thread_id.encode(), checkpoint_id.encode())
