"""Translates statements of Oracle into those of PostgreSQL, and tells what the driver has to know of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import sqlglot
from sqlglot import exp

Kind = Literal["query", "dml", "ddl"]

_LOBS = {exp.DataType.Type.BLOB: "bytea", exp.DataType.Type.VARBINARY: "bytea", exp.DataType.Type.TEXT: "text"}
_TEXTS = (exp.DataType.Type.VARCHAR, exp.DataType.Type.NVARCHAR)


@dataclass(frozen=True)
class Creation:
    """What a statement of DDL is about.

    Attributes:
        kind: `TABLE`, `INDEX`, `SEQUENCE` or `VIEW`.
        schema: Where it is; None in the login's own.
        name: Its name.
        drops: It goes.
    """

    kind: str
    schema: str | None
    name: str
    drops: bool

    @property
    def privilege(self) -> str:
        """The system privilege to do it in any schema."""
        return f"{'DROP' if self.drops else 'CREATE'} ANY {self.kind}"


@dataclass(frozen=True)
class Translation:
    """A statement for PostgreSQL.

    Attributes:
        text: With psycopg's placeholders.
        kind: What it is.
        locks: A query that locks its rows.
        binds: Names of its placeholders.
        to_columns: Those of them that are values of a column, and nothing else, in VALUES or SET.
        merges: A MERGE.
        touches: What is done to which schema's table: `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
        creates: What DDL is about.
        described_by: A query with the columns of a UNION ALL: PostgreSQL does not say of which table those are.
    """

    text: str
    kind: Kind
    locks: bool
    binds: frozenset[str]
    to_columns: frozenset[str]
    merges: bool
    touches: frozenset[tuple[str, str | None, str]] = frozenset()
    creates: Creation | None = None
    described_by: str | None = None


@functools.cache
def translate(statement: str) -> Translation:
    """Translate one statement."""
    tree = parse(statement)
    binds = list(tree.find_all(exp.Placeholder))
    elsewhere = {bind.name for bind in binds if not _is_column_value(bind)}
    tree = _unnamed(tree)
    names = frozenset(bind.name for bind in binds)
    kind = _kind(tree)
    locks = isinstance(tree, exp.Select) and bool(tree.args.get("locks"))
    merges = isinstance(tree, exp.Merge)
    described_by = f"{_spelled(_first_branch(tree))} LIMIT 0" if isinstance(tree, exp.Union) else None
    touches = frozenset() if kind == "ddl" else frozenset(_touches(tree))
    creates = _creation(tree) if kind == "ddl" else None
    return Translation(_spelled(tree), kind, locks, names, names - elsewhere, merges, touches, creates, described_by)


def parse(statement: str) -> exp.Expr:
    """Parse a statement of Oracle, with what sqlglot's reader lacks."""
    statement = re.sub(r"\bCASCADE CONSTRAINTS PURGE\b", "CASCADE", statement)
    # For the reader a type of somebody's own.
    statement = re.sub(r"\bVECTOR\((\d+), FLOAT32\)", r"VECTOR_\1", statement)
    # In PostgreSQL an index lives where its table does.
    statement = re.sub(r'^(CREATE INDEX )"\w+"\.', r"\1", statement)
    return sqlglot.parse_one(statement, read="oracle")


def _touches(tree: exp.Expr) -> Iterator[tuple[str, str | None, str]]:
    target = tree.find(exp.Table) if isinstance(tree, exp.DML | exp.Update | exp.Delete | exp.Merge) else None
    for table in tree.find_all(exp.Table):
        verb = type(tree).__name__.upper() if table is target else "SELECT"
        if table.name != "DUAL":
            yield verb, table.args["db"].name if table.args.get("db") else None, table.name


def _creation(tree: exp.Expr) -> Creation:
    table = tree.find(exp.Table)
    assert table is not None
    # Of an index the name comes first, and the table says where it is.
    schema = table.args["db"].name if table.args.get("db") else None
    return Creation(str(tree.args["kind"]), schema, table.name, isinstance(tree, exp.Drop))


def _first_branch(tree: exp.Expr) -> exp.Expr:
    while isinstance(tree, exp.Union):
        tree = tree.this
    return tree


def _kind(tree: exp.Expr) -> Kind:
    if isinstance(tree, exp.Query):
        return "query"
    return "dml" if isinstance(tree, exp.DML | exp.Update | exp.Delete | exp.Merge | exp.Insert) else "ddl"


def _is_column_value(bind: exp.Expr) -> bool:
    parent = bind.parent
    if isinstance(parent, exp.Tuple):
        return isinstance(parent.parent, exp.Values | exp.Insert)
    return isinstance(parent, exp.EQ) and isinstance(parent.parent, exp.Update) and parent.expression is bind


