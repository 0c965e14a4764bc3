"""SQL of the Oracle backend, composed once for a table name; all of it is SQL of Oracle 19c.

Every transaction that writes to a thread takes its row in `<t>_THREADS` first, so the writers of a thread queue there
and "latest" is the order in which they got it.

A value of any size is bound only where Oracle takes a long one: in VALUES and SET, for a column. In an expression,
such as the USING of a MERGE, it would be ORA-01461.
"""

from __future__ import annotations

from typing import Final

from locus_memory.backends import oracle_history as history
from locus_memory.backends.oracle_schema import Names

_SUMMARY: Final = "t.thread_id, c.checkpoint_id, c.metadata, c.created_at, t.namespace, c.parent_id"

_OF_LATEST: Final = """JOIN {checkpoints} c
            ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint"""

_TEXTS: Final = {
    # Of a save, the first statement: it locks the thread's row, and points it at the checkpoint.
    "put": """MERGE INTO {threads} t
        USING (SELECT :thread_key AS thread_key FROM dual) k ON (t.thread_key = k.thread_key)
        WHEN MATCHED THEN UPDATE SET t.latest_checkpoint = :checkpoint_id
        WHEN NOT MATCHED THEN INSERT (thread_key, thread_id, namespace, latest_checkpoint)
            VALUES (k.thread_key, :thread_id, :namespace, :checkpoint_id)""",
    "put_first": """INSERT INTO {threads} (thread_key, thread_id, namespace, latest_checkpoint)
        VALUES (:thread_key, :thread_id, :namespace, :checkpoint_id)""",
    # The thread may have a row already, for pending writes that came before their checkpoint.
    "put_behind_writes": """UPDATE {threads} t SET t.latest_checkpoint = :checkpoint_id
        WHERE t.thread_key = :thread_key AND t.latest_checkpoint IS NULL""",
    "put_next": """UPDATE {threads} t SET t.latest_checkpoint = :checkpoint_id
        WHERE t.thread_key = :thread_key AND t.latest_checkpoint = :expected""",
    "insert_checkpoint": """INSERT INTO {checkpoints}
            (thread_key, checkpoint_id, parent_id, write_order, created_at, payload_bytes, part_count, metadata,
            payload)
        VALUES (:thread_key, :checkpoint_id, :parent_id, {order}.NEXTVAL,
            COALESCE(:created_at, SYS_EXTRACT_UTC(SYSTIMESTAMP)), :payload_bytes, :part_count, :metadata, :payload)""",
    "replace_checkpoint": """UPDATE {checkpoints} c
        SET c.parent_id = :parent_id, c.write_order = {order}.NEXTVAL,
            c.created_at = COALESCE(:created_at, SYS_EXTRACT_UTC(SYSTIMESTAMP)),
            c.payload_bytes = :payload_bytes, c.part_count = :part_count, c.metadata = :metadata,
            c.payload = :payload
        WHERE c.thread_key = :thread_key AND c.checkpoint_id = :checkpoint_id""",
    "forget_fields": "DELETE FROM {fields} f WHERE f.thread_key = :thread_key AND f.checkpoint_id = :checkpoint_id",
    "index_field": """INSERT INTO {fields} (field_hash, thread_key, checkpoint_id)
        VALUES (:field_hash, :thread_key, :checkpoint_id)""",
    "get_latest": """SELECT {summary}, c.payload FROM {threads} t {of_latest} WHERE t.thread_key = :thread_key""",
    "summary_latest": """SELECT {summary} FROM {threads} t {of_latest} WHERE t.thread_key = :thread_key""",
    "get_one": """SELECT {summary}, c.payload FROM {threads} t JOIN {checkpoints} c ON c.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key AND c.checkpoint_id = :checkpoint_id""",
    "summary_one": """SELECT {summary} FROM {threads} t JOIN {checkpoints} c ON c.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key AND c.checkpoint_id = :checkpoint_id""",
    "list_checkpoints": """SELECT {summary} FROM {threads} t JOIN {checkpoints} c ON c.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key ORDER BY c.write_order DESC FETCH FIRST :limit ROWS ONLY""",
    # With what has to be deleted with a checkpoint, so that only those who have parts and writes pay for them.
    "lock_thread": """SELECT t.latest_checkpoint,
            CASE WHEN EXISTS (SELECT 1 FROM {needs} n
                WHERE n.thread_key = t.thread_key AND n.checkpoint_id = :checkpoint_id) THEN 1 ELSE 0 END,
            CASE WHEN EXISTS (SELECT 1 FROM {writes} w
                JOIN {checkpoints} c ON c.thread_key = w.thread_key AND c.checkpoint_id = w.checkpoint_id
                WHERE w.thread_key = t.thread_key AND w.checkpoint_id = :checkpoint_id) THEN 1 ELSE 0 END
        FROM {threads} t WHERE t.thread_key = :thread_key FOR UPDATE""",
    "delete_checkpoint": """DELETE FROM {checkpoints} c
        WHERE c.thread_key = :thread_key AND c.checkpoint_id = :checkpoint_id""",
    "delete_if_empty": """DELETE FROM {threads} t WHERE t.thread_key = :thread_key
        AND NOT EXISTS (SELECT 1 FROM {checkpoints} c WHERE c.thread_key = t.thread_key)""",
    "repair_latest": """UPDATE {threads} t
        SET t.latest_checkpoint = (SELECT c.checkpoint_id FROM {checkpoints} c WHERE c.thread_key = t.thread_key
            AND c.write_order = (SELECT MAX(o.write_order) FROM {checkpoints} o WHERE o.thread_key = :thread_key))
        WHERE t.thread_key = :thread_key AND NOT EXISTS (SELECT 1 FROM {checkpoints} c
            WHERE c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint)""",
    "delete_thread": "DELETE FROM {threads} t WHERE t.thread_id = :thread_id",
    "lock_copied": """SELECT t.thread_id, t.thread_key, t.namespace FROM {threads} t
        WHERE t.thread_id IN (:source, :destination) ORDER BY t.thread_key FOR UPDATE""",
    "copy_thread": """INSERT INTO {threads} (thread_key, thread_id, namespace, latest_checkpoint)
        SELECT :destination_key, :destination, t.namespace, t.latest_checkpoint
        FROM {threads} t WHERE t.thread_key = :source_key""",
    "copy_checkpoints": """INSERT INTO {checkpoints}
            (thread_key, checkpoint_id, parent_id, write_order, created_at, payload_bytes, part_count, metadata,
            payload)
        SELECT :destination_key, c.checkpoint_id, c.parent_id, c.write_order, c.created_at, c.payload_bytes,
            c.part_count, c.metadata, c.payload
        FROM {checkpoints} c WHERE c.thread_key = :source_key""",
    "copy_fields": """INSERT INTO {fields} (field_hash, thread_key, checkpoint_id)
        SELECT f.field_hash, :destination_key, f.checkpoint_id FROM {fields} f WHERE f.thread_key = :source_key""",
    # No DISTINCT: it would read all threads before it returned the first. Duplicates are dropped by the caller.
    "list_threads": """SELECT t.thread_id FROM {threads} t
        WHERE t.thread_id >= :low AND t.thread_id < :high AND RAWTOHEX(t.thread_id) LIKE :pattern
            AND t.latest_checkpoint IS NOT NULL
        ORDER BY t.thread_id FETCH FIRST :limit ROWS ONLY""",
    "list_threads_after": """SELECT t.thread_id FROM {threads} t
        WHERE t.thread_id >= :low AND t.latest_checkpoint IS NOT NULL
        ORDER BY t.thread_id FETCH FIRST :limit ROWS ONLY""",
    "list_namespaces": """SELECT t.namespace FROM {threads} t
        WHERE t.thread_id = :thread_id AND t.latest_checkpoint IS NOT NULL""",
    "list_latest": """SELECT {summary} FROM {threads} t {of_latest}
        WHERE t.namespace IS NULL ORDER BY t.thread_id FETCH FIRST :limit ROWS ONLY""",
    "query_by_metadata": """SELECT {summary} FROM {fields} f
        JOIN {checkpoints} c ON c.thread_key = f.thread_key AND c.checkpoint_id = f.checkpoint_id
        JOIN {threads} t ON t.thread_key = f.thread_key
        WHERE f.field_hash = :field_hash
        ORDER BY c.created_at DESC, c.write_order DESC FETCH FIRST :limit ROWS ONLY""",
    "unindexed": """SELECT t.thread_key, c.write_order, c.payload_bytes FROM {threads} t {of_latest}
        LEFT JOIN {search} s ON s.thread_key = t.thread_key
        WHERE t.namespace IS NULL AND t.thread_key > :after
            AND (s.write_order IS NULL OR s.write_order <> c.write_order)
        ORDER BY t.thread_key FETCH FIRST :limit ROWS ONLY""",
    "latest_payload": "SELECT c.write_order, c.payload FROM {threads} t {of_latest} WHERE t.thread_key = :thread_key",
    "claim_search": """MERGE INTO {search} s
        USING (SELECT :thread_key AS thread_key FROM dual) k ON (s.thread_key = k.thread_key)
        WHEN MATCHED THEN UPDATE SET s.write_order = :write_order
        WHEN NOT MATCHED THEN INSERT (thread_key, write_order) VALUES (k.thread_key, :write_order)""",
    "forget_words": "DELETE FROM {words} w WHERE w.thread_key = :thread_key",
    "index_word": """INSERT INTO {words} (word_hash, thread_key, occurrences)
        VALUES (:word_hash, :thread_key, :occurrences)""",
    "search": """SELECT {summary}, h.score
        FROM (SELECT w.thread_key, SUM(w.occurrences) AS score FROM {words} w WHERE w.word_hash IN ({terms})
            GROUP BY w.thread_key HAVING COUNT(*) = :term_count) h
        JOIN {threads} t ON t.thread_key = h.thread_key {of_latest}
        ORDER BY h.score DESC, c.created_at DESC, c.write_order DESC FETCH FIRST :limit ROWS ONLY""",
    "old_threads": """SELECT c.thread_key FROM {checkpoints} c WHERE c.created_at < :before
        GROUP BY c.thread_key ORDER BY c.thread_key FETCH FIRST :limit ROWS ONLY""",
    "lock_threads": "UPDATE {threads} t SET t.latest_checkpoint = t.latest_checkpoint WHERE t.thread_key = :thread_key",
    "delete_old": "DELETE FROM {checkpoints} c WHERE c.thread_key = :thread_key AND c.created_at < :before",
    "version": "SELECT MAX(v.version) FROM {version_table} v",
}


