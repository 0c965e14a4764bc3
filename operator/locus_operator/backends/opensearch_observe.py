"""What exists on an OpenSearch cluster for a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

from locus_memory.backends.opensearch_errors import INDEX_MISSING, Refusal
from locus_operator.backends.opensearch_connect import Cluster
from locus_operator.backends.opensearch_privileges import Privileges, administrators_needs, lacking
from locus_operator.names import RoleNames

CLAIM: Final = "locus_memory_claim"
"""Key of the claim, among the metadata of a mapping or a template and among the attributes of a user."""

SECURITY_API: Final = "/_plugins/_security/api"
ISM: Final = "/_plugins/_ism"
HARMFUL_ACTIONS: Final = frozenset({"close", "convert_index_to_remote", "delete", "read_only"})
"""What a policy may do to an index that takes conversations, or saves, away."""

_OMNIPOTENT: Final = "all_access"
_ENDPOINTS: Final = ("INTERNALUSERS", "ROLES", "ROLESMAPPING")
_METHODS: Final = ("GET", "PUT", "DELETE")

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """An object that exists.

    Attributes:
        body: As the cluster shows it.
        claim: Its claim, as text.
    """

    body: Body
    claim: str | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """The index.

    Attributes:
        mappings: As the cluster shows them.
        settings: Flat: `index.number_of_replicas`; all values are text.
        health: `green`, `yellow` or `red`; empty when the administrator may not ask.
    """

    mappings: Body
    settings: Mapping[str, str]
    health: str = ""

    @property
    def meta(self) -> Body:
        """What was written about the mapping."""
        return dict(self.mappings.get("_meta") or {})

    @property
    def claim(self) -> str | None:
        """Its claim, as text."""
        claim = self.meta.get(CLAIM)
        return claim if isinstance(claim, str) else None

    @property
    def layout(self) -> object:
        """Version of the library's layout; None when the library, or the operator, did not make the index."""
        own = self.meta.get("locus_memory")
        return own.get("version") if isinstance(own, dict) else None


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of the index management.

    Attributes:
        body: As the cluster shows it.
        version: Sequence number and primary term: it is changed on this condition.
    """

    body: Body
    version: tuple[int, int]

    @property
    def claim(self) -> str | None:
        """Its claim, as text."""
        return self.body.get("description")


@dataclass(frozen=True, slots=True)
class Attached:
    """The policy that the index is managed by.

    Attributes:
        name: Its name.
        harmful: What it may do that takes conversations, or saves, away.
    """

    name: str
    harmful: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that a plan is made from.

    Attributes:
        security: The cluster has the security plugin.
        ism: The cluster manages indexes.
        lacking: What the administrator may not do; then the rest was not looked at in full.
        alias_of: Indexes that the store's index name is an alias of.
        users: The store's users that exist, by name.
        login_roles: Roles that the issued login has; None when it was rejected, or not tried.
    """

    security: bool
    ism: bool
    lacking: Privileges = field(default_factory=Privileges)
    template: Found | None = None
    index: Index | None = None
    alias_of: tuple[str, ...] = ()
    policy: Policy | None = None
    attached: Attached | None = None
    role: Found | None = None
    mapping: Found | None = None
    users: Mapping[str, Found] = field(default_factory=dict)
    login_roles: tuple[str, ...] | None = None

    def with_login(self, roles: tuple[str, ...] | None) -> Observed:
        """Add what the issued login may do."""
        return replace(self, login_roles=roles)

    def claims(self) -> Iterator[tuple[str, str, str | None]]:
        """Yield kind, name and claim of each object that exists, but for names: those are empty, and the store's."""
        objects = {
            "index": self.index,
            "index template": self.template,
            "ISM policy": self.policy,
            "role": self.role,
            "role mapping": self.mapping,
        }
        for kind, found in objects.items():
            if found is not None:
                yield kind, "", found.claim
        for name, user in self.users.items():
            yield "user", name, user.claim


