"""Statements of IAM policies that let agents and the service at a store's objects, and nothing else.

Verbs, permissions and variables are those of "Details for Object Storage" in Oracle's policy reference. Listing is the
one permission that cannot be limited to a prefix: no single object is meant, so `target.object.name` never matches.
Pure: no I/O. Whatever stands in a statement was checked for its form, so that nobody can write one of his own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from locus_memory.backends.oci_bucket_layout import Layout
from locus_operator.api.backends import OCIAgents, OCIAuthType
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError

AGENTS_SECRET: Final = "auth.agents.secretRef"  # noqa: S105 - a path, no secret
_USER: Final = re.compile(r"ocid1\.user\.[-a-z0-9]*\.[-a-z0-9]*\.[-a-zA-Z0-9._]+")

_OBJECT_PERMISSIONS: Final = ("OBJECT_READ", "OBJECT_CREATE", "OBJECT_OVERWRITE", "OBJECT_DELETE")
_LIST_PERMISSION: Final = "OBJECT_INSPECT"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store's objects are.

    Attributes:
        prefix: Empty where the whole bucket is the store's.
    """

    compartment: str
    region: str
    bucket: str
    prefix: str

    @property
    def scope(self) -> str:
        """How a statement names the compartment."""
        return "tenancy" if self.compartment.startswith("ocid1.tenancy.") else f"compartment id {self.compartment}"


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a statement is about.

    Attributes:
        subject: Such as `any-user` or `dynamic-group agents`.
        conditions: What tells him from others of that subject.
        gap: The field of the spec that is missing to name him; empty where he is named.
    """

    subject: str
    conditions: tuple[str, ...] = ()
    gap: str = ""


def agents_principal(agents: OCIAgents, namespace: str, secret: Mapping[str, str]) -> Principal:
    """Return who the agents are to IAM.

    Args:
        agents: Of the spec.
        namespace: Kubernetes namespace of the store.
        secret: Data of the agents' Secret; empty but for `apiKey`.

    Raises:
        RefusedError: The Secret names no user.
    """
    match agents.type:
        case OCIAuthType.WORKLOAD_IDENTITY:
            return _workload(agents, namespace)
        case OCIAuthType.API_KEY:
            user = secret.get("user", "")
            if not _USER.fullmatch(user):
                raise RefusedError(
                    ConditionReason.SECRET_INVALID,
                    f"Secret {agents.secret_ref.name if agents.secret_ref else ''!r} "
                    f"(spec.backend.ociBucket.{AGENTS_SECRET}): write the OCID of a user, which starts with "
                    "ocid1.user., into the key 'user'",
                )
            return Principal("any-user", (f"request.user.id='{user}'",))
        case _:
            if agents.dynamic_group is None:
                return Principal("dynamic-group <name>", gap="auth.agents.dynamicGroup")
            domain, _, name = agents.dynamic_group.rpartition("/")
            return Principal(f"dynamic-group '{domain}'/'{name}'" if domain else f"dynamic-group {name}")


def agent_statements(principal: Principal, place: Place) -> tuple[str, ...]:
    """Return what lets the agents read, write, delete and list the store's objects."""
    bucket = f"target.bucket.name='{place.bucket}'"
    if not place.prefix:
        return (_statement(principal, (_LIST_PERMISSION, *_OBJECT_PERMISSIONS), place, bucket),)
    layout = Layout(place.prefix)
    # Not all of the prefix, so that agents reach nothing but what the library writes there.
    names = ", ".join(f"target.object.name='{each}*'" for each in (layout.heads, layout.data))
    return (
        _statement(principal, _OBJECT_PERMISSIONS, place, bucket, f"any {{{names}}}"),
        _statement(principal, (_LIST_PERMISSION,), place, bucket),
    )


def service_statements(place: Place) -> tuple[str, ...]:
    """Return what lets Object Storage itself enforce lifecycle rules and replicate the bucket."""
    where = f"where target.bucket.name='{place.bucket}'"
    return (f"Allow service objectstorage-{place.region} to manage object-family in {place.scope} {where}",)


def key_statement(place: Place, key: str) -> str:
    """Return what lets Object Storage use a Vault key, wherever the key is."""
    return f"Allow service objectstorage-{place.region} to use keys in tenancy where target.key.id='{key}'"


def operator_statements(place: Place) -> tuple[str, ...]:
    """Return what the operator needs; `<operator>` stands for its group or dynamic group."""
    where = f"where target.bucket.name='{place.bucket}'"
    return (
        f"Allow <operator> to inspect buckets in {place.scope}",
        f"Allow <operator> to manage buckets in {place.scope} {where}",
        f"Allow <operator> to manage objects in {place.scope} {where}",
    )


def canonical(statement: str) -> str:
    """Return a statement as it compares: blanks and the case of letters make no difference to IAM."""
    return re.sub(r"\s*([{},=])\s*", r"\1", " ".join(statement.split())).lower()


def _workload(agents: OCIAgents, namespace: str) -> Principal:
    account, cluster = agents.service_account, agents.cluster_id
    conditions = [
        "request.principal.type='workload'",
        f"request.principal.namespace='{namespace}'",
        *([f"request.principal.service_account='{account}'"] if account else []),
        f"request.principal.cluster_id='{cluster or '<OCID of the OKE cluster>'}'",
    ]
    return Principal("any-user", tuple(conditions), "" if cluster else "auth.agents.clusterId")


def _statement(principal: Principal, permissions: tuple[str, ...], place: Place, *conditions: str) -> str:
    where = ", ".join((*principal.conditions, *conditions))
    return f"Allow {principal.subject} to {{{', '.join(permissions)}}} in {place.scope} where all {{{where}}}"
