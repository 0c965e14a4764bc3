"""SQL of the store on PostgreSQL, composed once for a schema."""

from __future__ import annotations

from typing import Final

from psycopg import sql

from locus_memory.store_backends.postgresql_schema import identifiers

_COLUMNS: Final = "i.namespace, i.key, i.payload, i.created_at, i.updated_at, i.version, i.expires_at"

_BELOW: Final = "(i.namespace = %(itself)s OR i.namespace >= %(first)s AND i.namespace < %(end)s)"

_LIVE: Final = "(i.expires_at IS NULL OR i.expires_at > now())"

# Each field of the filter equals the item's, or is in its list.
_MATCHES: Final = """NOT EXISTS (
        SELECT FROM jsonb_each(%(filter)s::jsonb) AS wanted
        WHERE (i.metadata -> wanted.key = wanted.value
            OR jsonb_typeof(i.metadata -> wanted.key) = 'array' AND EXISTS (
                SELECT FROM jsonb_path_query(i.metadata -> wanted.key, 'strict $[*]') AS item
                WHERE item = wanted.value)) IS NOT TRUE)"""

_PUT: Final = """INSERT INTO {items} AS i (namespace, key, expires_at, metadata, words, embedding, payload)
        VALUES (%(namespace)s, %(key)s, clock_timestamp() + %(ttl_seconds)s::float8 * interval '1 second',
            %(metadata)s::jsonb, %(words)s::tsvector, %(embedding)s::real[], %(payload)s)
        ON CONFLICT (namespace, key) DO UPDATE SET
            write_order = excluded.write_order, updated_at = excluded.updated_at, expires_at = excluded.expires_at,
            metadata = excluded.metadata, words = excluded.words, embedding = excluded.embedding,
            payload = excluded.payload,
            version = CASE WHEN i.expires_at <= excluded.updated_at THEN 1 ELSE i.version + 1 END,
            created_at = CASE WHEN i.expires_at <= excluded.updated_at THEN excluded.created_at ELSE i.created_at END"""

# The scores are worked out once, for the keys alone; what is returned is fetched for the best.
_NEAREST: Final = """WITH scored AS MATERIALIZED (
            SELECT i.namespace, i.key, i.write_order, CASE
                WHEN array_ndims(i.embedding) = 2 THEN {best_score}
                WHEN cardinality(i.embedding) = cardinality(%(vector)s::real[]) THEN {score} END AS score
            FROM {items} i
            WHERE {place} AND i.embedding IS NOT NULL AND {live} AND {matches}
        ), best AS (
            SELECT * FROM scored WHERE score >= %(lowest)s ORDER BY score DESC, write_order DESC LIMIT %(limit)s
        )
        SELECT {columns}, best.score
        FROM best JOIN {items} i ON i.namespace = best.namespace AND i.key = best.key
        ORDER BY best.score DESC, best.write_order DESC"""

# Of unit vectors; pgvector works out the same in C.
_EXACT_SCORE: Final = """(SELECT sum(pair.a::float8 * pair.b::float8)
        FROM unnest(i.embedding, %(vector)s::real[]) AS pair (a, b))"""
# Of the rows of a matrix; null where they are of another dimension.
_BEST_SCORE: Final = """(SELECT max(each_row.score) FROM (
            SELECT sum(pair.a::float8 * pair.b::float8) AS score
            FROM generate_subscripts(i.embedding, 1) AS number,
                LATERAL unnest(i.embedding[number:number][:], %(vector)s::real[]) AS pair (a, b)
            WHERE array_length(i.embedding, 2) = cardinality(%(vector)s::real[]) GROUP BY number) AS each_row)"""
_PGVECTOR_SCORE: Final = """1 - (i.embedding::{extension}.vector
        OPERATOR({extension}.<=>) %(vector)s::real[]::{extension}.vector)"""

