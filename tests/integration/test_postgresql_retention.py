"""Retention on PostgreSQL: what it deletes, what it must not, and that savers go on meanwhile."""

import asyncio
import operator
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

import psycopg
import pytest
from langgraph.graph import END, START, StateGraph
from psycopg import AsyncConnection, sql

from locus_memory.backends.postgresql import PostgreSQLBackend, postgresql_checkpointer
from locus_memory.backends.postgresql_client import parse_dsn
from locus_memory.backends.postgresql_retention import BATCH_CHECKPOINTS, enforce_retention
from locus_memory.connection import Retention
from locus_memory.langgraph import LangGraphSaver
from locus_memory.storage import NewCheckpoint, PendingWrite
from tests.servers.postgresql import Database

DAY = 86_400
TABLES = ("locus_threads", "locus_checkpoints", "locus_parts", "locus_writes", "locus_search")


@pytest.fixture
def database(postgresql_database: Database) -> Database:
    return postgresql_database


@pytest.fixture
async def storage(database: Database) -> AsyncIterator[PostgreSQLBackend]:
    backend = PostgreSQLBackend(parse_dsn(database.dsn()))
    yield backend
    await backend.close()


async def enforce(database: Database, *, seconds: float = 20, **policy: int) -> int:
    async with await AsyncConnection.connect(database.dsn(), autocommit=True) as connection:
        return await enforce_retention(connection, "public", Retention(**policy), seconds=seconds)


async def save(storage: PostgreSQLBackend, thread: str, *names: str, parts: tuple[str, ...] = ()) -> None:
    """Save checkpoints, each with a part of its own and those that are there already."""
    for name in names:
        await storage.put(NewCheckpoint(thread, name, b"", {}, parts={name: b""}, part_names=(name, *parts)))


def age(database: Database, interval: str, where: str = "true", table: str = "locus_checkpoints") -> None:
    column = "created_at" if table == "locus_checkpoints" else "written_at"
    text = sql.SQL(where)  # texts of this module
    statement = sql.SQL("UPDATE {} SET {} = now() - {}::interval WHERE {}")
    database.execute(statement.format(sql.Identifier(table), sql.Identifier(column), interval, text))


def count(database: Database, table: str) -> int:
    [[found]] = database.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
    return int(found)


# --- what goes ---


async def test_what_is_older_goes_and_what_is_younger_stays(storage: PostgreSQLBackend, database: Database) -> None:
    await save(storage, "t", "older", "younger", "new")
    age(database, "1 day 1 second", "checkpoint_id = 'older'")
    age(database, "23 hours 59 minutes", "checkpoint_id = 'younger'")
    assert await enforce(database, max_age_seconds=DAY) == 1
    assert [each.checkpoint_id for each in await storage.list_checkpoints("t", 9)] == ["new", "younger"]
    assert await enforce(database, max_age_seconds=DAY) == 0


async def test_the_newest_of_a_thread_falls_and_the_thread_goes_on(
    storage: PostgreSQLBackend, database: Database
) -> None:
    await save(storage, "t", "a", "b")
    await storage.search(["nothing"], 1, lambda _: "words")
    age(database, "2 days")
    assert await enforce(database, max_age_seconds=DAY) == 2
    assert {table: count(database, table) for table in TABLES} == dict.fromkeys(TABLES, 0)
    assert await storage.get("t") is None
    assert await storage.list_threads(9) == []
    await save(storage, "t", "c")
    found = await storage.get("t")
    assert found is not None
    assert found.summary.checkpoint_id == "c"


async def test_where_only_the_newest_is_old_the_one_before_becomes_the_latest(
    storage: PostgreSQLBackend, database: Database
) -> None:
    await save(storage, "t", "a", "imported")
    await storage.search(["nothing"], 1, lambda _: "words of the imported one")
    age(database, "2 days", "checkpoint_id = 'imported'")
    assert await enforce(database, max_age_seconds=DAY) == 1
    assert count(database, "locus_search") == 0
    found = await storage.get("t")
    assert found is not None
    assert found.summary.checkpoint_id == "a"


@pytest.mark.parametrize("keep", [1, 3])
async def test_the_newest_of_each_thread_stay(storage: PostgreSQLBackend, database: Database, keep: int) -> None:
    names = [f"c{number}" for number in range(5)]
    await save(storage, "t", *names)
    await save(storage, "other", *names[:keep])
    await storage.put(NewCheckpoint("t", "sub", b"", {}, namespace="sub"))
    assert await enforce(database, max_checkpoints_per_thread=keep) == 5 - keep
    assert [each.checkpoint_id for each in await storage.list_checkpoints("t", 9)] == names[::-1][:keep]
    assert len(await storage.list_checkpoints("other", 9)) == keep
    assert len(await storage.list_checkpoints("t", 9, namespace="sub")) == 1
    assert await enforce(database, max_checkpoints_per_thread=keep) == 0


