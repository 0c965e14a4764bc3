"""What to do about tables and indexes that are not what they should be: pure functions.

Corrected is what costs no data. The rest is a `Damage`, which a person has to repair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from locus_memory.backends.postgresql_objects import Column, DatabaseObject
from locus_operator.backends.postgresql_actions import Statements, Target, as_owner, compose
from locus_operator.backends.postgresql_definitions import FoundColumn, FoundConstraint
from locus_operator.backends.postgresql_observe import Observed

# Types whose every value is one of the wanted type as well.
_NARROWER: Final = {"bigint": ("integer", "smallint"), "integer": ("smallint",), "text": ("character varying",)}


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that cannot be corrected without the loss of data; `advice` is what a person can do."""

    what: str
    advice: str


def repairs(item: DatabaseObject, observed: Observed, target: Target) -> Iterator[Statements | Damage]:
    """Compare a table or an index that exists with what it should be."""
    found = observed.definitions.relations.get(item.name)
    if found is None:
        return
    if item.kind == "index":
        if found.definition != item.printed(item.definition) or not found.valid:
            yield _make_again(item, target, "differs" if found.valid else "invalid: its creation was interrupted")
        return
    yield from _columns(item, observed, target)
    yield from _constraints(item, observed, target)
    if not found.logged:
        yield _alter(item, target, "SET LOGGED", "unlogged: a crash of the server would empty it")
    if found.row_security:
        yield _alter(item, target, "DISABLE ROW LEVEL SECURITY", "row level security hides its rows")


# --- columns ---


def _columns(item: DatabaseObject, observed: Observed, target: Target) -> Iterator[Statements | Damage]:
    there = {column.name: column for column in observed.definitions.columns.get(item.name, ())}
    for column in item.columns:
        found = there.pop(column.name, None)
        if found is None:
            yield _missing(item, column, target, filled=item.name in observed.filled)
        else:
            yield from _differences(item, column, found, target)
    for found in there.values():
        if not (found.nullable or found.default is not None or found.identity or found.generated):
            reason = f"column {found.name}, which is not ours, would refuse all new rows"
            yield _alter(item, target, "ALTER {column} DROP NOT NULL", reason, column=found.name)


def _missing(item: DatabaseObject, column: Column, target: Target, *, filled: bool) -> Statements | Damage:
    statement = f"ADD COLUMN {column.definition}"
    if filled:
        by_hand = f'ALTER TABLE "{item.schema}".{item.name} {statement}'
        return Damage(
            f"table {item.name} has lost its column {column.name}, and holds rows",
            f"restore it from a backup, or accept the loss with a statement of your own, such as {by_hand}",
        )
    return _alter(item, target, statement.replace("{", "{{").replace("}", "}}"), f"column {column.name} is missing")


def _differences(
    item: DatabaseObject, column: Column, found: FoundColumn, target: Target
) -> Iterator[Statements | Damage]:
    name = column.name
    if found.generated or not _widens(found.type, column.type):
        is_now = f"{found.type}{', generated' if found.generated else ''}"
        yield Damage(
            f"column {name} of table {item.name} is {is_now}, not {column.type}",
            f'repair it by hand, such as with ALTER TABLE "{item.schema}".{item.name} ALTER {name} TYPE {column.type}',
        )
        return
    if found.type != column.type:
        reason = f"column {name} is {found.type}"
        yield _alter(item, target, f"ALTER {name} TYPE {column.type}", reason)
    if found.nullable != column.nullable:
        yield _alter(
            item,
            target,
            f"ALTER {name} {'DROP' if column.nullable else 'SET'} NOT NULL",
            f"column {name} {'refuses' if column.nullable else 'takes'} NULL",
            advice=f"rows have NULL in {name}: delete or correct them",
        )
    if found.default != column.default and not found.identity:
        default = f"SET DEFAULT {column.default}" if column.default is not None else "DROP DEFAULT"
        reason = f"column {name} has {'another' if found.default is not None else 'no'} default"
        yield _alter(item, target, f"ALTER {name} {default}".replace("{", "{{").replace("}", "}}"), reason)
    if found.identity != column.identity:
        yield _number_rows(item, column, found, target)


