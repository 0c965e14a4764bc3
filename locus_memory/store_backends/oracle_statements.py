"""SQL of the store on Oracle, composed for a table name. But for what has to do with vectors, it is SQL of 19c.

A value of any size is bound only where Oracle takes a long one: in the SET of an UPDATE, for a column. So an item that
is not there yet is first put there with its names alone, and then updated like every other one.
"""

from __future__ import annotations

from typing import Final

from locus_memory.backends.oracle_schema import Names
from locus_memory.store_backends.oracle_schema import fragments

_NOW: Final = "SYS_EXTRACT_UTC(SYSTIMESTAMP)"
_COLUMNS: Final = "i.namespace, i.item_key, i.payload, i.created_at, i.updated_at, i.item_version, i.expires_at"
_LIVE: Final = "(i.expires_at IS NULL OR i.expires_at > {now})"
_ITSELF: Final = "i.namespace = :namespace AND i.item_key = :item_key"

_TEXTS: Final = {
    "update": """UPDATE {items} i SET
            i.created_at = CASE WHEN i.item_version = 0 OR i.expires_at <= {now} THEN {now} ELSE i.created_at END,
            i.item_version = CASE WHEN i.expires_at <= {now} THEN 1 ELSE i.item_version + 1 END,
            i.updated_at = {now}, i.expires_at = {now} + NUMTODSINTERVAL(NULLIF(:ttl_seconds, 0), 'SECOND'),
            i.write_order = {order}.NEXTVAL, i.fields = :fields, i.words = :words, i.payload = :payload
        WHERE {itself}""",
    "make_room": """MERGE INTO {items} i
        USING (SELECT :namespace AS namespace, :item_key AS item_key FROM dual) k
            ON (i.namespace = k.namespace AND i.item_key = k.item_key)
        WHEN NOT MATCHED THEN INSERT
            (namespace, item_key, write_order, item_version, created_at, updated_at, fields, words)
            VALUES (k.namespace, k.item_key, 0, 0, {now}, {now}, '.', '.')""",
    "embed": """MERGE INTO {vectors} v
        USING (SELECT i.namespace, i.item_key, i.write_order FROM {items} i WHERE {itself}) k
            ON (v.namespace = k.namespace AND v.item_key = k.item_key)
        WHEN MATCHED THEN UPDATE SET v.write_order = k.write_order, v.embedding = :embedding
        WHEN NOT MATCHED THEN INSERT (namespace, item_key, write_order, embedding)
            VALUES (k.namespace, k.item_key, k.write_order, :embedding)""",
    "purge": """DELETE FROM {items} i WHERE (i.namespace, i.item_key) IN (
            SELECT e.namespace, e.item_key FROM {items} e WHERE e.expires_at <= {now} FETCH FIRST 100 ROWS ONLY)""",
    "get": "SELECT {columns} FROM {items} i WHERE {itself} AND {live}",
    "touch": """UPDATE {items} i SET i.expires_at = {now} + NUMTODSINTERVAL(:ttl_seconds, 'SECOND')
        WHERE {itself} AND i.item_version = :item_version AND i.expires_at > {now}""",
    "delete": "DELETE FROM {items} i WHERE {itself} AND {live}",
    "clear": "DELETE FROM {items} i WHERE i.namespace = :namespace AND {live}",
    "clear_rest": "DELETE FROM {items} i WHERE i.namespace = :namespace",
    "list_keys": """SELECT i.item_key FROM {items} i WHERE i.namespace = :namespace AND {live}
        ORDER BY i.item_key FETCH FIRST :limit ROWS ONLY""",
    "list_namespaces": """SELECT DISTINCT i.namespace FROM {items} i
        WHERE (i.namespace = :itself OR i.namespace >= :low AND i.namespace < :high) AND {live}
        ORDER BY i.namespace FETCH FIRST :limit ROWS ONLY""",
    "version": "SELECT MAX(v.version) FROM {version_table} v",
    # The same, where the table of embeddings is there as well.
    "version_with_vectors": """SELECT MAX(v.version) FROM {version_table} v
        WHERE NOT EXISTS (SELECT 1 FROM {vectors} e WHERE e.write_order < 0)""",
}

_GET_MANY: Final = "SELECT {columns} FROM {items} i WHERE (i.namespace, i.item_key) IN ({places}) AND {live}"

_SEARCH: Final = """SELECT {columns} FROM {items} i
        WHERE i.namespace = :namespace AND {live}{conditions}
        ORDER BY {score}i.write_order DESC FETCH FIRST :limit ROWS ONLY"""

_NEAREST: Final = """SELECT {columns}, n.score
        FROM (SELECT v.item_key, i.write_order, 1 - VECTOR_DISTANCE(v.embedding, :embedding, COSINE) AS score
            FROM {vectors} v JOIN {items} i
                ON i.namespace = v.namespace AND i.item_key = v.item_key AND i.write_order = v.write_order
            WHERE v.namespace = :namespace AND {live}{conditions}) n
        JOIN {items} i ON i.item_key = n.item_key AND i.write_order = n.write_order
        WHERE i.namespace = :namespace AND n.score >= :lowest
        ORDER BY n.score DESC, n.write_order DESC FETCH FIRST :limit ROWS ONLY"""

TOKEN_LENGTH: Final = 17
"""Characters of a token: a space, and 16 hexadecimal digits of a hash. What it is counted by is one shorter."""


class Statements:
    """The statements for one table name, by name; those that depend on a number have names that end in it."""

    def __init__(self, names: Names, *, vectors: bool) -> None:
        self._fragments = fragments(names) | {
            "now": _NOW,
            "columns": _COLUMNS,
            "live": _LIVE.format(now=_NOW),
            "itself": _ITSELF,
        }
        self._texts = {name: text.format(**self._fragments) for name, text in _TEXTS.items()}
        with_vectors = self._texts.pop("version_with_vectors")
        if vectors:
            self._texts["version"] = with_vectors

    def __getitem__(self, name: str) -> str:
        text = self._texts.get(name)
        if text is None:
            kind, *numbers = name.split()
            text = self._texts[name] = self._composed(kind, *map(int, numbers))
        return text

    def names(self) -> tuple[str, ...]:
        """Return the names of all statements of fixed text."""
        return tuple(_TEXTS.keys() - {"version_with_vectors"})

    def _composed(self, kind: str, *numbers: int) -> str:
        if kind == "get":
            places = ", ".join(f"(:namespace_{number}, :item_key_{number})" for number in range(numbers[0]))
            return _GET_MANY.format(**self._fragments, places=places)
        fields = "".join(f" AND INSTR(i.fields, :field_{number}) > 0" for number in range(numbers[0]))
        if kind == "nearest":
            return _NEAREST.format(**self._fragments, conditions=fields)
        terms = range(numbers[1])
        words = "".join(f" AND INSTR(i.words, :term_{number}) > 0" for number in terms)
        # Each occurrence that is replaced by a dot makes the text 16 characters shorter.
        counts = " + ".join(f"LENGTH(i.words) - LENGTH(REPLACE(i.words, :term_{number}, '.'))" for number in terms)
        score = f"{counts} DESC, " if counts else ""
        return _SEARCH.format(**self._fragments, conditions=fields + words, score=score)