async def test_both_rules_are_kept(storage: PostgreSQLBackend, database: Database) -> None:
    await save(storage, "t", "a", "b", "c")
    await save(storage, "old", "a")
    age(database, "2 days", "checkpoint_id = 'a'")
    assert await enforce(database, max_age_seconds=DAY, max_checkpoints_per_thread=1) == 3
    assert [each.checkpoint_id for each in await storage.list_checkpoints("t", 9)] == ["c"]
    assert await storage.list_threads(9) == ["t"]


async def test_no_rule_deletes_nothing(storage: PostgreSQLBackend, database: Database) -> None:
    await save(storage, "t", "a", "b")
    age(database, "10 years")
    assert await enforce(database) == 0
    assert count(database, "locus_checkpoints") == 2


# --- what belongs to a checkpoint ---


async def test_parts_go_with_the_last_checkpoint_that_needs_them(
    storage: PostgreSQLBackend, database: Database
) -> None:
    await save(storage, "t", "a")
    await save(storage, "t", "b", parts=("a",))
    await save(storage, "t", "c")
    await save(storage, "other", "a")
    age(database, "2 days", "checkpoint_id = 'a' AND thread_key = (SELECT min(thread_key) FROM locus_threads)")
    assert await enforce(database, max_age_seconds=DAY) == 1
    found, latest = await storage.get_complete("t", ["b", "c"])
    assert (found.parts, latest.parts) == ({"a": b"", "b": b""}, {"c": b""})
    age(database, "2 days", "checkpoint_id = 'b'")
    assert await enforce(database, max_age_seconds=DAY) == 1
    left = database.execute(sql.SQL("SELECT name FROM locus_parts ORDER BY name"))
    assert left == [("a",), ("c",)], "that of the other thread, and the latest's"


async def test_pending_writes_go_with_their_checkpoint(storage: PostgreSQLBackend, database: Database) -> None:
    await save(storage, "t", "a", "b")
    for name in ("a", "b"):
        await storage.put_writes("t", name, [PendingWrite("task", 0, "channel", b"")])
    age(database, "2 days", "checkpoint_id = 'a'")
    await enforce(database, max_age_seconds=DAY)
    assert await storage.get_writes("t", "a") == []
    assert len(await storage.get_writes("t", "b")) == 1


async def test_writes_ahead_of_their_checkpoint_stay_while_they_are_young(
    storage: PostgreSQLBackend, database: Database
) -> None:
    await save(storage, "t", "a")
    await storage.put_writes("t", "next", [PendingWrite("task", 0, "channel", b"")])
    await storage.put_writes("never saved", "next", [PendingWrite("task", 0, "channel", b"")])
    age(database, "2 days")
    assert await enforce(database, max_age_seconds=DAY) == 1
    assert len(await storage.get_writes("t", "next")) == 1
    assert await storage.list_threads(9) == []
    age(database, "2 days", table="locus_writes")
    await enforce(database, max_age_seconds=DAY)
    assert count(database, "locus_writes") == count(database, "locus_threads") == 0


async def test_a_checkpoint_that_arrives_after_its_writes_finds_them(
    storage: PostgreSQLBackend, database: Database
) -> None:
    await save(storage, "t", "a")
    await storage.put_writes("t", "b", [PendingWrite("task", 0, "channel", b"")])
    age(database, "2 days")
    await enforce(database, max_age_seconds=DAY)
    await save(storage, "t", "b")
    [found] = await storage.get_complete("t")
    assert (found.summary.checkpoint_id, len(found.writes)) == ("b", 1)


# --- beside savers ---


async def test_it_passes_over_a_thread_that_is_being_written_to(storage: PostgreSQLBackend, database: Database) -> None:
    await save(storage, "busy", "a")
    await save(storage, "idle", "a")
    age(database, "2 days")
    with psycopg.connect(database.dsn()) as saver:
        saver.execute("SELECT FROM locus_threads WHERE thread_id = 'busy' FOR UPDATE")
        async with asyncio.timeout(5):
            assert await enforce(database, max_age_seconds=DAY) == 1
    assert await storage.list_threads(9) == ["busy"]
    assert await enforce(database, max_age_seconds=DAY) == 1


