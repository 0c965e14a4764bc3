"""OpenSearch's security plugin, as far as its documentation describes it: users, roles, mappings, and what they permit.

Permissions are enforced as the plugin does: by the action behind a request, on the cluster or on each index that the
request names, with action groups and wildcards. Of a bulk or multi-get request, the request needs a permission of the
cluster, and each item one of its index.
"""

import base64
import fnmatch
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aiohttp import web

from tests.emulators.opensearch_actions import Need

Entity = dict[str, Any]
REST_API_ROLES = {"all_access", "security_rest_api_access"}
"""``plugins.security.restapi.roles_enabled`` of the demo configuration."""
EVERYBODYS = ("account", "permissionsinfo")

ACTION_GROUPS: dict[str, list[str]] = {
    "unlimited": ["*"],
    "cluster_all": ["cluster:*"],
    "cluster_monitor": ["cluster:monitor/*"],
    "cluster_composite_ops": ["indices:data/write/bulk", "indices:admin/aliases*", "cluster_composite_ops_ro"],
    "cluster_composite_ops_ro": ["indices:data/read/mget", "indices:data/read/msearch", "indices:data/read/scroll"],
    "cluster_manage_index_templates": ["indices:admin/template/*", "indices:admin/index_template/*"],
    "indices_all": ["indices:*"],
    "indices_monitor": ["indices:monitor/*"],
    "crud": ["read", "write"],
    "read": ["indices:data/read*", "indices:admin/mappings/fields/get*", "indices:admin/resolve/index"],
    "write": ["indices:data/write*", "indices:admin/mapping/put"],
    "create_index": ["indices:admin/create", "indices:admin/mapping/put"],
    "manage": ["indices:monitor/*", "indices:admin/*"],
}
ALLOWED_KEYS = {
    "internalusers": {
        "password",
        "hash",
        "attributes",
        "description",
        "backend_roles",
        "opendistro_security_roles",
    },
    "roles": {"cluster_permissions", "index_permissions", "tenant_permissions", "description"},
    "rolesmapping": {"users", "backend_roles", "and_backend_roles", "hosts", "description"},
    "actiongroups": set(),
}
DEFAULTS: dict[str, Entity] = {
    "internalusers": {"attributes": {}, "backend_roles": [], "opendistro_security_roles": []},
    "roles": {"cluster_permissions": [], "index_permissions": [], "tenant_permissions": []},
    "rolesmapping": {"users": [], "backend_roles": [], "and_backend_roles": [], "hosts": []},
}
INDEX_PERMISSION_DEFAULTS: Entity = {"dls": None, "fls": None, "masked_fields": None}


def _role(cluster: list[str], index: list[str]) -> Entity:
    permission = {"index_patterns": ["*"], "allowed_actions": index, **INDEX_PERMISSION_DEFAULTS}
    flags = {"reserved": True, "static": True}
    return {"cluster_permissions": cluster, "index_permissions": [permission], "tenant_permissions": [], **flags}


