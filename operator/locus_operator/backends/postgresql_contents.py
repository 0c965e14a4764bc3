"""What only the owner of the tables may read: their version, and whether they hold rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from psycopg import AsyncConnection, sql

from locus_operator.backends.postgresql_observe import Observed
from locus_operator.backends.postgresql_tables import Tables, TableSet
from locus_operator.names import RoleNames


async def look_into_tables(
    connection: AsyncConnection[Any], observed: Observed, names: RoleNames, schema: str, tables: Tables
) -> Observed:
    """Add it to what was observed, in one round trip; rows are looked for only where they matter."""
    filled = {name for each in tables.sets for name in _doubtful(observed, each)}
    version, rows = "SELECT coalesce(max(version), 0) FROM {}", "SELECT EXISTS (SELECT FROM {})::int"
    questions = dict.fromkeys(tables.version_tables, version) | dict.fromkeys(filled, rows)
    readable = {name: query for name, query in questions.items() if _readable(observed, names.owner, name)}
    if not readable:
        return replace(observed, filled=frozenset(filled))
    async with connection.pipeline():
        await connection.execute("BEGIN READ ONLY")
        await connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(names.owner)))
        asked = {
            name: await connection.execute(sql.SQL(query).format(sql.Identifier(schema, name)))
            for name, query in readable.items()
        }
        await connection.execute("COMMIT")
    answers = {name: (await cursor.fetchall())[0][0] for name, cursor in asked.items()}
    return replace(
        observed,
        versions={name: answers[name] for name in tables.version_tables if name in answers},
        filled=frozenset(name for name in filled if answers.get(name) != 0),
    )


def _doubtful(observed: Observed, tables: TableSet) -> set[str]:
    """Return the tables whose rows matter: those that lack a column, and those whose first table is gone."""
    first, *others = (name for name in tables.tables if name != tables.version_table)
    found = observed.definitions.columns
    lacking = {
        item.name
        for item in tables.objects
        if not {each.name for each in item.columns} <= {each.name for each in found.get(item.name, ())}
    }
    orphans = set() if first in observed.relations else set(others)
    return (lacking | orphans) & observed.relations.keys()


def _readable(observed: Observed, owner: str, table: str) -> bool:
    """Tell whether the administrator, acting as the owner role, can look into a table of the schema."""
    role, objects = observed.roles.get(owner), [observed.schema, observed.relations.get(table)]
    intact = all(each is not None and each.owner == owner and each.owner_complete for each in objects)
    return role is not None and role.assumable and intact
