"""The statements of the Oracle backend: reviewed as they are, and none that Oracle 19c would refuse."""

import sys
from pathlib import Path

import pytest
from sqlglot import exp

from locus_memory.backends.oracle_schema import Names, ddl
from locus_memory.backends.oracle_statements import Statements
from locus_memory.errors import InvalidArgumentError
from tests.emulators.oracle_lint import RefusedByOracleError, check
from tests.emulators.oracle_sql import parse, translate

GOLDEN = Path(__file__).with_name("oracle_statements.sql")


def written() -> dict[str, str]:
    """All statements, for a table of another owner."""
    statements = Statements(Names("locus_checkpoints", "agents"))
    created = {f"ddl {item.kind} {item.name}": item.statement for item in ddl("locus_checkpoints", "agents")}
    composed = {"search": statements.search(2)} | {
        f"complete {count}": statements[f"complete {count}"] for count in (0, 2)
    }
    return created | {name: statements[name] for name in statements.names()} | composed


def as_file() -> str:
    """The text of the reviewed file."""
    head = "-- Every statement of the Oracle backend, reviewed for Oracle 19c. After a change, review it and run\n"
    head += "-- python -m tests.unit.memory.test_oracle_statements\n"
    return head + "".join(f"\n-- {name}\n{text}\n" for name, text in written().items())


def test_the_statements_are_those_that_were_reviewed() -> None:
    assert as_file() == GOLDEN.read_text(), "review the change for Oracle 19c, then write the file anew: see its head"


@pytest.mark.parametrize("name", written())
def test_oracle_would_take_it(name: str) -> None:
    check(written()[name])


@pytest.mark.parametrize("name", [name for name, text in written().items() if "MERGE" in text])
def test_a_merge_has_keys_only_in_using(name: str) -> None:
    merge = parse(written()[name])
    using = merge.args["using"]
    binds = {bind.name for bind in using.find_all(exp.Placeholder)}
    # None is longer than an id.
    assert "thread_key" in binds
    assert binds <= {"thread_key", "checkpoint_id", "part_key", "place"}


@pytest.mark.parametrize("name", written())
def test_what_may_be_long_is_bound_to_a_column_and_nothing_else(name: str) -> None:
    found = translate(written()[name])
    long = {"payload", "metadata", "content"}
    assert not long & (found.binds - found.to_columns)
    assert not (found.merges and long & found.binds)


def test_write_order_holds_between_the_instances_of_a_cluster() -> None:
    [sequence] = [item.statement for item in ddl() if item.kind == "sequence"]
    assert " ORDER" in sequence.partition('"')[2].rpartition('"')[2]


def test_without_an_owner_the_tables_are_the_login_s_own() -> None:
    assert ddl("chat")[1].statement.startswith('CREATE TABLE "CHAT_THREADS" (')
    assert ddl("chat", "app")[1].statement.startswith('CREATE TABLE "APP"."CHAT_THREADS" (')
    assert Statements(Names("chat"))["delete_thread"].startswith('DELETE FROM "CHAT_THREADS" t')


def test_every_name_fits_and_is_another_one() -> None:
    longest = "t" * 115
    names = [item.name for item in ddl(longest)]
    constraints = [
        node.name
        for item in ddl(longest)
        if item.kind == "table"
        for node in parse(item.statement).find_all(exp.Constraint)
    ]
    assert len({*names, *constraints}) == len(names) + len(constraints)
    assert max(map(len, [*names, *constraints])) == 128
    with pytest.raises(InvalidArgumentError):
        ddl(longest + "t")


def test_pending_writes_are_beside_the_checkpoints_as_users_know_them() -> None:
    assert {"LOCUS_CHECKPOINTS", "LOCUS_WRITES"} <= {item.name for item in ddl("locus_checkpoints")}
    assert Names("Locus_Checkpoints").writes == "LOCUS_WRITES"
    # Another store may have the shorter name.
    names = [{item.name for item in ddl(name)} for name in ("locus", "locus_checkpoints", "checkpoints")]
    assert not names[0] & names[1]
    assert "CHECKPOINTS_PENDING" in names[2]


