"""Table of the store on PostgreSQL: the one source of its DDL, for the library and for the operator.

`locus_items` has a row per item. The embedding is an array of `real`, of any dimension, so that the table is the same
with and without the extension pgvector, before and after somebody installs it, and for any model of embeddings; where
the extension is there, a search casts the embeddings to its type.
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

from locus_memory.backends.postgresql_objects import Column, DatabaseObject, index, table, version_table
from locus_memory.backends.postgresql_schema import APPLICATION_PRIVILEGES, VERSION_PRIVILEGES

SCHEMA_VERSION: Final = 1
"""Version of the table; `locus_items_schema` records it. Migrations go forward only."""

VERSION_TABLE: Final = "locus_items_schema"


def ddl(schema: str) -> tuple[DatabaseObject, ...]:
    """Return the objects of a store in the order of their creation.

    Args:
        schema: An existing schema. The statements are idempotent, need CREATE on it, and run in one transaction.
    """
    return (
        table(schema, "locus_items", _ITEMS, ("PRIMARY KEY (namespace, key)",)),
        index(schema, "locus_items_write_order", "locus_items", "USING btree (namespace, write_order)"),
        index(schema, "locus_items_expires_at", "locus_items", "USING btree (expires_at) WHERE expires_at IS NOT NULL"),
        # Last: its presence says that everything before it is there.
        version_table(schema, VERSION_TABLE, SCHEMA_VERSION),
    )


def privileges(table: str) -> tuple[str, ...]:
    """Return the privileges of the application on a table of `ddl()`."""
    return VERSION_PRIVILEGES if table == VERSION_TABLE else APPLICATION_PRIVILEGES


def identifiers(schema: str) -> dict[str, sql.Composable]:
    """Return the names that the statements are composed of."""
    return {
        "version_table": sql.Identifier(schema, VERSION_TABLE),
        "items": sql.Identifier(schema, "locus_items"),
    }


# COLLATE "C": names are compared byte by byte whatever the database's locale, so that all namespaces below one are a
# range of the primary key. The identity column orders the writes; on an update it is drawn anew.
# External: payloads are compressed already, and embeddings cannot be.
_ITEMS: Final = (
    Column("namespace", 'text COLLATE "C"'),
    Column("key", 'text COLLATE "C"'),
    Column("write_order", "bigint", identity="BY DEFAULT"),
    Column("version", "bigint", default="1"),
    Column("created_at", "timestamp with time zone", default="clock_timestamp()"),
    Column("updated_at", "timestamp with time zone", default="clock_timestamp()"),
    Column("expires_at", "timestamp with time zone", nullable=True),
    Column("metadata", "jsonb"),
    Column("words", "tsvector", nullable=True),
    Column("embedding", "real[]", nullable=True, external=True),
    Column("payload", "bytea", external=True),
)
