"""SQL of parts and pending writes: what savers keep beside a checkpoint's payload.

Parts belong to a thread and namespace, and are shared by its checkpoints; `locus_checkpoints.parts` names those that a
checkpoint needs. Pending writes belong to a checkpoint by its id, which may not be there yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from locus_memory.backends.postgresql_text import load_text, store_text
from locus_memory.storage import NewCheckpoint, PendingWrite

# The cast fails when an older part is gone, and with it the whole statement: parts are deleted under the lock of the
# thread's row, which this statement has, and FOR KEY SHARE looks at what is there now. It is no constant, because the
# planner would work that out beforehand.
INSERT_WITH_PARTS: Final = """,
    new_parts AS (
        INSERT INTO {parts} (thread_key, name, data)
        SELECT thread.thread_key, part.name, part.data
        FROM thread, unnest(%(new_names)s::text[], %(new_data)s::bytea[]) AS part (name, data)
        ON CONFLICT DO NOTHING
    )
    INSERT INTO {checkpoints} (thread_key, sequence, checkpoint_id, parent_id, metadata, payload, created_at, parts)
    SELECT thread_key, last_sequence, latest_checkpoint, %(parent_id)s, %(metadata)s::jsonb, %(payload)s,
        coalesce(%(created_at)s::timestamptz, clock_timestamp()),
        CASE cardinality(%(old_names)s::text[]) WHEN (
            SELECT count(*) FROM (
                SELECT FROM {parts} p
                WHERE p.thread_key = thread.thread_key AND p.name = ANY(%(old_names)s::text[]) FOR KEY SHARE
            ) AS found
        ) THEN %(old_names)s::text[] || %(new_names)s::text[]
        ELSE ('a part is missing' || thread_key)::int::text::text[] END
    FROM thread
    ON CONFLICT (thread_key, checkpoint_id) DO UPDATE SET
        sequence = excluded.sequence, parent_id = excluded.parent_id, metadata = excluded.metadata,
        payload = excluded.payload, parts = excluded.parts, created_at = excluded.created_at"""

SELECT_COMPLETE: Final = """SELECT {summary}, c.payload, cardinality(c.parts), p.names, p.data,
            w.task_ids, w.indexes, w.channels, w.payloads, w.task_paths
        FROM {threads} t
        JOIN {checkpoints} c USING (thread_key)
        LEFT JOIN LATERAL (
            SELECT array_agg(name) AS names, array_agg(data) AS data FROM {parts} p
            WHERE p.thread_key = c.thread_key AND p.name = ANY(c.parts)
        ) p ON true
        LEFT JOIN LATERAL (
            SELECT array_agg(task_id) AS task_ids, array_agg(index) AS indexes, array_agg(channel) AS channels,
                array_agg(payload) AS payloads, array_agg(task_path) AS task_paths
            FROM {writes} w WHERE w.thread_key = c.thread_key AND w.checkpoint_id = c.checkpoint_id
        ) w ON true
        WHERE t.thread_id = %(thread_id)s AND t.namespace = %(namespace)s"""

INSERT_WRITES: Final = """
        INSERT INTO {writes} (thread_key, checkpoint_id, task_id, index, channel, payload, task_path)
        SELECT thread.thread_key, %(checkpoint_id)s, w.* FROM thread, unnest(
            %(task_ids)s::text[], %(indexes)s::int[], %(channels)s::text[], %(payloads)s::bytea[],
            %(task_paths)s::text[]
        ) AS w (task_id, index, channel, payload, task_path)
        ON CONFLICT (thread_key, checkpoint_id, task_id, index) DO UPDATE SET
            channel = excluded.channel, payload = excluded.payload, task_path = excluded.task_path,
            written_at = excluded.written_at
            WHERE excluded.index < 0"""

TEXTS: Final = {
    "get_complete_latest": "{select_complete} AND c.checkpoint_id = t.latest_checkpoint",
    "get_complete": "{select_complete} AND c.checkpoint_id = ANY(%(checkpoint_ids)s::text[])",
    "put_writes": """WITH thread AS (
            SELECT thread_key FROM {threads} WHERE thread_id = %(thread_id)s AND namespace = %(namespace)s
        ){insert_writes}""",
    # The thread may have no row yet: this one says that it has no checkpoint.
    "put_first_writes": """WITH thread AS (
            INSERT INTO {threads} AS t (thread_id, namespace, last_sequence, latest_checkpoint)
            VALUES (%(thread_id)s, %(namespace)s, 0, '')
            ON CONFLICT (thread_id, namespace) DO UPDATE SET last_sequence = t.last_sequence
            RETURNING thread_key
        ){insert_writes}""",
    "get_writes": """SELECT task_id, index, channel, payload, task_path
        FROM {writes} JOIN {threads} USING (thread_key)
        WHERE thread_id = %(thread_id)s AND namespace = %(namespace)s AND checkpoint_id = %(checkpoint_id)s""",
    "delete_writes": """DELETE FROM {writes} w USING {threads} t
        WHERE t.thread_key = w.thread_key AND t.thread_id = %(thread_id)s AND t.namespace = %(namespace)s
            AND w.checkpoint_id = %(checkpoint_id)s""",
    "delete_unused_parts": """DELETE FROM {parts} WHERE thread_key = (
            SELECT thread_key FROM {threads} WHERE thread_id = %(thread_id)s AND namespace = %(namespace)s
        ) AND name NOT IN (
            SELECT unnest(c.parts) FROM {checkpoints} c JOIN {threads} t USING (thread_key)
            WHERE t.thread_id = %(thread_id)s AND t.namespace = %(namespace)s
        )""",
    "delete_old_writes": """DELETE FROM {writes} w USING {checkpoints} c
        WHERE c.thread_key = w.thread_key AND c.checkpoint_id = w.checkpoint_id
            AND c.thread_key = ANY(%(keys)s) AND c.created_at < %(before)s""",
    "delete_old_parts": """DELETE FROM {parts} p WHERE p.thread_key = ANY(%(keys)s) AND NOT EXISTS (
            SELECT FROM {checkpoints} c WHERE c.thread_key = p.thread_key AND p.name = ANY(c.parts))""",
}


def part_parameters(checkpoint: NewCheckpoint) -> dict[str, Any]:
    """Return the parameters of a put with parts, beyond those of one without."""
    return {
        "new_names": [store_text(name) for name in checkpoint.parts],
        "new_data": list(checkpoint.parts.values()),
        "old_names": [store_text(name) for name in checkpoint.part_names if name not in checkpoint.parts],
    }


def write_parameters(writes: Sequence[PendingWrite]) -> dict[str, Any]:
    """Return the parameters of a put of writes; of several at one position the one that stays."""
    kept: dict[tuple[str, int], PendingWrite] = {}
    for write in writes:
        if write.index < 0:
            kept[write.task_id, write.index] = write
        else:
            kept.setdefault((write.task_id, write.index), write)
    return {
        "task_ids": [store_text(write.task_id) for write in kept.values()],
        "indexes": [write.index for write in kept.values()],
        "channels": [store_text(write.channel) for write in kept.values()],
        "payloads": [write.payload for write in kept.values()],
        "task_paths": [store_text(write.task_path) for write in kept.values()],
    }


def parts_of(names: Sequence[str] | None, data: Sequence[bytes] | None) -> Mapping[str, bytes]:
    """Read the parts of a row; an aggregate of nothing is NULL."""
    return {load_text(name): part for name, part in zip(names or (), data or (), strict=True)}


def writes_of(rows: Sequence[Sequence[Any]]) -> tuple[PendingWrite, ...]:
    """Read pending writes, and put them into their order."""
    writes = (
        PendingWrite(load_text(task_id), index, load_text(channel), payload, load_text(task_path))
        for task_id, index, channel, payload, task_path in rows
    )
    return tuple(sorted(writes, key=lambda write: write.order))
