"""SQL of the PostgreSQL backend, composed once for a schema.

Every statement that writes takes the thread's row in `locus_threads` first, so the writers of a thread queue there
and "latest" is the order in which they got it.
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

from locus_memory.backends import postgresql_history as history

_SUMMARY: Final = "t.thread_id, c.checkpoint_id, c.metadata, c.created_at, t.namespace, c.parent_id"

# The checkpoint that belongs to the thread row of the common table expression `thread`.
_INSERT_CHECKPOINT: Final = """
    INSERT INTO {checkpoints} (thread_key, sequence, checkpoint_id, parent_id, metadata, payload, created_at)
    SELECT thread_key, last_sequence, latest_checkpoint, %(parent_id)s, %(metadata)s::jsonb, %(payload)s,
        coalesce(%(created_at)s::timestamptz, clock_timestamp())
    FROM thread
    ON CONFLICT (thread_key, checkpoint_id) DO UPDATE SET
        sequence = excluded.sequence, parent_id = excluded.parent_id, metadata = excluded.metadata,
        payload = excluded.payload, created_at = excluded.created_at"""

_TEXTS: Final = {
    "put": """WITH thread AS (
            INSERT INTO {threads} AS t (thread_id, namespace, last_sequence, latest_checkpoint)
            VALUES (%(thread_id)s, %(namespace)s, 1, %(checkpoint_id)s)
            ON CONFLICT (thread_id, namespace) DO UPDATE SET
                last_sequence = t.last_sequence + 1, latest_checkpoint = excluded.latest_checkpoint
            RETURNING thread_key, last_sequence, latest_checkpoint
        )
        {insert_checkpoint}""",
    # A thread that has pending writes alone has a row, too.
    "put_first": """WITH thread AS (
            INSERT INTO {threads} AS t (thread_id, namespace, last_sequence, latest_checkpoint)
            VALUES (%(thread_id)s, %(namespace)s, 1, %(checkpoint_id)s)
            ON CONFLICT (thread_id, namespace) DO UPDATE SET
                last_sequence = t.last_sequence + 1, latest_checkpoint = excluded.latest_checkpoint
                WHERE t.latest_checkpoint = ''
            RETURNING thread_key, last_sequence, latest_checkpoint
        )
        {insert_checkpoint}""",
    "put_next": """WITH thread AS (
            UPDATE {threads} SET last_sequence = last_sequence + 1, latest_checkpoint = %(checkpoint_id)s
            WHERE thread_id = %(thread_id)s AND namespace = %(namespace)s AND latest_checkpoint = %(expected)s
            RETURNING thread_key, last_sequence, latest_checkpoint
        )
        {insert_checkpoint}""",
    "get_latest": """SELECT {summary}, c.payload
        FROM {threads} t
        JOIN {checkpoints} c ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint
        WHERE t.thread_id = %(thread_id)s AND t.namespace = %(namespace)s""",
    "get_one": """SELECT {summary}, c.payload
        FROM {threads} t JOIN {checkpoints} c USING (thread_key)
        WHERE t.thread_id = %(thread_id)s AND t.namespace = %(namespace)s AND c.checkpoint_id = %(checkpoint_id)s""",
    "summary_one": """SELECT {summary}
        FROM {threads} t JOIN {checkpoints} c USING (thread_key)
        WHERE t.thread_id = %(thread_id)s AND t.namespace = %(namespace)s AND c.checkpoint_id = %(checkpoint_id)s""",
    # LATERAL with its own LIMIT: the newest rows come off the end of the index, whatever the statistics say.
    "list_checkpoints": """SELECT {summary}
        FROM {threads} t CROSS JOIN LATERAL (
            SELECT * FROM {checkpoints} c WHERE c.thread_key = t.thread_key ORDER BY c.sequence DESC LIMIT %(limit)s
        ) c
        WHERE t.thread_id = %(thread_id)s AND t.namespace = %(namespace)s ORDER BY c.sequence DESC""",
    "lock_thread": """SELECT 1 FROM {threads}
        WHERE thread_id = %(thread_id)s AND namespace = %(namespace)s FOR UPDATE""",
    "delete_checkpoint": """DELETE FROM {checkpoints} c USING {threads} t
        WHERE t.thread_key = c.thread_key AND t.thread_id = %(thread_id)s AND t.namespace = %(namespace)s
            AND c.checkpoint_id = %(checkpoint_id)s""",
    # But not one that waits for its first checkpoint, with pending writes.
    "delete_if_empty": """DELETE FROM {threads} t
        WHERE t.thread_id = %(thread_id)s AND t.namespace = %(namespace)s AND t.latest_checkpoint <> ''
            AND NOT EXISTS (SELECT FROM {checkpoints} c WHERE c.thread_key = t.thread_key)""",
    "step_back": """UPDATE {threads} t SET latest_checkpoint =
            (SELECT checkpoint_id FROM {checkpoints} c WHERE c.thread_key = t.thread_key
             ORDER BY sequence DESC LIMIT 1)
        WHERE t.thread_id = %(thread_id)s AND t.namespace = %(namespace)s
            AND t.latest_checkpoint = %(checkpoint_id)s""",
    "delete_thread": "DELETE FROM {threads} WHERE thread_id = %(thread_id)s",
    "copy_thread": """WITH source AS (
            SELECT * FROM {threads}
            WHERE thread_id = %(source)s AND NOT EXISTS (SELECT FROM {threads} WHERE thread_id = %(destination)s)
        ), destination AS (
            INSERT INTO {threads} (thread_id, namespace, last_sequence, latest_checkpoint)
            SELECT %(destination)s, namespace, last_sequence, latest_checkpoint FROM source
            RETURNING thread_key, namespace
        ), parts AS (
            INSERT INTO {parts} (thread_key, name, data)
            SELECT d.thread_key, p.name, p.data
            FROM source s JOIN destination d USING (namespace) JOIN {parts} p ON p.thread_key = s.thread_key
        ), writes AS (
            INSERT INTO {writes}
                (thread_key, checkpoint_id, task_id, index, channel, payload, task_path, written_at)
            SELECT d.thread_key, w.checkpoint_id, w.task_id, w.index, w.channel, w.payload, w.task_path, w.written_at
            FROM source s JOIN destination d USING (namespace) JOIN {writes} w ON w.thread_key = s.thread_key
        )
        INSERT INTO {checkpoints} (thread_key, sequence, checkpoint_id, parent_id, created_at, metadata, payload, parts)
        SELECT d.thread_key, c.sequence, c.checkpoint_id, c.parent_id, c.created_at, c.metadata, c.payload, c.parts
        FROM source s JOIN destination d USING (namespace) JOIN {checkpoints} c ON c.thread_key = s.thread_key""",
    "thread_exists": "SELECT EXISTS (SELECT FROM {threads} WHERE thread_id = %(thread_id)s)",
    "list_threads": """SELECT DISTINCT thread_id FROM {threads}
        WHERE thread_id LIKE %(pattern)s AND latest_checkpoint <> ''
        ORDER BY thread_id LIMIT %(limit)s""",
    "list_threads_after": """SELECT DISTINCT thread_id FROM {threads}
        WHERE thread_id > %(after)s AND latest_checkpoint <> ''
        ORDER BY thread_id LIMIT %(limit)s""",
    "list_namespaces": """SELECT namespace FROM {threads}
        WHERE thread_id = %(thread_id)s AND latest_checkpoint <> '' ORDER BY namespace""",
    "list_latest": """SELECT {summary}
        FROM {threads} t
        JOIN {checkpoints} c ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint
        WHERE t.namespace = '' ORDER BY t.thread_id LIMIT %(limit)s""",
    # Containment finds candidates by the index; equality then decides, because {{"a": 1}} contains {{}}.
    "query_by_metadata": """SELECT {summary}
        FROM {checkpoints} c JOIN {threads} t USING (thread_key)
        WHERE t.namespace = '' AND c.metadata <> '{{}}'
            AND (c.metadata @> %(equal)s::jsonb OR c.metadata @> %(listed)s::jsonb)
            AND (c.metadata -> %(key)s = %(value)s::jsonb
                OR jsonb_typeof(c.metadata -> %(key)s) = 'array' AND EXISTS (
                    SELECT FROM jsonb_path_query(c.metadata -> %(key)s, 'strict $[*]') item
                    WHERE item = %(value)s::jsonb))
        ORDER BY c.created_at DESC, c.thread_key, c.sequence DESC LIMIT %(limit)s""",
    "unindexed": """SELECT t.thread_key, octet_length(c.payload)
        FROM {threads} t
        JOIN {checkpoints} c ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint
        LEFT JOIN {search} s ON s.thread_key = t.thread_key
        WHERE t.namespace = '' AND t.thread_key > %(after)s
            AND (s.last_sequence, s.latest_checkpoint) IS DISTINCT FROM (t.last_sequence, t.latest_checkpoint)
        ORDER BY t.thread_key LIMIT %(limit)s""",
    "latest_payloads": """SELECT t.thread_key, t.last_sequence, t.latest_checkpoint, c.payload
        FROM {threads} t
        JOIN {checkpoints} c ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint
        WHERE t.thread_key = ANY(%(keys)s)""",
    "index": """INSERT INTO {search} (thread_key, last_sequence, latest_checkpoint, document)
        SELECT thread_key, %(last_sequence)s, %(latest_checkpoint)s, %(document)s::tsvector
        FROM {threads} WHERE thread_key = %(thread_key)s FOR KEY SHARE
        ON CONFLICT (thread_key) DO UPDATE SET last_sequence = excluded.last_sequence,
            latest_checkpoint = excluded.latest_checkpoint, document = excluded.document""",
    "search": """SELECT {summary}, ts_rank(s.document, %(query)s::tsquery) AS score
        FROM {search} s
        JOIN {threads} t USING (thread_key)
        JOIN {checkpoints} c ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint
        WHERE s.document @@ %(query)s::tsquery
        ORDER BY score DESC, c.created_at DESC, t.thread_key LIMIT %(limit)s""",
    "lock_old_threads": """SELECT thread_key FROM {threads} WHERE thread_key IN (
            SELECT DISTINCT thread_key FROM {checkpoints} WHERE created_at < %(before)s LIMIT %(limit)s
        ) ORDER BY thread_key FOR UPDATE""",
    "delete_old": "DELETE FROM {checkpoints} WHERE thread_key = ANY(%(keys)s) AND created_at < %(before)s",
    "delete_empty": """DELETE FROM {threads} t WHERE t.thread_key = ANY(%(keys)s)
            AND NOT EXISTS (SELECT FROM {checkpoints} c WHERE c.thread_key = t.thread_key)""",
    "repair_latest": """UPDATE {threads} t SET latest_checkpoint =
            (SELECT checkpoint_id FROM {checkpoints} c WHERE c.thread_key = t.thread_key
             ORDER BY sequence DESC LIMIT 1)
        WHERE t.thread_key = ANY(%(keys)s) AND NOT EXISTS (
            SELECT FROM {checkpoints} c
            WHERE c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint)""",
    "version": "SELECT max(version) FROM {version_table}",
}


_PUTS: Final = ("put", "put_first", "put_next")
_ALL_TEXTS: Final = {
    **_TEXTS,
    **history.TEXTS,
    **{f"{name}_with_parts": _TEXTS[name].replace("{insert_checkpoint}", "{insert_with_parts}") for name in _PUTS},
}


class Statements:
    """The statements for one schema, by name, as text: composing them on each call would cost more than it seems."""

    def __init__(self, schema: str) -> None:
        identifiers: dict[str, sql.Composable] = {
            "threads": sql.Identifier(schema, "locus_threads"),
            "checkpoints": sql.Identifier(schema, "locus_checkpoints"),
            "parts": sql.Identifier(schema, "locus_parts"),
            "writes": sql.Identifier(schema, "locus_writes"),
            "search": sql.Identifier(schema, "locus_search"),
            "version_table": sql.Identifier(schema, "locus_schema"),
        }
        fragments: dict[str, sql.Composable] = identifiers | {
            "summary": sql.SQL(_SUMMARY),
            "insert_checkpoint": sql.SQL(_INSERT_CHECKPOINT).format(**identifiers),
            "insert_with_parts": sql.SQL(history.INSERT_WITH_PARTS).format(**identifiers),
            "insert_writes": sql.SQL(history.INSERT_WRITES).format(**identifiers),
        }
        fragments["select_complete"] = sql.SQL(history.SELECT_COMPLETE).format(**fragments)
        self._texts = {
            name: sql.SQL(text).format(**fragments).as_string().encode() for name, text in _ALL_TEXTS.items()
        }

    def __getitem__(self, name: str) -> bytes:
        return self._texts[name]
