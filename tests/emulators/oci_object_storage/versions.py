"""Versions of objects: what a bucket with versioning keeps of those that were replaced or deleted."""

from __future__ import annotations

from typing import Any

from tests.emulators.oci_object_storage.errors import ServiceError
from tests.emulators.oci_object_storage.storage import Storage
from tests.emulators.oci_object_storage.wire import Answer, Call, json_answer, timestamp

PAGE = 1000


def list_versions(storage: Storage, call: Call) -> Answer:
    """List current and previous versions and delete markers, a page at most."""
    limit, start = int(call.query.get("limit", PAGE)), int(call.query.get("page", 0))
    if not 1 <= limit <= PAGE:
        raise ServiceError(400, "InvalidParameter", "limit must be between 1 and 1,000")
    prefix = call.query.get("prefix", "")
    rows = storage.rows(
        "SELECT name, etag, modified, 0 FROM objects WHERE bucket = ?1 AND name >= ?2 AND name < ?3 UNION ALL "
        "SELECT name, id, superseded, marker FROM versions WHERE bucket = ?1 AND name >= ?2 AND name < ?3 "
        "ORDER BY 1, 3 DESC LIMIT ?4 OFFSET ?5",
        *(call.bucket, prefix, prefix + "\U0010ffff", limit + 1, start),
    )
    more = {"opc-next-page": str(start + limit)} if len(rows) > limit else {}
    return json_answer({"items": [_summary(*row) for row in rows[:limit]], "prefixes": []}, more)


def delete_version(storage: Storage, call: Call) -> Answer:
    """Delete one version, the current one included."""
    version = call.query["versionId"]
    gone = storage.changed("DELETE FROM versions WHERE bucket = ? AND id = ?", call.bucket, version)
    gone += storage.changed("DELETE FROM objects WHERE bucket = ? AND etag = ?", call.bucket, version)
    if not gone:
        raise ServiceError(404, "VersionNotFound", f"Version '{version}' of '{call.name}' was not found")
    return Answer(204)


def _summary(name: str, version: str, modified: float, marker: int) -> dict[str, Any]:
    time = timestamp(modified)
    return {
        "name": name,
        "versionId": version,
        "timeCreated": time,
        "timeModified": time,
        "isDeleteMarker": bool(marker),
    }
