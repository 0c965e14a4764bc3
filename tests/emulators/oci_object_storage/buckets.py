"""Operations on buckets, their lifecycle policies, and multipart uploads that have begun."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from tests.emulators.oci_object_storage.errors import ServiceError, if_match_failed, if_none_match_failed, no_bucket
from tests.emulators.oci_object_storage.identity import statements
from tests.emulators.oci_object_storage.lifecycle import check_policy
from tests.emulators.oci_object_storage.statements import Principal
from tests.emulators.oci_object_storage.storage import Storage
from tests.emulators.oci_object_storage.wire import Answer, Call, json_answer, timestamp

_CHANGEABLE = (
    "publicAccessType",
    "metadata",
    "freeformTags",
    "definedTags",
    "versioning",
    "objectEventsEnabled",
    "kmsKeyId",
)
_MAX_FREEFORM_TAGS = 10
_VERSIONING = {"Disabled": {"Disabled", "Enabled"}, "Enabled": {"Enabled", "Suspended"}}
_SUSPENDED = {"Enabled", "Suspended"}


def create(storage: Storage, call: Call) -> Answer:
    """Create a bucket."""
    wanted = call.json()
    name = wanted.get("name", "")
    if not re.fullmatch(r"[\w.-]{1,256}", name, re.ASCII):
        raise ServiceError(400, "InvalidBucketName", "Bucket names have letters, digits, _, - and .")
    if not wanted.get("compartmentId"):
        raise ServiceError(400, "MissingParameter", "compartmentId")
    if storage.rows("SELECT 1 FROM buckets WHERE name = ?", name):
        raise ServiceError(409, "BucketAlreadyExists", f"A bucket named '{name}' already exists")
    if wanted.get("storageTier", "Standard") not in ("Standard", "Archive"):
        raise ServiceError(400, "InvalidParameter", "storageTier is Standard or Archive")
    _check(storage, wanted)
    etag = str(uuid.uuid4())
    details = {
        "namespace": call.namespace,
        "name": name,
        "id": f"ocid1.bucket.oc1.{call.region}.{uuid.uuid4().hex}",
        "compartmentId": wanted["compartmentId"],
        "createdBy": call.user,
        "timeCreated": timestamp(storage.now()),
        "publicAccessType": "NoPublicAccess",
        "storageTier": wanted.get("storageTier", "Standard"),
        "metadata": {},
        "freeformTags": {},
        "definedTags": {},
        "versioning": "Disabled",
        "objectEventsEnabled": False,
        "kmsKeyId": None,
        **{key: value for key, value in wanted.items() if key in _CHANGEABLE and value is not None},
    }
    storage.changed("INSERT INTO buckets VALUES (?, ?, NULL, ?)", name, json.dumps(details), etag)
    return json_answer(details | {"etag": etag}, {"etag": etag})


def list_buckets(storage: Storage, call: Call) -> Answer:
    """List the buckets of a compartment."""
    everything = [json.loads(row[0]) for row in storage.rows("SELECT details FROM buckets ORDER BY name")]
    return json_answer([each for each in everything if each["compartmentId"] == call.query.get("compartmentId")])


def get(storage: Storage, call: Call) -> Answer:
    """Describe a bucket; with numbers where they are asked for."""
    details, etag = _bucket(storage, call)
    [(count, size)] = storage.rows("SELECT count(*), ifnull(sum(size), 0) FROM objects WHERE bucket = ?", call.bucket)
    numbers = {"approximateCount": count, "approximateSize": size}
    asked = {key: value for key, value in numbers.items() if key in call.query.get("fields", "")}
    return json_answer(details | asked | {"etag": etag}, {"etag": etag})


def update(storage: Storage, call: Call) -> Answer:
    """Change a bucket, if the condition holds."""
    details, etag = _bucket(storage, call)
    if call.headers.get("if-match", etag) != etag:
        raise if_match_failed()
    wanted = call.json()
    _check(storage, wanted)
    if (versioning := wanted.get("versioning")) not in (None, *_VERSIONING.get(details["versioning"], _SUSPENDED)):
        raise ServiceError(
            400, "InvalidParameter", f"versioning cannot go from {details['versioning']} to {versioning}"
        )
    details |= {key: value for key, value in wanted.items() if key in _CHANGEABLE and value is not None}
    details["kmsKeyId"] = details["kmsKeyId"] or None
    etag = str(uuid.uuid4())
    storage.changed("UPDATE buckets SET details = ?, etag = ? WHERE name = ?", json.dumps(details), etag, call.bucket)
    return json_answer(details | {"etag": etag}, {"etag": etag})


def delete(storage: Storage, call: Call) -> Answer:
    """Delete a bucket that is empty."""
    _, etag = _bucket(storage, call)
    if call.headers.get("if-match", etag) != etag:
        raise if_match_failed()
    for table in ("objects", "versions", "uploads", "replications"):
        if storage.rows(f"SELECT 1 FROM {table} WHERE bucket = ? LIMIT 1", call.bucket):  # noqa: S608 - names from above
            raise ServiceError(409, "BucketNotEmpty", f"Bucket named '{call.bucket}' is not empty: delete all {table}")
    storage.changed("DELETE FROM buckets WHERE name = ?", call.bucket)
    return Answer(204)


def get_policy(storage: Storage, call: Call) -> Answer:
    """Return the lifecycle policy."""
    policy = _policy(storage, call)
    if policy is None:
        raise ServiceError(404, "LifecyclePolicyNotFound", f"Bucket '{call.bucket}' has no lifecycle policy")
    return json_answer({key: policy[key] for key in ("timeCreated", "items")}, {"etag": policy["etag"]})


def put_policy(storage: Storage, call: Call) -> Answer:
    """Replace the whole lifecycle policy."""
    current = _policy(storage, call)
    if "if-match" in call.headers and (current is None or current["etag"] != call.headers["if-match"]):
        raise if_match_failed()
    if "if-none-match" in call.headers and current is not None:
        raise if_none_match_failed()
    if not _service_may_act(storage, call):
        raise ServiceError(
            400,
            "InsufficientServicePermissions",
            f"Permissions granted to the object storage service principal 'objectstorage-{call.region}' "
            "to this bucket are insufficient.",
        )
    policy = {"timeCreated": timestamp(storage.now()), "items": check_policy(call.json()), "etag": str(uuid.uuid4())}
    storage.changed("UPDATE buckets SET policy = ? WHERE name = ?", json.dumps(policy), call.bucket)
    return get_policy(storage, call)


def delete_policy(storage: Storage, call: Call) -> Answer:
    """Remove the lifecycle policy."""
    current = _policy(storage, call)
    if call.headers.get("if-match") not in (None, current and current["etag"]):
        raise if_match_failed()
    storage.changed("UPDATE buckets SET policy = NULL WHERE name = ?", call.bucket)
    return Answer(204)


def create_upload(storage: Storage, call: Call) -> Answer:
    """Begin a multipart upload; parts are not taken."""
    upload, name = uuid.uuid4().hex, call.json().get("object", "")
    storage.changed("INSERT INTO uploads VALUES (?, ?, ?, ?)", upload, call.bucket, name, storage.now())
    return json_answer(_upload(call, upload, name, storage.now()))


def abort_upload(storage: Storage, call: Call) -> Answer:
    """Give up a multipart upload."""
    if not storage.changed("DELETE FROM uploads WHERE id = ? AND bucket = ?", call.query.get("uploadId"), call.bucket):
        raise ServiceError(404, "NoSuchUpload", f"Upload '{call.query.get('uploadId')}' was not found")
    return Answer(204)


def list_uploads(storage: Storage, call: Call) -> Answer:
    """List the multipart uploads that have begun."""
    rows = storage.rows("SELECT id, name, created FROM uploads WHERE bucket = ? ORDER BY name", call.bucket)
    return json_answer([_upload(call, *row) for row in rows])


def get_namespace(storage: Storage, call: Call) -> Answer:
    """Return the namespace of the caller's tenancy."""
    return json_answer(call.namespace)


