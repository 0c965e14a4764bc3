"""Updates of stores: those that are refused, and those that are not."""

from typing import Any, NamedTuple

from tests.unit.operator.samples import Spec, on, with_memory


class Change(NamedTuple):
    """An update that is refused, and why."""

    old: Spec
    new: Spec
    path: str
    words: str


FIXED_FIELDS: dict[str, tuple[str, Any, Any]] = {
    "postgresql.database": ("postgresql", "agents", "others"),
    "postgresql.schema": ("postgresql", "one", "two"),
    "redis.database": ("redis", 0, 1),
    "redis.keyPrefix": ("redis", "one:", "two:"),
    "oracle.owner": ("oracle", "ONE", "TWO"),
    "oracle.tableName": ("oracle", "ONE", "TWO"),
    "ociBucket.namespace": ("ociBucket", "one", "two"),
    "ociBucket.region": ("ociBucket", "eu-frankfurt-1", "eu-amsterdam-1"),
    "ociBucket.bucketName": ("ociBucket", "one", "two"),
    "ociBucket.prefix": ("ociBucket", "one/", "two/"),
    "opensearch.indexPrefix": ("opensearch", "one", "two"),
    "opensearch.shards": ("opensearch", 1, 2),
    "file.storageClassName": ("file", "one", "two"),
    "file.accessModes": ("file", ["ReadWriteOnce"], ["ReadWriteMany"]),
}

REFUSED_CHANGES: dict[str, Change] = {
    "another class": Change({"className": "a"}, {"className": "b"}, "spec.className", "put back the old one"),
    "no class any more": Change({"className": "a"}, {}, "spec.className", "put back the old one"),
    "another kind": Change(on("postgresql"), on("redis"), "spec.backend", "locus-memory migrate"),
    "another claim": Change(
        on("file", size=None, existingClaim="a"),
        on("file", size=None, existingClaim="b"),
        "spec.backend.file.existingClaim",
        "put back the old value",
    ),
    **{
        f"another {field}": Change(
            on(kind, **{field.partition(".")[2]: before}),
            on(kind, **{field.partition(".")[2]: after}),
            f"spec.backend.{field}",
            "put back the old value",
        )
        for field, (kind, before, after) in FIXED_FIELDS.items()
    },
    "a name that was derived": Change(
        on("postgresql"), on("postgresql", schema="mine"), "spec.backend.postgresql.schema", "fixed"
    ),
    "a name taken away": Change(
        on("redis", keyPrefix="mine:"), on("redis"), "spec.backend.redis.keyPrefix", "put back the old value"
    ),
}

ACCEPTED_CHANGES: dict[str, tuple[Spec, Spec]] = {
    "the default class, written in": ({}, {"className": "shared"}),
    "a backend for a store without": ({}, with_memory()),
    "another server for the same data": (
        on("postgresql"),
        on("postgresql", host="replica", port=6432, sslMode="prefer"),
    ),
    "a default written out": (on("redis"), on("redis", database=0, mode="standalone")),
    "nodes of a cluster": (
        on("redis", mode="cluster", addresses=["a:1", "b:1"]),
        on("redis", mode="cluster", addresses=["c:1"]),
    ),
    "modes in another order": (
        on("file", accessModes=["ReadWriteOnce", "ReadWriteMany"]),
        on("file", size="20Gi", accessModes=["ReadWriteOnce", "ReadWriteMany"]),
    ),
    "retention, deletion and suspension": (
        with_memory(retention={"maxAge": "1d"}, deletionPolicy="Delete"),
        with_memory(suspend=True),
    ),
}
