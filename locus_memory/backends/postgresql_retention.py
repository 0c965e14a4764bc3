"""Deletes on PostgreSQL what a retention policy no longer allows, beside savers that go on.

Each batch is one short transaction in one round trip. It passes over threads that a saver is writing to, and holds a
saver up for as long as its few statements take. Ages are by the clock of the database, which is also what writes
`created_at`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, sql

from locus_memory.connection import Retention

BATCH_CHECKPOINTS: Final = 2_000
"""Most checkpoints that one transaction deletes."""
BATCH_THREADS: Final = 100
"""Most threads that one transaction locks."""

_CANDIDATES: Final = 20_000
_WINDOW_THREADS: Final = 2_000

# The threads of a batch are handed on within the transaction, so that no statement waits for the client.
_BATCH: Final = "current_setting('locus.batch')::bigint[]"
_OLD: Final = "c.created_at < %(before)s"
_SURPLUS: Final = "c.sequence < kept.sequence"
_KEPT: Final = """LEFT JOIN LATERAL (
                SELECT sequence FROM {checkpoints} WHERE thread_key = t.thread_key
                ORDER BY sequence DESC OFFSET %(keep)s::bigint - 1 LIMIT 1
            ) kept ON true"""

_TEXTS: Final = {
    "now": "SELECT clock_timestamp() - %(seconds)s * interval '1 second'",
    "old": """SELECT DISTINCT thread_key FROM (
            (SELECT c.thread_key FROM {checkpoints} c WHERE {old} LIMIT {candidates})
            UNION ALL
            (SELECT w.thread_key FROM {writes} w WHERE {abandoned} LIMIT {candidates})
        ) found ORDER BY thread_key""",
    "last_thread": "SELECT coalesce(max(thread_key), 0) FROM {threads}",
    # No thread has more checkpoints than it has had saves.
    "surplus": """SELECT max(thread_key), coalesce(array_agg(thread_key) FILTER (WHERE surplus), '{{}}') FROM (
            SELECT t.thread_key, t.last_sequence > %(keep)s AND EXISTS (
                SELECT FROM {checkpoints} c WHERE c.thread_key = t.thread_key
                ORDER BY c.sequence DESC OFFSET %(keep)s LIMIT 1) AS surplus
            FROM {threads} t WHERE t.thread_key > %(after)s ORDER BY t.thread_key LIMIT {window}
        ) walked""",
    "lock": """SELECT set_config('locus.batch', coalesce(array_agg(thread_key), '{{}}')::text, true) FROM (
            SELECT thread_key FROM {threads} WHERE thread_key = ANY(%(keys)s) FOR UPDATE SKIP LOCKED) locked""",
    "delete": """WITH doomed AS MATERIALIZED (
            SELECT c.thread_key, c.sequence, c.checkpoint_id
            FROM unnest({batch}) AS t (thread_key) {kept} JOIN {checkpoints} c USING (thread_key)
            WHERE {rules} LIMIT {limit}
        ), of_them AS (
            DELETE FROM {writes} w USING doomed d
            WHERE w.thread_key = d.thread_key AND w.checkpoint_id = d.checkpoint_id
        )
        DELETE FROM {checkpoints} c USING doomed d WHERE c.thread_key = d.thread_key AND c.sequence = d.sequence""",
    "delete_abandoned": "DELETE FROM {writes} w WHERE w.thread_key = ANY({batch}) AND {abandoned}",
    "delete_parts": """WITH needed AS MATERIALIZED (
            SELECT c.thread_key, unnest(c.parts) AS name FROM {checkpoints} c WHERE c.thread_key = ANY({batch})
        )
        DELETE FROM {parts} p WHERE p.thread_key = ANY({batch}) AND NOT EXISTS (
            SELECT FROM needed n WHERE n.thread_key = p.thread_key AND n.name = p.name)""",
    "delete_words": """DELETE FROM {search} s WHERE s.thread_key = ANY({batch}) AND NOT EXISTS (
            SELECT FROM {checkpoints} c
            WHERE c.thread_key = s.thread_key AND c.checkpoint_id = s.latest_checkpoint)""",
    "delete_threads": """DELETE FROM {threads} t WHERE t.thread_key = ANY({batch})
            AND NOT EXISTS (SELECT FROM {checkpoints} c WHERE c.thread_key = t.thread_key)
            AND NOT EXISTS (SELECT FROM {writes} w WHERE w.thread_key = t.thread_key)""",
    # A thread that keeps young writes alone is one that waits for its first checkpoint.
    "step_back": """UPDATE {threads} t SET latest_checkpoint = coalesce(
            (SELECT checkpoint_id FROM {checkpoints} c WHERE c.thread_key = t.thread_key
             ORDER BY sequence DESC LIMIT 1), '')
        WHERE t.thread_key = ANY({batch}) AND NOT EXISTS (
            SELECT FROM {checkpoints} c
            WHERE c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint)""",
}
_ABANDONED: Final = """w.written_at < %(before)s AND NOT EXISTS (
            SELECT FROM {checkpoints} c WHERE c.thread_key = w.thread_key AND c.checkpoint_id = w.checkpoint_id)"""


async def enforce_retention(
    connection: AsyncConnection[Any], schema: str, retention: Retention, *, role: str | None = None, seconds: float
) -> int:
    """Delete checkpoints, what belongs to them alone, and threads that are left empty.

    Args:
        connection: In autocommit mode, with no transaction open; its login may act as `role`.
        schema: Where the tables are.
        retention: The policy; a rule that is None deletes nothing.
        role: Owner of the tables, or None to go on as the login.
        seconds: No batch starts later than this; the next run goes on.

    Returns:
        How many checkpoints are gone.

    Raises:
        psycopg.Error: Batches that were committed stay so.
    """
    return await _Run(connection, schema, retention, role, monotonic() + seconds).delete()


class _Run:
    def __init__(
        self, connection: AsyncConnection[Any], schema: str, retention: Retention, role: str | None, end: float
    ) -> None:
        self._connection = connection
        self._retention = retention
        self._role = role
        self._end = end
        self._texts = _compose(schema, retention)
        self._parameters: dict[str, Any] = {"keep": retention.max_checkpoints_per_thread}
        self._deleted = 0

    async def delete(self) -> int:
        if self._retention.max_age_seconds is not None:
            await self._delete_old(self._retention.max_age_seconds)
        if self._retention.max_checkpoints_per_thread is not None:
            await self._delete_surplus()
        return self._deleted

    async def _delete_old(self, max_age_seconds: int) -> None:
        [[self._parameters["before"]]] = await self._fetch("now", {"seconds": max_age_seconds})
        while self._has_time and (rows := await self._fetch("old")):
            # What nothing could be done about is in use, and waits for the next run.
            if not await self._delete_of([key for [key] in rows]):
                break

    async def _delete_surplus(self) -> None:
        # From anywhere: a run whose time is not enough for all threads must not always miss the same ones.
        [[last]] = await self._fetch("last_thread")
        start = random.randint(0, last)  # noqa: S311 - no secret
        for after, until in ((start, last), (0, start)):
            position: int | None = after
            while self._has_time and position is not None and position < until:
                [[position, threads]] = await self._fetch("surplus", {"after": position})
                await self._delete_of(threads)

    @property
    def _has_time(self) -> bool:
        return monotonic() < self._end

    async def _delete_of(self, threads: Sequence[int]) -> int:
        """Delete what the rules say of these threads; returns how many checkpoints and abandoned writes are gone."""
        total = 0
        for first in range(0, len(threads), BATCH_THREADS):
            count = BATCH_CHECKPOINTS
            while self._has_time and count >= BATCH_CHECKPOINTS:
                count = await self._delete_batch(threads[first : first + BATCH_THREADS])
                total += count
        return total

    async def _delete_batch(self, threads: Sequence[int]) -> int:
        """Run one transaction; each of its statements sees what was committed before the threads were locked."""
        names = ["delete_parts", "delete_words", "delete_threads", "step_back"]
        parameters = self._parameters | {"keys": list(threads)}
        execute, abandoned = self._connection.execute, None
        try:
            async with self._connection.pipeline():
                await execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                await self._act_as_owner()
                await execute(self._texts["lock"], parameters)
                gone = await execute(self._texts["delete"], parameters)
                if "before" in self._parameters:
                    abandoned = await execute(self._texts["delete_abandoned"], parameters)
                for name in names:
                    await execute(self._texts[name], parameters)
                await execute("COMMIT")
        except psycopg.Error:
            await self._connection.rollback()
            raise
        self._deleted += gone.rowcount
        return gone.rowcount + (abandoned.rowcount if abandoned is not None else 0)

    async def _act_as_owner(self) -> None:
        if self._role is not None:
            await self._connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(self._role)))

    async def _fetch(self, name: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        async with self._connection.transaction():
            await self._act_as_owner()
            cursor = await self._connection.execute(self._texts[name], self._parameters | (parameters or {}))
            return await cursor.fetchall()


def _compose(schema: str, retention: Retention) -> dict[str, bytes]:
    tables = {name: sql.Identifier(schema, f"locus_{name}") for name in ("threads", "checkpoints", "parts", "writes")}
    tables["search"] = sql.Identifier(schema, "locus_search")
    limited = retention.max_checkpoints_per_thread is not None
    rules = [_OLD] * (retention.max_age_seconds is not None) + [_SURPLUS] * limited
    fragments: dict[str, sql.Composable] = {
        **tables,
        "old": sql.SQL(_OLD),
        "abandoned": sql.SQL(_ABANDONED).format(**tables),
        "rules": sql.SQL(" OR ".join(rules) or "false"),
        "kept": sql.SQL(_KEPT if limited else "").format(**tables),
        "batch": sql.SQL(_BATCH),
        "limit": sql.Literal(BATCH_CHECKPOINTS),
        "candidates": sql.Literal(_CANDIDATES),
        "window": sql.Literal(_WINDOW_THREADS),
    }
    return {name: sql.SQL(text).format(**fragments).as_string().encode() for name, text in _TEXTS.items()}