class Security:
    """Users, roles and mappings; `passwords` are kept beside the users, since the API never shows them.

    Args:
        password: Of the user ``admin``.
        changed: Called after each change.
    """

    def __init__(self, password: str, changed: Callable[[], None]) -> None:
        self._admin_password = password
        self._changed = changed
        self.enabled = True
        self.reset()

    def reset(self) -> None:
        """Forget everything but what the demo configuration has."""
        self.passwords = {"admin": self._admin_password}
        admin = {"reserved": True, "backend_roles": ["admin"], "attributes": {}, "opendistro_security_roles": []}
        self.entities: dict[str, dict[str, Entity]] = {
            "internalusers": {"admin": admin},
            "roles": {
                "all_access": _role(["*"], ["*"]),
                "readall": _role(["cluster_composite_ops_ro"], ["read", "indices:admin/mappings/get"]),
                "security_rest_api_access": {**DEFAULTS["roles"], "reserved": True},
            },
            "rolesmapping": {
                "all_access": {**DEFAULTS["rolesmapping"], "backend_roles": ["admin"]},
                "security_rest_api_access": {**DEFAULTS["rolesmapping"]},
            },
            "actiongroups": {name: {"allowed_actions": found} for name, found in ACTION_GROUPS.items()},
        }

    def dump(self) -> Entity:
        return {"passwords": self.passwords, "entities": self.entities, "enabled": self.enabled}

    def load(self, state: Entity) -> None:
        self.passwords, self.entities, self.enabled = state["passwords"], state["entities"], state["enabled"]

    # Who it is, and what they may do

    def user_of(self, request: web.Request) -> str | None:
        """The user who sends a request; None if the login is wrong."""
        try:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            name, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except ValueError:
            return None
        known = name in self.entities["internalusers"] and self.passwords.get(name) == password
        return name if scheme == "Basic" and known else None

    def roles_of(self, user: str) -> list[str]:
        entity = self.entities["internalusers"][user]
        found = dict.fromkeys(entity["opendistro_security_roles"])
        for role, mapping in self.entities["rolesmapping"].items():
            by_name = any(fnmatch.fnmatchcase(user, pattern) for pattern in mapping["users"])
            if by_name or set(mapping["backend_roles"]) & set(entity["backend_roles"]):
                found[role] = None
        return [role for role in found if role in self.entities["roles"]]

    def refused(self, user: str, needs: list[Need]) -> str | None:
        """The first permission that a user lacks."""
        return next((need.action for need in needs if not self.permits(user, need)), None)

    def permits(self, user: str, need: Need) -> bool:
        return any(_matches(need.action, actions) for actions in self._granted(user, need.of_index))

    def _granted(self, user: str, index: str | None) -> Iterator[list[str]]:
        for name in self.roles_of(user):
            role = self.entities["roles"][name]
            if index is None:
                yield self._expanded(role["cluster_permissions"])
                continue
            for permission in role["index_permissions"]:
                patterns = [each.replace("${user.name}", user) for each in permission["index_patterns"]]
                if _matches(index, patterns):
                    yield self._expanded(permission["allowed_actions"])

    def _expanded(self, actions: list[str]) -> list[str]:
        found: list[str] = []
        for action in actions:
            group = self.entities["actiongroups"].get(action)
            found += self._expanded(group["allowed_actions"]) if group else [action]
        return found

    # The API

    def routes(self) -> list[web.RouteDef]:
        api = "/_plugins/_security/api"
        return [
            web.get("/_plugins/_security/authinfo", self.authinfo),
            web.get(f"{api}/permissionsinfo", self.permissions_info),
            web.get(f"{api}/account", self.authinfo),
            web.get(api + "/{kind}", self.get_all),
            web.get(api + "/{kind}/{name}", self.get),
            web.put(api + "/{kind}/{name}", self.put),
            web.delete(api + "/{kind}/{name}", self.delete),
        ]

    def api_refusal(self, request: web.Request, user: str) -> web.Response | None:
        """Why a user may not call a path of the security API."""
        prefix, _, rest = request.path.partition("/_security/api/")
        roles = self.roles_of(user)
        if prefix == request.path or rest in EVERYBODYS or REST_API_ROLES & set(roles):
            return None
        why = (
            f"No permission to access REST API: User {user} with Security roles {roles} does not have any role "
            "privileged for admin access. No client TLS certificate found in request"
        )
        return _answer(403, "FORBIDDEN", why)

    async def authinfo(self, request: web.Request) -> web.Response:
        user: str = request["user"]
        entity = self.entities["internalusers"][user]
        found = {"user_name": user, "backend_roles": entity["backend_roles"], "roles": self.roles_of(user)}
        return web.json_response(
            {**found, "custom_attribute_names": [f"attr.internal.{n}" for n in entity["attributes"]]}
        )

    async def permissions_info(self, request: web.Request) -> web.Response:
        has_access = bool(REST_API_ROLES & set(self.roles_of(request["user"])))
        found = {"user_name": request["user"], "has_api_access": has_access, "disabled_endpoints": {}}
        return web.json_response(found)

    async def get_all(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        return web.json_response({name: _shown(kind, entity) for name, entity in self.entities[kind].items()})

    async def get(self, request: web.Request) -> web.Response:
        kind, name = request.match_info["kind"], request.match_info["name"]
        if name not in self.entities[kind]:
            return _answer(404, "NOT_FOUND", f"Resource '{name}' not found.")
        return web.json_response({name: _shown(kind, self.entities[kind][name])})

    async def put(self, request: web.Request) -> web.Response:
        kind, name, body = request.match_info["kind"], request.match_info["name"], await request.json()
        if unknown := set(body) - ALLOWED_KEYS[kind]:
            found = {"status": "error", "reason": "Invalid configuration", "invalid_keys": {"keys": ",".join(unknown)}}
            return web.json_response(found, status=400)
        exists = name in self.entities[kind]
        if exists and self.entities[kind][name].get("reserved"):
            return _answer(403, "FORBIDDEN", f"Resource '{name}' is reserved.")
        refusal = self._refused_content(kind, name, body)
        if refusal is not None:
            return refusal
        if kind == "internalusers" and "password" in body:
            self.passwords[name] = body.pop("password")
        if kind == "roles":
            body["index_permissions"] = [{**INDEX_PERMISSION_DEFAULTS, **p} for p in body.get("index_permissions", [])]
        self.entities[kind][name] = {**DEFAULTS[kind], **body}
        self._changed()
        return _answer(200, "OK", f"'{name}' updated.") if exists else _answer(201, "CREATED", f"'{name}' created.")

    def _refused_content(self, kind: str, name: str, body: Mapping[str, Any]) -> web.Response | None:
        if kind == "internalusers" and name not in self.passwords and "password" not in body:
            return _answer(400, "BAD_REQUEST", "Please specify either 'hash' or 'password' when creating a new user.")
        named = [name] if kind == "rolesmapping" else body.get("opendistro_security_roles", [])
        missing = [role for role in named if role not in self.entities["roles"]]
        return _answer(404, "NOT_FOUND", f"role '{missing[0]}' not found.") if missing else None

    async def delete(self, request: web.Request) -> web.Response:
        kind, name = request.match_info["kind"], request.match_info["name"]
        entity = self.entities[kind].pop(name, None)
        if entity is None:
            return _answer(404, "NOT_FOUND", f"Resource '{name}' not found.")
        if kind == "internalusers":
            self.passwords.pop(name)
        self._changed()
        return _answer(200, "OK", f"'{name}' deleted.")


def _shown(kind: str, entity: Entity) -> Entity:
    shown = {"reserved": False, "hidden": False, "static": False, **entity}
    return {"hash": "", **shown} if kind == "internalusers" else shown


def _matches(text: str, patterns: list[str]) -> bool:
    # A bracket is no wildcard here: actions end in [s] and [shard].
    return any(fnmatch.fnmatchcase(text, pattern.replace("[", "[[]")) for pattern in patterns)


def _answer(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"status": kind, "message": message}, status=status)
