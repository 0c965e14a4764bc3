"""Provisions OpenSearch: an index with its template, and a role and a user that reach this index and nothing else."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, ClassVar, Final
from urllib.parse import quote

from pydantic import SecretStr

from locus_memory.backends.opensearch_errors import INDEX_EXISTS, INDEX_MISSING, Refusal
from locus_memory.connection import OpenSearchConnection
from locus_operator.api.backends import OpenSearchBackend
from locus_operator.api.store import DeletionPolicy
from locus_operator.backends import opensearch_plan
from locus_operator.backends.opensearch_connect import Cluster
from locus_operator.backends.opensearch_desired import Target
from locus_operator.backends.opensearch_observe import ISM, Observed, Observer, attached_in, roles_of_login
from locus_operator.backends.opensearch_plan import (
    PATHS,
    AttachPolicy,
    CreateIndex,
    Drop,
    PutEntity,
    PutMapping,
    PutPolicy,
    PutSettings,
    PutTemplate,
)
from locus_operator.backends.opensearch_report import report_of
from locus_operator.backends.opensearch_retention import delete_expired
from locus_operator.binding import PasswordPolicy, retention_of
from locus_operator.connections import Opener
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.names import RoleNames, derive_name
from locus_operator.provisioner import Action, Plan, Provisioner, Report, Request
from locus_operator.sources import admin_credentials, certificates

CONNECTION_TYPE: Final = "opensearch"

PREFIX_LIMIT: Final = 100
"""Characters of an index prefix, as in the CRD; an index's name has at most 255 bytes."""
_SUFFIX: Final = "-checkpoints"


