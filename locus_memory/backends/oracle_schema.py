"""Tables of the Oracle backend: the one source of their DDL, for the library and for the operator.

`<t>_THREADS` has a row per thread and namespace, without a latest checkpoint where there are pending writes alone;
locking it serialises the writers of a thread. `<t>` has a row per checkpoint, `<t>_METADATA` a row per queryable field,
`<t>_PARTS` what checkpoints share, `<t>_NEEDS` which of them needs what, `<t>_SEARCH` and `<t>_WORDS` the words of each
thread's current state, brought up to date by the search itself. `Names.writes` is the name of the table of pending
writes. `<t>_ORDER` numbers the checkpoints in the order in which they were written.

Ids are RAW, the bytes of their UTF-8: no character set converts them, no NLS setting of a session folds or reorders
them, and U+0000 is a byte like any other. Oracle takes an empty string for NULL, so a thread is keyed by a hash of
id and namespace, and the empty namespace is stored as the NULL that it would become.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from locus_memory.errors import InvalidArgumentError

SCHEMA_VERSION: Final = 1
"""Version of the tables; `<t>_SCHEMA` records it. Migrations go forward only."""

IN_ORDER: Final = "_IN_ORDER"
"""How the constraint's name ends that gives a number to one write of a thread only."""

MAX_NAME_BYTES: Final = 128
"""Of an identifier, from Oracle 12.2 on (https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf,
"Database Object Naming Rules")."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_$#]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Names:
    """Quoted names of a store's objects, for use in SQL.

    Quoted in upper case they are the names that people write without quotes, and may be reserved words.

    Args:
        table_name: Name of the table of checkpoints; letters, digits, `_`, `$` and `#`.
        owner: Schema of the tables; None for the login's own.

    Raises:
        InvalidArgumentError: A name has other characters, or is too long.
    """

    table_name: str
    owner: str | None = None

    def __post_init__(self) -> None:
        # The longest name made from it ends in this.
        _check_identifier("table_name", self.table_name, MAX_NAME_BYTES - len("_METADATA_KEY"))
        if self.owner is not None:
            _check_identifier("schema", self.owner, MAX_NAME_BYTES)

    def plain(self, suffix: str = "") -> str:
        """Return the name of an object as the data dictionary shows it."""
        return f"{self.table_name}{suffix}".upper()

    def qualified(self, suffix: str = "") -> str:
        """Return the name of an object with its owner, quoted."""
        return self._quoted(self.plain(suffix))

    @property
    def writes(self) -> str:
        """The name of the table of pending writes: beside `x_checkpoints` it is `x_writes`, beside `x` `x_pending`.

        The latter is another word, so that the stores `x` and `x_checkpoints` do not meet in it.
        """
        stem = self.plain().removesuffix("_CHECKPOINTS")
        return self.plain("_PENDING") if stem == self.plain() else f"{stem}_WRITES"

    def fragments(self) -> dict[str, str]:
        """Return what the statements are composed of."""
        suffixes = {
            "threads": "_THREADS",
            "checkpoints": "",
            "fields": "_METADATA",
            "parts": "_PARTS",
            "needs": "_NEEDS",
            "search": "_SEARCH",
            "words": "_WORDS",
            "order": "_ORDER",
            "version_table": "_SCHEMA",
            "created_index": "_CREATED",
            "field_index": "_BY_FIELD",
            "part_index": "_BY_PART",
            "word_index": "_BY_WORD",
        }
        return {name: self.qualified(suffix) for name, suffix in suffixes.items()} | {
            "version": str(SCHEMA_VERSION),
            "t": self.plain(),
            "in_order": IN_ORDER,
            "writes": self._quoted(self.writes),
            "w": self.writes,
        }

    def _quoted(self, name: str) -> str:
        return f'"{name}"' if self.owner is None else f'"{self.owner.upper()}"."{name}"'


@dataclass(frozen=True, slots=True)
class DatabaseObject:
    """An object of a store, and the statement that creates it.

    Attributes:
        kind: What it is; all share one namespace of names.
        name: Name within the schema, as the data dictionary shows it.
        statement: DDL; ORA-00955 says that the object is there already.
        privileges: What an agent's login needs on it, when another login owns it.
    """

    kind: Literal["table", "sequence", "index"]
    name: str
    statement: str
    privileges: tuple[str, ...] = ()


def ddl(table_name: str = "locus_checkpoints", owner: str | None = None) -> tuple[DatabaseObject, ...]:
    """Return the objects of a store in the order of their creation.

    Oracle commits before and after each statement and has no IF NOT EXISTS before 23ai: whoever runs them goes on
    after ORA-00955.

    Args:
        table_name: Name of the table of checkpoints; the others are derived from it.
        owner: Schema of the tables; None for the login's own.

    Raises:
        InvalidArgumentError: A name cannot be one.
    """
    names = Names(table_name, owner)
    fragments = names.fragments()
    return tuple(
        DatabaseObject(
            kind,
            names.writes if suffix == _WRITES else names.plain(suffix),
            text.format(**fragments),
            granted,
        )
        for kind, suffix, text, granted in _OBJECTS
    )


def _check_identifier(argument: str, name: str, longest: int) -> None:
    if not _IDENTIFIER.fullmatch(name):
        raise InvalidArgumentError(f"{argument}: {name!r} is no name: write a letter, then letters, digits, _, $ or #")
    if len(name) > longest:
        raise InvalidArgumentError(f"{argument}: {len(name)} characters; write at most {longest}")


_WRITES: Final = "(writes)"
"""Stands for the table of pending writes, whose name is no suffix behind the others'."""

