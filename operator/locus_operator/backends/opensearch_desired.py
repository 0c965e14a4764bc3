"""What a store shall have on an OpenSearch cluster, and how what exists differs from it: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from locus_memory.backends.opensearch_layout import LAYOUT_VERSION, index_body
from locus_operator.backends.opensearch_observe import CLAIM, Found, Index, Policy, flat
from locus_operator.backends.opensearch_privileges import APPLICATION_CLUSTER, APPLICATION_INDEX
from locus_operator.names import RoleNames
from locus_operator.provisioner import Owner

PRIORITY: Final = 2_000_000
"""Of the template and of the policy's: higher than what people give those for all indexes."""

_STATE: Final = "keep"
_CHANGEABLE_SETTINGS: Final = ("index.number_of_replicas", "index.translog.durability")

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """What is desired.

    Attributes:
        index: Name of the index, and of its template.
        names: Of the role, its mapping and the policy (`base`), and of the users; the first one is in use.
        owner: The store.
        password: Of the user in use.
        shards: Primary shards.
        replicas: Copies of each.
    """

    index: str
    names: RoleNames
    owner: Owner
    password: str = field(repr=False)
    shards: int = 1
    replicas: int = 1

    @property
    def claim(self) -> str:
        """The claim, as text."""
        return self.owner.claim()

    def index_body(self) -> Body:
        """Return settings and mappings of the index: the library's, with the claim."""
        body = index_body(shards=self.shards, replicas=self.replicas)
        body["mappings"]["_meta"][CLAIM] = self.claim
        return body

    def template(self) -> Body:
        """Return the template: an index that somebody's write creates is the right one, too."""
        return {
            "index_patterns": [self.index],
            "priority": PRIORITY,
            "template": self.index_body(),
            "_meta": {CLAIM: self.claim},
        }

    def policy(self, claim: str | None = None) -> Body:
        """Return a policy that does nothing: what has it has no other one."""
        template = {"index_patterns": [self.index], "priority": PRIORITY}
        return {
            "description": claim or self.claim,
            "default_state": _STATE,
            "states": [{"name": _STATE, "actions": [], "transitions": []}],
            "ism_template": [template],
        }

    def role(self) -> Body:
        """Return the application's role."""
        permission = {"index_patterns": [self.index], "allowed_actions": list(APPLICATION_INDEX)}
        return {
            "description": self.claim,
            "cluster_permissions": list(APPLICATION_CLUSTER),
            "index_permissions": [permission],
            "tenant_permissions": [],
        }

    def mapping(self) -> Body:
        """Return who has the role: the user in use alone."""
        lists: Body = {"backend_roles": [], "and_backend_roles": [], "hosts": []}
        return {"description": self.claim, "users": [self.names.logins[0]], **lists}

    def user(self) -> Body:
        """Return the user in use, with the password."""
        return {
            "password": self.password,
            "attributes": {CLAIM: self.claim},
            "backend_roles": [],
            "opendistro_security_roles": [],
        }


def template_differences(found: Found, target: Target) -> list[str]:
    """Name what differs in the template."""
    wanted = target.template()
    inner, desired = found.body.get("template") or {}, wanted["template"]
    compared = {
        "claim": (found.claim, target.claim),
        "index_patterns": (_set(found.body.get("index_patterns")), {target.index}),
        "priority": (found.body.get("priority"), PRIORITY),
        "composed_of": (_set(found.body.get("composed_of")), set()),
        "settings": (flat(inner.get("settings") or {}), flat(desired["settings"])),
        "mappings": (inner.get("mappings"), desired["mappings"]),
        "aliases": (inner.get("aliases") or {}, {}),
    }
    return _named(compared)


@dataclass(frozen=True, slots=True)
class MappingDifferences:
    """How the mapping of an index differs.

    Attributes:
        names: What can be corrected, in words.
        update: The request that does.
        incompatible: What cannot be changed in an index that exists.
    """

    names: tuple[str, ...] = ()
    update: Mapping[str, Any] = field(default_factory=dict)
    incompatible: tuple[str, ...] = ()


