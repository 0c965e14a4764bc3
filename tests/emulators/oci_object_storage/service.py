"""The HTTP side: finds out what is asked, checks who asks, and lets faults happen."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from tests.emulators.oci_object_storage import buckets, identity, objects, replication, versions
from tests.emulators.oci_object_storage.admin import Admin, Fault
from tests.emulators.oci_object_storage.errors import ServiceError, no_bucket, not_found
from tests.emulators.oci_object_storage.principals import Access, Principals
from tests.emulators.oci_object_storage.signatures import SignedRequest, verify
from tests.emulators.oci_object_storage.storage import Storage
from tests.emulators.oci_object_storage.wire import Answer, Call

MAX_BODY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Operation:
    """One of the service's operations.

    Attributes:
        level: What a user needs that `admin` registered.
        permissions: What a user needs that policies let in: "Permissions Required for Each API Operation".
    """

    name: str
    level: str
    permissions: tuple[str, ...]
    carry_out: Callable[[Storage, Call], Answer]


_REPLICATE = ("BUCKET_READ", "BUCKET_UPDATE", "OBJECT_READ", "OBJECT_CREATE", "OBJECT_OVERWRITE", "OBJECT_DELETE")

# By method and kind of path.
_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("PUT", "object"): Operation("PutObject", "write", (), objects.put),
    ("GET", "object"): Operation("GetObject", "read", ("OBJECT_READ",), objects.get),
    ("HEAD", "object"): Operation("HeadObject", "read", ("OBJECT_READ",), objects.get),
    ("DELETE", "object"): Operation("DeleteObject", "write", (), objects.delete),
    ("GET", "objects"): Operation("ListObjects", "read", ("OBJECT_INSPECT",), objects.list_objects),
    ("GET", "versions"): Operation("ListObjectVersions", "read", ("OBJECT_INSPECT",), versions.list_versions),
    ("POST", "buckets"): Operation("CreateBucket", "manage", ("BUCKET_CREATE",), buckets.create),
    ("GET", "buckets"): Operation("ListBuckets", "read", ("BUCKET_INSPECT",), buckets.list_buckets),
    ("GET", "bucket"): Operation("GetBucket", "read", ("BUCKET_READ",), buckets.get),
    ("HEAD", "bucket"): Operation("HeadBucket", "read", ("BUCKET_INSPECT",), buckets.get),
    ("POST", "bucket"): Operation("UpdateBucket", "manage", ("BUCKET_UPDATE",), buckets.update),
    ("DELETE", "bucket"): Operation("DeleteBucket", "manage", ("BUCKET_DELETE",), buckets.delete),
    ("GET", "policy"): Operation("GetObjectLifecyclePolicy", "manage", ("BUCKET_READ",), buckets.get_policy),
    ("PUT", "policy"): Operation(
        "PutObjectLifecyclePolicy",
        "manage",
        ("BUCKET_UPDATE", "OBJECT_CREATE", "OBJECT_DELETE"),
        buckets.put_policy,
    ),
    ("DELETE", "policy"): Operation("DeleteObjectLifecyclePolicy", "manage", ("BUCKET_UPDATE",), buckets.delete_policy),
    ("POST", "uploads"): Operation(
        "CreateMultipartUpload", "write", ("OBJECT_CREATE", "OBJECT_OVERWRITE"), buckets.create_upload
    ),
    ("GET", "uploads"): Operation("ListMultipartUploads", "read", ("BUCKET_READ",), buckets.list_uploads),
    ("DELETE", "upload"): Operation("AbortMultipartUpload", "write", ("OBJECT_DELETE",), buckets.abort_upload),
    ("POST", "replications"): Operation("CreateReplicationPolicy", "manage", _REPLICATE, replication.create),
    ("GET", "replications"): Operation(
        "ListReplicationPolicies", "manage", ("BUCKET_READ",), replication.list_policies
    ),
    ("DELETE", "replication"): Operation("DeleteReplicationPolicy", "manage", _REPLICATE, replication.delete),
    ("GET", "namespace"): Operation("GetNamespace", "read", (), buckets.get_namespace),
    ("POST", "iam policies"): Operation("CreatePolicy", "manage", ("POLICY_CREATE",), identity.create),
    ("GET", "iam policies"): Operation("ListPolicies", "manage", ("POLICY_READ",), identity.list_policies),
    ("GET", "iam policy"): Operation("GetPolicy", "manage", ("POLICY_READ",), identity.get),
    ("PUT", "iam policy"): Operation("UpdatePolicy", "manage", ("POLICY_UPDATE",), identity.update),
    ("DELETE", "iam policy"): Operation("DeletePolicy", "manage", ("POLICY_DELETE",), identity.delete),
}
_PATHS = {
    "o": "object",
    "l": "policy",
    "u": "upload",
    "objectversions": "version",
    "replicationPolicies": "replication",
}


class Service:
    """Answers the service's paths."""

    def __init__(self, storage: Storage, admin: Admin, namespace: str, region: str) -> None:
        self._storage = storage
        self._principals = Principals(storage)
        self._admin = admin
        self._namespace = namespace
        self._region = region

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.read()
        headers = {"opc-request-id": uuid.uuid4().hex}
        try:
            answer = await self._answer(request, body)
        except ServiceError as fault:
            answer = Answer(fault.status, json.dumps({"code": fault.code, "message": fault.message}).encode())
        if answer.dropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        headers |= answer.headers
        if request.method == "HEAD":
            return web.Response(status=answer.status, headers={"content-length": str(len(answer.body))} | headers)
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    async def _answer(self, request: web.Request, body: bytes) -> Answer:
        raw_path, _, raw_query = request.raw_path.partition("?")
        kind, bucket, name = self._parse(raw_path)
        operation = _OPERATIONS.get((request.method, kind), _UNKNOWN)
        fault = self._admin.arrived(operation.name, name, request.protocol)
        if fault is not None and (early := await _meet(fault)) is not None:
            return early
        headers = {key.lower(): value for key, value in request.headers.items()}
        signed_body = body if request.method in ("PUT", "POST") and operation.name != "PutObject" else None
        signed = SignedRequest(request.method, request.raw_path, headers, signed_body)
        user = self._principals.user(verify(signed, self._principals.key))
        query = dict(parse_qsl(raw_query, keep_blank_values=True))
        call = Call(user, self._namespace, self._region, bucket, name, query, headers, body)
        self._authorize(operation, call, iam=kind.startswith("iam"))
        for _ in range(2 if fault is not None and fault.effect == "twice" else 1):
            with self._storage.transaction():
                answer = operation.carry_out(self._storage, call)
        return Answer(0, dropped=True) if fault is not None and fault.effect == "drop-after" else answer

    def _authorize(self, operation: Operation, call: Call, *, iam: bool) -> None:
        if iam:
            access = Access(operation.level, operation.permissions, identity.compartment_of(self._storage, call))
            if not self._principals.may(call.user, access):
                raise not_found()
            return
        if operation.name == "GetNamespace":
            return
        bucket = call.bucket or call.json().get("name", "*")
        rows = self._storage.rows("SELECT details ->> '$.compartmentId' FROM buckets WHERE name = ?", bucket)
        asked = call.query.get("compartmentId") or call.json().get("compartmentId", "")
        compartment = rows[0][0] if rows and call.bucket else asked
        known = self._storage.setting("compartments", None)
        permissions = operation.permissions or _object_permissions(self._storage, operation, call)
        name = call.name if operation.name.endswith("Object") else None
        access = Access(operation.level, permissions, compartment, bucket, name)
        if not self._principals.may(call.user, access) or (call.bucket and not rows):
            raise no_bucket(bucket, self._namespace)
        if not call.bucket and known is not None and compartment not in known:
            raise not_found()

    def _parse(self, raw_path: str) -> tuple[str, str, str]:
        """Return what a path is of, its bucket and its object, unquoted."""
        if raw_path == "/n":
            return "namespace", "", ""
        if raw_path.startswith("/20160918/policies"):
            policy = raw_path.removeprefix("/20160918/policies").strip("/")
            return ("iam policy" if policy else "iam policies"), "", policy
        parts = raw_path.split("/", 6)
        if parts[:2] != ["", "n"] or len(parts) < 4 or parts[3] != "b":
            return "unknown", "", ""
        if parts[2] != self._namespace:
            raise ServiceError(404, "NamespaceNotFound", f"You do not have authorization for namespace {parts[2]!r}")
        bucket = unquote(parts[4]) if len(parts) > 4 else ""
        if len(parts) <= 5:
            return ("bucket" if bucket else "buckets"), bucket, ""
        kind = _PATHS.get(parts[5], "unknown")
        name = unquote(parts[6], errors="strict") if len(parts) > 6 else ""
        return (kind if name or kind == "policy" else f"{kind}s"), bucket, name


