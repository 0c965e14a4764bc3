"""Replication policies of buckets; nothing is replicated."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.emulators.oci_object_storage.errors import ServiceError
from tests.emulators.oci_object_storage.storage import Storage
from tests.emulators.oci_object_storage.wire import Answer, Call, json_answer, timestamp


def create(storage: Storage, call: Call) -> Answer:
    """Create a replication policy; a bucket has one at most."""
    wanted = call.json()
    if missing := [key for key in ("name", "destinationRegionName", "destinationBucketName") if not wanted.get(key)]:
        raise ServiceError(400, "MissingParameter", ", ".join(missing))
    if _policies(storage, call):
        raise ServiceError(409, "ReplicationPolicyConflict", "The bucket has a replication policy already")
    policy = {
        **{key: wanted[key] for key in ("name", "destinationRegionName", "destinationBucketName")},
        "id": str(uuid.uuid4()),
        "timeCreated": timestamp(storage.now()),
        "timeLastSync": timestamp(storage.now()),
        "status": "ACTIVE",
        "statusMessage": "",
    }
    storage.changed("INSERT INTO replications VALUES (?, ?, ?)", policy["id"], call.bucket, json.dumps(policy))
    return json_answer(policy)


def list_policies(storage: Storage, call: Call) -> Answer:
    """List the replication policies of a bucket."""
    return json_answer(_policies(storage, call))


def delete(storage: Storage, call: Call) -> Answer:
    """Delete a replication policy."""
    if not storage.changed("DELETE FROM replications WHERE id = ? AND bucket = ?", call.name, call.bucket):
        raise ServiceError(404, "ReplicationPolicyNotFound", f"Replication policy '{call.name}' was not found")
    return Answer(204)


def _policies(storage: Storage, call: Call) -> list[dict[str, Any]]:
    return [
        json.loads(text) for (text,) in storage.rows("SELECT details FROM replications WHERE bucket = ?", call.bucket)
    ]