_TEXTS: Final = {
    "put": "{put}",
    # Each put that adds something to expire also removes some of what has expired, so that it cannot pile up.
    "put_expiring": """WITH expired AS (
            SELECT i.namespace, i.key FROM {items} i
            WHERE i.expires_at <= now() AND (i.namespace, i.key) <> (%(namespace)s, %(key)s)
            LIMIT 10 FOR UPDATE SKIP LOCKED
        ), removed AS (
            DELETE FROM {items} i USING expired e WHERE i.namespace = e.namespace AND i.key = e.key
        )
        {put}""",
    "get": "SELECT {columns} FROM {items} i WHERE i.namespace = %(namespace)s AND i.key = %(key)s AND {live}",
    "get_many": """SELECT {columns}
        FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS wanted (namespace, key)
        JOIN {items} i ON i.namespace = wanted.namespace COLLATE "C" AND i.key = wanted.key COLLATE "C"
        WHERE {live}""",
    "delete": """WITH i AS (DELETE FROM {items} WHERE namespace = %(namespace)s AND key = %(key)s RETURNING expires_at)
        SELECT count(*) FROM i WHERE {live}""",
    "clear": """WITH i AS (DELETE FROM {items} WHERE namespace = %(namespace)s RETURNING expires_at)
        SELECT count(*) FROM i WHERE {live}""",
    "list_keys": """SELECT i.key FROM {items} i WHERE i.namespace = %(namespace)s AND {live}
        ORDER BY i.key LIMIT %(limit)s""",
    # One step along the index for each namespace, however many items it holds.
    "list_namespaces": """WITH RECURSIVE found AS (
            (SELECT i.namespace FROM {items} i
             WHERE {below} AND {live}
             ORDER BY i.namespace LIMIT 1)
            UNION ALL
            SELECT (SELECT i.namespace FROM {items} i
                    WHERE i.namespace > found.namespace AND i.namespace >= %(first)s AND i.namespace < %(end)s
                        AND {live}
                    ORDER BY i.namespace LIMIT 1)
            FROM found WHERE found.namespace IS NOT NULL
        )
        SELECT namespace FROM found WHERE namespace IS NOT NULL LIMIT %(limit)s""",
    "newest": """SELECT {columns} FROM {items} i WHERE i.namespace = %(namespace)s AND {live} AND {matches}
        ORDER BY i.write_order DESC LIMIT %(limit)s""",
    "search": """SELECT {columns} FROM {items} i
        WHERE i.namespace = %(namespace)s AND i.words @@ %(query)s::tsquery AND {live} AND {matches}
        ORDER BY (SELECT sum(cardinality(w.positions)) FROM unnest(i.words) w WHERE w.lexeme = ANY(%(terms)s)) DESC,
            i.write_order DESC
        LIMIT %(limit)s""",
    "newest_below": """SELECT {columns} FROM {items} i WHERE {below} AND {live}
        ORDER BY i.write_order DESC LIMIT %(limit)s""",
    # Locked in order, for the same reason as the items of a batch.
    "touch": """UPDATE {items} t SET expires_at = clock_timestamp() + i.seconds * interval '1 second'
        FROM (SELECT i.namespace, i.key, wanted.seconds
            FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(versions)s::bigint[], %(seconds)s::float8[])
                AS wanted (namespace, key, version, seconds)
            JOIN {items} i ON i.namespace = wanted.namespace COLLATE "C" AND i.key = wanted.key COLLATE "C"
            WHERE i.version = wanted.version AND i.expires_at > now()
            ORDER BY i.namespace, i.key FOR UPDATE OF i) i
        WHERE t.namespace = i.namespace AND t.key = i.key""",
    "extension": """SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'vector'""",
    "version": "SELECT max(version) FROM {version_table}",
}


class Statements:
    """The statements for one schema, by name, as text."""

    def __init__(self, schema: str) -> None:
        names = identifiers(schema)
        self._fragments: dict[str, sql.Composable] = names | {
            "columns": sql.SQL(_COLUMNS),
            "live": sql.SQL(_LIVE),
            "below": sql.SQL(_BELOW),
            "matches": sql.SQL(_MATCHES),
            "put": sql.SQL(_PUT).format(**names),
            "best_score": sql.SQL(_BEST_SCORE),
        }
        self._texts = {name: self._compose(text, self._fragments) for name, text in _TEXTS.items()}
        for name in _PLACES:
            self._texts[name] = self._nearest(name, sql.SQL(_EXACT_SCORE))

    def __getitem__(self, name: str) -> bytes:
        text = self._texts.get(name)
        if text is None:
            kind, _, extension_schema = name.partition(PGVECTOR)
            score = sql.SQL(_PGVECTOR_SCORE).format(extension=sql.Identifier(extension_schema))
            text = self._texts[name] = self._nearest(kind, score)
        return text

    def _nearest(self, name: str, score: sql.Composable) -> bytes:
        return self._compose(_NEAREST, self._fragments | {"score": score, "place": sql.SQL(_PLACES[name])})

    @staticmethod
    def _compose(text: str, fragments: dict[str, sql.Composable]) -> bytes:
        return sql.SQL(text).format(**fragments).as_string().encode()


PGVECTOR: Final = " with pgvector in "
"""Behind the name of a search, and followed by the schema of the extension: that search with it."""

_PLACES: Final = {"nearest": "i.namespace = %(namespace)s", "nearest_below": _BELOW}
