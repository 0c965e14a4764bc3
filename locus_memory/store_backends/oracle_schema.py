"""Tables of the store on Oracle: the one source of their DDL, for the library and for the operator.

`<t>` has a row per item, `<t>_VECTORS` one per embedding: a table of its own, since the type VECTOR is there from
release 23ai on only, and plain items need nothing beyond 19c. A row of it counts as long as it has the number of its
item's last write, so that a put which knows nothing of embeddings makes the old one count no more.

Names are RAW, the bytes of their UTF-8: no character set converts them, no NLS setting of a session folds or reorders
them. For the same reason words, and metadata fields with their values, are kept as hashes: tokens of one length in a
CLOB of ASCII, that a search looks for as text.
"""

from __future__ import annotations

from typing import Final, Literal

from locus_memory.backends.oracle_schema import DatabaseObject, Names

SCHEMA_VERSION: Final = 1
"""Version of the tables; `<t>_SCHEMA` records it. Migrations go forward only."""


def ddl(
    table_name: str = "locus_store", owner: str | None = None, dimension: int | None = None
) -> tuple[DatabaseObject, ...]:
    """Return the objects of a store in the order of their creation; see `locus_memory.backends.oracle_schema.ddl`.

    Args:
        table_name: Name of the table of items; the others are derived from it.
        owner: Schema of the tables; None for the login's own.
        dimension: Numbers in an embedding; None for a store without embeddings.

    Raises:
        InvalidArgumentError: A name cannot be one.
    """
    names = Names(table_name, owner)
    written = fragments(names) | {"dimension": str(dimension)}
    return tuple(
        DatabaseObject(kind, names.plain(suffix), text.format(**written), granted)
        for kind, suffix, text, granted in _OBJECTS
        if dimension is not None or suffix != "_VECTORS"
    )


def fragments(names: Names) -> dict[str, str]:
    """Return what the statements are composed of."""
    return {
        "items": names.qualified(),
        "vectors": names.qualified("_VECTORS"),
        "order": names.qualified("_ORDER"),
        "version_table": names.qualified("_SCHEMA"),
        "recent_index": names.qualified("_RECENT"),
        "expiry_index": names.qualified("_EXPIRY"),
        "version": str(SCHEMA_VERSION),
        "t": names.plain(),
    }


_DML: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

_OBJECTS: Final[tuple[tuple[Literal["table", "sequence", "index"], str, str, tuple[str, ...]], ...]] = (
    # ORDER: instances of a cluster that cache numbers of their own would number the writes out of order.
    ("sequence", "_ORDER", "CREATE SEQUENCE {order} ORDER CACHE 1000", ("SELECT",)),
    (
        "table",
        "",
        """CREATE TABLE {items} (
            namespace RAW(1024) NOT NULL,
            item_key RAW(1024) NOT NULL,
            write_order NUMBER(28) NOT NULL,
            item_version NUMBER(19) NOT NULL,
            created_at TIMESTAMP(6) NOT NULL,
            updated_at TIMESTAMP(6) NOT NULL,
            expires_at TIMESTAMP(6),
            fields CLOB NOT NULL,
            words CLOB NOT NULL,
            payload BLOB,
            CONSTRAINT "{t}_KEY" PRIMARY KEY (namespace, item_key)
        )""",
        _DML,
    ),
    ("index", "_RECENT", "CREATE INDEX {recent_index} ON {items} (namespace, write_order, expires_at)", ()),
    ("index", "_EXPIRY", "CREATE INDEX {expiry_index} ON {items} (expires_at)", ()),
    (
        "table",
        "_VECTORS",
        """CREATE TABLE {vectors} (
            namespace RAW(1024) NOT NULL,
            item_key RAW(1024) NOT NULL,
            write_order NUMBER(28) NOT NULL,
            embedding VECTOR({dimension}, FLOAT32) NOT NULL,
            CONSTRAINT "{t}_VECTORS_KEY" PRIMARY KEY (namespace, item_key),
            CONSTRAINT "{t}_VECTORS_OF" FOREIGN KEY (namespace, item_key)
                REFERENCES {items} (namespace, item_key) ON DELETE CASCADE
        )""",
        _DML,
    ),
    # Last, and created with its row: its presence says that everything before it is there.
    ("table", "_SCHEMA", "CREATE TABLE {version_table} AS SELECT {version} AS version FROM dual", ("SELECT",)),
)
