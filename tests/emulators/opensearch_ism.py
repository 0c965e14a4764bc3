"""OpenSearch's index state management, as far as its documentation describes it: policies, and indexes that have one.

Nothing is ever executed: what counts is which policy is attached to which index. A policy with a matching template is
attached to a new index, the one of the highest priority.
"""

import fnmatch
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.emulators.opensearch_actions import MANAGED_INDEX, Need

Policy = dict[str, Any]
SETTING = "index.plugins.index_state_management.policy_id"


class StateManagement:
    """Policies by name, and the attached policies by index.

    Args:
        changed: Called after each change.
        permits: Tells whether a user may do something.
    """

    def __init__(self, changed: Callable[[], None], permits: Callable[[str, Need], bool]) -> None:
        self._changed = changed
        self._permits = permits
        self.enabled = True
        self.reset()

    def reset(self) -> None:
        self.policies: dict[str, Policy] = {}
        self.attached: dict[str, Policy] = {}
        self.sequence = 0

    def dump(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("policies", "attached", "sequence", "enabled")}

    def load(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def index_created(self, index: str) -> None:
        matching = [
            (template["priority"], name)
            for name, found in self.policies.items()
            for template in found["policy"].get("ism_template") or ()
            if any(fnmatch.fnmatchcase(index, pattern) for pattern in template["index_patterns"])
        ]
        if self.enabled and matching:
            self._attach(index, max(matching)[1])

    def index_deleted(self, index: str) -> None:
        self.attached.pop(index, None)
        self._changed()

    def routes(self) -> list[web.RouteDef]:
        ism = "/_plugins/_ism"
        return [
            web.get(ism + "/policies/{name}", self.get),
            web.put(ism + "/policies/{name}", self.put),
            web.delete(ism + "/policies/{name}", self.delete),
            web.get(ism + "/explain/{index}", self.explain),
            web.post(ism + "/add/{index}", self.add),
            web.post(ism + "/remove/{index}", self.remove),
        ]

    async def get(self, request: web.Request) -> web.Response:
        found = self.policies.get(request.match_info["name"])
        return web.json_response(found) if found else _error(404, "status_exception", "Policy not found")

    async def put(self, request: web.Request) -> web.Response:
        name, policy = request.match_info["name"], (await request.json())["policy"]
        found = self.policies.get(name)
        condition = request.query.get("if_seq_no")
        if (found is None) != (condition is None) or (found and str(found["_seq_no"]) != condition):
            return _error(409, "version_conflict_engine_exception", f"[{name}]: version conflict")
        if missing := {"description", "default_state", "states"} - policy.keys():
            return _error(400, "illegal_argument_exception", f"{missing} is null")
        if conflict := self._same_priority(name, policy):
            return _error(400, "illegal_argument_exception", conflict)
        self.sequence += 1
        kept = {"policy_id": name, "last_updated_time": 1, "schema_version": 21, "error_notification": None, **policy}
        self.policies[name] = {"_id": name, "_seq_no": self.sequence, "_primary_term": 1, "_version": 1, "policy": kept}
        self._changed()
        return web.json_response({**self.policies[name], "policy": {"policy": kept}}, status=200 if found else 201)

    def _same_priority(self, name: str, policy: Policy) -> str | None:
        for template in policy.get("ism_template") or ():
            for other, found in self.policies.items():
                for each in found["policy"].get("ism_template") or ():
                    overlap = set(each["index_patterns"]) & {*template["index_patterns"], "*"}
                    if other != name and overlap and each["priority"] == template["priority"]:
                        return (
                            f"New policy {name} has an ISM template with index pattern {template['index_patterns']} "
                            "matching existing policy templates, please use a different priority than "
                            f"{each['priority']}"
                        )
        return None

    async def delete(self, request: web.Request) -> web.Response:
        if self.policies.pop(request.match_info["name"], None) is None:
            return _error(404, "index_not_found_exception", "policy not found")
        self._changed()
        return web.json_response({"result": "deleted"})

    async def explain(self, request: web.Request) -> web.Response:
        index = request.match_info["index"]
        found = self.attached.get(index)
        shown: dict[str, Any] = {SETTING: found["policy_id"] if found else None}
        if found:
            shown |= {"index": index, "policy_id": found["policy_id"], "enabled": True}
            shown |= {"policy": found} if request.query.get("show_policy") == "true" else {}
        return web.json_response({index: shown, "total_managed_indices": 1 if found else 0})

    async def add(self, request: web.Request) -> web.Response:
        index, name = request.match_info["index"], (await request.json())["policy_id"]
        if name not in self.policies:
            return _error(404, "status_exception", f"Could not find policy={name}")
        if not self._manages(request, index):
            return _updated(0)
        if index in self.attached:
            return _updated(
                0, index, "This index already has a policy, use the update policy API to update index policies"
            )
        self._attach(index, name)
        return _updated(1)

    async def remove(self, request: web.Request) -> web.Response:
        index = request.match_info["index"]
        if not self._manages(request, index):
            return _updated(0)
        if index not in self.attached:
            return _updated(0, index, "This index does not have a policy to remove")
        self.index_deleted(index)
        return _updated(1)

    def _manages(self, request: web.Request, index: str) -> bool:
        user = request.get("user")
        return user is None or self._permits(user, Need(MANAGED_INDEX, index))

    def _attach(self, index: str, name: str) -> None:
        self.attached[index] = self.policies[name]["policy"]
        self._changed()


def _updated(count: int, index: str = "", reason: str = "") -> web.Response:
    failed = [{"index_name": index, "index_uuid": "u", "reason": reason}] if reason else []
    return web.json_response({"updated_indices": count, "failures": bool(failed), "failed_indices": failed})


def _error(status: int, kind: str, reason: str) -> web.Response:
    cause = {"type": kind, "reason": reason}
    return web.json_response({"error": {"root_cause": [cause], **cause}, "status": status}, status=status)