def _spelled(tree: exp.Expr) -> str:
    translated = tree.transform(_node)
    assert translated is not None
    if isinstance(translated, exp.Create):
        _create(translated)
    return translated.sql(dialect="postgres")


def _unnamed(tree: exp.Expr) -> exp.Expr:
    for identifier in tree.find_all(exp.Identifier):
        if not identifier.args.get("quoted"):
            identifier.set("this", identifier.this.upper())
            identifier.set("quoted", True)
    return tree


def _node(node: exp.Expr) -> exp.Expr | None:
    if isinstance(node, exp.Column) and node.name == "NEXTVAL":
        parts = [part for part in (node.args.get("db"), node.args.get("table")) if part]
        return exp.func("nextval", exp.Literal.string(".".join(f'"{part.name}"' for part in parts)))
    if isinstance(node, exp.Anonymous) and node.name.upper() == "SYS_EXTRACT_UTC":
        return sqlglot.parse_one("clock_timestamp() AT TIME ZONE 'UTC'", read="postgres")
    if isinstance(node, exp.CurrentTimestamp) and node.args.get("sysdate"):
        return sqlglot.parse_one("LOCALTIMESTAMP(0)", read="postgres")
    if isinstance(node, exp.Anonymous) and node.name.upper() == "RAWTOHEX":
        return exp.Upper(this=exp.func("encode", node.expressions[0], exp.Literal.string("hex")))
    if isinstance(node, exp.Anonymous) and node.name.upper() in ("TO_CLOB", "TO_BLOB"):
        return exp.cast(node.expressions[0], "text" if node.name.upper() == "TO_CLOB" else "bytea", dialect="postgres")
    if isinstance(node, exp.Anonymous) and node.name.upper() == "NUMTODSINTERVAL":
        return exp.Var(this=f"make_interval(secs => ({node.expressions[0].sql(dialect='postgres')})::float8)")
    if isinstance(node, exp.Anonymous) and node.name.upper() == "VECTOR_DISTANCE":
        column, vector, metric = node.expressions
        assert metric.name == "COSINE"
        other = vector.sql(dialect="postgres")
        return exp.Var(this=f"({column.sql(dialect='postgres')} OPERATOR(public.<=>) CAST({other} AS public.vector))")
    if isinstance(node, exp.Dot) and node.this.name == "UTL_RAW":
        return exp.func("convert_from", node.expression.expressions[0], exp.Literal.string("UTF8"))
    if isinstance(node, exp.JSONValue):
        path = f"$.{node.args['path'].sql(dialect='oracle').strip(chr(39)).removeprefix('$.')}"
        document = f"JSON_VALUE({node.this.sql(dialect='postgres')}::jsonb, '{path}')"
        return exp.Var(this=document)
    if isinstance(node, exp.From) and node.this.name == "DUAL":
        return None
    if isinstance(node, exp.Update):
        for assignment in node.expressions:
            assignment.this.set("table", None)
    if isinstance(node, exp.Literal) and node.is_string and node.this == "":
        return exp.Null()
    return node


def _create(tree: exp.Create) -> None:
    for sequence in list(tree.find_all(exp.SequenceProperties)):
        # PostgreSQL's sessions each take a cache of numbers, as the instances of a cluster do in Oracle without ORDER.
        if any(option.name == "ORDER" for option in sequence.args.get("options") or ()):
            sequence.replace(exp.SequenceProperties(start=sequence.args.get("start")))
    for column in list(tree.find_all(exp.ColumnDef)):
        _type(column)


def _type(column: exp.ColumnDef) -> None:
    """Give a column PostgreSQL's type, and Oracle's limit; LOBs are told from others by their storage."""
    kind = column.args.get("kind")
    if kind is None:
        return
    limit = next((int(re.sub(r"\D", "", size.sql())) for size in kind.expressions), None)
    name = kind.sql(dialect="oracle").upper()
    if name.startswith("VECTOR_"):
        spelled, measure = f"public.vector({name.removeprefix('VECTOR_')})", None
    elif name.startswith("RAW"):
        spelled, measure = "bytea", "octet_length"
    elif kind.this in _LOBS:
        spelled, measure = f"{_LOBS[kind.this]} STORAGE EXTERNAL", None
    elif kind.this in _TEXTS:
        spelled, measure = "text", "char_length" if "CHAR)" in name else "octet_length"
    else:
        return
    column.set("kind", exp.Var(this=spelled))
    if measure and limit is not None:
        check = f'CONSTRAINT "size of {column.name}" CHECK ({measure}("{column.name}") <= {limit})'
        column.append("constraints", exp.Var(this=check))