class Observer:
    """Looks at a store's objects, changing nothing; collects what the administrator may not look at.

    Args:
        cluster: As its administrator.
        index: Name of the index, and of the template.
        names: Of the role, its mapping and the policy (`base`), and of the users.
    """

    def __init__(self, cluster: Cluster, index: str, names: RoleNames) -> None:
        self._cluster = cluster
        self._index = index
        self._names = names
        self._refused = Privileges()

    async def look(self, *, delete: bool, retention: bool) -> Observed:
        """Look at everything but the login.

        Args:
            delete: The deletion of the store deletes its data.
            retention: Checkpoints are to be deleted.
        """
        who = await self._get("read who the administrator is", "/_plugins/_security/authinfo")
        ism, policy = await self._policy()
        lacks = Privileges()
        if who is not None:
            lacks = await self._lacking(who, administrators_needs(ism=ism, delete=delete, retention=retention))
        template = await self._template()
        index, alias_of = await self._look_at_index()
        attached = await self._attached() if ism and index else None
        with_security = who is not None and not lacks.other
        users = [(name, await self._entity("internalusers", name)) for name in self._names.logins if with_security]
        return Observed(
            security=who is not None,
            ism=ism,
            lacking=lacks | self._refused,
            template=template,
            index=index,
            alias_of=alias_of,
            policy=policy,
            attached=attached,
            role=await self._entity("roles", self._names.base) if with_security else None,
            mapping=await self._entity("rolesmapping", self._names.base) if with_security else None,
            users={name: user for name, user in users if user is not None},
        )

    async def _get(self, purpose: str, path: str, **parameters: str) -> Body | None:
        """Return an answer; None when the object, or the plugin, does not exist, or may not be looked at."""
        answer = await self._cluster.ask("GET", path, None, **parameters)
        if not isinstance(answer, Refusal):
            return answer
        self._check(answer, purpose)
        return None

    def _check(self, refusal: Refusal, purpose: str) -> None:
        """Write down a privilege that is lacking; raise what is neither that nor an absence."""
        if refusal.kind == INDEX_MISSING or refusal.status == 404 or is_without_handler(refusal):
            return
        action = _refused_action(refusal)
        if not action:
            raise self._cluster.error(refusal, purpose)
        lacks = frozenset({action})
        self._refused |= Privileges(lacks) if _is_of_cluster(action) else Privileges(index=lacks)

    async def _lacking(self, who: Body, needs: Privileges) -> Privileges:
        names = list(who.get("roles") or ())
        access = await self._get("read the access to the security API", f"{SECURITY_API}/permissionsinfo") or {}
        if not access.get("has_api_access"):
            roles = ", ".join(names) or "it has none"
            text = (
                f"access to the security API (plugins.security.restapi.roles_enabled names none of its roles: {roles})"
            )
            return Privileges(other=(text,))
        disabled = access.get("disabled_endpoints") or {}
        closed = [f"{method} {each}" for each in _ENDPOINTS for method in _METHODS if method in disabled.get(each, ())]
        if closed:
            text = f"{', '.join(closed)} of the security API (plugins.security.restapi.endpoints_disabled)"
            return Privileges(other=(text,))
        if _OMNIPOTENT in names:
            return Privileges()
        shown = [await self._get("read a role", f"{SECURITY_API}/roles/{quote(name)}") for name in names]
        if None in shown:
            # A hidden role tells nothing, so each request has to tell by itself.
            return Privileges()
        groups = await self._get("read action groups", f"{SECURITY_API}/actiongroups") or {}
        bodies = [body for role in shown for body in (role or {}).values()]
        return lacking(needs, bodies, groups, self._index, str(who.get("user_name")))

    async def _template(self) -> Found | None:
        answer = await self._get("read the index template", f"/_index_template/{quote(self._index)}")
        if answer is None:
            return None
        body = answer["index_templates"][0]["index_template"]
        return Found(body, (body.get("_meta") or {}).get(CLAIM))

    async def _look_at_index(self) -> tuple[Index | None, tuple[str, ...]]:
        answer = await self._get("read the index", f"/{quote(self._index)}", flat_settings="true")
        if answer is None:
            return None, ()
        if self._index not in answer:
            return None, tuple(answer)
        body = answer[self._index]
        health = await self._get(
            "ask for the health of the index", f"/_cluster/health/{quote(self._index)}", timeout="1s"
        )
        return Index(body["mappings"], flat(body["settings"]), (health or {}).get("status", "")), ()

    async def _policy(self) -> tuple[bool, Policy | None]:
        """Tell whether the cluster manages indexes, and return the store's policy."""
        path = f"{ISM}/policies/{quote(self._names.base)}"
        answer = await self._cluster.ask("GET", path)
        if isinstance(answer, Refusal):
            self._check(answer, "read the ISM policy")
            return not is_without_handler(answer), None
        return True, Policy(answer["policy"], (answer["_seq_no"], answer["_primary_term"]))

    async def _attached(self) -> Attached | None:
        answer = await self._get(
            "ask which ISM policy manages the index", f"{ISM}/explain/{quote(self._index)}", show_policy="true"
        )
        return attached_in(answer or {}, self._index)

    async def _entity(self, kind: str, name: str) -> Found | None:
        answer = await self._get(f"read {kind} {name}", f"{SECURITY_API}/{kind}/{quote(name)}")
        if answer is None:
            return None
        body = answer[name]
        claim = (body.get("attributes") or {}).get(CLAIM) if kind == "internalusers" else body.get("description")
        return Found(body, claim)


async def roles_of_login(agent: Cluster) -> tuple[str, ...] | None:
    """Log in as an agent does.

    Returns:
        The roles that the login has; None when it is rejected.
    """
    answer = await agent.ask("GET", "/_plugins/_security/authinfo")
    if not isinstance(answer, Refusal):
        return tuple(answer.get("roles") or ())
    if answer.status == 401:
        return None
    raise agent.error(answer, "log in as the application")


def attached_in(explained: Body, index: str) -> Attached | None:
    """Read which policy manages an index; None when there is none."""
    found = explained.get(index) or {}
    name = found.get("policy_id") or found.get("index.plugins.index_state_management.policy_id")
    if not name:
        return None
    states = (found.get("policy") or {}).get("states") or ()
    actions = {kind for state in states for action in state.get("actions") or () for kind in action}
    return Attached(name, tuple(sorted(actions & HARMFUL_ACTIONS)))


def flat(settings: Body, prefix: str = "") -> dict[str, str]:
    """Flatten settings; the cluster shows all values as text."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def is_without_handler(refusal: Refusal) -> bool:
    """Tell whether nothing in the cluster answers this path: the plugin is absent."""
    return refusal.status in (400, 404, 405) and "no handler found" in refusal.reason


def _refused_action(refusal: Refusal) -> str:
    """Return the action that the security plugin refuses; empty when it is another refusal."""
    if refusal.status != 403 or refusal.kind == "cluster_block_exception":
        return ""
    _, found, rest = refusal.reason.partition("no permissions for [")
    if not found:
        return ""
    # An action may end in [s] itself.
    return rest.partition("] and User")[0]


def _is_of_cluster(action: str) -> bool:
    return action.startswith(("cluster:", "indices:admin/index_template/", "indices:admin/template/"))
