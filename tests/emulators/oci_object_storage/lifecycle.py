"""Lifecycle policies: which objects a rule covers, and what happens to them."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

from tests.emulators.oci_object_storage.errors import ServiceError
from tests.emulators.oci_object_storage.storage import Storage

DAY_SECONDS = 86_400
_UNITS = {"DAYS": DAY_SECONDS, "YEARS": 365 * DAY_SECONDS}
_TIERS = {"ARCHIVE": "Archive", "INFREQUENT_ACCESS": "InfrequentAccess"}
_ACTIONS = {*_TIERS, "DELETE", "ABORT"}
_TARGETS = {"objects", "multipart-uploads", "previous-object-versions"}
_LAST = "\U0010ffff"


def check_policy(policy: Any) -> list[dict[str, Any]]:
    """Return the rules of a policy.

    Raises:
        ServiceError: 400, for what the service refuses.
    """
    items = policy.get("items") if isinstance(policy, dict) else None
    if not isinstance(items, list) or len(items) > 1000:
        raise _invalid("items must be a list of at most 1,000 rules")
    names = [item.get("name") for item in items]
    if len(set(names)) != len(names) or not all(names):
        raise _invalid("rules need names of their own")
    for item in items:
        _check_rule(item)
    return items


def _check_rule(item: dict[str, Any]) -> None:
    action, target = item.get("action"), item.get("target") or "objects"
    amount = item.get("timeAmount")
    if action not in _ACTIONS or target not in _TARGETS or item.get("timeUnit") not in _UNITS:
        raise _invalid(f"rule {item['name']!r}: action, target or timeUnit")
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 1:
        raise _invalid(f"rule {item['name']!r}: timeAmount must be 1 or more")
    if not isinstance(item.get("isEnabled"), bool):
        raise _invalid(f"rule {item['name']!r}: isEnabled")
    if (action == "ABORT") != (target == "multipart-uploads"):
        raise _invalid(f"rule {item['name']!r}: ABORT is for multipart-uploads, and nothing else is")
    if action == "ABORT" and item.get("objectNameFilter"):
        raise _invalid(f"rule {item['name']!r}: rules for multipart-uploads take no objectNameFilter")


def _invalid(why: str) -> ServiceError:
    return ServiceError(400, "InvalidParameter", f"The lifecycle policy is invalid: {why}")


def enforce(storage: Storage) -> None:
    """Apply every enabled rule of every bucket to what is old enough now."""
    for bucket, policy in storage.rows("SELECT name, policy FROM buckets WHERE policy IS NOT NULL"):
        for rule in json.loads(policy)["items"]:
            if rule["isEnabled"]:
                _apply(storage, bucket, rule)


def _apply(storage: Storage, bucket: str, rule: dict[str, Any]) -> None:
    before = storage.now() - rule["timeAmount"] * _UNITS[rule["timeUnit"]]
    if rule["action"] == "ABORT":
        storage.changed("DELETE FROM uploads WHERE bucket = ? AND created <= ?", bucket, before)
        return
    if (rule.get("target") or "objects") != "objects":
        for version, name in storage.rows(
            "SELECT id, name FROM versions WHERE bucket = ? AND superseded <= ?", bucket, before
        ):
            if rule["action"] == "DELETE" and covers(rule.get("objectNameFilter"), name):
                storage.changed("DELETE FROM versions WHERE id = ?", version)
        return
    for stored in storage.list(bucket, "", _LAST, -1):
        if stored.modified > before or not covers(rule.get("objectNameFilter"), stored.name):
            continue
        if rule["action"] == "DELETE":
            storage.delete(bucket, stored.name)
        else:
            tier = _TIERS[rule["action"]]
            storage.changed("UPDATE objects SET tier = ? WHERE bucket = ? AND name = ?", tier, bucket, stored.name)


def covers(name_filter: dict[str, Any] | None, name: str) -> bool:
    """Tell whether a rule's filter includes an object's name."""
    found = name_filter or {}
    prefixes, patterns = found.get("inclusionPrefixes") or [], found.get("inclusionPatterns") or []
    included = (
        not (prefixes or patterns) or name.startswith(tuple(prefixes)) or any(_matches(name, each) for each in patterns)
    )
    return included and not any(_matches(name, each) for each in found.get("exclusionPatterns") or [])


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern)
