"""Users and objects of one store on Oracle: their names, what belongs to what, and the claim."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from locus_memory.backends.oracle_schema import DatabaseObject, ddl
from locus_memory.store_backends import oracle_schema as items
from locus_memory.store_backends.oracle import ITEMS_SUFFIX
from locus_operator.names import RoleNames
from locus_operator.provisioner import Owner

CLAIM_VIEW: Final = "LOCUS_CLAIM"
"""Oracle has no comments on users: each user of a store has a view of this name, and its text is the claim. One
statement makes it, so there is no moment in which it exists and says nothing; who owns it may drop it and, without
CREATE VIEW, cannot write another one. It needs no space."""

_PARENT: Final = re.compile(r'REFERENCES "[^"]+"\."([^"]+)"')
_ANY_DIMENSION: Final = 1


@dataclass(frozen=True)
class Layout:
    """What a store consists of.

    Attributes:
        base: Names of the store; its logins are called like these, in upper case.
        owner: The schema, as the data dictionary shows it.
        table_name: Name of the table of checkpoints.
        memory: Long-term memory is wanted.
        dimension: Numbers in its embeddings; None for none.
    """

    base: RoleNames
    owner: str
    table_name: str
    memory: bool
    dimension: int | None

    @property
    def logins(self) -> tuple[str, str]:
        """The two logins, as the data dictionary shows them."""
        first, second = self.base.logins
        return first.upper(), second.upper()

    @property
    def users(self) -> tuple[str, str, str]:
        """All users of the store."""
        return (self.owner, *self.logins)

    @cached_property
    def wanted(self) -> tuple[DatabaseObject, ...]:
        """The objects that there shall be, in the order of their creation."""
        memory = items.ddl(self._items, self.owner, self.dimension) if self.memory else ()
        return (*ddl(self.table_name, self.owner), *memory)

    @cached_property
    def known(self) -> Mapping[str, DatabaseObject]:
        """Those, and the ones of a long-term memory that is not asked for any more: it stays as it is."""
        memory = items.ddl(self._items, self.owner, self.dimension or _ANY_DIMENSION)
        return {item.name: item for item in (*ddl(self.table_name, self.owner), *memory, *self.wanted)}

    @cached_property
    def parents(self) -> Mapping[str, frozenset[str]]:
        """The tables that the rows of each wanted one belong to."""
        tables = [item for item in self.wanted if item.kind == "table"]
        return {item.name: frozenset(_PARENT.findall(item.statement)) for item in tables}

    @property
    def version_tables(self) -> frozenset[str]:
        """Each set of tables has one."""
        return frozenset(f"{name}_SCHEMA".upper() for name in (self.table_name, self._items))

    @property
    def sequences(self) -> Mapping[str, str]:
        """Sequences, with the table whose rows they number."""
        return {f"{name}_ORDER".upper(): name.upper() for name in (self.table_name, self._items)}

    @property
    def vectors(self) -> str:
        """The table of embeddings."""
        return f"{self._items}_VECTORS".upper()

    def orphans(self, there: Mapping[str, str]) -> tuple[str, ...]:
        """Return the tables that are there while one is missing that they belong to, in the order to drop them."""
        lost: list[str] = []
        # In the order of their creation: what a table belongs to comes before it.
        for name, parents in self.parents.items():
            if name in there and any(each not in there or each in lost for each in parents):
                lost.append(name)
        return tuple(reversed(lost))

    def qualified(self, name: str) -> str:
        """Return the name of an object for use in SQL."""
        return f'"{self.owner}"."{name}"'

    def version_query(self, table: str) -> str:
        """Ask for the version of a set of tables."""
        return f"SELECT MAX(v.version) FROM {self.qualified(table)} v"  # noqa: S608 - names of our own

    def any_row_query(self, table: str) -> str:
        """Ask whether a table has a row."""
        return f"SELECT 1 FROM {self.qualified(table)} t FETCH FIRST 1 ROWS ONLY"  # noqa: S608

    def highest_query(self, table: str) -> str:
        """Ask for the last number that a sequence has given."""
        return f"SELECT MAX(t.write_order) FROM {self.qualified(table)} t"  # noqa: S608

    @property
    def vectors_query(self) -> str:
        """A query of the table of embeddings for its description."""
        return f"SELECT v.embedding FROM {self.qualified(self.vectors)} v WHERE v.write_order < 0"  # noqa: S608

    @property
    def _items(self) -> str:
        return f"{self.table_name}{ITEMS_SUFFIX}"


def create_claim(user: str, claim: Owner) -> str:
    """Return the statement that writes a claim."""
    text = claim.claim().replace("'", "''")
    return f'CREATE OR REPLACE VIEW "{user}"."{CLAIM_VIEW}" AS SELECT \'{text}\' AS claim FROM dual'  # noqa: S608
