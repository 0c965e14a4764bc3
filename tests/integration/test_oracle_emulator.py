"""What the emulator claims of Oracle and of python-oracledb; on a real database these tests say whether it is true."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import oracledb
import pytest

from locus_memory.backends.oracle_errors import code_of
from tests.servers.oracle import REAL_DSN, EmulatedOracle, OracleStore, RealOracle


class Own:
    """A table of a test's own: T has a key, a text of at most 10 bytes, and a LOB of each kind."""

    def __init__(self, store: OracleStore) -> None:
        self.name = f"{store.table_name}_own"
        self.arguments = {name: value for name, value in store.arguments().items() if name != "table_name"}
        self.connections: list[Any] = []

    async def connect(self) -> Any:
        connection = await oracledb.connect_async(**self.arguments)
        self.connections.append(connection)
        return connection

    async def run(self, connection: Any, statement: str, **binds: Any) -> Any:
        cursor = connection.cursor()
        await cursor.execute(statement.replace("<t>", self.name).replace("<T>", self.name.upper()), binds)
        return cursor

    async def rows(self, connection: Any, statement: str, **binds: Any) -> list[Any]:
        rows: list[Any] = await (await self.run(connection, statement, **binds)).fetchall()
        return rows

    async def code(self, connection: Any, statement: str, **binds: Any) -> str:
        with pytest.raises(oracledb.Error) as caught:
            await self.run(connection, statement, **binds)
        return code_of(caught.value)


@pytest.fixture
async def own(oracle_store: OracleStore) -> AsyncIterator[Own]:
    table = Own(oracle_store)
    connection = await table.connect()
    columns = "id NUMBER(10) NOT NULL, label VARCHAR2(10 BYTE) NOT NULL, note CLOB, data BLOB, mark RAW(4)"
    await table.run(connection, f"CREATE TABLE <t> ({columns}, CONSTRAINT <t>_pk PRIMARY KEY (id))")
    yield table
    for each in table.connections:
        await each.close()
    connection = await oracledb.connect_async(**table.arguments)
    await table.run(connection, "DROP TABLE <t> CASCADE CONSTRAINTS PURGE")
    await connection.close()


def values(cursor: Any, column: Any) -> Any:
    """Ask for LOBs as values."""
    kinds = {oracledb.DB_TYPE_CLOB: oracledb.DB_TYPE_LONG, oracledb.DB_TYPE_BLOB: oracledb.DB_TYPE_LONG_RAW}
    return cursor.var(kinds[column.type_code], arraysize=cursor.arraysize) if column.type_code in kinds else None


INSERT = "INSERT INTO <t> (id, label, note, data) VALUES (:id, :label, :note, :data)"


async def test_an_empty_string_is_null(own: Own) -> None:
    connection = await own.connect()
    assert await own.code(connection, INSERT, id=1, label="", note=None, data=None) == "ORA-01400"
    await own.run(connection, INSERT, id=1, label="x", note="", data=b"")
    assert await own.rows(connection, "SELECT t.note, t.data FROM <t> t WHERE t.note IS NULL") == [(None, None)]


async def test_limits_are_those_of_the_columns(own: Own) -> None:
    connection = await own.connect()
    assert await own.code(connection, INSERT, id=1, label="eleven char", note=None, data=None) == "ORA-12899"
    assert await own.code(connection, INSERT, id=1, label="é" * 6, note=None, data=None) == "ORA-12899"
    await own.run(connection, INSERT, id=1, label="é" * 5, note=None, data=None)
    assert await own.code(connection, "UPDATE <t> SET mark = :mark", mark=b"12345") == "ORA-12899"


async def test_long_values_go_to_columns_and_not_into_expressions(own: Own) -> None:
    connection = await own.connect()
    await own.run(connection, INSERT, id=1, label="x", note="n" * 100_000, data=b"d" * 100_000)
    await own.run(connection, "UPDATE <t> SET data = :data, note = :note", data=b"e" * 100_000, note="m" * 100_000)
    merge = """MERGE INTO <t> t USING (SELECT 1 AS id, :note AS note FROM dual) k ON (t.id = k.id)
        WHEN MATCHED THEN UPDATE SET t.note = k.note"""
    assert await own.code(connection, merge, note="n" * 100_000) == "ORA-01461"


async def test_long_values_go_to_columns_for_many_rows_at_once(own: Own) -> None:
    connection = await own.connect()
    rows = [{"id": n, "label": "x", "note": None, "data": bytes([n]) * size} for n, size in enumerate((1, 100_000, 3))]
    await connection.cursor().executemany(INSERT.replace("<t>", own.name), rows)
    connection.outputtypehandler = values
    found = await own.rows(connection, "SELECT t.data FROM <t> t ORDER BY t.id")
    assert found == [(row["data"],) for row in rows]


async def test_a_union_all_has_lobs_and_nulls_that_are_lobs(own: Own) -> None:
    connection = await own.connect()
    await own.run(connection, INSERT, id=1, label="x", note="note", data=b"data")
    connection.outputtypehandler = values
    rows = await own.rows(
        connection,
        "SELECT 'A' AS kind, t.note, t.data, CAST(NULL AS TIMESTAMP(6)) FROM <t> t "
        "UNION ALL SELECT 'B', TO_CLOB(NULL), TO_BLOB(NULL), SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM <t> t",
    )
    assert sorted(row[:3] for row in rows) == [("A", "note", b"data"), ("B", None, None)]
    assert {row[0] for row in rows if row[3] is None} == {"A"}


