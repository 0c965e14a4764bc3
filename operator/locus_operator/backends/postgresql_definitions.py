"""What the tables and indexes of a store are on the server: columns, constraints, definitions, as it prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """A column as it is.

    Attributes:
        type: With the collation if it is not the type's own.
        default: Expression; None for none.
        identity: `ALWAYS`, `BY DEFAULT`, or empty.
        generated: Its values are worked out from others.
    """

    relation: str
    name: str
    type: str
    nullable: bool
    default: str | None
    identity: str
    generated: bool


@dataclass(frozen=True, slots=True)
class FoundConstraint:
    """A constraint of a table.

    Attributes:
        definition: As the server prints it.
        working: It is enforced: none of the triggers that do it is disabled.
    """

    relation: str
    name: str
    definition: str
    working: bool


@dataclass(frozen=True, slots=True)
class FoundRelation:
    """What else matters of a table or an index.

    Attributes:
        definition: Of an index.
        valid: False for an index whose creation was interrupted.
        logged: False for a table that a crash of the server empties.
        row_security: Policies hide rows of the table.
    """

    name: str
    definition: str | None
    valid: bool
    logged: bool
    row_security: bool


@dataclass(frozen=True, slots=True)
class Definitions:
    """Everything above, by relation."""

    columns: Mapping[str, tuple[FoundColumn, ...]] = field(default_factory=dict)
    constraints: Mapping[str, tuple[FoundConstraint, ...]] = field(default_factory=dict)
    relations: Mapping[str, FoundRelation] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        columns: Sequence[FoundColumn],
        constraints: Sequence[FoundConstraint],
        relations: Sequence[FoundRelation],
    ) -> Definitions:
        """Sort rows by their relation."""
        return cls(_by_relation(columns), _by_relation(constraints), {each.name: each for each in relations})


# Names of the schema's relations are printed bare to whom it is first in the search_path.
SHOW_BARE_NAMES: Final = "SELECT set_config('search_path', quote_ident(%(schema)s), true)"

_OF_STORE: Final = "c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relname = ANY (%(relations)s)"

COLUMNS: Final = f"""
SELECT c.relname AS relation, a.attname AS name,
       format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attcollation <> t.typcollation
           THEN ' COLLATE ' || quote_ident(l.collname) ELSE '' END AS type,
       NOT a.attnotnull AS nullable,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default,
       CASE a.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' ELSE '' END AS identity,
       a.attgenerated <> '' AS generated
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind = 'r' AND {_OF_STORE}
ORDER BY c.relname, a.attnum
"""  # noqa: S608 - a constant

# PostgreSQL 18 has constraints for NOT NULL as well, which columns tell.
CONSTRAINTS: Final = f"""
SELECT c.relname AS relation, k.conname AS name, pg_get_constraintdef(k.oid) AS definition,
       NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgconstraint = k.oid AND g.tgenabled <> 'O') AS working
FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid
WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND {_OF_STORE}
ORDER BY c.relname, k.conname
"""  # noqa: S608 - a constant

RELATIONS: Final = f"""
SELECT c.relname AS name, CASE WHEN c.relkind = 'i' THEN pg_get_indexdef(c.oid, 0, true) END AS definition,
       coalesce(i.indisvalid AND i.indisready, true) AS valid, c.relpersistence = 'p' AS logged,
       c.relrowsecurity AS row_security
FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
WHERE {_OF_STORE}
"""  # noqa: S608 - a constant


def _by_relation(rows: Sequence[Any]) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    for row in rows:
        found[row.relation] = (*found.get(row.relation, ()), row)
    return found