_DML: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

# Indexes of the columns of a key in another order stand alone: the same columns cannot be two keys (ORA-02261).
_OBJECTS: Final[tuple[tuple[Literal["table", "sequence", "index"], str, str, tuple[str, ...]], ...]] = (
    # ORDER: instances of a cluster that cache numbers of their own would number the writes of a thread out of order.
    ("sequence", "_ORDER", "CREATE SEQUENCE {order} ORDER CACHE 1000", ("SELECT",)),
    (
        "table",
        "_THREADS",
        """CREATE TABLE {threads} (
            thread_key RAW(32) NOT NULL,
            thread_id RAW(1024) NOT NULL,
            namespace RAW(2000),
            latest_checkpoint RAW(1024),
            CONSTRAINT "{t}_THREADS_KEY" PRIMARY KEY (thread_key),
            CONSTRAINT "{t}_THREADS_ID" UNIQUE (thread_id, namespace)
        )""",
        _DML,
    ),
    (
        "table",
        "",
        """CREATE TABLE {checkpoints} (
            thread_key RAW(32) NOT NULL,
            checkpoint_id RAW(1024) NOT NULL,
            parent_id RAW(1024),
            write_order NUMBER(28) NOT NULL,
            created_at TIMESTAMP(6) NOT NULL,
            payload_bytes NUMBER(10) NOT NULL,
            part_count NUMBER(10) NOT NULL,
            metadata CLOB NOT NULL,
            payload BLOB,
            CONSTRAINT "{t}_KEY" PRIMARY KEY (thread_key, checkpoint_id),
            CONSTRAINT "{t}{in_order}" UNIQUE (thread_key, write_order),
            CONSTRAINT "{t}_JSON" CHECK (metadata IS JSON),
            CONSTRAINT "{t}_THREAD" FOREIGN KEY (thread_key) REFERENCES {threads} (thread_key) ON DELETE CASCADE
        )""",
        _DML,
    ),
    ("index", "_CREATED", "CREATE INDEX {created_index} ON {checkpoints} (created_at)", ()),
    (
        "table",
        "_METADATA",
        """CREATE TABLE {fields} (
            field_hash RAW(32) NOT NULL,
            thread_key RAW(32) NOT NULL,
            checkpoint_id RAW(1024) NOT NULL,
            CONSTRAINT "{t}_METADATA_KEY" PRIMARY KEY (thread_key, checkpoint_id, field_hash),
            CONSTRAINT "{t}_METADATA_OF" FOREIGN KEY (thread_key, checkpoint_id)
                REFERENCES {checkpoints} (thread_key, checkpoint_id) ON DELETE CASCADE
        )""",
        _DML,
    ),
    ("index", "_BY_FIELD", "CREATE INDEX {field_index} ON {fields} (field_hash, thread_key, checkpoint_id)", ()),
    (
        "table",
        "_PARTS",
        """CREATE TABLE {parts} (
            thread_key RAW(32) NOT NULL,
            part_key RAW(16) NOT NULL,
            content BLOB,
            CONSTRAINT "{t}_PARTS_KEY" PRIMARY KEY (thread_key, part_key),
            CONSTRAINT "{t}_PARTS_OF" FOREIGN KEY (thread_key) REFERENCES {threads} (thread_key) ON DELETE CASCADE
        )""",
        _DML,
    ),
    (
        "table",
        "_NEEDS",
        """CREATE TABLE {needs} (
            thread_key RAW(32) NOT NULL,
            checkpoint_id RAW(1024) NOT NULL,
            part_key RAW(16) NOT NULL,
            CONSTRAINT "{t}_NEEDS_KEY" PRIMARY KEY (thread_key, checkpoint_id, part_key),
            CONSTRAINT "{t}_NEEDS_OF" FOREIGN KEY (thread_key, checkpoint_id)
                REFERENCES {checkpoints} (thread_key, checkpoint_id) ON DELETE CASCADE,
            CONSTRAINT "{t}_NEEDS_PART" FOREIGN KEY (thread_key, part_key)
                REFERENCES {parts} (thread_key, part_key) ON DELETE CASCADE
        )""",
        _DML,
    ),
    # Without it, who deletes parts would lock the whole table of needs.
    ("index", "_BY_PART", "CREATE INDEX {part_index} ON {needs} (thread_key, part_key)", ()),
    (
        "table",
        _WRITES,
        """CREATE TABLE {writes} (
            thread_key RAW(32) NOT NULL,
            checkpoint_id RAW(1024) NOT NULL,
            place RAW(16) NOT NULL,
            content BLOB,
            CONSTRAINT "{w}_KEY" PRIMARY KEY (thread_key, checkpoint_id, place),
            CONSTRAINT "{w}_OF" FOREIGN KEY (thread_key) REFERENCES {threads} (thread_key) ON DELETE CASCADE
        )""",
        _DML,
    ),
    (
        "table",
        "_SEARCH",
        """CREATE TABLE {search} (
            thread_key RAW(32) NOT NULL,
            write_order NUMBER(28) NOT NULL,
            CONSTRAINT "{t}_SEARCH_KEY" PRIMARY KEY (thread_key),
            CONSTRAINT "{t}_SEARCH_OF" FOREIGN KEY (thread_key) REFERENCES {threads} (thread_key) ON DELETE CASCADE
        )""",
        _DML,
    ),
    (
        "table",
        "_WORDS",
        """CREATE TABLE {words} (
            word_hash RAW(16) NOT NULL,
            thread_key RAW(32) NOT NULL,
            occurrences NUMBER(10) NOT NULL,
            CONSTRAINT "{t}_WORDS_KEY" PRIMARY KEY (thread_key, word_hash),
            CONSTRAINT "{t}_WORDS_OF" FOREIGN KEY (thread_key) REFERENCES {search} (thread_key) ON DELETE CASCADE
        )""",
        _DML,
    ),
    ("index", "_BY_WORD", "CREATE INDEX {word_index} ON {words} (word_hash, thread_key, occurrences)", ()),
    # Last, and created with its row: its presence says that everything before it is there.
    ("table", "_SCHEMA", "CREATE TABLE {version_table} AS SELECT {version} AS version FROM dual", ("SELECT",)),
)
