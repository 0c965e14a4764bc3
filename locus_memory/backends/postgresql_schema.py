"""Tables of the PostgreSQL backend: the one source of their DDL, for the library and for the operator.

`locus_threads` has a row per thread and namespace; its update on each save serialises the writers of a thread,
and makes compare-and-set one statement. `locus_checkpoints` has a row per checkpoint, `locus_parts` what several of a
thread's checkpoints share, `locus_writes` what tasks write before their step is done. `locus_search` holds the
words of each thread's current state, brought up to date by the search itself, so that saves do not pay for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from psycopg import sql

SCHEMA_VERSION: Final = 1
"""Version of the tables; `locus_schema` records it. Migrations go forward only."""

APPLICATION_PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""What an agent's login needs on each table; nothing else, except USAGE on the schema."""

VERSION_TABLE: Final = "locus_schema"
VERSION_PRIVILEGES: Final = ("SELECT",)


@dataclass(frozen=True, slots=True)
class DatabaseObject:
    """A table or an index, and the statement that creates it if it is missing.

    Attributes:
        kind: What it is; both live in the namespace of relations.
        name: Name within the schema.
        statement: Idempotent DDL.
    """

    kind: Literal["table", "index"]
    name: str
    statement: sql.Composed


def ddl(schema: str) -> tuple[DatabaseObject, ...]:
    """Return the objects of a store in the order of their creation.

    Args:
        schema: An existing schema. The statements are idempotent, need CREATE on it, and run in one transaction.
    """
    return tuple(
        DatabaseObject(kind, name, sql.SQL(text).format(**_identifiers(schema))) for kind, name, text in _OBJECTS
    )


def privileges(table: str) -> tuple[str, ...]:
    """Return the privileges of the application on a table of `ddl()`."""
    return VERSION_PRIVILEGES if table == VERSION_TABLE else APPLICATION_PRIVILEGES


def _identifiers(schema: str) -> dict[str, sql.Composable]:
    return {
        "version_table": sql.Identifier(schema, VERSION_TABLE),
        "threads": sql.Identifier(schema, "locus_threads"),
        "checkpoints": sql.Identifier(schema, "locus_checkpoints"),
        "parts": sql.Identifier(schema, "locus_parts"),
        "writes": sql.Identifier(schema, "locus_writes"),
        "search": sql.Identifier(schema, "locus_search"),
        "version": sql.Literal(SCHEMA_VERSION),
    }


# COLLATE "C": ids are compared byte by byte whatever the database's locale, and LIKE prefixes use the index.
# STORAGE EXTERNAL: payloads are compressed already. fillfactor: the update on each save stays on its page (HOT).
_OBJECTS: Final[tuple[tuple[Literal["table", "index"], str, str], ...]] = (
    (
        "table",
        "locus_threads",
        """CREATE TABLE IF NOT EXISTS {threads} (
            thread_key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            thread_id text COLLATE "C" NOT NULL,
            namespace text COLLATE "C" NOT NULL,
            last_sequence bigint NOT NULL,
            latest_checkpoint text COLLATE "C" NOT NULL,
            UNIQUE (thread_id, namespace)
        ) WITH (fillfactor = 70)""",
    ),
    (
        "table",
        "locus_checkpoints",
        """CREATE TABLE IF NOT EXISTS {checkpoints} (
            thread_key bigint NOT NULL REFERENCES {threads} ON DELETE CASCADE,
            sequence bigint NOT NULL,
            checkpoint_id text COLLATE "C" NOT NULL,
            parent_id text COLLATE "C",
            created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            metadata jsonb NOT NULL,
            payload bytea NOT NULL,
            parts text[] COLLATE "C" NOT NULL DEFAULT '{{}}',
            PRIMARY KEY (thread_key, sequence),
            UNIQUE (thread_key, checkpoint_id)
        );
        ALTER TABLE {checkpoints} ALTER payload SET STORAGE EXTERNAL""",
    ),
    (
        "index",
        "locus_checkpoints_metadata",
        """CREATE INDEX IF NOT EXISTS locus_checkpoints_metadata ON {checkpoints}
            USING gin (metadata jsonb_path_ops) WHERE metadata <> '{{}}'""",
    ),
    (
        "index",
        "locus_checkpoints_created_at",
        "CREATE INDEX IF NOT EXISTS locus_checkpoints_created_at ON {checkpoints} USING brin (created_at)",
    ),
    (
        "table",
        "locus_parts",
        """CREATE TABLE IF NOT EXISTS {parts} (
            thread_key bigint NOT NULL REFERENCES {threads} ON DELETE CASCADE,
            name text COLLATE "C" NOT NULL,
            data bytea NOT NULL,
            PRIMARY KEY (thread_key, name)
        );
        ALTER TABLE {parts} ALTER data SET STORAGE EXTERNAL""",
    ),
    (
        "table",
        "locus_writes",
        """CREATE TABLE IF NOT EXISTS {writes} (
            thread_key bigint NOT NULL REFERENCES {threads} ON DELETE CASCADE,
            checkpoint_id text COLLATE "C" NOT NULL,
            task_id text COLLATE "C" NOT NULL,
            index integer NOT NULL,
            channel text COLLATE "C" NOT NULL,
            payload bytea NOT NULL,
            task_path text COLLATE "C" NOT NULL,
            PRIMARY KEY (thread_key, checkpoint_id, task_id, index)
        );
        ALTER TABLE {writes} ALTER payload SET STORAGE EXTERNAL""",
    ),
    (
        "table",
        "locus_search",
        """CREATE TABLE IF NOT EXISTS {search} (
            thread_key bigint PRIMARY KEY REFERENCES {threads} ON DELETE CASCADE,
            last_sequence bigint NOT NULL,
            latest_checkpoint text COLLATE "C" NOT NULL,
            document tsvector NOT NULL
        )""",
    ),
    (
        "index",
        "locus_search_document",
        "CREATE INDEX IF NOT EXISTS locus_search_document ON {search} USING gin (document)",
    ),
    # Last: its presence says that everything before it is there.
    (
        "table",
        VERSION_TABLE,
        "CREATE TABLE IF NOT EXISTS {version_table} AS SELECT {version}::int AS version",
    ),
)
