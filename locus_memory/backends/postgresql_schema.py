"""Tables of the PostgreSQL backend: the one source of their DDL, for the library and for the operator.

`locus_threads` has a row per thread and namespace; its update on each save serialises the writers of a thread,
and makes compare-and-set one statement. `locus_checkpoints` has a row per checkpoint, `locus_parts` what several of a
thread's checkpoints share, `locus_writes` what tasks write before their step is done. `locus_search` holds the
words of each thread's current state, brought up to date by the search itself, so that saves do not pay for it.
"""

from __future__ import annotations

from typing import Final

from locus_memory.backends.postgresql_objects import Column, DatabaseObject, index, table, version_table

SCHEMA_VERSION: Final = 1
"""Version of the tables; `locus_schema` records it. Migrations go forward only."""

APPLICATION_PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""What an agent's login needs on each table; nothing else, except USAGE on the schema."""

VERSION_TABLE: Final = "locus_schema"
VERSION_PRIVILEGES: Final = ("SELECT",)


def ddl(schema: str) -> tuple[DatabaseObject, ...]:
    """Return the objects of a store in the order of their creation.

    Args:
        schema: An existing schema. The statements are idempotent, need CREATE on it, and run in one transaction.
    """
    return (
        table(schema, "locus_threads", _THREADS, _KEYS_OF_THREADS, " WITH (fillfactor = 70)"),
        table(schema, "locus_checkpoints", _CHECKPOINTS, _KEYS_OF_CHECKPOINTS),
        index(
            schema,
            "locus_checkpoints_metadata",
            "locus_checkpoints",
            "USING gin (metadata jsonb_path_ops) WHERE metadata <> '{{}}'::jsonb",
        ),
        index(schema, "locus_checkpoints_created_at", "locus_checkpoints", "USING brin (created_at)"),
        table(schema, "locus_parts", _PARTS, ("PRIMARY KEY (thread_key, name)", _OF_THREAD)),
        table(schema, "locus_writes", _WRITES, _KEYS_OF_WRITES),
        index(schema, "locus_writes_written_at", "locus_writes", "USING brin (written_at)"),
        table(schema, "locus_search", _SEARCH, ("PRIMARY KEY (thread_key)", _OF_THREAD)),
        index(schema, "locus_search_document", "locus_search", "USING gin (document)"),
        # Last: its presence says that everything before it is there.
        version_table(schema, VERSION_TABLE, SCHEMA_VERSION),
    )


def privileges(table: str) -> tuple[str, ...]:
    """Return the privileges of the application on a table of `ddl()`."""
    return VERSION_PRIVILEGES if table == VERSION_TABLE else APPLICATION_PRIVILEGES


# COLLATE "C": ids are compared byte by byte whatever the database's locale, and LIKE prefixes use the index.
# External: payloads are compressed already. fillfactor: the update on each save stays on its page (HOT).
_TEXT: Final = 'text COLLATE "C"'
_NOW: Final = "clock_timestamp()"
_OF_THREAD: Final = "FOREIGN KEY (thread_key) REFERENCES {locus_threads}(thread_key) ON DELETE CASCADE"

_THREADS: Final = (
    Column("thread_key", "bigint", identity="ALWAYS"),
    Column("thread_id", _TEXT),
    Column("namespace", _TEXT),
    Column("last_sequence", "bigint"),
    Column("latest_checkpoint", _TEXT),
)
_KEYS_OF_THREADS: Final = ("PRIMARY KEY (thread_key)", "UNIQUE (thread_id, namespace)")

_CHECKPOINTS: Final = (
    Column("thread_key", "bigint"),
    Column("sequence", "bigint"),
    Column("checkpoint_id", _TEXT),
    Column("parent_id", _TEXT, nullable=True),
    Column("created_at", "timestamp with time zone", default=_NOW),
    Column("metadata", "jsonb"),
    Column("payload", "bytea", external=True),
    Column("parts", 'text[] COLLATE "C"', default="'{}'::text[]"),
)
_KEYS_OF_CHECKPOINTS: Final = (
    "PRIMARY KEY (thread_key, sequence)",
    "UNIQUE (thread_key, checkpoint_id)",
    _OF_THREAD,
)

_PARTS: Final = (Column("thread_key", "bigint"), Column("name", _TEXT), Column("data", "bytea", external=True))

# The time of the write is for retention alone: a write whose checkpoint never came would else be kept for ever.
_WRITES: Final = (
    Column("thread_key", "bigint"),
    Column("checkpoint_id", _TEXT),
    Column("task_id", _TEXT),
    Column("index", "integer"),
    Column("channel", _TEXT),
    Column("payload", "bytea", external=True),
    Column("task_path", _TEXT),
    Column("written_at", "timestamp with time zone", default=_NOW),
)
_KEYS_OF_WRITES: Final = ("PRIMARY KEY (thread_key, checkpoint_id, task_id, index)", _OF_THREAD)

_SEARCH: Final = (
    Column("thread_key", "bigint"),
    Column("last_sequence", "bigint"),
    Column("latest_checkpoint", _TEXT),
    Column("document", "tsvector"),
)
