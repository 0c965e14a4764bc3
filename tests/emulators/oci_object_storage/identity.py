"""The policies of IAM that a tenancy has; their statements are what the emulator judges requests by."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from tests.emulators.oci_object_storage.errors import ServiceError, if_match_failed, not_found
from tests.emulators.oci_object_storage.statements import Statement, parse
from tests.emulators.oci_object_storage.storage import Storage
from tests.emulators.oci_object_storage.wire import Answer, Call, json_answer, timestamp

_CHANGEABLE = ("description", "statements", "freeformTags", "definedTags")


def create(storage: Storage, call: Call) -> Answer:
    """Create a policy."""
    wanted = call.json()
    name, compartment = wanted.get("name", ""), wanted["compartmentId"]
    if not re.fullmatch(r"[\w.-]{1,100}", name, re.ASCII) or not wanted.get("description"):
        raise ServiceError(400, "InvalidParameter", "A policy needs a name of at most 100 characters and a description")
    if storage.rows("SELECT 1 FROM policies WHERE name = ?", name):
        raise ServiceError(409, "PolicyAlreadyExists", f"Policy with name '{name}' already exists in the tenancy")
    details = {
        "id": f"ocid1.policy.oc1..{uuid.uuid4().hex}",
        "name": name,
        "compartmentId": compartment,
        "timeCreated": timestamp(storage.now()),
        "lifecycleState": "ACTIVE",
        "freeformTags": {},
        "definedTags": {},
        **{key: value for key, value in wanted.items() if key in _CHANGEABLE and value is not None},
    }
    _check(details)
    etag = str(uuid.uuid4())
    values = (details["id"], compartment, name, json.dumps(details), etag)
    storage.changed("INSERT INTO policies VALUES (?, ?, ?, ?, ?)", *values)
    return json_answer(details, {"etag": etag})


def list_policies(storage: Storage, call: Call) -> Answer:
    """List the policies of a compartment, with their statements, a page at most."""
    name, compartment = call.query.get("name"), call.query["compartmentId"]
    rows = storage.rows("SELECT details FROM policies WHERE compartment = ? ORDER BY name", compartment)
    found = [each for (text,) in rows if name in (None, (each := json.loads(text))["name"])]
    start, limit = int(call.query.get("page", 0)), int(call.query.get("limit", 100))
    more = {"opc-next-page": str(start + limit)} if start + limit < len(found) else {}
    return json_answer(found[start : start + limit], more)


def get(storage: Storage, call: Call) -> Answer:
    """Describe a policy."""
    details, etag = _policy(storage, call)
    return json_answer(details, {"etag": etag})


def update(storage: Storage, call: Call) -> Answer:
    """Change a policy, if the condition holds."""
    details, etag = _policy(storage, call)
    if call.headers.get("if-match", etag) != etag:
        raise if_match_failed()
    details |= {key: value for key, value in call.json().items() if key in _CHANGEABLE and value is not None}
    _check(details)
    etag = str(uuid.uuid4())
    storage.changed("UPDATE policies SET details = ?, etag = ? WHERE id = ?", json.dumps(details), etag, details["id"])
    return json_answer(details, {"etag": etag})


def delete(storage: Storage, call: Call) -> Answer:
    """Delete a policy, if the condition holds."""
    details, etag = _policy(storage, call)
    if call.headers.get("if-match", etag) != etag:
        raise if_match_failed()
    storage.changed("DELETE FROM policies WHERE id = ?", details["id"])
    return Answer(204)


def compartment_of(storage: Storage, call: Call) -> str:
    """Return the compartment that a request about policies is about."""
    if call.name:
        rows = storage.rows("SELECT compartment FROM policies WHERE id = ?", call.name)
        if not rows:
            raise not_found()
        return str(rows[0][0])
    found = call.query.get("compartmentId") or call.json().get("compartmentId")
    if not found:
        raise ServiceError(400, "MissingParameter", "compartmentId")
    return str(found)


def statements(storage: Storage) -> list[Statement]:
    """Return the statements of all policies."""
    rows = storage.rows("SELECT details FROM policies")
    return [parse(text) for (details,) in rows for text in json.loads(details)["statements"]]


def _policy(storage: Storage, call: Call) -> tuple[dict[str, Any], str]:
    rows = storage.rows("SELECT details, etag FROM policies WHERE id = ?", call.name)
    if not rows:
        raise not_found()
    details, etag = rows[0]
    return json.loads(details), etag


def _check(details: dict[str, Any]) -> None:
    if not details.get("statements"):
        raise ServiceError(400, "InvalidParameter", "A policy needs statements")
    for text in details["statements"]:
        found = parse(text)
        own = details["compartmentId"]
        if not own.startswith("ocid1.tenancy.") and found.compartment != own:
            raise ServiceError(400, "InvalidParameter", f"Compartment of a statement is not below the policy's: {text}")