@asynccontextmanager
async def retention_going_on(
    database: Database, age_where: str | None = None, **policy: int
) -> AsyncIterator[list[int]]:
    """Enforce a policy again and again, and, if asked to, age rows before each run; yields what runs have deleted."""
    deleted: list[int] = []

    async def run() -> None:
        async with await AsyncConnection.connect(database.dsn(), autocommit=True) as connection:
            while True:
                if age_where is not None:
                    await connection.execute(AGE.format(sql.SQL(age_where)))
                deleted.append(await enforce_retention(connection, "public", Retention(**policy), seconds=20))

    task = asyncio.create_task(run())
    try:
        yield deleted
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


AGE = sql.SQL("UPDATE locus_checkpoints c SET created_at = now() - interval '2 days' WHERE {}")
NOT_THE_LATEST = """created_at > now() - interval '1 day'
    AND checkpoint_id <> (SELECT latest_checkpoint FROM locus_threads t WHERE t.thread_key = c.thread_key)"""


@pytest.mark.parametrize(
    ("policy", "aged"), [({"max_checkpoints_per_thread": 2}, None), ({"max_age_seconds": DAY}, NOT_THE_LATEST)]
)
async def test_savers_lose_nothing_that_is_to_stay(
    database: Database, policy: dict[str, int], aged: str | None
) -> None:
    async with postgresql_checkpointer(database.dsn(), state_type=dict) as checkpointer:
        await checkpointer.save({}, "first")

        async def converse(thread: str) -> None:
            for turn in range(25):
                await checkpointer.save({"turn": turn}, thread, f"c{turn:02}")
                assert await checkpointer.load(thread) == {"turn": turn}

        async with retention_going_on(database, aged, **policy) as deleted:
            await asyncio.gather(*(converse(f"thread {number}") for number in range(8)))
        assert sum(deleted) > 0
        await enforce(database, **policy)
        for number in range(8):
            assert await checkpointer.load(f"thread {number}") == {"turn": 24}
            found = await checkpointer.list_checkpoints(f"thread {number}", 99)
            assert found == ["c24", "c23"] if aged is None else found[0] == "c24"


class Log(TypedDict):
    """State of a graph, whose constant channel is a part that all of a thread's checkpoints share."""

    constant: str
    log: Annotated[list[int], operator.add]


def counting_graph(saver: LangGraphSaver, steps: int) -> Any:
    builder = StateGraph(Log)
    for step in range(steps):
        builder.add_node(f"s{step}", lambda _, step=step: {"log": [step]})
        builder.add_edge(f"s{step - 1}" if step else START, f"s{step}")
    builder.add_edge(f"s{steps - 1}", END)
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize(
    ("policy", "aged"), [({"max_checkpoints_per_thread": 1}, None), ({"max_age_seconds": DAY}, NOT_THE_LATEST)]
)
async def test_graphs_with_shared_parts_keep_their_whole_state(
    database: Database, policy: dict[str, int], aged: str | None
) -> None:
    saver, constant = LangGraphSaver(postgresql_checkpointer(database.dsn())), "x" * 5_000
    graph = counting_graph(saver, steps=12)
    await graph.ainvoke({"constant": constant, "log": []}, {"configurable": {"thread_id": "first"}})

    async def converse(config: dict[str, Any]) -> None:
        for _ in range(2):
            await graph.ainvoke({"constant": constant, "log": []}, config)

    configs = [{"configurable": {"thread_id": f"thread {number}"}} for number in range(4)]
    async with retention_going_on(database, aged, **policy) as deleted:
        await asyncio.gather(*(converse(config) for config in configs))
    assert sum(deleted) > 0
    for config in configs:
        values = (await graph.aget_state(config)).values
        assert values == {"constant": constant, "log": [*range(12), *range(12)]}
    await saver.aclose()


async def test_a_graph_goes_on_when_all_that_it_had_has_fallen(database: Database) -> None:
    saver = LangGraphSaver(postgresql_checkpointer(database.dsn()))
    graph, config = counting_graph(saver, steps=2), {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"constant": "x", "log": []}, config)
    age(database, "2 days")
    assert await enforce(database, max_age_seconds=DAY) > 0
    assert (await graph.aget_state(config)).values == {}
    result = await graph.ainvoke({"constant": "x", "log": []}, config)
    assert result["log"] == [0, 1]
    await saver.aclose()


# --- at size ---