def _check(storage: Storage, wanted: dict[str, Any]) -> None:
    tags = wanted.get("freeformTags") or {}
    if len(tags) > _MAX_FREEFORM_TAGS or any(len(key) > 100 or len(value) > 256 for key, value in tags.items()):
        raise ServiceError(400, "InvalidParameter", "at most 10 freeformTags, of 100 and 256 characters")
    known = storage.setting("kms_keys", None)
    if wanted.get("kmsKeyId") and known is not None and wanted["kmsKeyId"] not in known:
        raise ServiceError(400, "KmsKeyDisabledOrNotFound", "The key does not exist, or the service may not use it")


def _service_may_act(storage: Storage, call: Call) -> bool:
    """Tell whether the service may delete on the tenancy's behalf; the setting spares tests a policy."""
    if storage.setting("lifecycle_authorized", True):
        return True
    details, _ = _bucket(storage, call)
    service = Principal({}, frozenset({f"service objectstorage-{call.region}"}))
    target = {"target.bucket.name": call.bucket}
    return all(
        any(each.grants(service, permission, details["compartmentId"], target) for each in statements(storage))
        for permission in ("BUCKET_READ", "OBJECT_INSPECT", "OBJECT_CREATE", "OBJECT_DELETE")
    )


def _upload(call: Call, upload: str, name: str, created: float) -> dict[str, Any]:
    return {
        "namespace": call.namespace,
        "bucket": call.bucket,
        "object": name,
        "uploadId": upload,
        "timeCreated": timestamp(created),
    }


def _bucket(storage: Storage, call: Call) -> tuple[dict[str, Any], str]:
    rows = storage.rows("SELECT details, etag FROM buckets WHERE name = ?", call.bucket)
    if not rows:
        raise no_bucket(call.bucket, call.namespace)
    details, etag = rows[0]
    return json.loads(details), etag


def _policy(storage: Storage, call: Call) -> dict[str, Any] | None:
    [(policy,)] = storage.rows("SELECT policy FROM buckets WHERE name = ?", call.bucket)
    return json.loads(policy) if policy else None
