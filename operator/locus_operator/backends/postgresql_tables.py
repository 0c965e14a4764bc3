"""Which tables a store has on PostgreSQL: those of its checkpoints, and those of its long-term memory if asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from locus_memory.backends import postgresql_schema as checkpoints
from locus_memory.backends.postgresql_objects import DatabaseObject
from locus_memory.store_backends import postgresql_schema as memory

LONG_TERM_MEMORY = "locus_items"
"""The table that holds the items of long-term memory."""


@dataclass(frozen=True, slots=True)
class TableSet:
    """Tables that share a version, with their indexes, in the order of their creation.

    Attributes:
        objects: The first one is the table that all others refer to.
        version_table: Records the version.
        version: The newest that this operator knows.
    """

    objects: tuple[DatabaseObject, ...]
    version_table: str
    version: int

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        return tuple(item.name for item in self.objects if item.kind == "table")


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables of a store."""

    sets: tuple[TableSet, ...]

    @classmethod
    def of(cls, schema: str, *, long_term_memory: bool) -> Tables:
        """Return those of a schema."""
        sets = [TableSet(checkpoints.ddl(schema), checkpoints.VERSION_TABLE, checkpoints.SCHEMA_VERSION)]
        if long_term_memory:
            sets.append(TableSet(memory.ddl(schema), memory.VERSION_TABLE, memory.SCHEMA_VERSION))
        return cls(tuple(sets))

    @property
    def long_term_memory(self) -> bool:
        """Whether there is one."""
        return len(self.sets) > 1

    @property
    def objects(self) -> tuple[DatabaseObject, ...]:
        """All tables and indexes."""
        return tuple(item for each in self.sets for item in each.objects)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tables."""
        return tuple(name for each in self.sets for name in each.tables)

    @property
    def version_tables(self) -> Iterator[str]:
        """Names of the tables that record versions."""
        return (each.version_table for each in self.sets)


def privileges(table: str) -> tuple[str, ...]:
    """Return what the application may do with a table of any set."""
    is_memory = table in (LONG_TERM_MEMORY, memory.VERSION_TABLE)
    return memory.privileges(table) if is_memory else checkpoints.privileges(table)
