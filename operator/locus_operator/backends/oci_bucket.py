"""Provisions OCI Object Storage: a bucket or a prefix in one, its rules, and the statements that let agents in."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from locus_memory.backends.oci_bucket_layout import Layout
from locus_memory.connection import OCIBucketConnection
from locus_memory.errors import BackendUnavailableError, BindingError, CheckpointError
from locus_operator.api.backends import OCIBucketBackend
from locus_operator.api.store import DeletionPolicy
from locus_operator.backends import oci_bucket_plan as planning
from locus_operator.backends.oci_bucket_access import AGENTS_SECRET, Place, agents_principal
from locus_operator.backends.oci_bucket_actions import Changes
from locus_operator.backends.oci_bucket_client import Access, Service, connect, service_error
from locus_operator.backends.oci_bucket_conflicts import permissions_text
from locus_operator.backends.oci_bucket_errors import explained, is_hidden
from locus_operator.backends.oci_bucket_login import agents_login, describe, operator_login
from locus_operator.backends.oci_bucket_observe import Observed, Where, observe
from locus_operator.backends.oci_bucket_plan import Target
from locus_operator.backends.oci_bucket_report import report
from locus_operator.backends.oci_bucket_rules import expiry_days, part_days
from locus_operator.backends.oci_bucket_sweep import Swept, is_needed, sweep
from locus_operator.binding import retention_of
from locus_operator.connections import Connections, Opener
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.names import derive_name
from locus_operator.provisioner import Action, Plan, Provisioner, Report, Request

CONNECTION_TYPE: Final = "oci-bucket"

_BUCKET_LIMIT: Final = 256
_POLICY_LIMIT: Final = 100
_HASH_LENGTH: Final = 10
_DAY: Final = 86_400
_REFUSAL_SECONDS: Final = 3_600.0
"""How long an operator that may not write policies does not try again."""


@dataclass(slots=True)
class _Memory:
    """What one run leaves to the next ones of the same process; losing it costs time and nothing else.

    Attributes:
        refused: When writing policies was refused, by compartment and login.
        cursors: Where the sweep goes on, by store.
    """

    refused: dict[Any, float] = field(default_factory=dict)
    cursors: dict[str, str | None] = field(default_factory=dict)


_MEMORIES: Final[WeakKeyDictionary[Connections, _Memory]] = WeakKeyDictionary()


class OCIBucketProvisioner(Provisioner[OCIBucketBackend, Observed]):
    """Provisions one store in a bucket of its own, or below a prefix of a shared one."""

    def __init__(self, request: Request[OCIBucketBackend]) -> None:
        super().__init__(request)
        backend, owner = request.backend, request.owner
        bucket = backend.bucket_name or derive_name(owner.namespace, owner.name, _BUCKET_LIMIT)
        place = Place(backend.compartment_id, backend.region, bucket, _prefix(request))
        document = OCIBucketConnection.model_validate(
            {
                "bucket": bucket,
                "namespace": backend.namespace or "",
                "prefix": place.prefix,
                "region": backend.region,
                "service_endpoint": backend.endpoint,
                "tables": "provisioned",
                **operator_login(request),
            }
        )
        self._agents = agents_login(request)
        self._target = Target(
            owner,
            place,
            backend,
            request.spec.retention,
            agents_principal(backend.auth.agents, owner.namespace, request.secrets.get(AGENTS_SECRET, {})),
            _policy_name(request, place),
            describe(backend.auth.operator),
        )
        self._access = Access(document, backend.identity_endpoint, self._target.who)
        self._memory = _MEMORIES.setdefault(request.connections, _Memory())
        self._observed: Observed | None = None
        self._policy_written = False
        self._swept = Swept()

    async def open(self, session: AsyncExitStack) -> None:
        """Connect, which proves the login."""
        opener = Opener(self._connect, _nothing, Service.close)
        lent = self.request.connections.lend(self._access.endpoint, self._access.key, opener)
        self._service = await session.enter_async_context(lent)
        place, namespace = self._target.place, self.request.backend.namespace or self._service.namespace
        self._where = Where(namespace, place.compartment, place.bucket, place.prefix, self._target.policy)
        self._changes = Changes(self._service, self._where, self._target)

    async def observe(self) -> Observed:
        """Look at bucket, claims, rules, replication and policies."""
        with self._explaining("look at the bucket"):
            self._observed = await observe(self._service, self._where)
        return self._observed

    def plan(self, observed: Observed) -> Plan:
        """Decide what is missing or different."""
        may_write = time.monotonic() - self._memory.refused.get(self._writer, -_REFUSAL_SECONDS) >= _REFUSAL_SECONDS
        return planning.plan(observed, self._target, adopt=self.request.adopt, may_write_policies=may_write)

    def plan_release(self, observed: Observed) -> Plan:
        """Decide what the deletion does."""
        delete = self.request.spec.deletion_policy is DeletionPolicy.DELETE
        return planning.plan_release(observed, self._target, delete=delete)

    async def apply(self, action: Action) -> None:
        """Carry out one action."""
        with self._explaining(f"{action.verb} {action.kind} {action.name}"):
            match action:
                case planning.CreateBucket():
                    await self._changes.create_bucket()
                case planning.UpdateBucket():
                    await self._changes.update_bucket(action.etag, action.changes)
                case planning.WriteClaim():
                    await self._changes.write_claim(action.etag, action.text)
                case planning.WritePolicy():
                    await self._write_policy(action)
                case planning.DropPolicy(found=policy) if policy is not None:
                    await self._changes.drop_policy(policy)
                case planning.SetRules():
                    await self._changes.set_rules(action.rules)
                case planning.Replicate():
                    await self._changes.replicate(action.instead)
                case planning.EndReplication():
                    await self._changes.end_replication(action.id)
                case planning.DropObjects():
                    await self._changes.drop_objects(versions=action.versions)
                case planning.DropBucket():
                    await self._changes.drop_bucket()
                case _:
                    raise TypeError(f"no action of this backend: {action}")

    def connection(self) -> OCIBucketConnection:
        """Return the binding document: the place, and how agents sign; a secret for `apiKey` alone."""
        backend, owner, days = self.request.backend, self.request.owner, expiry_days(self.request.spec.retention)
        return OCIBucketConnection.model_validate(
            {
                "store": owner.store,
                "tables": "provisioned",
                "retention": retention_of(self.request.spec),
                "bucket": self._where.bucket,
                "namespace": self._where.namespace,
                "prefix": self._where.prefix,
                "region": backend.region,
                "service_endpoint": backend.endpoint,
                "part_age_seconds": None if days is None else part_days(days) * _DAY,
                **self._agents,
            }
        )

    def claims(self) -> dict[str, Any]:
        """Return bucket and prefix."""
        return {"bucket": self._where.bucket, "prefix": self._where.prefix or None}

    def report(self) -> Report:
        """Say how agents log in, which statements are missing, and what retention does."""
        assert self._observed is not None  # noqa: S101 - the engine observes first
        return report(
            self._observed,
            self._target,
            policy_written=self._policy_written,
            agents=describe(self.request.backend.auth.agents),
            damaged=self._swept.damaged,
        )

    async def enforce_retention(self) -> int:
        """Sweep the threads, where rules cannot do it."""
        retention, uid = self.request.spec.retention, self.request.owner.uid
        if not is_needed(retention):
            return 0
        document = self._access.document.model_copy(update={"namespace": self._where.namespace})
        try:
            self._swept = await sweep(document, retention, self._memory.cursors.get(uid))
        except BackendUnavailableError as error:
            raise UnavailableError(f"{self._access.endpoint}: cannot enforce retention: {error}") from error
        except CheckpointError as error:
            raise RefusedError(
                ConditionReason.MISSING_PRIVILEGES,
                f"cannot enforce retention: {error}. {permissions_text(self._target)}",
            ) from error
        self._memory.cursors[uid] = self._swept.next
        return self._swept.deleted

    @property
    def _writer(self) -> Any:
        return self._target.place.compartment, self._access.key

    async def _connect(self) -> Service:
        with self._explaining("log in"):
            return await connect(self._access)

    async def _write_policy(self, action: planning.WritePolicy) -> None:
        try:
            await self._changes.write_policy(action.found, action.statements)
        except service_error() as error:
            if not is_hidden(error):
                raise
            # It is no failure: somebody else has to add the statements, and the status shows them.
            self._memory.refused[self._writer] = time.monotonic()
        else:
            self._policy_written = True

    @contextmanager
    def _explaining(self, purpose: str) -> Iterator[None]:
        try:
            yield
        except (RefusedError, UnavailableError):
            raise
        except Exception as error:
            if not isinstance(error, service_error()):
                raise
            policy = self._policy_written or (
                self._observed is not None and planning.own_policy(self._observed, self._target) is not None
            )
            raise explained(error, purpose, self._target, self._access, has_policy=policy) from error


def _prefix(request: Request[OCIBucketBackend]) -> str:
    given, owner = request.backend.prefix or "", request.owner
    # The stores of a class share its bucket, and a prefix that they all had would be the first one's.
    prefix = f"{given}{owner.store}/" if given and request.spec.class_name else given
    try:
        Layout(prefix)
    except BindingError as error:
        raise RefusedError(
            ConditionReason.BACKEND_REFUSED, f"spec.backend.ociBucket.prefix: {prefix!r}: {error}"
        ) from None
    return prefix


def _policy_name(request: Request[OCIBucketBackend], place: Place) -> str:
    """Return a name that no other place has: names of policies are unique in a tenancy."""
    text = f"{place.region}/{place.bucket}/{place.prefix}"
    digest = base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:_HASH_LENGTH]
    owner = request.owner
    return f"{derive_name(owner.namespace, owner.name, _POLICY_LIMIT - _HASH_LENGTH - 1)}-{digest}"


async def _nothing(_: Service) -> None:
    """Requests stand for themselves: there is nothing to reset, and a dead connection is replaced by the SDK."""


PROVISIONER: Final = OCIBucketProvisioner