def mapping_differences(index: Index, target: Target) -> MappingDifferences:
    """Compare the mapping; fields that it has beside ours change nothing in a closed mapping's documents."""
    wanted = target.index_body()["mappings"]
    found = index.mappings.get("properties") or {}
    names: list[str] = []
    update: Body = {}
    missing = [name for name in wanted["properties"] if name not in found]
    if missing:
        names.append(f"fields {', '.join(missing)} missing")
        update["properties"] = {name: wanted["properties"][name] for name in missing}
    if str(index.mappings.get("dynamic", "true")).lower() != wanted["dynamic"]:
        names.append("dynamic")
        update["dynamic"] = wanted["dynamic"]
    if index.layout != LAYOUT_VERSION:
        names.append("layout version")
    if index.claim != target.claim:
        names.append("claim")
    if index.layout != LAYOUT_VERSION or index.claim != target.claim:
        # The server replaces it as a whole: what others wrote there stays.
        update["_meta"] = {**index.meta, **wanted["_meta"]}
    incompatible = [
        f"field {name} is {_described(found[name])}, not {_described(field_)}"
        for name, field_ in wanted["properties"].items()
        if name in found and found[name] != field_
    ]
    if (index.mappings.get("_routing") or {}) != wanted["_routing"]:
        incompatible.append("routing is not required")
    return MappingDifferences(tuple(names), update, tuple(incompatible))


def setting_differences(index: Index, target: Target) -> dict[str, str | None]:
    """Return the settings to change, with their values; None to remove one."""
    wanted = flat(target.index_body()["settings"])
    changes: dict[str, str | None] = {
        name: wanted[name]
        for name in _CHANGEABLE_SETTINGS
        if index.settings.get(name, "request" if name.endswith("durability") else "").lower() != wanted[name]
    }
    if index.settings.get("index.auto_expand_replicas", "false") != "false":
        changes["index.auto_expand_replicas"] = None
    return changes


def policy_differences(found: Policy, target: Target) -> list[str]:
    """Name what differs in the policy."""
    wanted = target.policy()
    states = [
        (each["name"], list(each.get("actions") or ()), list(each.get("transitions") or ()))
        for each in found.body.get("states") or ()
    ]
    templates = [
        (_set(each.get("index_patterns")), each.get("priority")) for each in found.body.get("ism_template") or ()
    ]
    compared = {
        "claim": (found.claim, target.claim),
        "default_state": (found.body.get("default_state"), wanted["default_state"]),
        "states": (states, [(_STATE, [], [])]),
        "ism_template": (templates, [({target.index}, PRIORITY)]),
    }
    return _named(compared)


def role_differences(found: Found, target: Target) -> list[str]:
    """Name what differs in the role."""
    permissions = [
        (
            _set(each.get("index_patterns")),
            _set(each.get("allowed_actions")),
            bool(each.get("dls") or each.get("fls") or each.get("masked_fields")),
        )
        for each in found.body.get("index_permissions") or ()
    ]
    compared = {
        "claim": (found.claim, target.claim),
        "cluster_permissions": (_set(found.body.get("cluster_permissions")), set(APPLICATION_CLUSTER)),
        "index_permissions": (permissions, [({target.index}, set(APPLICATION_INDEX), False)]),
        "tenant_permissions": (list(found.body.get("tenant_permissions") or ()), []),
    }
    return _named(compared)


def role_mapping_differences(found: Found, target: Target) -> list[str]:
    """Name what differs in the role mapping."""
    wanted = target.mapping()
    lists = ("users", "backend_roles", "and_backend_roles", "hosts")
    compared = {name: (_set(found.body.get(name)), _set(wanted[name])) for name in lists}
    return _named({"claim": (found.claim, target.claim), **compared})


def user_differences(found: Found, target: Target, *, accepted: bool) -> list[str]:
    """Name what differs in the user in use; `accepted` tells whether it can log in with its password."""
    compared = {
        "password": (accepted, True),
        "claim": (found.claim, target.claim),
        "backend_roles": (_set(found.body.get("backend_roles")), set()),
        "roles": (_set(found.body.get("opendistro_security_roles")), set()),
    }
    return _named(compared)


def _named(compared: Mapping[str, tuple[object, object]]) -> list[str]:
    return [name for name, (found, wanted) in compared.items() if found != wanted]


def _set(values: Iterable[Any] | str | None) -> set[Any]:
    return {values} if isinstance(values, str) else set(values or ())


def _described(mapping: Mapping[str, Any]) -> str:
    options = "".join(f", {name}: {value}" for name, value in sorted(mapping.items()) if name != "type")
    return f"{mapping.get('type', 'object')}{options}"
