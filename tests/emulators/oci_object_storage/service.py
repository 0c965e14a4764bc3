"""The HTTP side: finds out what is asked, checks who asks, and lets faults happen."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from tests.emulators.oci_object_storage import buckets, objects
from tests.emulators.oci_object_storage.admin import Admin, Fault
from tests.emulators.oci_object_storage.errors import ServiceError, no_bucket
from tests.emulators.oci_object_storage.principals import Principals
from tests.emulators.oci_object_storage.signatures import SignedRequest, verify
from tests.emulators.oci_object_storage.storage import Storage
from tests.emulators.oci_object_storage.wire import Answer, Call

MAX_BODY_BYTES = 256 * 2**20

# Method and kind of path, to the operation's name in the service's API, what it needs, and what does it.
_OPERATIONS: dict[tuple[str, str], tuple[str, str, Callable[[Storage, Call], Answer]]] = {
    ("PUT", "object"): ("PutObject", "write", objects.put),
    ("GET", "object"): ("GetObject", "read", objects.get),
    ("HEAD", "object"): ("HeadObject", "read", objects.get),
    ("DELETE", "object"): ("DeleteObject", "write", objects.delete),
    ("GET", "objects"): ("ListObjects", "read", objects.list_objects),
    ("POST", "buckets"): ("CreateBucket", "manage", buckets.create),
    ("GET", "buckets"): ("ListBuckets", "read", buckets.list_buckets),
    ("GET", "bucket"): ("GetBucket", "read", buckets.get),
    ("HEAD", "bucket"): ("HeadBucket", "read", buckets.get),
    ("POST", "bucket"): ("UpdateBucket", "manage", buckets.update),
    ("DELETE", "bucket"): ("DeleteBucket", "manage", buckets.delete),
    ("GET", "policy"): ("GetObjectLifecyclePolicy", "manage", buckets.get_policy),
    ("PUT", "policy"): ("PutObjectLifecyclePolicy", "manage", buckets.put_policy),
    ("DELETE", "policy"): ("DeleteObjectLifecyclePolicy", "manage", buckets.delete_policy),
    ("POST", "uploads"): ("CreateMultipartUpload", "write", buckets.create_upload),
    ("GET", "uploads"): ("ListMultipartUploads", "read", buckets.list_uploads),
}
_PATHS = {"o": "object", "l": "policy", "u": "upload"}


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
        operation, level, carry_out = _OPERATIONS.get((request.method, kind), ("Unknown", "manage", _unknown))
        fault = self._admin.arrived(operation, name, request.protocol)
        if fault is not None and (early := await _meet(fault)) is not None:
            return early
        headers = {key.lower(): value for key, value in request.headers.items()}
        signed_body = body if request.method in ("PUT", "POST") and operation != "PutObject" else None
        signed = SignedRequest(request.method, request.raw_path, headers, signed_body)
        user = self._principals.user(verify(signed, self._principals.key))
        query = dict(parse_qsl(raw_query, keep_blank_values=True))
        call = Call(user, self._namespace, self._region, bucket, name, query, headers, body)
        self._principals.check(user, bucket or call.json().get("name", "*"), level, self._namespace)
        if bucket and not self._storage.rows("SELECT 1 FROM buckets WHERE name = ?", bucket):
            raise no_bucket(bucket, self._namespace)
        for _ in range(2 if fault is not None and fault.effect == "twice" else 1):
            with self._storage.transaction():
                answer = carry_out(self._storage, call)
        return Answer(0, dropped=True) if fault is not None and fault.effect == "drop-after" else answer

    def _parse(self, raw_path: str) -> tuple[str, str, str]:
        """Return what a path is of, its bucket and its object, unquoted."""
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


def _unknown(storage: Storage, call: Call) -> Answer:
    raise ServiceError(404, "NotAuthorizedOrNotFound", "Unknown resource")


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