async def test_a_row_is_locked_with_what_is_known_of_others(own: Own) -> None:
    connection = await own.connect()
    await own.run(connection, INSERT, id=1, label="x", note=None, data=None)
    asked = "SELECT t.id, CASE WHEN EXISTS (SELECT 1 FROM <t> o WHERE o.id = :id) THEN 1 ELSE 0 END FROM <t> t"
    assert await own.rows(connection, f"{asked} FOR UPDATE", id=1) == [(1, 1)]
    assert await own.rows(connection, f"{asked} FOR UPDATE", id=2) == [(1, 0)]


async def test_lobs_come_as_locators_unless_a_handler_asks_for_values(own: Own) -> None:
    connection = await own.connect()
    await own.run(connection, INSERT, id=1, label="x", note="note", data=b"data")
    [(note, data)] = await own.rows(connection, "SELECT t.note, t.data FROM <t> t")
    assert (await note.read(), await data.read()) == ("note", b"data")
    connection.outputtypehandler = values
    assert await own.rows(connection, "SELECT t.note, t.data FROM <t> t") == [("note", b"data")]


async def test_a_failed_statement_undoes_itself_and_not_its_transaction(own: Own) -> None:
    connection = await own.connect()
    await own.run(connection, INSERT, id=1, label="x", note=None, data=None)
    assert await own.code(connection, INSERT, id=1, label="y", note=None, data=None) == "ORA-00001"
    await own.run(connection, INSERT, id=2, label="z", note=None, data=None)
    await connection.commit()
    assert await own.rows(await own.connect(), "SELECT t.id, t.label FROM <t> t ORDER BY t.id") == [(1, "x"), (2, "z")]


async def test_ddl_commits_and_closing_does_not(own: Own) -> None:
    connection = await own.connect()
    await own.run(connection, INSERT, id=1, label="x", note=None, data=None)
    await own.run(connection, "CREATE INDEX <t>_i ON <t> (label)")
    await own.run(connection, INSERT, id=2, label="y", note=None, data=None)
    await connection.close()
    own.connections.remove(connection)
    assert await own.rows(await own.connect(), "SELECT t.id FROM <t> t") == [(1,)]


async def test_autocommit_commits_the_statement_and_all_before_it(own: Own) -> None:
    connection, other = await own.connect(), await own.connect()
    await own.run(connection, INSERT, id=1, label="x", note=None, data=None)
    assert await own.rows(other, "SELECT t.id FROM <t> t") == []
    connection.autocommit = True
    await own.run(connection, INSERT, id=2, label="y", note=None, data=None)
    assert len(await own.rows(other, "SELECT t.id FROM <t> t")) == 2


async def test_a_locked_row_makes_others_wait_until_the_commit(own: Own) -> None:
    connection, other = await own.connect(), await own.connect()
    connection.autocommit = True
    await own.run(connection, INSERT, id=1, label="x", note=None, data=None)
    connection.autocommit = False
    await own.rows(connection, "SELECT t.id FROM <t> t FOR UPDATE")
    waiting = asyncio.create_task(own.run(other, "UPDATE <t> SET label = 'y'"))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    await connection.rollback()
    assert (await waiting).rowcount == 1


async def test_binds_that_are_missing_or_unknown_are_errors_of_the_driver(own: Own) -> None:
    connection = await own.connect()
    assert await own.code(connection, "SELECT t.id FROM <t> t WHERE t.id = :id") == "DPY-4010"
    assert await own.code(connection, "SELECT t.id FROM <t> t WHERE t.id = :id", id=1, other=2) == "DPY-4008"


async def test_unquoted_names_are_in_upper_case(own: Own) -> None:
    connection = await own.connect()
    assert await own.rows(connection, 'SELECT t."ID" FROM "<T>" t') == []
    assert await own.code(connection, 'SELECT t."id" FROM <t> t') == "ORA-00904"
    assert await own.code(connection, 'SELECT t.id FROM "<t>" t') == "ORA-00942"


def test_the_environment_names_a_real_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REAL_DSN, "app/s3cret@db.example.com:1521/service")
    monkeypatch.setenv("LOCUS_TEST_ORACLE_WALLET_LOCATION", "/wallet")
    store = RealOracle()._store
    assert (store.user, store.password, store.dsn) == ("app", "s3cret", "db.example.com:1521/service")
    assert store.further == {"wallet_location": "/wallet"}
    monkeypatch.setenv(REAL_DSN, "mydb_low")
    monkeypatch.setenv("LOCUS_TEST_ORACLE_USER", "other")
    assert (RealOracle()._store.user, RealOracle()._store.dsn) == ("other", "mydb_low")


async def test_names_are_used_once(own: Own) -> None:
    connection = await own.connect()
    assert await own.code(connection, "CREATE TABLE <t> (id NUMBER)") == "ORA-00955"


async def test_connecting_tells_a_wrong_login_from_a_wrong_service(
    own: Own, oracle_database: EmulatedOracle | RealOracle
) -> None:
    with pytest.raises(oracledb.DatabaseError) as caught:
        await oracledb.connect_async(**own.arguments | {"password": "wrong"})
    assert code_of(caught.value) == "ORA-01017"
    dsn = own.arguments["dsn"]
    if "/" in dsn:
        with pytest.raises(oracledb.OperationalError) as caught:
            await oracledb.connect_async(**own.arguments | {"dsn": f"{dsn.rpartition('/')[0]}/no_such_service"})
        assert code_of(caught.value) == "DPY-6001"