def _widens(found: str, wanted: str) -> bool:
    """Tell whether values of the found type are kept by a change to the wanted one; collations change no value."""
    (narrow, _, _), (wide, _, _) = found.partition(" COLLATE "), wanted.partition(" COLLATE ")
    return narrow == wide or narrow.split("(")[0] in _NARROWER.get(wide, ())


def _number_rows(item: DatabaseObject, column: Column, found: FoundColumn, target: Target) -> Statements:
    """Have a column number its rows as it should, going on behind the highest number that is there."""
    name, reason = column.name, f"column {column.name} does not number its rows {column.identity or 'at all'}"
    if not column.identity:
        return _alter(item, target, f"ALTER {name} DROP IDENTITY", reason)
    if found.identity:
        return _alter(item, target, f"ALTER {name} SET GENERATED {column.identity}", reason)
    table = sql.Identifier(item.schema, item.name)
    default = (compose(f"ALTER TABLE {{table}} ALTER {name} DROP DEFAULT", table=table),)
    number = compose(f"ALTER TABLE {{table}} ALTER {name} ADD GENERATED {column.identity} AS IDENTITY", table=table)
    go_on = compose(
        "SELECT setval(pg_get_serial_sequence({quoted}, {column}), coalesce(max({name}), 0) + 1, false) FROM {table}",
        quoted=sql.Literal(table.as_string()),
        column=sql.Literal(name),
        name=name,
        table=table,
    )
    statements = (as_owner(target), *default, number, go_on)
    return Statements("alter", "table", item.name, reason, statements=statements)


# --- constraints, indexes ---


def _constraints(item: DatabaseObject, observed: Observed, target: Target) -> Iterator[Statements]:
    wanted = {item.printed(definition): definition for definition in item.constraints}
    for found in observed.definitions.constraints.get(item.name, ()):
        if found.working and wanted.pop(found.definition, None) is not None:
            continue
        if found.definition in wanted:
            yield _replace_constraint(item, wanted.pop(found.definition), found, target)
        else:
            reason = f"constraint {found.name} is not ours: {found.definition}"
            yield _alter(item, target, "DROP CONSTRAINT {constraint} CASCADE", reason, constraint=found.name)
    for printed, definition in wanted.items():
        yield Statements(
            "alter",
            "table",
            item.name,
            f"missing: {printed}",
            statements=(as_owner(target), _add(item, definition)),
            advice=_rows_in_the_way(item, printed),
        )


def _replace_constraint(item: DatabaseObject, definition: str, found: FoundConstraint, target: Target) -> Statements:
    """Make a constraint anew whose triggers are disabled: only a superuser could enable them."""
    table = sql.Identifier(item.schema, item.name)
    drop = compose("ALTER TABLE {table} DROP CONSTRAINT {name}", table=table, name=found.name)
    return Statements(
        "alter",
        "table",
        item.name,
        f"not enforced: {found.definition}",
        statements=(as_owner(target), drop, _add(item, definition)),
        advice=_rows_in_the_way(item, found.definition),
    )


def _add(item: DatabaseObject, definition: str) -> sql.Composed:
    table = sql.Identifier(item.schema, item.name)
    return compose("ALTER TABLE {table} ADD {definition}", table=table, definition=item.composed(definition))


def _rows_in_the_way(item: DatabaseObject, printed: str) -> str:
    return f'rows of "{item.schema}".{item.name} violate {printed}: delete or correct them'


def _make_again(item: DatabaseObject, target: Target, reason: str) -> Statements:
    drop = compose("DROP INDEX {name}", name=sql.Identifier(item.schema, item.name))
    return Statements("replace", "index", item.name, reason, statements=(as_owner(target), drop, *item.statements))


def _alter(
    item: DatabaseObject, target: Target, text: str, reason: str, *, advice: str = "", **names: str
) -> Statements:
    table = sql.Identifier(item.schema, item.name)
    statement = compose(f"ALTER TABLE {{table}} {text}", table=table, **names)
    return Statements("alter", "table", item.name, reason, statements=(as_owner(target), statement), advice=advice)
