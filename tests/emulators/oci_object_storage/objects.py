"""Operations on objects."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import re
from typing import Any

from tests.emulators.oci_object_storage.errors import ServiceError, if_match_failed, if_none_match_failed, no_object
from tests.emulators.oci_object_storage.storage import Storage, StoredObject
from tests.emulators.oci_object_storage.versions import delete_version
from tests.emulators.oci_object_storage.wire import Answer, Call, json_answer, timestamp

MAX_NAME_BYTES = 1024
PAGE = 1000
_LAST = "\U0010ffff"
_KEPT_HEADERS = ("content-type", "content-encoding", "content-language", "cache-control")


def put(storage: Storage, call: Call) -> Answer:
    """Write an object, if the conditions hold."""
    if len(call.name.encode()) > MAX_NAME_BYTES or re.search("[\r\n\0]", call.name):
        raise ServiceError(400, "InvalidObjectName", "Object names have at most 1,024 bytes, no line breaks, no null")
    current = storage.find(call.bucket, call.name)
    expected = call.headers.get("if-match")
    if expected is not None and (current is None or current.etag != expected):
        raise if_match_failed()
    if "if-none-match" in call.headers:
        if call.headers["if-none-match"] != "*":
            raise ServiceError(400, "InvalidParameter", "If-None-Match takes only *")
        if current is not None:
            raise if_none_match_failed()
    md5 = base64.b64encode(hashlib.md5(call.body, usedforsecurity=False).digest()).decode()
    if call.headers.get("content-md5", md5) != md5:
        raise ServiceError(400, "UnmatchedContentMD5", "The computed MD5 of the body does not match Content-MD5")
    kept = {key: value for key, value in call.headers.items() if key in _KEPT_HEADERS or key.startswith("opc-meta-")}
    stored = storage.put(call.bucket, call.name, call.body, md5, kept, call.headers.get("storage-tier", "Standard"))
    return Answer(headers={"etag": stored.etag, "opc-content-md5": md5, "last-modified": _http_date(stored)})


def get(storage: Storage, call: Call) -> Answer:
    """Return an object or a range of it; for HEAD as well."""
    stored = _existing(storage, call)
    if call.headers.get("if-match", stored.etag) != stored.etag:
        raise if_match_failed()
    headers = {"etag": stored.etag, "last-modified": _http_date(stored), "storage-tier": stored.tier, **stored.headers}
    if call.headers.get("if-none-match") == stored.etag:
        return Answer(304, headers={"etag": stored.etag})
    if stored.tier == "Archive":
        raise ServiceError(409, "NotRestored", "The object is archived: restore it first")
    body = storage.body(call.bucket, call.name)
    if "range" not in call.headers:
        return Answer(200, body, headers | {"content-md5": stored.md5})
    first, last = _range(call.headers["range"], len(body))
    return Answer(206, body[first : last + 1], headers | {"content-range": f"bytes {first}-{last}/{len(body)}"})


def delete(storage: Storage, call: Call) -> Answer:
    """Delete an object, if the condition holds; or one version of it."""
    if "versionId" in call.query:
        return delete_version(storage, call)
    stored = _existing(storage, call)
    if call.headers.get("if-match", stored.etag) != stored.etag:
        raise if_match_failed()
    storage.delete(call.bucket, call.name)
    return Answer(204)


def list_objects(storage: Storage, call: Call) -> Answer:
    """List objects in the order of their names' bytes, a page at most."""
    query = call.query
    limit = int(query.get("limit", PAGE))
    if not 1 <= limit <= PAGE:
        raise ServiceError(400, "InvalidParameter", "limit must be between 1 and 1,000")
    if query.get("delimiter", "/") != "/":
        raise ServiceError(400, "InvalidParameter", "Only / is a supported delimiter")
    prefix = query.get("prefix", "")
    start = max(query.get("start", ""), prefix, query["startAfter"] + "\0" if "startAfter" in query else "")
    end = min(query.get("end", _LAST), prefix + _LAST)
    found, prefixes, following = _page(storage, call, start, end, limit)
    fields = {each.strip().lower() for each in query.get("fields", "name").split(",")} | {"name"}
    document: dict[str, Any] = {"objects": [_summary(stored, fields) for stored in found]}
    if "delimiter" in query:
        document["prefixes"] = prefixes
    if following is not None:
        document["nextStartWith"] = following
    return json_answer(document)


def _page(
    storage: Storage, call: Call, start: str, end: str, limit: int
) -> tuple[list[StoredObject], list[str], str | None]:
    """Return objects, common prefixes, and the name that the next page starts with."""
    prefix, grouped = call.query.get("prefix", ""), "delimiter" in call.query
    found: list[StoredObject] = []
    prefixes: list[str] = []
    while True:
        rows = storage.list(call.bucket, start, end, limit + 1)
        for stored in rows:
            if len(found) + len(prefixes) == limit:
                return found, prefixes, stored.name
            group, slash, _ = stored.name[len(prefix) :].partition("/")
            if grouped and slash:
                prefixes.append(f"{prefix}{group}/")
                # The next name that is not in this group: "0" follows "/".
                start = f"{prefix}{group}0"
                break
            found.append(stored)
        else:
            return found, prefixes, None


def _existing(storage: Storage, call: Call) -> StoredObject:
    stored = storage.find(call.bucket, call.name)
    if stored is None:
        raise no_object(call.name, call.bucket)
    return stored


def _range(header: str, size: int) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None or match.groups() == ("", ""):
        raise ServiceError(400, "InvalidParameter", "Range")
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size - 1
    if int(first) >= size:
        raise ServiceError(416, "InvalidRange", "The range cannot be satisfied")
    return int(first), min(int(last or size - 1), size - 1)


def _summary(stored: StoredObject, fields: set[str]) -> dict[str, Any]:
    document = {
        "name": stored.name,
        "size": stored.size,
        "etag": stored.etag,
        "md5": stored.md5,
        "timeCreated": timestamp(stored.created),
        "timeModified": timestamp(stored.modified),
        "storageTier": stored.tier,
    }
    return {key: value for key, value in document.items() if key.lower() in fields}


def _http_date(stored: StoredObject) -> str:
    return email.utils.formatdate(stored.modified, usegmt=True)