SEARCH: Final = "search for "
"""Followed by the number of words, the name of the search for so many."""


class Statements:
    """The statements for one table name, by name."""

    def __init__(self, names: Names) -> None:
        fragments = names.fragments() | {"summary": _SUMMARY}
        fragments["of_latest"] = _OF_LATEST.format(**fragments)
        self._fragments = fragments
        texts = {**_TEXTS, **history.TEXTS}
        self._texts = {name: text.format(**fragments) for name, text in texts.items() if name != "search"}

    def __getitem__(self, name: str) -> str:
        if name.startswith(SEARCH):
            return self.search(int(name.removeprefix(SEARCH)))
        if name.startswith(history.COMPLETE):
            return self.complete(int(name.removeprefix(history.COMPLETE)))
        return self._texts[name]

    def names(self) -> tuple[str, ...]:
        """Return the names of all statements of fixed text."""
        return tuple(self._texts)

    def search(self, term_count: int) -> str:
        """Return the search for so many words, bound as `term_0`, `term_1`, ..."""
        terms = ", ".join(f":term_{number}" for number in range(term_count))
        return _TEXTS["search"].format(**self._fragments, terms=terms)

    def complete(self, count: int) -> str:
        """Return the query for so many checkpoints with all that belongs to them; 0: for the latest."""
        return history.complete_text(self._fragments, count)
