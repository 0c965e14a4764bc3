"""What Oracle does otherwise than other databases, one test for each; and what each call costs in round trips."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import oracledb
import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import oracle_checkpointer
from locus_memory.backends.oracle_search import MAX_TERMS
from locus_memory.errors import (
    AuthenticationError,
    BindingError,
    CheckpointConflictError,
    InvalidArgumentError,
    SchemaError,
)
from locus_memory.storage import NewCheckpoint
from tests.emulators.oracle import EmulatedConnection
from tests.servers.oracle import EmulatedOracle, OracleStore, RealOracle


@pytest.fixture
async def checkpointer(oracle_store: OracleStore) -> AsyncIterator[StorageBackendAdapter]:
    async with oracle_checkpointer(**oracle_store.arguments()) as opened:
        yield opened


@pytest.fixture
def emulated(oracle_database: EmulatedOracle | RealOracle) -> EmulatedOracle:
    """For what takes an administrator, or a look behind the driver."""
    if isinstance(oracle_database, RealOracle):
        pytest.skip("needs the emulator: it creates users, or counts what the driver does")
    return oracle_database


async def run(store: OracleStore, statement: str, **binds: Any) -> list[Any]:
    """Run a statement of a user's own; `<t>` stands for the table's name."""
    statement = statement.replace("<t>", store.table_name)
    arguments = {name: value for name, value in store.arguments().items() if name != "table_name"}
    connection = await oracledb.connect_async(**arguments)
    try:
        cursor = connection.cursor()
        await cursor.execute(statement, binds)
        return await cursor.fetchall() if statement.startswith("SELECT") else await connection.commit() or []
    finally:
        await connection.close()


async def test_the_empty_namespace_is_a_namespace_although_an_empty_string_is_null(
    checkpointer: StorageBackendAdapter, oracle_store: OracleStore
) -> None:
    await checkpointer.storage.put(NewCheckpoint("t", "c", b"1", {}, namespace=""))
    await checkpointer.storage.put(NewCheckpoint("t", "c", b"2", {}, namespace="sub"))
    stored = [await checkpointer.storage.get("t", namespace=namespace) for namespace in ("", "sub")]
    assert [(each.summary.namespace, each.payload) for each in stored if each] == [("", b"1"), ("sub", b"2")]
    rows = await run(oracle_store, "SELECT t.namespace FROM <t>_threads t ORDER BY t.namespace")
    assert [row[0] for row in rows] == [b"sub", None]


async def test_an_empty_payload_comes_back_although_it_is_null(checkpointer: StorageBackendAdapter) -> None:
    await checkpointer.storage.put(NewCheckpoint("t", "c", b"", {}))
    stored = await checkpointer.storage.get("t")
    assert stored is not None
    assert stored.payload == b""


@pytest.mark.parametrize("size", [2_000, 2_001, 4_001, 32_768, 1_000_000])
async def test_no_size_of_state_or_metadata_trips_ora_01461(checkpointer: StorageBackendAdapter, size: int) -> None:
    metadata = {"text": "é" * min(size, 30_000)}
    payload = secrets.token_bytes(size)
    for _ in range(2):  # inserted, then replaced
        await checkpointer.storage.put(NewCheckpoint("t", "c", payload, metadata))
    stored = await checkpointer.storage.get("t")
    assert stored is not None
    assert (stored.payload, stored.summary.metadata) == (payload, metadata)


async def test_a_long_pattern_trips_no_ora_01461(checkpointer: StorageBackendAdapter) -> None:
    await checkpointer.save({}, "t" * 1024)
    assert await checkpointer.list_threads(pattern="t" * 1024) == ["t" * 1024]
    for pattern in ("t*" * 512, "*t" * 512):
        assert await checkpointer.list_threads(pattern=pattern) == ["t" * 1024]
    assert await checkpointer.list_threads(pattern="t" * 5000) == []
    assert await checkpointer.list_threads(pattern="*" * 5000) == ["t" * 1024]


async def test_lobs_are_values_whatever_the_application_has_made_the_default(
    checkpointer: StorageBackendAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracledb.defaults, "fetch_lobs", True)
    await checkpointer.save({"n": 1}, "t", metadata={"tag": "x"})
    assert await checkpointer.load("t") == {"n": 1}
    assert await checkpointer.get_metadata("t") == {"tag": "x"}
    assert oracledb.defaults.fetch_lobs is True


async def test_a_save_repeated_after_an_unknown_outcome_is_no_ora_00001(checkpointer: StorageBackendAdapter) -> None:
    checkpoint = NewCheckpoint("t", "c", b"\x01{}", {"tags": ["x", "y"]})
    for _ in range(2):
        await checkpointer.storage.put(checkpoint)
    assert await checkpointer.list_checkpoints("t") == ["c"]
    assert len(await checkpointer.query_by_metadata("tags", "y")) == 1


async def test_users_query_metadata_and_ids_with_sql_of_their_own(
    checkpointer: StorageBackendAdapter, oracle_store: OracleStore
) -> None:
    await checkpointer.save({}, "user/ä", "c1", {"tag": "näher", "n": 1})
    await checkpointer.save({}, "other", "c2", {"tag": "y"})
    rows = await run(
        oracle_store,
        "SELECT UTL_RAW.CAST_TO_VARCHAR2(t.thread_id), JSON_VALUE(c.metadata, '$.tag') FROM <t> c "
        "JOIN <t>_threads t ON t.thread_key = c.thread_key WHERE JSON_VALUE(c.metadata, '$.tag') = :tag",
        tag="näher",
    )
    assert rows == [("user/ä", "näher")]


async def test_tables_of_an_owner_without_login_need_grants_only(
    checkpointer: StorageBackendAdapter, oracle_store: OracleStore, emulated: EmulatedOracle
) -> None:
    await checkpointer.save({"n": 1}, "t")
    emulated.lock(oracle_store.user)
    try:
        login, password = emulated.create_user()
        emulated.grant(oracle_store.user, oracle_store.table_name, login)
        arguments = oracle_store.arguments() | {"user": login, "password": password, "schema": oracle_store.user}
        # Found, so not created; "provisioned" does not even look.
        for tables in ("auto", "provisioned"):
            async with oracle_checkpointer(**arguments, tables=tables) as other:
                assert await other.load("t") == {"n": 1}
                await other.save({"n": 2, "text": "needle"}, "t", metadata={"tag": "x"})
                assert await other.search("needle")
                assert await other.copy_thread("t", tables)
                assert await other.vacuum(0) > 0
                await other.save({"n": 1}, "t")
    finally:
        emulated.unlock(oracle_store.user)


async def test_a_login_that_may_not_create_tables_says_what_to_do(
    oracle_store: OracleStore, emulated: EmulatedOracle
) -> None:
    login, password = emulated.create_user()
    arguments = oracle_store.arguments() | {"user": login, "password": password, "schema": oracle_store.user}
    async with oracle_checkpointer(**arguments) as checkpointer:
        with pytest.raises(AuthenticationError, match=r"lacks a privilege: ORA-01031.*tables='provisioned'"):
            await checkpointer.save({}, "t")
    async with oracle_checkpointer(**arguments, tables="provisioned") as checkpointer:
        with pytest.raises(SchemaError, match=r"ORA-00942.*missing, of another version, or not granted"):
            await checkpointer.save({}, "t")


async def test_tables_of_a_later_version_are_refused(
    checkpointer: StorageBackendAdapter, oracle_store: OracleStore
) -> None:
    await checkpointer.save({}, "t")
    await run(oracle_store, "UPDATE <t>_schema SET version = 99")
    async with oracle_checkpointer(**oracle_store.arguments()) as other:
        with pytest.raises(SchemaError, match="version 99"):
            await other.load("t")


async def test_many_callers_with_a_wrong_password_are_one_failed_login(
    oracle_store: OracleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ten of them lock an account under Oracle's default profile.
    attempts, connect = [], oracledb.connect_async

    async def counted(**arguments: Any) -> Any:
        attempts.append(arguments)
        return await connect(**arguments)

    monkeypatch.setattr(oracledb, "connect_async", counted)
    async with oracle_checkpointer(**oracle_store.arguments() | {"password": "wrong"}, tables="provisioned") as wrong:
        outcomes = await asyncio.gather(*(wrong.load("t") for _ in range(8)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [AuthenticationError] * 8
        assert len(attempts) == 1
        with pytest.raises(AuthenticationError, match="ORA-01017"):
            await wrong.load("t")
        assert len(attempts) == 2


async def test_a_cancelled_call_takes_its_connection_with_it(
    checkpointer: StorageBackendAdapter, oracle_store: OracleStore, emulated: EmulatedOracle
) -> None:
    await checkpointer.save({"n": 1}, "t")
    [[key]] = await run(oracle_store, "SELECT t.thread_key FROM <t>_threads t")
    other = oracle_checkpointer(**oracle_store.arguments())
    # Its session commits with a statement; the query that locks a row must not.
    await other.save({}, "u")
    async with other, other.storage._clients.client() as client:  # type: ignore[attr-defined]
        # Its row is locked: the save waits on the server.
        await client.lock("lock_thread", {"thread_key": key, "checkpoint_id": b"c"})
        before = EmulatedConnection.open_connections
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await checkpointer.storage.put(NewCheckpoint("t", "c", b"\x01{}", {}))
        assert EmulatedConnection.open_connections == before - 1
        await client.rollback()
    await checkpointer.save({"n": 2}, "t", "after")
    assert (await checkpointer.list_checkpoints("t"))[0] == "after"
    assert await checkpointer.load("t") == {"n": 2}


async def test_a_conflict_costs_no_connection(
    checkpointer: StorageBackendAdapter, emulated: EmulatedOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await checkpointer.save({}, "t", "a")
    monkeypatch.setattr(oracledb, "connect_async", None)
    for expected in (None, "other"):
        with pytest.raises(CheckpointConflictError):
            await checkpointer.save({}, "t", "b", expected_checkpoint_id=expected)
    assert await checkpointer.list_checkpoints("t") == ["a"]


async def test_thread_and_namespace_are_hashed_apart(checkpointer: StorageBackendAdapter) -> None:
    for number, (thread_id, namespace) in enumerate([("ab", "c"), ("a", "bc"), ("abc", "")]):
        await checkpointer.storage.put(NewCheckpoint(thread_id, "c", b"%d" % number, {}, namespace))
    for number, (thread_id, namespace) in enumerate([("ab", "c"), ("a", "bc"), ("abc", "")]):
        stored = await checkpointer.storage.get(thread_id, namespace=namespace)
        assert stored is not None
        assert stored.payload == b"%d" % number


async def test_a_sequence_that_is_behind_is_an_error_and_loses_no_save(
    checkpointer: StorageBackendAdapter, oracle_store: OracleStore
) -> None:
    await checkpointer.save({"n": 1}, "t", "a")
    for statement in ("DROP SEQUENCE <t>_order", "CREATE SEQUENCE <t>_order ORDER CACHE 1000"):
        await run(oracle_store, statement)
    with pytest.raises(SchemaError, match="sequence of write order is behind"):
        await checkpointer.save({"n": 2}, "t", "b")
    assert await checkpointer.list_checkpoints("t") == ["a"]
    assert await checkpointer.load("t") == {"n": 1}


async def test_a_query_of_more_words_than_an_in_list_takes_is_refused(checkpointer: StorageBackendAdapter) -> None:
    await checkpointer.save({"text": " ".join(f"w{n}" for n in range(MAX_TERMS))}, "t")
    assert len(await checkpointer.search(" ".join(f"w{n}" for n in range(MAX_TERMS)))) == 1
    with pytest.raises(InvalidArgumentError, match="1,001 different words"):
        await checkpointer.search(" ".join(f"w{n}" for n in range(MAX_TERMS + 1)))


def _calls(checkpointer: StorageBackendAdapter) -> dict[str, tuple[int, Callable[[], Awaitable[Any]]]]:
    """Each call with its round trips: a query that returns LOBs is executed, then fetched."""
    return {
        "save of a new checkpoint": (2, lambda: checkpointer.save({"n": 1}, "t", "new")),
        "save with metadata": (3, lambda: checkpointer.save({"n": 1}, "t", "tagged", {"a": 1, "b": [1, 2]})),
        "save of an id that exists": (4, lambda: checkpointer.save({"n": 1}, "t", "c0")),
        "compare and set": (2, lambda: checkpointer.save({"n": 1}, "t", "set", expected_checkpoint_id="c2")),
        "load": (2, lambda: checkpointer.load("t")),
        "load by id": (2, lambda: checkpointer.load("t", "c0")),
        "load of nothing": (1, lambda: checkpointer.load("none")),
        "exists": (2, lambda: checkpointer.exists("t")),
        "list_checkpoints": (2, lambda: checkpointer.list_checkpoints("t", 3)),
        "delete of an old checkpoint": (2, lambda: checkpointer.delete("t", "c0")),
        "delete of the latest": (4, lambda: checkpointer.delete("t", "c2")),
        "delete of a thread": (1, lambda: checkpointer.delete("t")),
        "list_threads": (1, lambda: checkpointer.list_threads()),
        "list_with_metadata": (2, lambda: checkpointer.list_with_metadata()),
        "query_by_metadata": (2, lambda: checkpointer.query_by_metadata("tag", "x")),
        "copy_thread": (8, lambda: checkpointer.copy_thread("t", "copy")),
        "search, nothing changed": (3, lambda: checkpointer.search("needle")),
        "vacuum of nothing": (1, lambda: checkpointer.vacuum()),
        "vacuum of all": (8, lambda: checkpointer.vacuum(0)),
    }


@pytest.mark.parametrize("name", list(_calls(None)))  # type: ignore[arg-type]
async def test_round_trips(checkpointer: StorageBackendAdapter, emulated: EmulatedOracle, name: str) -> None:
    for number in range(3):
        await checkpointer.save({"text": "needle"}, "t", f"c{number}", {"tag": "x"})
    await checkpointer.save({"text": "needle"}, "u")
    await checkpointer.search("needle")
    expected, call = _calls(checkpointer)[name]
    before = EmulatedConnection.round_trips
    await call()
    assert EmulatedConnection.round_trips - before == expected


def test_a_connect_string_with_a_login_is_refused_before_it_is_shown(oracle_store: OracleStore) -> None:
    with pytest.raises(BindingError) as caught:
        oracle_checkpointer(f"scott/tiger@{oracle_store.dsn}")
    assert "tiger" not in str(caught.value)


def test_names_that_are_no_names_are_refused(oracle_store: OracleStore) -> None:
    for table_name in ('t"; DROP TABLE x', "1t", "_t", "t-x", "", "ä", "t" * 116):
        with pytest.raises(InvalidArgumentError, match="table_name"):
            oracle_checkpointer(**oracle_store.arguments() | {"table_name": table_name})
    with pytest.raises(InvalidArgumentError, match="schema"):
        oracle_checkpointer(**oracle_store.arguments(), schema='o"o')


async def test_a_reserved_word_is_a_name_like_any_other(oracle_store: OracleStore, emulated: EmulatedOracle) -> None:
    store = replace(oracle_store, table_name="Order")
    async with oracle_checkpointer(**store.arguments()) as checkpointer:
        await checkpointer.save({"n": 1}, "t")
        assert await checkpointer.load("t") == {"n": 1}
    emulated.drop(store)
