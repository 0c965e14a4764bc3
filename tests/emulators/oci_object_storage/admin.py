"""What tests tell the emulator, below ``/admin/``; each request carries the header ``X-Admin-Token``.

    PUT    /admin/keys      {"id": "tenancy/user/fingerprint" or "ST$token", "user": …, "public_key": PEM, "expires"?}
    DELETE /admin/keys      {"id": …}                          revokes it
    PUT    /admin/users     {"name": …, "buckets": {"name" or "*": "read" | "write" | "manage"}}
    PUT    /admin/principals    {"name": …, "variables": {"request.principal.type": …}, "subjects": ["group x", …]}
                            what statements of policies can say of a user; without it, its id alone
    POST   /admin/faults    {"effect": "status" | "drop-before" | "drop-after" | "delay" | "twice", "count"?: 1,
                             "skip"?: 0, "kinds"?: ["PutObject", …], "name"?: pattern, "status"?, "code"?, "seconds"?}
    DELETE /admin/faults
    GET    /admin/requests  counts of requests by kind;  DELETE sets them to zero
    POST   /admin/clock     {"advance_days": …} or {"advance_seconds": …}; then lifecycle policies are enforced
    DELETE /admin/connections                                  closes them; returns how many there were
    PUT    /admin/settings  {"lifecycle_authorized": false}    as without the policy for the service's own principal
                            {"kms_keys": [OCID, …]}            the Vault keys that there are; null for any
    POST   /admin/copy      {"from": …, "to": …}               a bucket with its objects
    POST   /admin/fill      {"bucket": …, "object": …, "names": […]}   copies an object
    DELETE /admin/buckets   everything but keys and users

"drop-before" closes the connection and does nothing; "drop-after" carries the request out and then does; "twice"
carries it out two times and gives the second answer, as when somebody on the way repeats it.
"""

from __future__ import annotations

import fnmatch
import hmac
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.emulators.oci_object_storage.lifecycle import enforce
from tests.emulators.oci_object_storage.storage import Storage


@dataclass
class Fault:
    """What happens to the next requests that match, after `skip` of them."""

    effect: str
    count: int = 1
    skip: int = 0
    kinds: list[str] = field(default_factory=list)
    name: str = "*"
    status: int = 503
    code: str = "ServiceUnavailable"
    seconds: float = 0.0

    def strikes(self, kind: str, name: str) -> bool:
        """Tell whether a request is hit, and count it."""
        if self.count < 1 or (self.kinds and kind not in self.kinds) or not fnmatch.fnmatchcase(name, self.name):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.count -= 1
        return True


class Admin:
    """Faults and counters, and the paths that set them."""

    def __init__(self, storage: Storage, token: str) -> None:
        self._storage = storage
        self._token = token
        self._faults: list[Fault] = []
        self._requests: Counter[str] = Counter()
        self._protocols: set[Any] = set()

    def arrived(self, kind: str, name: str, protocol: Any) -> Fault | None:
        """Count a request and its connection, and return the fault that it meets."""
        self._protocols = {each for each in self._protocols if each.transport is not None} | {protocol}
        self._requests[kind] += 1
        return next((fault for fault in self._faults if fault.strikes(kind, name)), None)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request below ``/admin/``."""
        if not hmac.compare_digest(request.headers.get("X-Admin-Token", ""), self._token):
            return web.Response(status=403)
        body: dict[str, Any] = json.loads(await request.read() or b"{}")
        action = getattr(self, f"_{request.method.lower()}_{request.path.removeprefix('/admin/')}", None)
        if action is None:
            return web.Response(status=404)
        return web.json_response(action(body))

    def _put_keys(self, body: dict[str, Any]) -> None:
        values = (body["id"], body["user"], body["public_key"], body.get("expires"))
        self._storage.changed("REPLACE INTO keys VALUES (?, ?, ?, ?)", *values)

    def _delete_keys(self, body: dict[str, Any]) -> None:
        self._storage.changed("DELETE FROM keys WHERE id = ?", body["id"])

    def _put_users(self, body: dict[str, Any]) -> None:
        self._storage.changed("REPLACE INTO users VALUES (?, ?)", body["name"], json.dumps(body["buckets"]))

    def _put_principals(self, body: dict[str, Any]) -> None:
        values = (body["name"], json.dumps(body.get("variables", {})), json.dumps(body.get("subjects", [])))
        self._storage.changed("REPLACE INTO principals VALUES (?, ?, ?)", *values)

    def _post_faults(self, body: dict[str, Any]) -> None:
        self._faults.append(Fault(**body))

    def _delete_faults(self, body: dict[str, Any]) -> None:
        self._faults.clear()

    def _get_requests(self, body: dict[str, Any]) -> dict[str, int]:
        return dict(self._requests)

    def _delete_requests(self, body: dict[str, Any]) -> None:
        self._requests.clear()

    def _delete_connections(self, body: dict[str, Any]) -> int:
        transports = [each.transport for each in self._protocols if each.transport is not None]
        self._protocols.clear()
        for transport in transports:
            transport.abort()
        return len(transports)

    def _post_clock(self, body: dict[str, Any]) -> None:
        ahead = body.get("advance_seconds", 0) + 86_400 * body.get("advance_days", 0)
        self._storage.set("clock_ahead_seconds", self._storage.setting("clock_ahead_seconds", 0.0) + ahead)
        enforce(self._storage)

    def _post_copy(self, body: dict[str, Any]) -> None:
        bucket, copy = body["from"], body["to"]
        columns = "name, etag, size, md5, created, modified, tier, headers, body"
        with self._storage.transaction():
            self._storage.changed(
                "INSERT INTO buckets SELECT ?, details, policy, etag FROM buckets WHERE name = ?", copy, bucket
            )
            self._storage.changed(
                f"INSERT INTO objects SELECT ?, {columns} FROM objects WHERE bucket = ?",  # noqa: S608 - from above
                *(copy, bucket),
            )

    def _post_fill(self, body: dict[str, Any]) -> None:
        statement = (
            "INSERT INTO objects SELECT bucket, ?, etag, size, md5, created, modified, tier, headers, body "
            "FROM objects WHERE bucket = ? AND name = ?"
        )
        with self._storage.transaction():
            for name in body["names"]:
                self._storage.changed(statement, name, body["bucket"], body["object"])

    def _put_settings(self, body: dict[str, Any]) -> None:
        for name, value in body.items():
            self._storage.set(name, value)

    def _delete_buckets(self, body: dict[str, Any]) -> None:
        with self._storage.transaction():
            for table in ("objects", "versions", "uploads", "replications", "policies", "buckets", "settings"):
                self._storage.changed(f"DELETE FROM {table}")  # noqa: S608 - names from above
