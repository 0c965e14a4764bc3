"""Tables and indexes on PostgreSQL as data: what creates them, and what the server then says they are.

Definitions are written as the server prints them (`format_type`, `pg_get_expr`, `pg_get_constraintdef`,
`pg_get_indexdef`), with other tables of the schema in braces. So one text creates an object and tells whether it is
still what it should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Literal

from psycopg import sql

Identity = Literal["", "ALWAYS", "BY DEFAULT"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        type: As the server prints it, with the collation if it is not the type's own.
        default: Expression, as the server prints it.
        identity: How the column numbers its rows, if it does.
        external: Large values are stored without trying to compress them.
    """

    name: str
    type: str
    nullable: bool = False
    default: str | None = None
    identity: Identity = ""
    external: bool = False

    @property
    def definition(self) -> str:
        """What CREATE TABLE and ADD COLUMN say."""
        null = "" if self.nullable else " NOT NULL"
        default = f" DEFAULT {self.default}" if self.default is not None else ""
        identity = f" GENERATED {self.identity} AS IDENTITY" if self.identity else ""
        return f"{self.name} {self.type}{null}{default}{identity}"


@dataclass(frozen=True, slots=True)
class DatabaseObject:
    """A table or an index in a schema.

    Attributes:
        kind: What it is; both live in the namespace of relations.
        name: Name within the schema.
        schema: The schema.
        table: The table itself, or the one that the index is of.
        statements: Idempotent DDL that creates it if it is missing.
        columns: Of a table.
        constraints: Of a table: definitions with tables in braces.
        definition: Of an index, the same.
    """

    kind: Literal["table", "index"]
    name: str
    schema: str
    table: str
    statements: tuple[sql.Composed, ...]
    columns: tuple[Column, ...] = ()
    constraints: tuple[str, ...] = ()
    definition: str = ""

    @property
    def statement(self) -> sql.Composed:
        """All of them as one text, for a server that is asked without parameters."""
        return sql.SQL("; ").join(self.statements)

    def printed(self, definition: str) -> str:
        """Return a definition as the server prints it to whom the schema is in the search_path."""
        return definition.format(**{name: name for name in _tables_in(definition)})

    def composed(self, definition: str) -> sql.Composed:
        """Return a definition as part of a statement."""
        return _compose(definition, self.schema)


def table(
    schema: str, name: str, columns: tuple[Column, ...], constraints: tuple[str, ...], options: str = ""
) -> DatabaseObject:
    """Describe a table; `options` is what follows the list of its columns."""
    body = ", ".join([*(_escape(column.definition) for column in columns), *constraints])
    statements = [f"CREATE TABLE IF NOT EXISTS {{{name}}} ({body}){options}"]
    if external := [f"ALTER {column.name} SET STORAGE EXTERNAL" for column in columns if column.external]:
        statements.append(f"ALTER TABLE {{{name}}} {', '.join(external)}")
    composed = tuple(_compose(text, schema) for text in statements)
    return DatabaseObject("table", name, schema, name, composed, columns, constraints)


def index(schema: str, name: str, of: str, definition: str) -> DatabaseObject:
    """Describe an index; `definition` is what follows the table's name."""
    rest = f"{name} ON {{{of}}} {definition}"
    statement = _compose(f"CREATE INDEX IF NOT EXISTS {rest}", schema)
    return DatabaseObject("index", name, schema, of, (statement,), definition=f"CREATE INDEX {rest}")


def version_table(schema: str, name: str, version: int) -> DatabaseObject:
    """Describe the table that records the version of the others in its only row."""
    text = f"CREATE TABLE IF NOT EXISTS {{{name}}} AS SELECT {version}::int AS version"
    columns = (Column("version", "integer", nullable=True),)
    return DatabaseObject("table", name, schema, name, (_compose(text, schema),), columns)


def _compose(text: str, schema: str) -> sql.Composed:
    return sql.SQL(text).format(**{name: sql.Identifier(schema, name) for name in _tables_in(text)})


def _tables_in(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