class OpenSearchProvisioner(Provisioner[OpenSearchBackend, Observed]):
    """Provisions one store on OpenSearch 2 or later, with or without the plugins for security and index management."""

    # What the documented example of password_validation_regex asks for.
    passwords: ClassVar[PasswordPolicy] = PasswordPolicy(of_each_kind=1)

    def __init__(self, request: Request[OpenSearchBackend]) -> None:
        super().__init__(request)
        backend, owner = request.backend, request.owner
        if request.spec.long_term_memory is not None and request.spec.long_term_memory.enabled:
            raise RefusedError(
                ConditionReason.NOT_SUPPORTED,
                "spec.longTermMemory: OpenSearch has no long-term memory; remove it, or use another backend",
            )
        self._prefix = backend.index_prefix or derive_name(owner.namespace, owner.name, PREFIX_LIMIT)
        self._names = RoleNames.of(owner.namespace, owner.name)
        self._admin = admin_credentials(request, default_user="admin")
        self._ca = certificates(request)
        index = self._prefix + _SUFFIX
        self._target = Target(index, self._names, owner, request.password, backend.shards, backend.replicas)
        self._observed: Observed | None = None

    async def open(self, session: AsyncExitStack) -> None:
        """Connect."""
        key = (self._admin.username, self._admin.password, self._ca)
        opener = Opener(self._open, _ping, Cluster.close)
        lent = self.request.connections.lend(self.request.backend.hosts, key, opener)
        self._cluster = await session.enter_async_context(lent)
        self._cluster.choose_index(self._target.index)

    async def observe(self) -> Observed:
        """Read all objects of the store; log in as the application."""
        spec = self.request.spec
        retention = spec.retention.max_age or spec.retention.max_checkpoints_per_thread
        delete = spec.deletion_policy is DeletionPolicy.DELETE
        observer = Observer(self._cluster, self._target.index, self._names)
        observed = await observer.look(delete=delete, retention=retention is not None)
        if self._names.logins[0] in observed.users:
            observed = observed.with_login(await self._roles_of_login())
        self._observed = observed
        return observed

    def plan(self, observed: Observed) -> Plan:
        """Decide what is missing or different."""
        adopt = self.request.adopt
        return opensearch_plan.plan(observed, self._target, adopt=adopt, administrator=self._administrator)

    def plan_release(self, observed: Observed) -> Plan:
        """Decide what the deletion does."""
        delete = self.request.spec.deletion_policy is DeletionPolicy.DELETE
        return opensearch_plan.plan_release(observed, self._target, delete=delete, administrator=self._administrator)

    async def apply(self, action: Action) -> None:
        """Run one action."""
        purpose = f"{action.verb} {action.kind} {action.name}"
        index = f"/{quote(self._target.index)}"
        match action:
            case PutTemplate(body=body, create=create):
                path = PATHS["index template"] + quote(action.name)
                await self._cluster.call(purpose, "PUT", path, body, **({"create": "true"} if create else {}))
            case CreateIndex(body=body):
                await self._create_index(purpose, index, action)
            case PutMapping(body=body):
                await self._cluster.call(purpose, "PUT", f"{index}/_mapping", body)
            case PutSettings(body=body):
                await self._cluster.call(purpose, "PUT", f"{index}/_settings", body)
            case PutPolicy(version=version):
                condition = (
                    {} if version is None else {"if_seq_no": str(version[0]), "if_primary_term": str(version[1])}
                )
                await self._cluster.call(
                    purpose, "PUT", PATHS["ISM policy"] + quote(action.name), action.body, **condition
                )
            case AttachPolicy():
                await self._attach(purpose, action)
            case PutEntity(endpoint=endpoint, body=body):
                await self._cluster.call(purpose, "PUT", endpoint + quote(action.name), body)
                await self._check_login(action)
            case Drop():
                await self._drop(purpose, action)
            case _:
                raise TypeError(f"no action of this backend: {action}")

    def connection(self) -> OpenSearchConnection:
        """Return the binding document of the first user; without the security plugin there is no login in it."""
        owner = self.request.owner
        document = OpenSearchConnection(
            store=owner.store,
            tables="provisioned",
            retention=retention_of(self.request.spec),
            hosts=self.request.backend.hosts,
            index_name=self._target.index,
            ca=self._ca,
        )
        if self._observed is None or not self._observed.security:
            return document
        login = {"username": self._names.logins[0], "password": SecretStr(self.request.password)}
        return document.model_copy(update=login)

    def claims(self) -> dict[str, Any]:
        """Return the prefix, the role and the users; the second user is made when the login is rotated."""
        found: dict[str, Any] = {"indexPrefix": self._prefix}
        if self._observed is not None and self._observed.security:
            found |= {"roles": (self._names.base,), "logins": self._names.logins}
        return found

    def report(self) -> Report:
        """Say which plugins are missing, what gives trouble, and how retention is enforced."""
        return report_of(self._observed, self._target, self.request.spec)

    async def enforce_retention(self) -> int:
        """Delete what is too old or too much, thread by thread."""
        return await delete_expired(self._cluster, self.request.spec.retention)

    @property
    def _administrator(self) -> str:
        return f"{self._cluster.where}: the administrator {self._admin.username!r} of Secret {self._admin.secret!r}"

    async def _open(self) -> Cluster:
        cluster = Cluster.as_administrator(
            hosts=self.request.backend.hosts,
            user=self._admin.username or "",
            password=self._admin.password,
            ca=self._ca,
            secret=self._admin.secret,
        )
        try:
            await _ping(cluster)
        except BaseException:
            await cluster.close()
            raise
        return cluster

    async def _roles_of_login(self) -> tuple[str, ...] | None:
        user, password = self._names.logins[0], SecretStr(self.request.password)
        document = self._cluster.connection.model_copy(update={"username": user, "password": password})
        async with self.request.connections.beside(self.request.backend.hosts):
            agent = Cluster(document, f"the user {user!r}")
            try:
                return await roles_of_login(agent)
            finally:
                await agent.close()

    async def _check_login(self, action: PutEntity) -> None:
        if action.endpoint == PATHS["user"] and await self._roles_of_login() is None:
            raise RefusedError(
                ConditionReason.BACKEND_REFUSED,
                f"{self._cluster.where}: the user {action.name!r} was made, and the cluster rejects its login: let it "
                "accept internal users over HTTP's basic authentication (basic_internal_auth_domain)",
            )

    async def _create_index(self, purpose: str, path: str, action: CreateIndex) -> None:
        if action.destructive:
            await self._drop(purpose, Drop("drop", "index", action.name, action.reason, path=path))
        answer = await self._cluster.ask("PUT", path, action.body)
        if isinstance(answer, Refusal) and answer.kind == INDEX_EXISTS:
            raise RefusedError(
                ConditionReason.CONFLICT,
                f"{self._cluster.where}: cannot {purpose}: somebody has just created it; it is looked at again",
            )
        if isinstance(answer, Refusal):
            raise self._cluster.error(answer, purpose)

    async def _attach(self, purpose: str, action: AttachPolicy) -> None:
        index = quote(action.index)
        explained = await self._cluster.call(purpose, "GET", f"{ISM}/explain/{index}", show_policy="true")
        attached = attached_in(explained, action.index)
        # A new index gets the policy from the cluster, by the policy's own template.
        if attached is not None and attached.name == action.name and not attached.harmful:
            return
        if attached is not None:
            await self._cluster.call(purpose, "POST", f"{ISM}/remove/{index}")
        answer = await self._cluster.call(purpose, "POST", f"{ISM}/add/{index}", {"policy_id": action.name})
        if not answer.get("updated_indices"):
            reasons = "; ".join(each.get("reason", "") for each in answer.get("failed_indices") or ())
            raise RefusedError(
                ConditionReason.BACKEND_REFUSED,
                f"{self._cluster.where}: cannot {purpose} to the index {action.index!r}: "
                f"{reasons or 'the cluster passes it over; has the administrator the privilege on this index?'}",
            )

    async def _drop(self, purpose: str, action: Drop) -> None:
        answer = await self._cluster.ask("DELETE", action.path)
        if isinstance(answer, Refusal) and answer.kind != INDEX_MISSING and answer.status != 404:
            raise self._cluster.error(answer, purpose)


async def _ping(cluster: Cluster) -> None:
    """Find out whether the cluster answers and takes the login; any answer but a rejection will do."""
    answer = await cluster.ask("GET", "/_plugins/_security/authinfo")
    if isinstance(answer, Refusal) and (answer.status == 401 or answer.status == 429 or answer.status >= 500):
        raise cluster.error(answer, "connect")


PROVISIONER: Final = OpenSearchProvisioner