async def test_a_hundred_thousand_in_one_run_by_the_index(storage: PostgreSQLBackend, database: Database) -> None:
    await save(storage, "t", "makes the tables")
    database.execute(
        sql.SQL("""
        INSERT INTO locus_threads (thread_id, namespace, last_sequence, latest_checkpoint)
            SELECT 'thread ' || n, '', 110, 'c110' FROM generate_series(1, 1000) n;
        INSERT INTO locus_checkpoints (thread_key, sequence, checkpoint_id, metadata, payload, parts, created_at)
            SELECT thread_key, n, 'c' || n, '{}', '\\x00', ARRAY['p' || n, 'p' || n + 1],
                CASE WHEN n <= 100 THEN now() - interval '2 days' ELSE now() END
            FROM generate_series(1, 110) n, locus_threads WHERE thread_id <> 't';
        INSERT INTO locus_parts SELECT thread_key, 'p' || n, '\\x00'
            FROM locus_threads, generate_series(1, 111) n WHERE thread_id <> 't'
        """)
    )
    database.execute(sql.SQL("VACUUM ANALYZE"))
    started = time.monotonic()
    assert await enforce(database, max_age_seconds=DAY) == 100_000
    print(f"100,000 checkpoints and 100,000 parts in {time.monotonic() - started:.1f} s")
    assert (count(database, "locus_checkpoints"), count(database, "locus_parts")) == (10_001, 11_001)


async def test_what_is_old_is_found_by_the_index(storage: PostgreSQLBackend, database: Database) -> None:
    await save(storage, "t", "makes the tables")
    database.execute(
        sql.SQL("""
        INSERT INTO locus_threads (thread_id, namespace, last_sequence, latest_checkpoint)
            SELECT 'thread ' || n, '', 100, 'c100' FROM generate_series(1, 1000) n;
        INSERT INTO locus_checkpoints (thread_key, sequence, checkpoint_id, metadata, payload, created_at)
            SELECT thread_key, n, 'c' || n, '{}', '\\x00', now() - interval '3 days' + n * interval '30 minutes'
            FROM generate_series(1, 100) n, locus_threads WHERE thread_id <> 't' ORDER BY n
        """)
    )
    database.execute(sql.SQL("VACUUM ANALYZE"))
    before = scans(database)
    assert await enforce(database, max_age_seconds=3 * DAY - 2 * 1800 - 900) == 2_000
    after = scans(database)
    assert after["locus_checkpoints_created_at"] > before["locus_checkpoints_created_at"]
    assert after["locus_checkpoints"] == before["locus_checkpoints"], "no table is read from end to end"


def scans(database: Database) -> dict[str, int]:
    """How often each index was used, and how often tables were read from end to end."""
    query = """SELECT indexrelname, idx_scan FROM pg_stat_user_indexes
        UNION ALL SELECT relname, seq_scan FROM pg_stat_user_tables"""
    return {str(name): int(number) for name, number in database.execute(sql.SQL(query))}


async def test_a_run_ends_when_its_time_is_over_and_the_next_goes_on(
    storage: PostgreSQLBackend, database: Database
) -> None:
    await save(storage, "t", *(f"c{number}" for number in range(3)))
    age(database, "2 days")
    assert await enforce(database, seconds=0, max_age_seconds=DAY, max_checkpoints_per_thread=1) == 0
    assert await enforce(database, max_age_seconds=DAY) == 3


async def test_a_thread_of_any_length_is_cut_in_short_transactions(
    storage: PostgreSQLBackend, database: Database
) -> None:
    await save(storage, "t", "makes the tables")
    database.execute(
        sql.SQL("""
        UPDATE locus_threads SET last_sequence = 10000, latest_checkpoint = 'c10000';
        INSERT INTO locus_checkpoints (thread_key, sequence, checkpoint_id, metadata, payload)
            SELECT thread_key, n, 'c' || n, '{}', '\\x00' FROM generate_series(2, 10000) n, locus_threads
        """)
    )
    [[before]] = database.execute(sql.SQL("SELECT pg_current_xact_id()::text::bigint"))
    assert await enforce(database, max_checkpoints_per_thread=5) == 9_995
    [[after]] = database.execute(sql.SQL("SELECT pg_current_xact_id()::text::bigint"))
    assert after - before > 9_995 // BATCH_CHECKPOINTS
    assert [each.checkpoint_id for each in await storage.list_checkpoints("t", 9)] == [
        f"c{number}" for number in range(10_000, 9_995, -1)
    ]