def test_an_agent_needs_dml_and_select_only() -> None:
    granted = {item.name: item.privileges for item in ddl("t")}
    assert {granted.pop(f"T_{index}") for index in ("CREATED", "BY_FIELD", "BY_PART", "BY_WORD")} == {()}
    assert granted.pop("T_ORDER") == granted.pop("T_SCHEMA") == ("SELECT",)
    assert set(granted.values()) == {("SELECT", "INSERT", "UPDATE", "DELETE")}


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("SELECT a FROM t LIMIT 1", "LIMIT"),
        ("SELECT a FROM t;", "semicolon"),
        ("SELECT 1", "SELECT needs FROM"),
        ("SELECT a::NUMBER FROM t", "CAST"),
        ("SELECT a FROM t WHERE b ILIKE 'x'", "operator"),
        ("SELECT a FROM t AS x", "no AS"),
        ("SELECT h.a FROM (SELECT b.a FROM b) AS h", "no AS"),
        ("SELECT a FROM t JOIN s.u AS x ON x.a = t.a", "no AS"),
        ("SELECT a FROM t WHERE b = TRUE", "boolean"),
        ("SELECT a FROM t WHERE b = ''", "NULL"),
        ("SELECT a FROM t EXCEPT SELECT a FROM u", "MINUS"),
        ("SELECT a FROM t ORDER BY a FETCH FIRST 1 ROWS ONLY FOR UPDATE", "ORA-02014"),
        ("SELECT DISTINCT a FROM t FOR UPDATE", "ORA-02014"),
        ("SELECT a FROM t WHERE level = 1 AND size = 2", "SIZE is reserved"),
        ("SELECT a FROM t WHERE b = :date", "ORA-01745"),
        ("SELECT a FROM t WHERE b = $1", "binds are"),
        ("SELECT *, a FROM t", "stands alone"),
        ("SELECT a->>'b' FROM t", "operator"),
        ("SELECT NOW() FROM dual", "ORA-00904"),
        ("SELECT 'é' FROM dual", "non-ASCII"),
        ("INSERT INTO t (a) VALUES (1), (2)", "several rows"),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING", "MERGE"),
        ("INSERT INTO t (a) VALUES (1) RETURNING a", "INTO"),
        ("UPDATE t SET a = 1 RETURNING a", "INTO"),
        ("UPDATE t SET a = u.a FROM u WHERE u.b = t.b", "UPDATE ... FROM"),
        ("DELETE FROM t USING u WHERE u.b = t.b", "USING"),
        ("WITH x AS (SELECT a FROM u) DELETE FROM t WHERE a IN (SELECT a FROM x)", "WITH"),
        ("MERGE INTO t USING u ON (t.a = u.a) WHEN MATCHED THEN UPDATE SET t.a = 1", "ORA-38104"),
        ("CREATE TABLE IF NOT EXISTS t (a NUMBER)", "IF EXISTS"),
        ("CREATE TABLE t (a NUMBER, b NUMBER, CONSTRAINT p PRIMARY KEY (a, b), UNIQUE (b, a))", "ORA-02261"),
        ("CREATE TABLE t (a TEXT)", "no such type"),
        ("CREATE TABLE t (a JSON)", "21c"),
        ("CREATE TABLE t (comment NUMBER)", "COMMENT is reserved"),
        ("SELECT " + "a" * 129 + " FROM t", "ORA-00972"),
    ],
)
def test_what_oracle_refuses_is_refused(statement: str, complaint: str) -> None:
    with pytest.raises(RefusedByOracleError, match=complaint):
        check(statement)


if __name__ == "__main__":
    sys.stdout.write(f"{GOLDEN}: {GOLDEN.write_text(as_file())} characters\n")