async def _meet(fault: Fault) -> Answer | None:
    """Return the answer that a fault gives in place of the service's; None when the request is carried out."""
    if fault.effect == "status":
        raise ServiceError(fault.status, fault.code, "An injected fault")
    if fault.effect == "delay":
        await asyncio.sleep(fault.seconds)
    return Answer(0, dropped=True) if fault.effect == "drop-before" else None


def _object_permissions(storage: Storage, operation: Operation, call: Call) -> tuple[str, ...]:
    """Return what an operation needs whose permissions depend on what is there."""
    if operation.name == "DeleteObject":
        return ("OBJECT_VERSION_DELETE",) if "versionId" in call.query else ("OBJECT_DELETE",)
    return ("OBJECT_OVERWRITE",) if storage.find(call.bucket, call.name) else ("OBJECT_CREATE",)


def _unknown(storage: Storage, call: Call) -> Answer:
    raise ServiceError(404, "NotAuthorizedOrNotFound", "Unknown resource")


_UNKNOWN = Operation("Unknown", "manage", ("UNKNOWN",), _unknown)


def make_application(directory: Path, namespace: str, region: str, admin_token: str) -> web.Application:
    """Make the application that serves a directory."""
    storage = Storage(directory)
    admin = Admin(storage, admin_token)
    service = Service(storage, admin, namespace, region)
    application = web.Application(client_max_size=MAX_BODY_BYTES)
    application.router.add_route("*", "/admin/{what}", admin.handle)
    application.router.add_route("*", "/{path:.*}", service.handle)

    async def close(_: Any) -> None:
        storage.close()

    application.on_cleanup.append(close)
    return application
